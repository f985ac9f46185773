//! What happens to a broker, a topic and a subscription under us: each recovered or told, nothing lost, and the
//! component is never restarted for it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/pulsar.rs"]
mod pulsar;
#[path = "pulsar/secrets.rs"]
mod secrets;
mod support;

use std::{
    thread,
    time::{Duration, Instant},
};

use pulsar::{consumer, daemon, new_topic, no_backlog, payloads, producer, subscription};
use sozu_command_lib::proto::command::request::RequestType;
use support::{at_rest, cluster, rounds};
use testkit::{Daemon, Pulsar, Sozu, wait_until};

/// A broker that comes back takes its time on a busy machine.
const LONG: Duration = Duration::from_mins(3);
/// Within this an outage has to be told.
const TOLD: Duration = Duration::from_secs(10);

/// A daemon on a topic, and how much was published to it.
struct Stage {
    sozu: Sozu,
    daemon: Daemon,
    topic: String,
    published: usize,
}

impl Stage {
    fn set(broker: &Pulsar) -> Self {
        let (sozu, topic) = (Sozu::start().unwrap(), new_topic());
        let mut daemon = daemon(&sozu, &broker.url(), &topic, "outage")
            .start()
            .unwrap();
        daemon.wait_ready(LONG).unwrap();
        Self {
            sozu,
            daemon,
            topic,
            published: 0,
        }
    }

    /// Publishes more clusters, `batch` in an entry.
    fn publish(&mut self, broker: &Pulsar, count: usize, batch: u32) {
        let from = self.published;
        self.published += count;
        let clusters =
            (from..self.published).map(|n| RequestType::AddCluster(cluster(&format!("c{n}"))));
        producer(&broker.url(), &self.topic, batch)
            .publish(payloads(clusters))
            .unwrap();
    }

    /// Waits until Sōzu holds all of it, each message has one verdict, and the broker has nothing left.
    #[track_caller]
    fn complete(&self, broker: &Pulsar) {
        wait_until("all clusters", LONG, || {
            let held = self.sozu.held().unwrap().clusters().len();
            if held == self.published {
                Ok(())
            } else {
                Err(format!("{held} of {}", self.published))
            }
        });
        let rows = at_rest(&self.daemon.state_directory(), self.published, LONG);
        assert_eq!(rows.len(), self.published, "a message was taken twice");
        wait_until("all is well", LONG, || match consumer(&self.daemon)? {
            (state, _, _) if state == "running" => Ok(()),
            (state, detail, error) => Err(format!("{state}: {detail}: {error}")),
        });
        no_backlog(broker, &self.topic, &subscription("outage"), LONG);
        let component = self.daemon.component("pulsar.platform").unwrap();
        assert_eq!(component["restarts"], 0, "{component}");
    }

    /// Waits until the consumer says that something is wrong. Returns how long it took.
    #[track_caller]
    fn degraded(&self, begin: Instant) -> Duration {
        wait_until("a degraded component", TOLD * 2, || {
            match consumer(&self.daemon)? {
                (state, _, error) if state == "degraded" && !error.is_empty() => {
                    Ok(begin.elapsed())
                }
                other => Err(format!("{other:?}")),
            }
        })
    }
}

/// One broker for all of it, one thing after the other: its start alone takes longer than the rest.
#[test]
fn whatever_happens_to_the_broker_nothing_is_lost() {
    let mut broker = Pulsar::start().unwrap();
    let mut stage = Stage::set(&broker);
    stage.publish(&broker, 200, 1);
    stage.complete(&broker);

    // The topic moves to another broker, which is the same one, again and again under flow.
    for _ in 0..rounds(3, 20) {
        stage.publish(&broker, 300, 7);
        broker.unload(&stage.topic).unwrap();
        stage.publish(&broker, 300, 1);
    }
    stage.complete(&broker);

    broker
        .delete_subscription(&stage.topic, &subscription("outage"))
        .unwrap();
    stage.publish(&broker, 100, 10);
    stage.complete(&broker);

    broker.delete(&stage.topic).unwrap();
    stage.publish(&broker, 100, 10);
    stage.complete(&broker);

    // Frozen: no connection ends, nothing comes.
    let begin = Instant::now();
    broker.stall().unwrap();
    let took = stage.degraded(begin);
    broker.go_on().unwrap();
    assert!(took < TOLD, "told after {took:?}");
    stage.publish(&broker, 100, 10);
    stage.complete(&broker);

    stage.publish(&broker, 500, 20);
    let begin = Instant::now();
    broker.kill().unwrap();
    let took = stage.degraded(begin);
    assert!(took < TOLD, "told after {took:?}");
    // Everything else goes on, and is ready.
    assert_eq!(stage.daemon.fetch("/readyz").unwrap().status, 200);
    assert_eq!(stage.daemon.fetch("/health").unwrap().status, 200);
    thread::sleep(Duration::from_secs(rounds(5, 60) as u64).saturating_sub(begin.elapsed()));
    broker.start_again().unwrap();
    stage.publish(&broker, 100, 10);
    stage.complete(&broker);
}
