//! Ordinary days of a bus.

use super::{ops::Op, *};

#[test]
fn a_bus_is_acknowledged_as_far_as_everything_is_settled() {
    let mut world = World::new(empty_sozu());
    world.rest();
    world.subscribes(None);
    world.sends(0, &adds(&route("a", 1)));
    world.sozu_holds(&route("a", 1));
    assert_eq!(world.acknowledges(), Some(2));
    world.sends(0, &adds(&route("a", 1)));
    assert_eq!(
        world.verdicts(),
        ["applied"; 3],
        "what comes again is skipped by its position"
    );
    world.sends(
        3,
        &[http("a", "bad/").add(), http("a", "good.example").add()],
    );
    assert_eq!(world.verdicts()[3..], ["refused", "applied"]);
    assert_eq!(world.acknowledges(), Some(4));
}

#[test]
fn an_order_to_remove_a_cluster_takes_its_frontends_and_backends_along() {
    let mut sozu = empty_sozu();
    hold(&mut sozu, &route("old", 9));
    let mut world = World::new(sozu);
    world.rest();
    world.subscribes(None);
    world.sends(0, &adds(&[route("a", 1), route("b", 2)].concat()));
    let removals = [
        cluster("a").remove().unwrap(),
        backend("a", "a-0", 1).remove().unwrap(),
        cluster("old").remove().unwrap(),
        cluster("never").remove().unwrap(),
    ];
    world.sends(6, &removals);
    world.sozu_holds(&route("b", 2));
    let expected = ["applied", "removed_with_its_cluster", "applied", "absent"];
    assert_eq!(world.verdicts()[6..], expected);
    world.dies();
    world.rest();
    world.sozu_holds(&route("b", 2));
}

#[test]
fn a_backend_waits_for_its_cluster_and_is_acknowledged_meanwhile() {
    let mut world = World::new(empty_sozu());
    world.rest();
    world.subscribes(None);
    world.sends(0, &adds(&[backend("late", "l-0", 1), cluster("now")]));
    assert_eq!(world.acknowledges(), Some(1));
    assert_eq!(world.report().sources[&bus()].parked, 1);
    world.dies();
    world.rest();
    world.subscribes(Some(1));
    assert_eq!(world.report().sources[&bus()].parked, 1, "it is durable");
    world.sends(2, &adds(&[cluster("late")]));
    world.sozu_holds(&[cluster("now"), cluster("late"), backend("late", "l-0", 1)]);
    assert_eq!(world.verdicts(), ["applied"; 3]);
    world.sends(3, &adds(&[backend("never", "n-0", 1)]));
    world.at += Duration::from_secs(700);
    for _ in 0..700 {
        world.at += Duration::from_secs(1);
        world.tell(Event::Tick);
    }
    world.rest();
    assert_eq!(world.verdicts().last(), Some(&"refused"));
}

#[test]
fn what_another_source_owns_is_refused_by_name() {
    let mut world = World::new(empty_sozu());
    world.declares(&route("a", 1));
    world.subscribes(None);
    let same = http("a", "a.example").add();
    let other = http("elsewhere", "a.example").add();
    let gone = http("a", "a.example").remove().unwrap();
    world.sends(0, &[other, gone, same]);
    world.sozu_holds(&route("a", 1));
    assert_eq!(world.verdicts()[3..], ["refused", "refused", "duplicate"]);
    // The file lets go: the bus's identical word takes over without a request.
    world.sent.clear();
    world.declares(&route("a", 1)[..2]);
    world.sozu_holds(&route("a", 1));
    assert!(world.sent.is_empty(), "{:?}", world.sent);
}

