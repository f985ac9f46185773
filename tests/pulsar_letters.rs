//! What a person does about refused messages, and what a crash, a full database or another configuration does to them:
//! with a real broker and the real Sōzu.
//!
//! Needs the feature `failpoints`: `cargo test --workspace --features failpoints --test pulsar_letters`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/letters.rs"]
mod letters;
#[path = "support/pulsar.rs"]
mod pulsar;
mod support;

use std::{fs, time::Duration};

use letters::{id, list, run, says};
use pulsar::{broker, consumer, new_topic, payload, producer, source, subscription};
use serde_json::Value;
use sozu_command_lib::proto::command::{
    AddBackend, LoadBalancingParams, Request, request::RequestType,
};
use support::{at_rest, cluster, frontend};
use testkit::{Daemon, SOON, Sozu, daemon::Builder, wait_until};

const LONG: Duration = Duration::from_mins(2);

fn daemon(sozu: &Sozu, topic: &str, more: &str) -> Builder {
    Daemon::builder(env!("CARGO_BIN_EXE_sozu-manager"), sozu)
        .routes(&[])
        .env("SOZU_MANAGER__INSTANCE", topic)
        .extra_toml(&source(&broker().url(), topic, more))
}

fn publish(topic: &str, requests: impl IntoIterator<Item = RequestType>) {
    let mut producer = producer(&broker().url(), topic, 1);
    producer.publish(pulsar::payloads(requests)).unwrap();
}

fn add(name: &str) -> RequestType {
    RequestType::AddCluster(cluster(name))
}

/// Not allowed, whatever the settings are.
fn bad() -> RequestType {
    RequestType::LoadState("/etc/passwd".to_owned())
}

fn backend(address: &str) -> AddBackend {
    AddBackend {
        cluster_id: "a".to_owned(),
        backend_id: "far".to_owned(),
        address: address.parse::<std::net::SocketAddr>().unwrap().into(),
        load_balancing_parameters: Some(LoadBalancingParams::default()),
        ..AddBackend::default()
    }
}

#[track_caller]
fn letter_about(daemon: &Daemon, word: &str) -> Value {
    let letters = list(daemon);
    let mut about = letters.iter().filter(|it| it.to_string().contains(word));
    about
        .next()
        .unwrap_or_else(|| panic!("{letters:?}"))
        .clone()
}

/// Lets the source do more, and waits until the daemon runs with it.
fn reconfigure(daemon: &Daemon, from: &str, to: &str) {
    let file = daemon.config_file();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&file, text.replace(from, to)).unwrap();
    says(daemon, &["reload"]);
}

