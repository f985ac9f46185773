//! A bus against the real Sōzu: ordered changes, redeliveries, kills in between.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/bus.rs"]
mod bus;
#[path = "support/dice.rs"]
mod dice;
#[path = "support/published.rs"]
mod published;
mod support;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use actors::messages::{Position, What};
use bus::{Host, Topic, position};
use dice::Dice;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use published::Published;
use sozu_command_lib::proto::command::{Cluster, request::RequestType};
use support::{at_rest, frontend, journal, rounds, verdicts};
use testkit::{Backend, Fate, SOON, Sozu, Tap, wait_until};

const LONG: Duration = Duration::from_mins(1);

/// A cluster, its backend and its frontend.
fn route(sozu: &Sozu, name: &str) -> [RequestType; 3] {
    let backend = "127.0.0.1:9".parse().unwrap();
    support::requests(sozu, name, &format!("{name}.example"), backend)
}

#[test]
fn changes_of_a_bus_arrive_and_are_acknowledged() {
    let sozu = Sozu::start().unwrap();
    let host = Host::start(&sozu, &["platform"]);
    let mut topic = Topic::new("platform");
    assert_eq!(host.subscribe(&topic), None);
    host.publish(&mut topic, route(&sozu, "a"), SOON);
    assert_eq!(sozu.held().unwrap().hostnames(), ["a.example"]);
    let rows = at_rest(&host.state_directory(), 3, SOON);
    assert_eq!(verdicts(&rows), [("applied", 3)].into());

    // What comes again is known by its place.
    topic.acknowledged = None;
    host.consume(&topic);
    assert_eq!(journal(&host.state_directory()).len(), 3);
}

/// An order is obeyed: the guard questions conclusions only.
#[test]
fn a_thousand_explicit_removals_pass() {
    let sozu = Sozu::start().unwrap();
    let host = Host::start(&sozu, &["platform"]);
    let mut topic = Topic::new("platform");
    host.subscribe(&topic);
    let names: Vec<String> = (0..1_000).map(|n| format!("c{n}")).collect();
    let routes = names.iter().flat_map(|name| route(&sozu, name));
    host.publish(&mut topic, routes, LONG);
    assert_eq!(sozu.held().unwrap().clusters().len(), 1_000);
    let removals = names.iter().cloned().map(RequestType::RemoveCluster);
    host.publish(&mut topic, removals, LONG);
    assert_eq!(sozu.held().unwrap().clusters(), Vec::<String>::new());
    assert_eq!(sozu.held().unwrap().hostnames(), Vec::<String>::new());
    let rows = at_rest(&host.state_directory(), 4_000, SOON);
    assert_eq!(verdicts(&rows), [("applied", 4_000)].into());
    assert_eq!(host.report_of(&topic).holds, []);
}

#[test]
fn a_topic_ends_in_sozu_as_it_was_published_however_often_the_keeper_dies() {
    let mut sozu = Sozu::start().unwrap();
    let socket = sozu.command_socket();
    let host = Host::prepare(&sozu, socket, &["platform"]);
    ends_as_published(&mut sozu, host, rounds(5_000, 50_000), |_, _| {});
}

/// The same while connections break under one request in ten, workers are killed, and Sōzu loses all it holds.
#[test]
fn a_topic_ends_in_sozu_as_it_was_published_whatever_fails_on_the_way() {
    let mut sozu = Sozu::start().unwrap();
    let tap = Tap::before(&sozu).unwrap();
    let mut dice = Dice::new();
    tap.rule(move |_| match dice.roll(20) {
        0 => Fate::Cut,
        1 => Fate::CutBefore,
        _ => Fate::Pass,
    });
    let host = Host::prepare(&sozu, tap.socket(), &["platform"]);
    ends_as_published(
        &mut sozu,
        host,
        rounds(2_000, 20_000),
        |sozu, dice| match dice.roll(8) {
            0 => {
                sozu.kill().unwrap();
                sozu.start_again().unwrap();
            }
            1 => {
                if let Some(worker) = sozu.worker_pids().first() {
                    kill(Pid::from_raw(*worker), Signal::SIGKILL).unwrap();
                }
            }
            _ => {}
        },
    );
}