#[test]
fn history_is_not_replayed_into_live_traffic() {
    let mut sozu = empty_sozu();
    hold(&mut sozu, &route("live", 3));
    let mut world = World::new(sozu);
    world.rest();
    world.subscribes(Some(7));
    let moves = |from: u16, to: u16| {
        [
            backend("live", "live-0", from).remove().unwrap(),
            backend("live", "live-0", to).add(),
        ]
    };
    world.sends(0, &adds(&route("live", 1)));
    world.sends(3, &moves(1, 2));
    world.sozu_holds(&route("live", 3));
    assert_eq!(world.report().sources[&bus()].caught_up, Some(false));
    assert_eq!(
        world.acknowledges(),
        Some(3),
        "what would touch the live backend is not in effect yet"
    );
    world.sends(5, &[&adds(&route("new", 9))[..1], &moves(2, 3)].concat());
    world.sozu_holds(&[&route("live", 3)[..], &[cluster("new")]].concat());
    assert_eq!(world.report().sources[&bus()].caught_up, Some(true));
    assert_eq!(world.acknowledges(), Some(7));
    let touched = world
        .sent
        .iter()
        .filter(|request| format!("{request:?}").contains("Backend"))
        .count();
    assert_eq!(
        touched, 0,
        "the backend that serves was never touched: {:?}",
        world.sent
    );
}

#[test]
fn a_bus_that_has_never_caught_up_keeps_the_proxy_from_being_ready() {
    let mut world = World::new(empty_sozu());
    world.disk.caught_up.clear();
    world.dies();
    world.rest();
    assert!(!world.report().ready());
    world.subscribes(Some(0));
    assert!(!world.report().ready());
    world.sends(0, &adds(&[cluster("a")]));
    assert!(world.report().ready());
    world.dies();
    world.rest();
    assert!(
        world.report().ready(),
        "once in the life of the database is enough"
    );
}

/// Nor is the host unready for it, before a restart and after one. It goes on where it was when it comes back.
#[test]
fn what_a_bus_said_of_the_past_stays_history_when_it_leaves() {
    let mut sozu = empty_sozu();
    hold(&mut sozu, &route("live", 3));
    let mut world = World::new(sozu);
    world.disk.caught_up.clear();
    world.dies();
    world.rest();
    world.subscribes(Some(4));
    world.sends(0, &adds(&route("live", 1)));
    assert!(!world.report().ready());
    world.leaves(bus());
    for _ in 0..2 {
        world.rest();
        world.sozu_holds(&route("live", 3));
        assert!(world.report().ready(), "{:?}", world.report().conditions);
        world.dies();
    }
    world.does(Op::AllCome);
    world.rest();
    world.subscribes(Some(4));
    let moves = [
        backend("live", "live-0", 1).remove().unwrap(),
        backend("live", "live-0", 3).add(),
    ];
    world.sends(3, &moves);
    world.sozu_holds(&route("live", 3));
    assert_eq!(world.acknowledges(), Some(4));
}

#[test]
fn a_topic_that_ends_before_our_position_is_another_one() {
    let mut world = World::new(empty_sozu());
    world.rest();
    world.subscribes(None);
    world.sends(5, &adds(&route("a", 1)));
    world.subscribes(Some(1));
    world.sends(0, &adds(&[cluster("b"), cluster("c")]));
    world.sozu_holds(&[&route("a", 1)[..], &[cluster("b"), cluster("c")]].concat());
}

#[test]
fn undecodable_and_forbidden_changes_are_refused_with_their_bytes() {
    let mut world = World::new(empty_sozu());
    world.rest();
    world.subscribes(None);
    let change = |entry, request: Result<Request, String>| BusChange {
        position: place(entry),
        request: request.map(Arc::new),
        original: Arc::new(Original {
            bytes: vec![7],
            ..Original::default()
        }),
    };
    let changes = vec![
        change(0, Err("no protobuf".to_owned())),
        change(1, Ok(Request::default())),
        change(
            2,
            Ok(RequestType::LoadState("/etc/passwd".to_owned()).into()),
        ),
        change(3, Ok(cluster("good").add())),
    ];
    let changes = Changes {
        source: bus(),
        changes,
    };
    world.tell(Event::Changes { changes, reply: 0 });
    world.rest();
    assert_eq!(
        world.verdicts(),
        ["refused", "refused", "refused", "applied"]
    );
    assert_eq!(world.acknowledges(), Some(3));
    assert!(
        world.disk.journal[..3]
            .iter()
            .all(|(entry, _)| entry.original.is_some())
    );
    world.sozu_holds(&[cluster("good")]);
}