#[test]
fn a_letter_is_tried_again_or_discarded_and_what_came_later_stays() {
    let (sozu, topic) = (Sozu::start().unwrap(), new_topic());
    let strict = "allow_backends = [\"127.0.0.0/8\"]\nallow_hostnames = [\"*.ok.example\"]";
    let mut daemon = daemon(&sozu, &topic, strict).start().unwrap();
    daemon.wait_ready(LONG).unwrap();
    let front =
        |cluster: &str, host: &str| RequestType::AddHttpFrontend(frontend(&sozu, cluster, host));
    publish(
        &topic,
        [
            add("a"),
            add("b"),
            RequestType::AddBackend(backend("10.1.1.1:80")),
            front("a", "login.example"),
            bad(),
        ],
    );
    at_rest(&daemon.state_directory(), 5, LONG);
    let far = letter_about(&daemon, "10.1.1.1");
    // Still refused, with a verdict of its own: it is another letter then.
    let (status, out, _) = run(&daemon, &["dead-letters", "retry", &id(&far)]);
    let out = String::from_utf8(out).unwrap();
    assert!(
        status == 1 && out.contains("allow_backends"),
        "{status} {out}"
    );
    assert_eq!(list(&daemon).len(), 3);
    let again = letter_about(&daemon, "10.1.1.1");
    assert_ne!(again["id"], far["id"]);
    for field in ["message", "message_key", "published", "bytes"] {
        assert_eq!(again[field], far[field], "{field}");
    }

    reconfigure(&daemon, strict, "");
    wait_until("its new life reads", SOON, || {
        let (_, detail, _) = consumer(&daemon)?;
        if detail.starts_with("caught up") {
            Ok(())
        } else {
            Err(detail)
        }
    });
    assert_eq!(
        says(&daemon, &["dead-letters", "retry", &id(&again)]),
        "applied\n"
    );
    let backends = sozu.held().unwrap().backends();
    assert_eq!(backends, [("a".to_owned(), "10.1.1.1:80".to_owned())]);

    // The same route, to another cluster, comes before the letter is tried again.
    publish(&topic, [front("b", "login.example")]);
    at_rest(&daemon.state_directory(), 8, LONG);
    let login = letter_about(&daemon, "login.example");
    assert!(login["overtaken_by"].is_u64(), "{login}");
    let (status, _, err) = run(&daemon, &["dead-letters", "retry", &id(&login)]);
    assert!(status == 1 && err.contains("--force"), "{status} {err}");
    let held = |cluster: &str| {
        let frontends = sozu.held().unwrap().frontends();
        assert_eq!(
            frontends,
            [("login.example".to_owned(), cluster.to_owned())]
        );
    };
    held("b");
    says(&daemon, &["dead-letters", "retry", &id(&login), "--force"]);
    held("a");

    let last = id(&list(&daemon)[0]);
    let (status, _, err) = run(&daemon, &["dead-letters", "discard", &last]);
    assert!(status == 2 && err.contains("--yes"), "{status} {err}");
    says(&daemon, &["dead-letters", "discard", &last, "--yes"]);
    let (status, _, err) = run(&daemon, &["dead-letters", "show", &last]);
    assert!(
        status == 1 && err.contains("dead-letters list"),
        "{status} {err}"
    );
    wait_until("all is well again", SOON, || {
        let metric = daemon.metric("sozu_manager_dead_letters", &[("source", "platform")]);
        let (state, detail, error) = consumer(&daemon)?;
        let is_well = metric == Some(0.0) && state == "running";
        if is_well {
            Ok(())
        } else {
            Err(format!("{metric:?} {state} {detail} {error}"))
        }
    });
    let journal = says(&daemon, &["journal", "-o", "json"]);
    let uid = nix::unistd::geteuid();
    for what in [
        format!("discarded by uid {uid}"),
        format!("retried as {} by uid {uid}", again["id"]),
        format!("\"origin\": \"uid {uid}\""),
    ] {
        assert!(journal.contains(&what), "{what}: {journal}");
    }
}

#[test]
fn where_none_is_to_be_dropped_a_full_database_stops_the_source_until_there_is_room() {
    let (sozu, topic) = (Sozu::start().unwrap(), new_topic());
    let full = "[dead_letters]\nmax_rows = 2\nwhen_full = \"stop\"";
    let mut daemon = daemon(&sozu, &topic, full).start().unwrap();
    daemon.wait_ready(LONG).unwrap();
    let mut batch = producer(&broker().url(), &topic, 100);
    let requests = [add("a"), bad(), add("b"), bad(), add("c"), bad(), add("d")];
    batch.publish(pulsar::payloads(requests)).unwrap();
    let told = |daemon: &Daemon| {
        wait_until("it is told", LONG, || {
            let (state, detail, error) = consumer(daemon)?;
            let is_told = state == "degraded" && error.contains("dead letters are full");
            if is_told {
                Ok(())
            } else {
                Err(format!("{state} {detail} {error}"))
            }
        });
    };
    told(&daemon);
    let clusters = |names: &[&str]| {
        wait_until("what came before", LONG, || {
            let held = sozu.held().unwrap().clusters();
            if held == names {
                Ok(())
            } else {
                Err(format!("{held:?}"))
            }
        });
    };
    clusters(&["a", "b", "c"]);
    assert_eq!(list(&daemon).len(), 2);
    assert_eq!(at_rest(&daemon.state_directory(), 5, SOON).len(), 5);
    // Nothing is acknowledged of an entry of which something is not taken.
    let backlog = || broker().backlog(&topic, &subscription(&topic)).unwrap();
    assert!(backlog() > 0);
    // The place is kept over a restart, too.
    daemon.kill9().unwrap();
    daemon.start().unwrap();
    told(&daemon);
    assert_eq!(list(&daemon).len(), 2);
    let first = id(&list(&daemon)[0]);
    clusters(&["a", "b", "c"]);
    says(&daemon, &["dead-letters", "discard", &first, "--yes"]);
    clusters(&["a", "b", "c", "d"]);
    assert_eq!(list(&daemon).len(), 2);
    let rows = at_rest(&daemon.state_directory(), 7, LONG);
    assert_eq!(rows.len(), 7, "a message was taken twice");
    wait_until("nothing waits", LONG, || backlog() == 0);
}

