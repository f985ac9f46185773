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

impl World {
    /// Hands over changes of the bus, without waiting for what becomes of them.
    pub(super) fn hands_over(&mut self, first: u64, requests: &[Request]) {
        let changes = requests.iter().zip(first..);
        let changes = changes.map(|(request, entry)| BusChange {
            position: place(entry),
            request: Ok(Arc::new(request.clone())),
            original: Arc::default(),
        });
        let changes = Changes {
            source: bus(),
            changes: changes.collect(),
        };
        self.tell(Event::Changes { changes, reply: 0 });
        while self.pending.front().is_some_and(is_no_request) {
            let effect = self.pending.pop_front().unwrap();
            self.step(effect);
        }
    }

    /// Takes the batch that is about to be sent out of the line.
    fn until_sent(&mut self) -> Effect {
        let sent = self.pending.pop_front();
        sent.filter(|effect| !is_no_request(effect))
            .expect("a batch is sent")
    }
}

fn is_no_request(effect: &Effect) -> bool {
    !matches!(effect, Effect::Send(_))
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

/// While a batch is on its way, a later change wants something else of the key: it was not asked
/// about.
#[test]
fn a_refusal_is_about_what_was_sent_not_about_what_came_meanwhile() {
    let mut world = with_clusters();
    world.hands_over(2, &[bad("b", "bad/")]);
    let sent = world.until_sent();
    let remove = RequestType::RemoveCluster("b".to_owned()).into();
    world.hands_over(3, &[remove]);
    world.pending.push_front(sent);
    world.rest();
    assert_eq!(world.verdicts()[2..], ["refused", "applied"]);
    world.sozu_holds(&[cluster("a")]);
}

/// What an earlier life settled is told again: its acknowledgement may have been lost with it.
#[test]
fn after_a_start_everything_that_is_settled_may_be_acknowledged() {
    let mut world = with_clusters();
    assert_eq!(world.acknowledges(), Some(1));
    world.dies();
    world.rest();
    world.subscribes(Some(1));
    assert_eq!(world.acknowledges(), Some(1));
}

/// `Exists` is by itself never a refusal: what somebody else did since the last read is found out.
#[test]
fn what_somebody_else_did_meanwhile_is_no_refusal() {
    let mut world = with_clusters();
    hold(&mut world.sozu.main, &[http("theirs", "x.example")]);
    world.sends(2, &[http("a", "x.example").add()]);
    hold(&mut world.sozu.main, &[http("a", "y.example")]);
    world.sends(3, &[http("a", "y.example").add()]);
    hold(&mut world.sozu.main, &[http("theirs", "z.example")]);
    let both = [http("a", "z.example").add(), cluster("c").add()];
    world.sends(4, &both);
    let gone = http("a", "x.example").remove().unwrap();
    world.sozu.dispatch(&gone).unwrap();
    world.sends(6, &[gone]);
    let verdicts = ["taken_over", "applied", "taken_over", "applied", "applied"];
    assert_eq!(world.verdicts()[2..], verdicts);
    let held = ["a", "b", "c"].map(cluster).to_vec();
    let fronts = ["y.example", "z.example"].map(|name| http("a", name));
    world.sozu_holds(&[held, fronts.to_vec()].concat());
}

/// A backend whose cluster somebody else removed brings the cluster back.
#[test]
fn a_cluster_that_somebody_else_removed_comes_back() {
    let mut world = with_clusters();
    let remove: Request = RequestType::RemoveCluster("a".to_owned()).into();
    world.sozu.dispatch(&remove).unwrap();
    world.sends(2, &[backend("a", "a-0", 1).add()]);
    assert_eq!(world.verdicts()[2..], ["applied"]);
    world.sozu_holds(&[cluster("a"), cluster("b"), backend("a", "a-0", 1)]);
}

/// No worker has to answer for what is no longer wanted, nor held.
#[test]
fn an_unproven_backend_that_is_removed_holds_up_nothing() {
    let mut world = with_clusters();
    world.fault = Some(Fault::RequestLost);
    let added = backend("a", "a-0", 1);
    world.hands_over(2, &[added.add()]);
    let sent = world.until_sent();
    world.hands_over(3, &[added.remove().unwrap()]);
    world.pending.push_front(sent);
    world.rest();
    assert_eq!(world.verdicts()[2..], ["superseded", "applied"]);
    world.sozu_holds(&[cluster("a"), cluster("b")]);
}

/// A batch was taken in part while another value came: what Sōzu holds is ours.
#[test]
fn what_is_ours_is_not_taken_over() {
    let mut world = with_clusters();
    let mut redirecting = cluster("c");
    if let Object::Cluster(cluster) = &mut redirecting {
        cluster.https_redirect = true;
    }
    world.hands_over(2, &[bad("b", "bad/"), cluster("c").add()]);
    let sent = world.until_sent();
    world.hands_over(4, &[redirecting.add()]);
    world.pending.push_front(sent);
    world.rest();
    assert_eq!(world.verdicts()[2..], ["refused", "superseded", "applied"]);
    world.sozu_holds(&[cluster("a"), cluster("b"), redirecting]);
}

/// An entry that is folded again still took over what was there before.
#[test]
fn what_was_taken_over_stays_taken_over() {
    let mut sozu = empty_sozu();
    hold(&mut sozu, &[http("theirs", "x.example")]);
    let mut world = World::new(sozu);
    world.rest();
    world.subscribes(None);
    let changes = [
        cluster("a").add(),
        bad("a", "z.example/"),
        http("a", "x.example").add(),
    ];
    world.sends(0, &changes);
    assert_eq!(world.verdicts(), ["applied", "refused", "taken_over"]);
}

/// A worker that refuses what another one takes holds up nothing: that is told, and mended with the worker.
#[test]
fn a_worker_that_refuses_what_another_takes_is_told_and_holds_up_nothing() {
    let mut world = with_clusters();
    world.sozu.be_contrary(1);
    let added = [cluster("c"), backend("c", "c-0", 1)];
    world.sends(2, &adds(&added));
    assert_eq!(world.verdicts()[2..], ["divergent"; 2]);
    assert_eq!(world.acknowledges(), Some(3));
    let sent = world.sent.len();
    world.lives(REST);
    assert_eq!(world.sent.len(), sent, "it is not sent again and again");
    world.sends(
        4,
        &[cluster("a").remove().unwrap(), http("b", "x.example").add()],
    );
    assert_eq!(world.verdicts()[4..], ["applied"; 2]);
    world.sends(6, &[cluster("c").remove().unwrap(), cluster("c").add()]);
    assert_eq!(world.verdicts()[6..], ["applied", "divergent"]);
    world.sozu.replace(1);
    world.lives(REST);
    world.sozu_holds(&[cluster("b"), cluster("c"), http("b", "x.example")]);
    let proved = &world.sent[world.sent.len() - 1..];
    assert_eq!(
        proved,
        [cluster("c").add()],
        "it is sent again to the new worker"
    );
    assert!(world.report().drift.is_empty());
}
