//! Stories of holds, orphans and differences, and of the person who decides.

use super::*;
use crate::{
    messages::{DiffError, Differing, Order, OrderError, Ordered, What},
    state_keeper::operator::Answer,
};

impl World {
    fn orders(&mut self, what: What) -> Result<Ordered, OrderError> {
        let order = Order { uid: 1000, what };
        self.tell(Event::Order { order, reply: 1 });
        self.rest();
        match self.answers.pop() {
            Some(Answer::Order(result)) => result,
            other => panic!("no answer to an order: {other:?}"),
        }
    }

    fn compares(&mut self) -> Result<Vec<Differing>, DiffError> {
        self.tell(Event::Compare { reply: 2 });
        self.rest();
        match self.answers.pop() {
            Some(Answer::Compare(result)) => result,
            other => panic!("no answer to a comparison: {other:?}"),
        }
    }

    fn hold(&self) -> (Arc<str>, usize) {
        let holds = self.keeper.holds();
        assert_eq!(holds.len(), 1, "{holds:?}");
        (holds[0].id.clone().unwrap(), holds[0].objects)
    }

    /// What reading Sōzu again finds is healed.
    fn is_read_again(&mut self) {
        self.at += Duration::from_secs(61);
        self.tell(Event::Tick);
        self.rest();
    }

    fn elsewhere_declares(&mut self, objects: &[Object]) {
        let file = ListedFile {
            path: Arc::new("b.toml".into()),
            content: FileContent::Objects(keyed(objects)),
        };
        let listing = Listing {
            source: elsewhere(),
            device: 1,
            files: vec![file],
        };
        self.tell(Event::Listing { listing, reply: 0 });
        self.rest();
    }
}

fn elsewhere() -> SourceName {
    SourceName::new("elsewhere")
}

fn routes(count: u16) -> Vec<Object> {
    let routes = (0..count).flat_map(|n| route(&format!("r{n}"), n + 1));
    routes.collect()
}

/// A world in which 40 routes were emptied, and one stranger is in Sōzu.
fn emptied() -> World {
    let mut sozu = empty_sozu();
    hold(&mut sozu, &route("foreign", 900));
    let mut world = World::new(sozu);
    world.declares(&routes(40));
    world.lists(&[]);
    world.sozu_holds(&[routes(40), route("foreign", 900)].concat());
    world
}

#[test]
fn a_release_lets_exactly_the_shown_go() {
    let mut world = emptied();
    let (id, objects) = world.hold();
    assert_eq!(objects, 120);
    let ordered = world.orders(What::Release(id.clone())).unwrap();
    assert_eq!(ordered.objects, 120);
    assert_eq!(ordered.verdicts, [("applied", 120)].into());
    assert_eq!(ordered.open, 0);
    world.sozu_holds(&route("foreign", 900));
    assert!(world.keeper.holds().is_empty());
    let entries = world.disk.journal.len();
    world.lists(&[]);
    assert_eq!(world.disk.journal.len(), entries, "nothing is left to do");
    assert_eq!(
        world.orders(What::Release(id.clone())),
        Err(OrderError::NoSuchHold(id))
    );
}

#[test]
fn another_listing_makes_another_hold_and_the_old_id_releases_nothing() {
    let mut world = emptied();
    let (id, _) = world.hold();
    world.declares(&route("r0", 1));
    let (other, objects) = world.hold();
    assert_ne!(id, other);
    assert_eq!(objects, 117);
    assert_eq!(
        world.orders(What::Release(id.clone())),
        Err(OrderError::NoSuchHold(id))
    );
    world.orders(What::Release(other)).unwrap();
    world.sozu_holds(&[route("r0", 1), route("foreign", 900)].concat());
}