/// Killed before the topic has the letter: it is sent by the next life. Killed after that, and before it is noted: it is sent once
/// more, and its id tells.
#[test]
fn a_crash_between_the_row_and_the_topic_forgets_no_letter() {
    for (failpoint, sent) in [("return", 1), ("1*off->return", 2)] {
        let (sozu, topic, letters) = (Sozu::start().unwrap(), new_topic(), new_topic());
        let more = format!(
            "dead_letter_topic = \"{}\"",
            testkit::pulsar::topic(&letters)
        );
        let ground = tempfile::tempdir().unwrap();
        let life = || daemon(&sozu, &topic, &more).directory(ground.path());
        let failpoint = format!("pulsar_consumer::outbox={failpoint}");
        let mut first = life().env("FAILPOINTS", &failpoint).start().unwrap();
        publish(&topic, [add("a"), bad(), add("b")]);
        let ended = first.wait_exit(LONG).unwrap();
        assert!(!ended.success(), "{ended}");
        let mut second = life().start().unwrap();
        second.wait_ready(LONG).unwrap();
        wait_until("it is sent on", LONG, || {
            let letters = list(&second);
            letters.len() == 1 && letters[0]["sent_on"].is_string()
        });
        let letter = &list(&second)[0];
        let read = testkit::pulsar::read(&broker().url(), &testkit::pulsar::topic(&letters), sent)
            .unwrap();
        assert_eq!(read.len(), sent);
        for read in read {
            assert_eq!(
                read.properties["message_id"],
                letter["message"].as_str().unwrap()
            );
            assert_eq!(read.payload, payload(Request::from(bad())));
        }
        let stats = broker().stats(&letters).unwrap();
        assert_eq!(stats["msgInCounter"], sent, "{stats}");
    }
}

/// Waits until the consumer is in this state and says this.
#[track_caller]
fn says_of_itself(daemon: &Daemon, wanted: &str, word: &str) -> String {
    wait_until(&format!("{wanted}: {word}"), LONG, || {
        let (state, detail, error) = consumer(daemon)?;
        let is_it = state == wanted && (error.contains(word) || detail.contains(word));
        if is_it {
            Ok(error)
        } else {
            Err(format!("{state} {detail} {error}"))
        }
    })
}

#[test]
fn another_subscription_waits_for_a_person() {
    let (sozu, topic) = (Sozu::start().unwrap(), new_topic());
    let first = "subscription = \"first-{instance}\"";
    let mut daemon = daemon(&sozu, &topic, first).start().unwrap();
    daemon.wait_ready(LONG).unwrap();
    publish(&topic, [add("a")]);
    at_rest(&daemon.state_directory(), 1, LONG);
    let of = |name: &str| format!("{name}-{topic}");

    reconfigure(&daemon, "first-", "second-");
    let told = says_of_itself(&daemon, "parked", "until now");
    for word in [
        of("first"),
        of("second"),
        "sources accept platform".to_owned(),
    ] {
        assert!(told.contains(&word), "{word}: {told}");
    }
    publish(&topic, [add("b")]);
    // Over a restart, too; and nobody has subscribed by the other name.
    daemon.kill9().unwrap();
    daemon.start().unwrap();
    says_of_itself(&daemon, "parked", "until now");
    let subscriptions = broker().stats(&topic).unwrap()["subscriptions"].clone();
    assert!(subscriptions[of("first")].is_object() && subscriptions[of("second")].is_null());
    assert_eq!(sozu.held().unwrap().clusters(), ["a"]);

    // The old name again is fine, and the other one once a person has said so.
    reconfigure(&daemon, "second-", "first-");
    says_of_itself(&daemon, "running", "caught up");
    at_rest(&daemon.state_directory(), 2, LONG);
    let (status, _, err) = run(&daemon, &["sources", "accept", "platform"]);
    assert!(
        status == 1 && err.contains("waits for nobody"),
        "{status} {err}"
    );
    reconfigure(&daemon, "first-", "second-");
    says_of_itself(&daemon, "parked", "until now");
    says(&daemon, &["sources", "accept", "platform"]);
    says_of_itself(&daemon, "running", "caught up");
    publish(&topic, [add("c")]);
    let rows = at_rest(&daemon.state_directory(), 3, LONG);
    assert_eq!(rows.len(), 3, "nothing is taken twice");
}