/// Publishes so many changes, kills the keeper now and then, and judges what has become of each.
fn ends_as_published(
    sozu: &mut Sozu,
    mut host: Host,
    count: usize,
    mut fails: impl FnMut(&mut Sozu, &mut Dice),
) {
    let mut dice = Dice::new();
    let mut topic = Topic::new("platform");
    let mut published = Published::default();
    host.start_again();
    host.subscribe(&topic);
    while topic.messages.len() < count {
        for _ in 0..=dice.roll(400) {
            let place = topic.messages.len();
            topic.publish([published.next(place, &mut dice, sozu)]);
        }
        // It dies at any moment after the first change is handed over, or not at all.
        let dies = dice.roll(2) == 0;
        if dies {
            let within = Duration::from_micros(dice.roll(60_000) as u64);
            let _ = host.offer(&topic, topic.delivers(), within);
            host.acknowledge(&mut topic);
            host.kill();
            let acknowledged = topic.acknowledged.map_or(0, |last| last.entry + 1);
            let rows = journal(&host.state_directory());
            let mut first = rows.iter().take(usize::try_from(acknowledged).unwrap());
            assert!(
                first.all(|row| row.verdict.is_some()),
                "acknowledged, and not final"
            );
            host.start_again();
            host.subscribe(&topic);
        }
        fails(sozu, &mut dice);
        host.consume(&topic);
        if dice.roll(3) == 0 {
            host.settled(&mut topic, LONG);
            published.is_held_by(sozu);
        }
        host.acknowledge(&mut topic);
    }
    host.settled(&mut topic, LONG);
    published.is_held_by(sozu);

    let rows = at_rest(&host.state_directory(), topic.messages.len(), SOON);
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for row in &rows {
        *seen.entry(row.position.as_deref().unwrap()).or_default() += 1;
    }
    assert_eq!(seen.len(), topic.messages.len());
    assert!(
        seen.values().all(|times| *times == 1),
        "a message was taken twice"
    );
    for row in &rows {
        let place: Position = row.position.as_deref().unwrap().parse().unwrap();
        let is_bad = published
            .bad
            .contains(&usize::try_from(place.entry).unwrap());
        // A later word on the key, or the end of its cluster, may spare Sōzu the question.
        let is_true = match row.verdict() {
            "refused" => is_bad,
            "applied" => !is_bad,
            "duplicate" | "superseded" | "absent" | "removed_with_its_cluster" => true,
            _ => false,
        };
        let history = rows.iter().filter(|other| other.key == row.key);
        let history: Vec<_> = history
            .map(|row| (row.seq, &row.change, row.verdict()))
            .collect();
        assert!(is_true, "{row:?} after {history:?}");
    }
}

/// History never replays into live traffic: until the bus has caught up, what Sōzu held when it subscribed is left
/// alone, whatever the topic once said of it; what is new flows at once.
#[test]
fn while_a_bus_catches_up_live_traffic_is_not_touched() {
    let sozu = Sozu::start().unwrap();
    sozu.apply(route(&sozu, "live")).unwrap();
    let tap = Tap::before(&sozu).unwrap();
    let changes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&changes);
    tap.rule(move |request| {
        let text = match &request.request_type {
            Some(RequestType::LoadState(path)) => std::fs::read_to_string(path).unwrap(),
            Some(RequestType::SaveState(_) | RequestType::Status(_)) => String::new(),
            // Sōzu's own `Debug` hides the names.
            other => serde_json::to_string(other).unwrap(),
        };
        seen.lock().unwrap().push(text);
        Fate::Pass
    });
    let mut host = Host::prepare(&sozu, tap.socket(), &["platform"]);
    host.start_again();
    let mut topic = Topic::new("platform");
    topic.publish(route(&sozu, "live"));
    topic.publish([RequestType::RemoveCluster("live".to_owned())]);
    topic.publish(route(&sozu, "live"));
    topic.publish(route(&sozu, "new"));
    host.subscribe(&topic);

    // As far as the removal of the live cluster; then all but the last message: the bus has not caught up.
    let mut first = topic.delivers();
    let last = first.pop().unwrap();
    let rest = first.split_off(4);
    assert_eq!(host.offer(&topic, first, SOON), Ok(4));
    let settled = host.report_of(&topic).settled;
    assert!(settled < Some(position(3)), "the removal waits");
    assert_eq!(sozu.held().unwrap().hostnames(), ["live.example"]);
    assert_eq!(host.offer(&topic, rest, SOON), Ok(5));
    wait_until("the new cluster is there", SOON, || {
        sozu.held().unwrap().clusters() == ["live", "new"]
    });
    assert_eq!(host.report_of(&topic).caught_up, Some(false));
    assert_eq!(host.offer(&topic, vec![last], SOON), Ok(1));
    host.settled(&mut topic, SOON);
    assert_eq!(host.report_of(&topic).caught_up, Some(true));
    let held = sozu.held().unwrap();
    assert_eq!(held.hostnames(), ["live.example", "new.example"]);
    let changes = changes.lock().unwrap();
    let touching: Vec<_> = changes
        .iter()
        .filter(|text| text.contains("live"))
        .collect();
    assert_eq!(
        touching,
        Vec::<&String>::new(),
        "the route was there as it should be"
    );
}

