//! What a bus would put in the place of what Sōzu held is judged when the bus has caught up.

use super::*;
use crate::messages::{Order, What};

/// Clusters that somebody else has put into Sōzu, so many.
fn live(count: u16) -> Vec<Object> {
    (0..count).map(|n| cluster(&format!("c{n}"))).collect()
}

/// The same with another value.
fn others(count: u16) -> Vec<Object> {
    let turned = live(count).into_iter().map(|object| match object {
        Object::Cluster(mut cluster) => {
            cluster.sticky_session = true;
            Object::Cluster(cluster)
        }
        other => other,
    });
    turned.collect()
}

fn beside(count: u16) -> World {
    let mut state = empty_sozu();
    hold(&mut state, &live(count));
    World::new(state)
}

/// A Sōzu that holds 100 clusters, of which the topic has 60 with another value.
fn held() -> World {
    let mut world = beside(100);
    world.rest();
    world.declares(&[]);
    world.subscribes(Some(59));
    world.sends(0, &adds(&others(60)));
    world
}

impl World {
    #[track_caller]
    fn the_hold(&self) -> Option<(Arc<str>, usize)> {
        let holds = &self.report().sources[&bus()].holds;
        assert!(holds.len() < 2, "{holds:?}");
        holds.first().map(|hold| (hold.id.clone(), hold.objects))
    }

    fn a_person_says(&mut self, what: What) {
        let order = Order { what, uid: 1000 };
        self.tell(Event::Order { order, reply: 0 });
        self.rest();
    }

    #[track_caller]
    fn sozu_holds_the_first(&self, count: u16, of: u16) {
        let (others, live) = (others(count), live(of));
        self.sozu_holds(&[&others[..], &live[usize::from(count)..]].concat());
    }
}

#[test]
fn many_take_overs_are_held_and_what_sozu_holds_is_healed() {
    let mut world = held();
    world.rest();
    assert_eq!(world.the_hold().unwrap().1, 60);
    world.sozu_holds_the_first(0, 100);
    assert_eq!(world.report().sources[&bus()].caught_up, Some(true));
    assert_eq!(world.acknowledges(), Some(59), "what is held is final");
    assert_eq!(world.verdicts(), ["held"; 120]);
    assert_eq!(world.sent, []);

    // They are the source's word now: a Sōzu that starts empty gets them back.
    world.sozu_restarts(empty_sozu());
    world.rest();
    world.sozu_holds(&live(60));
    // And so after a death of ours.
    let hold = world.the_hold();
    world.dies();
    world.declares(&[]);
    world.rest();
    assert_eq!(world.the_hold(), hold);
    world.sozu_holds(&live(60));
}

#[test]
fn a_release_lets_exactly_the_shown_take_overs_through() {
    let mut world = held();
    let (id, _) = world.the_hold().unwrap();
    world.a_person_says(What::Release("another".into()));
    world.sozu_holds_the_first(0, 100);
    world.a_person_says(What::Release(id));
    world.sozu_holds_the_first(60, 100);
    assert_eq!(world.the_hold(), None);
}

#[test]
fn what_is_discarded_stays_as_sozu_has_it() {
    let mut world = held();
    let (id, _) = world.the_hold().unwrap();
    world.a_person_says(What::Discard(id));
    assert_eq!(world.the_hold(), None);
    world.sozu_holds_the_first(0, 100);
    assert_eq!(world.report().sources[&bus()].orphaned, 60);
}

#[test]
fn a_later_word_of_the_bus_leaves_the_hold() {
    let mut world = held();
    world.sends(60, &adds(&others(1)));
    assert_eq!(world.the_hold().unwrap().1, 59);
    world.sozu_holds_the_first(1, 100);
    // What Sōzu holds is what the bus says: nothing is left to hold.
    world.sends(61, &adds(&live(2)[1..]));
    assert_eq!(world.the_hold().unwrap().1, 58);
    world.sozu_holds_the_first(1, 100);
}

#[test]
fn few_take_overs_pass() {
    let mut world = beside(100);
    world.rest();
    world.declares(&[]);
    world.subscribes(Some(24));
    world.sends(0, &adds(&others(25)));
    assert_eq!(world.the_hold(), None);
    world.sozu_holds_the_first(25, 100);
}

/// Removals that a bus says while it catches up end what somebody else put there: a conclusion too.
/// Those of what it put there itself are orders.
#[test]
fn only_what_is_not_the_buss_own_is_a_conclusion() {
    let removals = |objects: &[Object]| -> Vec<Request> {
        objects.iter().map(|it| it.remove().unwrap()).collect()
    };
    let mut world = beside(100);
    world.rest();
    world.declares(&[]);
    world.subscribes(Some(59));
    world.sends(0, &removals(&live(60)));
    assert_eq!(world.the_hold().unwrap().1, 60);
    world.sozu_holds_the_first(0, 100);

    let mut world = World::new(empty_sozu());
    world.rest();
    world.declares(&[]);
    world.subscribes(None);
    world.sends(0, &adds(&live(100)));
    world.dies();
    world.declares(&[]);
    world.subscribes(Some(199));
    world.sends(100, &removals(&live(100)));
    assert_eq!(world.the_hold(), None);
    world.sozu_holds(&[]);
}