#[test]
fn what_is_discarded_stays_served_and_healed_until_it_is_removed() {
    let mut world = emptied();
    let (id, _) = world.hold();
    let ordered = world.orders(What::Discard(id)).unwrap();
    assert_eq!((ordered.objects, ordered.open), (120, 0));
    assert!(world.keeper.holds().is_empty());
    let all = [routes(40), route("foreign", 900)].concat();

    world.sources.push(elsewhere());
    world.dies();
    world.lists(&[]);
    world.sozu_holds(&all);
    assert!(world.keeper.holds().is_empty(), "it is not judged again");
    let remove = http("r0", "r0.example").remove().unwrap();
    world.sozu.dispatch(&remove).unwrap();
    world.is_read_again();
    world.sozu_holds(&all);
    world.sozu_restarts(empty_sozu());
    world.rest();
    world.sozu_holds(&routes(40));
    assert_eq!(world.report().sources[&source()].orphaned, 120);
    assert_eq!(world.keeper.orphans()[0].objects, 120);

    // Its own source and another one declare some of it again: those are no orphans any more.
    world.declares(&route("r0", 1));
    world.elsewhere_declares(&route("r1", 2));
    assert_eq!(world.keeper.orphans()[0].objects, 114);
    let ordered = world.orders(What::RemoveOrphans(source())).unwrap();
    assert_eq!(ordered.verdicts, [("applied", 114)].into());
    world.sozu_holds(&[route("r0", 1), route("r1", 2)].concat());
    assert_eq!(
        world.orders(What::RemoveOrphans(source())),
        Err(OrderError::NoOrphans(source()))
    );
    world.elsewhere_declares(&[]);
    world.sozu_holds(&route("r0", 1));
}

#[test]
fn a_source_that_left_the_configuration_leaves_orphans() {
    let mut world = World::new(empty_sozu());
    world.declares(&[route("a", 1), route("b", 2)].concat());
    world.sources = vec![elsewhere()];
    world.dies();
    world.rest();
    world.sozu_holds(&[route("a", 1), route("b", 2)].concat());
    let orphans = world.keeper.orphans();
    assert_eq!((orphans[0].source.as_str(), orphans[0].objects), ("s", 6));
    // Declared by another one with another value: that one counts, at once.
    let theirs = [cluster("b"), http("b", "a.example")];
    world.elsewhere_declares(&theirs);
    let mut turned = [route("a", 1), route("b", 2)].concat();
    turned[2] = http("b", "a.example");
    world.sozu_holds(&turned);
    world.orders(What::RemoveOrphans(source())).unwrap();
    world.sozu_holds(&theirs);
    assert!(world.keeper.orphans().is_empty());
}

#[test]
fn a_renamed_source_takes_its_objects_over_without_a_request() {
    let mut world = World::new(empty_sozu());
    world.declares(&route("a", 1));
    world.sources = vec![elsewhere()];
    world.dies();
    world.rest();
    world.sent.clear();
    world.elsewhere_declares(&route("a", 1));
    assert_eq!(world.sent, []);
    world.sozu_holds(&route("a", 1));
    assert!(world.keeper.orphans().is_empty());
    // And back again: nothing is left of the other name, either.
    world.sources = vec![source()];
    world.dies();
    world.declares(&route("a", 1));
    assert_eq!(world.sent, []);
    assert!(world.keeper.orphans().is_empty());
    world.declares(&[]);
    world.sozu_holds(&[]);
}

#[test]
fn a_bus_takes_an_orphan_over_and_cannot_remove_one() {
    let mut world = World::new(empty_sozu());
    world.declares(&[route("a", 1), route("b", 2)].concat());
    world.sources = vec![elsewhere()];
    world.dies();
    world.rest();
    world.subscribes(None);
    world.sends(
        1,
        &[
            http("b", "a.example").add(),
            http("b", "b.example").remove().unwrap(),
        ],
    );
    let mut turned = [route("a", 1), route("b", 2)].concat();
    turned[2] = http("b", "a.example");
    world.sozu_holds(&turned);
    assert_eq!(world.keeper.orphans()[0].objects, 5);
    let last = world.disk.journal.last().unwrap();
    assert!(
        matches!(&last.1, Some(Verdict::Refused(why)) if why.contains("orphans remove s")),
        "{last:?}"
    );
}

