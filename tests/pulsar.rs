//! Changes from a real Pulsar broker, through the daemon, to the real Sōzu.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/pulsar.rs"]
mod pulsar;
mod support;

use pulsar::{broker, daemon, new_topic, no_backlog, payloads, producer, subscription};
use support::{at_rest, requests, served, verdicts};
use testkit::{Backend, SOON, Sozu};

#[test]
fn a_message_is_served_and_then_acknowledged() {
    let (sozu, broker, topic) = (Sozu::start().unwrap(), broker(), new_topic());
    let backend = Backend::start("A").unwrap();
    let mut daemon = daemon(&sozu, &broker.url(), &topic, "one").start().unwrap();
    daemon.wait_ready(SOON * 3).unwrap();
    let mut producer = producer(&broker.url(), &topic, 1);
    producer
        .publish(payloads(requests(
            &sozu,
            "a",
            "a.example",
            backend.address(),
        )))
        .unwrap();
    served(&sozu, "a.example", "A");
    let rows = at_rest(&daemon.state_directory(), 3, SOON);
    assert_eq!(verdicts(&rows), [("applied", 3)].into());
    no_backlog(broker, &topic, &subscription("one"), SOON);
}
