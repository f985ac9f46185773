//! Stories of several refusals in one tail.

use super::*;

fn bad(cluster: &str, hostname: &str) -> Request {
    http(cluster, hostname).add()
}

/// A world whose bus has brought clusters `a` and `b`: its next message is the third.
fn with_clusters() -> World {
    let mut world = World::new(empty_sozu());
    world.rest();
    world.subscribes(None);
    world.sends(0, &[cluster("a").add(), cluster("b").add()]);
    world
}

#[test]
fn what_was_refused_stays_refused_when_an_earlier_change_of_its_key_is() {
    let mut world = with_clusters();
    let changes = ["a", "b", "a"].map(|cluster| bad(cluster, "bad/"));
    world.sends(2, &changes);
    assert_eq!(world.verdicts()[2..], ["refused"; 3]);
    assert_eq!(world.sent.len(), 5, "each is sent once: {:?}", world.sent);
    assert_eq!(world.acknowledges(), Some(4));
}

/// What an order to remove a cluster comes to depends on the frontends that name it: a later one
/// waits for it, so that it is not taken along when the order is folded again.
#[test]
fn a_removed_cluster_takes_no_later_frontend_along() {
    let mut world = with_clusters();
    let remove = RequestType::RemoveCluster("a".to_owned()).into();
    let changes = [
        bad("b", "bad1/"),
        bad("a", "bad9/"),
        remove,
        cluster("a").add(),
        bad("b", "bad9/"),
        http("a", "x.example").add(),
    ];
    world.sends(2, &changes);
    world.sozu_holds(&[cluster("a"), cluster("b"), http("a", "x.example")]);
    let verdicts = [
        "refused",
        "superseded",
        "applied",
        "applied",
        "refused",
        "applied",
    ];
    assert_eq!(world.verdicts()[2..], verdicts);
}