/// A Sōzu with 1,000 objects that no source of ours has put there: a cluster, its backend, and host names.
fn a_thousand_live(backend: &Backend) -> Sozu {
    let sozu = Sozu::start().unwrap();
    let live = support::requests(&sozu, "live", "h0.example", backend.address());
    sozu.apply(live).unwrap();
    let names = (1..998).map(|n| format!("h{n}.example"));
    sozu.apply(names.map(|name| RequestType::AddHttpFrontend(frontend(&sozu, "live", &name))))
        .unwrap();
    sozu
}

/// A topic, stale or somebody else's, that would re-point 300 of them to a cluster of its own.
fn takes_over_three_hundred(sozu: &Sozu, host: &Host, backend: &Backend) -> (Topic, String) {
    let mut topic = Topic::new("platform");
    topic.publish(support::requests(
        sozu,
        "other",
        "new.example",
        backend.address(),
    ));
    let names = (0..300).map(|n| format!("h{n}.example"));
    topic.publish(names.map(|name| RequestType::AddHttpFrontend(frontend(sozu, "other", &name))));
    host.subscribe(&topic);
    host.consume(&topic);
    host.settled(&mut topic, LONG);
    wait_until("the bus has caught up", SOON, || {
        host.report_of(&topic).caught_up == Some(true)
    });
    let holds = host.report_of(&topic).holds;
    let [hold] = holds.as_slice() else {
        panic!("{holds:?}")
    };
    assert_eq!(hold.objects, 300);
    let id = hold.id.to_string();
    (topic, id)
}

/// How many host names are routed to each cluster.
fn routed(sozu: &Sozu) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (_, cluster) in sozu.held().unwrap().frontends() {
        *counts.entry(cluster).or_default() += 1;
    }
    counts
}

fn counts(live: usize, other: usize) -> BTreeMap<String, usize> {
    BTreeMap::from([("live".to_owned(), live), ("other".to_owned(), other)])
}

#[test]
fn take_overs_of_three_hundred_live_objects_are_held_until_exactly_they_are_released() {
    let (a, b) = (Backend::start("A").unwrap(), Backend::start("B").unwrap());
    let mut sozu = a_thousand_live(&a);
    let mut host = Host::start(&sozu, &["platform"]);
    let (topic, id) = takes_over_three_hundred(&sozu, &host, &b);
    assert_eq!(routed(&sozu), counts(998, 1), "what is new has come");
    support::served(&sozu, "h0.example", "A");
    support::served(&sozu, "new.example", "B");

    // Another host, with a database of its own, holds the same under the same id.
    let other = Host::start(&sozu, &["platform"]);
    assert_eq!(takes_over_three_hundred(&sozu, &other, &b).1, id);
    drop(other);

    // What is held stands across a restart of ours, and is put back into a Sōzu that lost it.
    host.kill();
    sozu.kill().unwrap();
    sozu.start_again().unwrap();
    host.start_again();
    host.subscribe(&topic);
    wait_until("what is ours or held is back", SOON, || {
        routed(&sozu) == counts(300, 1)
    });
    sozu.apply([RequestType::AddCluster(Cluster {
        cluster_id: "live".to_owned(),
        ..Cluster::default()
    })])
    .unwrap();
    let names = (300..998).map(|n| format!("h{n}.example"));
    sozu.apply(names.map(|name| RequestType::AddHttpFrontend(frontend(&sozu, "live", &name))))
        .unwrap();

    let released = host.order(What::Release(id.as_str().into()));
    assert_eq!(released.verdicts, [("applied", 300)].into(), "{released:?}");
    assert_eq!(routed(&sozu), counts(698, 301));
    assert_eq!(host.report_of(&topic).holds, []);
    support::served(&sozu, "h299.example", "B");
}

#[test]
fn take_overs_that_are_discarded_leave_what_sozu_holds() {
    let (a, b) = (Backend::start("A").unwrap(), Backend::start("B").unwrap());
    let sozu = a_thousand_live(&a);
    let host = Host::start(&sozu, &["platform"]);
    let (mut topic, id) = takes_over_three_hundred(&sozu, &host, &b);
    host.order(What::Discard(id.as_str().into()));
    assert_eq!(routed(&sozu), counts(998, 1));
    let report = host.report_of(&topic);
    assert_eq!((report.holds, report.orphaned), (vec![], 300));
    support::served(&sozu, "h0.example", "A");

    // A later word of the bus is an order.
    let change = frontend(&sozu, "other", "h0.example");
    host.publish(&mut topic, [RequestType::AddHttpFrontend(change)], SOON);
    support::served(&sozu, "h0.example", "B");
    assert_eq!(routed(&sozu), counts(997, 2));
}