/// A cluster that stays keeps its backends: whoever removed it would have ended them all, and so it is held as a whole.
#[test]
fn what_would_go_with_what_is_held_stays_with_it() {
    let backends: Vec<Object> = (0..60)
        .map(|n| backend(&format!("c{n}"), "b", 1000 + n))
        .collect();
    let removals: Vec<Request> = live(60).iter().map(|it| it.remove().unwrap()).collect();
    let mut world = beside(100);
    world.rest();
    world.declares(&[]);
    world.subscribes(None);
    world.sends(0, &adds(&backends));
    let all = [&live(100)[..], &backends].concat();
    world.sozu_holds(&all);

    world.subscribes(Some(119));
    world.sends(60, &removals);
    let (id, count) = world.the_hold().unwrap();
    assert_eq!(count, 120);
    world.sozu_holds(&all);
    world.a_person_says(What::Release(id));
    world.sozu_holds(&live(100)[60..]);
}

/// A daemon died before it had sent what the bus had asked for: what Sōzu holds is still what the bus said before.
#[test]
fn what_the_bus_put_there_is_its_own_though_an_order_was_under_way() {
    let mut world = World::new(empty_sozu());
    world.rest();
    world.declares(&[]);
    world.subscribes(None);
    world.sends(0, &adds(&live(60)));
    let changes = bus_changes(60, &adds(&others(60)));
    world.tell(Event::Changes { changes, reply: 0 });
    while !matches!(world.pending.front(), Some(Effect::Send(_))) {
        let effect = world.pending.pop_front().unwrap();
        world.step(effect);
    }
    world.dies();
    world.declares(&[]);
    world.subscribes(Some(179));
    let removals = live(60).into_iter().map(|it| it.remove().unwrap());
    world.sends(120, &removals.collect::<Vec<_>>());
    assert_eq!(world.the_hold(), None);
    world.sozu_holds(&[]);
}

/// The whole history of what Sōzu holds, read again with an empty database: the bus knows of it all.
#[test]
fn a_lost_database_holds_nothing_back_that_the_topic_has_said() {
    let mut world = beside(100);
    world.rest();
    world.declares(&[]);
    world.subscribes(Some(159));
    world.sends(0, &adds(&live(100)));
    world.sends(100, &adds(&others(60)));
    assert_eq!(world.the_hold(), None);
    world.sozu_holds_the_first(60, 100);
}

/// A topic that ends before our position is another one: what it says of what we hold is a first look.
#[test]
fn a_stale_topic_takes_nothing_over_unasked() {
    let mut world = World::new(empty_sozu());
    world.rest();
    world.declares(&[]);
    world.subscribes(None);
    world.sends(0, &adds(&live(100)));
    world.subscribes(Some(59));
    world.sends(0, &adds(&others(60)));
    assert_eq!(world.the_hold().unwrap().1, 60);
    world.sozu_holds_the_first(0, 100);
}

/// Whenever the daemon dies on the way, live traffic is not touched.
#[test]
fn a_death_at_any_effect_lets_no_take_over_through() {
    for effects in 0..20 {
        let mut world = beside(100);
        world.rest();
        world.declares(&[]);
        world.subscribes(Some(59));
        let changes = bus_changes(0, &adds(&others(60)));
        world.tell(Event::Changes { changes, reply: 0 });
        for _ in 0..effects {
            if let Some(effect) = world.pending.pop_front() {
                world.step(effect);
            }
        }
        world.dies();
        world.rest();
        world.sozu_holds_the_first(0, 100);
        // The bus is away for a while, and then sends all again.
        world.declares(&[]);
        world.sozu_holds_the_first(0, 100);
        world.subscribes(Some(59));
        world.sends(0, &adds(&others(60)));
        world.sozu_holds_the_first(0, 100);
        let held = world.the_hold().map(|(_, count)| count);
        assert_eq!(held, Some(60), "after {effects} effects");
    }
}

/// What passed within the hour counts, whatever it came to, and over a restart too.
#[test]
fn the_take_overs_of_an_hour_are_added_up_over_a_restart() {
    let mut world = beside(100);
    world.rest();
    world.declares(&[]);
    world.subscribes(Some(39));
    let removals = live(20).into_iter().map(|it| it.remove().unwrap());
    let first: Vec<Request> = removals.chain(adds(&others(40)[20..])).collect();
    world.sends(0, &first);
    assert_eq!(world.the_hold(), None);
    world.dies();
    world.declares(&[]);
    world.subscribes(Some(59));
    world.sends(40, &adds(&others(60)[40..]));
    assert_eq!(world.the_hold().map(|(_, count)| count), Some(20));
}

#[test]
fn a_hold_that_cannot_be_written_is_tried_again_without_haste() {
    let mut world = beside(100);
    world.rest();
    world.declares(&[]);
    world.subscribes(Some(59));
    let changes = bus_changes(0, &adds(&others(60)));
    world.tell(Event::Changes { changes, reply: 0 });
    let (began, mut tries) = (world.at, 0);
    for _ in 0..100 {
        let Some(effect) = world.pending.pop_front() else {
            world.at += Duration::from_secs(1);
            world.tell(Event::Tick);
            continue;
        };
        if matches!(effect, Effect::Append { mark: None, .. }) {
            tries += 1;
            world.disk.full = tries < 4;
        }
        if tries == 4 {
            assert!(world.at >= began + Duration::from_secs(3));
        }
        world.step(effect);
    }
    assert_eq!(tries, 4);
    assert_eq!(world.the_hold().map(|(_, count)| count), Some(60));
    world.sozu_holds_the_first(0, 100);
}