#[test]
fn a_topic_whose_start_is_gone_and_one_that_is_not_batched_are_told() {
    let (sozu, topic) = (Sozu::start().unwrap(), new_topic());
    let mut producer = producer(&broker().url(), &topic, 1);
    producer
        .publish(pulsar::payloads([add("a"), add("b")]))
        .unwrap();
    // Only what is in a ledger that is closed goes.
    broker().unload(&topic).unwrap();
    let truncate = format!("/admin/v2/persistent/public/default/{topic}/truncate");
    broker().ordered("DELETE", &truncate, "").unwrap();
    let clusters = (0..5_000).map(|n| add(&format!("c{n}")));
    producer.publish(pulsar::payloads(clusters)).unwrap();
    let mut daemon = daemon(&sozu, &topic, "").start().unwrap();
    let told = says_of_itself(&daemon, "degraded", "the start of the topic is gone");
    assert!(told.contains("sources accept platform"), "{told}");
    daemon.wait_ready(LONG).unwrap();
    let gap = |daemon: &Daemon| daemon.metric("sozu_manager_source_gap", &[("source", "platform")]);
    assert_eq!(gap(&daemon), Some(1.0));
    let log = daemon.log();
    assert_eq!(log.matches("come nearly one by one").count(), 1, "{log}");
    daemon.kill9().unwrap();
    daemon.start().unwrap();
    says_of_itself(&daemon, "degraded", "the start of the topic is gone");
    says(&daemon, &["sources", "accept", "platform"]);
    says_of_itself(&daemon, "running", "caught up");
    assert_eq!(gap(&daemon), Some(0.0));
}

#[test]
fn doctor_looks_at_the_broker() {
    let (sozu, topic) = (Sozu::start().unwrap(), new_topic());
    let mut one = daemon(&sozu, &topic, "").prepare().unwrap();
    let of_broker = |daemon: &Daemon| {
        let (_, out, _) = run(daemon, &["doctor", "-o", "json"]);
        let findings: Vec<Value> = serde_json::from_slice(&out).unwrap();
        let of_broker = findings
            .into_iter()
            .filter(|it| it["check"] == "pulsar.platform");
        of_broker
            .map(|it| it.to_string())
            .collect::<Vec<_>>()
            .join("\n")
    };
    let found = of_broker(&one);
    assert!(
        found.contains("lets us in") && found.contains("create it"),
        "{found}"
    );
    one.start().unwrap();
    one.wait_ready(LONG).unwrap();
    says_of_itself(&one, "running", "caught up");
    let found = of_broker(&one);
    assert!(
        found.contains("is there") && found.contains("the daemon reads it"),
        "{found}"
    );
    one.terminate().unwrap();
    let found = of_broker(&one);
    assert!(
        found.contains("is free") && !found.contains("wrong"),
        "{found}"
    );
    let elsewhere = Sozu::start().unwrap();
    let mut two = daemon(&elsewhere, &topic, "").start().unwrap();
    two.wait_ready(LONG).unwrap();
    let found = of_broker(&one);
    assert!(found.contains("in use by another consumer"), "{found}");
    let nowhere = |text: String| text.replace(&broker().url(), "pulsar://127.0.0.1:1");
    let text = fs::read_to_string(one.config_file()).unwrap();
    fs::write(one.config_file(), nowhere(text)).unwrap();
    let found = of_broker(&one);
    assert!(
        found.contains("cannot be reached") && found.contains("wrong"),
        "{found}"
    );
}