#[test]
fn an_order_is_answered_though_sozu_is_away_and_done_when_it_comes() {
    let mut world = emptied();
    let (id, _) = world.hold();
    let why = "no socket".into();
    world.tell(Event::Sozu(Sozu::Away { why }));
    let ordered = world.orders(What::Release(id)).unwrap();
    assert_eq!((ordered.objects, ordered.open), (120, 120));
    assert_eq!(ordered.waits_for.as_deref(), Some("Sōzu is away"));
    assert!(matches!(world.compares(), Err(DiffError::Unread(why)) if why.contains("no socket")));
    world.here();
    world.rest();
    world.sozu_holds(&route("foreign", 900));
}

#[test]
fn an_order_that_cannot_be_written_counts_for_nothing() {
    let mut world = emptied();
    let (id, _) = world.hold();
    world.disk.full = true;
    assert!(matches!(
        world.orders(What::Release(id.clone())),
        Err(OrderError::Disk(_))
    ));
    world.sozu_holds(&[routes(40), route("foreign", 900)].concat());
    world.disk.full = false;
    world.orders(What::Release(id)).unwrap();
    world.sozu_holds(&route("foreign", 900));
}

/// The daemon dies before or after each effect of an order: either nothing of it counts and the
/// hold is there, or all of it is done.
#[test]
fn a_death_during_an_order_leaves_all_or_nothing_of_it() {
    let mut counted = emptied();
    let (id, _) = counted.hold();
    let before = counted.carried_out;
    counted.orders(What::Release(id.clone())).unwrap();
    for dies_at in (before + 1) * 2..=counted.carried_out * 2 + 1 {
        let mut world = emptied();
        world.death = Some((dies_at, Death::Alone));
        let what = What::Release(id.clone());
        let order = Order { uid: 1000, what };
        world.tell(Event::Order { order, reply: 1 });
        world.rest();
        world.lists(&[]);
        if world.keeper.holds().is_empty() {
            world.sozu_holds(&route("foreign", 900));
        } else {
            assert_eq!(world.hold(), (id.clone(), 120), "died at {dies_at}");
            world.sozu_holds(&[routes(40), route("foreign", 900)].concat());
        }
        assert!(!world.verdicts().contains(&"open"), "died at {dies_at}");
    }
}

#[test]
fn each_difference_is_named_before_it_is_mended() {
    let mut world = World::new(empty_sozu());
    world.declares(&[route("a", 1), route("b", 2), route("gone", 3)].concat());
    let older = world.sozu.saved();
    world.declares(&[route("a", 1), route("b", 2)].concat());
    assert_eq!(world.compares(), Ok(vec![]));
    for request in [
        http("a", "a.example").remove().unwrap(),
        http("b", "b.example").remove().unwrap(),
        http("a", "b.example").add(),
        cluster("foreign").add(),
    ] {
        world.sozu.dispatch(&request).unwrap();
    }
    let found: Vec<(&str, String, Option<String>)> = world
        .compares()
        .unwrap()
        .into_iter()
        .map(|it| (it.difference, it.key.key, it.source))
        .collect();
    let key = |host: &str| http("a", host).key().unwrap().to_string();
    let s = || Some("s".to_owned());
    assert_eq!(
        found,
        [
            ("different", key("b.example"), s()),
            ("missing", key("a.example"), s()),
            ("foreign", "foreign".to_owned(), None),
        ]
    );
    world.sozu_holds(&[route("a", 1), route("b", 2), vec![cluster("foreign")]].concat());

    world.sozu_restarts(older);
    let found = world.compares().unwrap();
    assert!(found.iter().all(|it| it.difference == "resurrected"));
    assert_eq!(found.len(), 3, "{found:?}");
    world.sozu_holds(&[route("a", 1), route("b", 2)].concat());
}
