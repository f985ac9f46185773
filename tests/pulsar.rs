//! Changes from a real Pulsar broker, through the daemon, to the real Sōzu.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "pulsar/certificates.rs"]
mod certificates;
#[path = "pulsar/commands.rs"]
mod commands;
#[path = "support/dice.rs"]
mod dice;
#[path = "support/letters.rs"]
mod letters;
#[path = "support/published.rs"]
mod published;
#[path = "support/pulsar.rs"]
mod pulsar;
mod support;

use std::{fs, path::Path, process::Command, thread, time::Duration};

use dice::Dice;
use published::Published;
use pulsar::{
    broker, consumer, daemon, new_topic, no_backlog, payload, payloads, producer, source,
    subscription,
};
use sozu_command_lib::proto::command::{
    AddBackend, AddCertificate, CertificateAndKey, HardStop, SocketAddress, request::RequestType,
};
use support::{Row, at_rest, frontend, requests, rounds, served, verdicts};
use testkit::{Backend, Daemon, Load, SOON, Sozu, wait_until};

/// A start reads Sōzu, subscribes twice and catches up, on a machine that does other things too.
const LONG: Duration = Duration::from_mins(2);

#[test]
fn a_message_is_served_and_then_acknowledged() {
    let (sozu, broker, topic) = (Sozu::start().unwrap(), broker(), new_topic());
    let backend = Backend::start("A").unwrap();
    let mut daemon = daemon(&sozu, &broker.url(), &topic, "one").start().unwrap();
    daemon.wait_ready(LONG).unwrap();
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
    wait_until("the metrics of a bus", SOON, || {
        let of =
            |name: &str| daemon.metric(&format!("sozu_manager_{name}"), &[("source", "platform")]);
        of("source_caught_up") == Some(1.0)
            && of("source_backlog_messages") == Some(0.0)
            && of("publish_to_live_seconds_count") == Some(3.0)
    });
}

/// Whatever is published, however often the daemon dies: each message has one verdict, Sōzu holds what was published,
/// and the broker has nothing left.
#[test]
fn a_topic_ends_in_sozu_as_it_was_published_however_often_the_daemon_is_killed() {
    let (sozu, broker, topic) = (Sozu::start().unwrap(), broker(), new_topic());
    let (count, kills) = (rounds(5_000, 20_000), rounds(5, 10));
    let mut dice = Dice::new();
    let mut published = Published::default();
    let messages: Vec<Vec<u8>> = (0..count)
        .map(|place| payload(published.next(place, &mut dice, &sozu)))
        .collect();
    let mut daemon = daemon(&sozu, &broker.url(), &topic, "killed")
        .start()
        .unwrap();
    daemon.wait_ready(LONG).unwrap();
    let mut producer = producer(&broker.url(), &topic, 50);
    let chunks: Vec<_> = messages
        .chunks(count / (2 * kills))
        .map(<[_]>::to_vec)
        .collect();
    for (n, chunk) in chunks.into_iter().enumerate() {
        producer.publish(chunk).unwrap();
        if n % 2 == 0 {
            // at any moment of what follows from that
            thread::sleep(Duration::from_millis(dice.roll(700) as u64));
            daemon.kill9().unwrap();
            daemon.start().unwrap();
        }
    }
    let rows = at_rest(&daemon.state_directory(), count, LONG);
    no_backlog(broker, &topic, &subscription("killed"), SOON * 2);
    published.is_held_by(&sozu);
    assert_eq!(rows.len(), count, "a message was taken twice");
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by_key(|row| place(row));
    rows.dedup_by_key(|row| place(row));
    assert_eq!(
        rows.len(),
        count,
        "a message was taken twice, and another one lost"
    );
    for (n, row) in rows.into_iter().enumerate() {
        let is_true = match row.verdict() {
            "refused" => published.bad.contains(&n),
            "applied" => !published.bad.contains(&n),
            "duplicate" | "superseded" | "absent" | "removed_with_its_cluster" => true,
            _ => false,
        };
        assert!(is_true, "message {n}: {row:?}");
    }
}

fn place(row: &Row) -> [i64; 3] {
    let text = row.position.as_deref().unwrap();
    let parts: Vec<i64> = text.split(':').map(|part| part.parse().unwrap()).collect();
    parts.try_into().unwrap()
}

fn backend(cluster: &str, id: &str, address: std::net::SocketAddr) -> AddBackend {
    AddBackend {
        cluster_id: cluster.to_owned(),
        backend_id: id.to_owned(),
        address: SocketAddress::from(address),
        load_balancing_parameters: Some(
            sozu_command_lib::proto::command::LoadBalancingParams::default(),
        ),
        ..AddBackend::default()
    }
}

fn without(cluster: &str, id: &str, address: std::net::SocketAddr) -> RequestType {
    RequestType::RemoveBackend(sozu_command_lib::proto::command::RemoveBackend {
        cluster_id: cluster.to_owned(),
        backend_id: id.to_owned(),
        address: SocketAddress::from(address),
    })
}

/// History never reaches a client, and a database that is lost or old loses nothing, removals included.
#[test]
fn history_is_not_replayed_into_live_traffic_and_an_old_database_catches_up() {
    let (sozu, broker, topic) = (Sozu::start().unwrap(), broker(), new_topic());
    let [a, b, c] = ["A", "B", "C"].map(|name| Backend::start(name).unwrap());
    let add = |id: &str, to: &Backend| RequestType::AddBackend(backend("live", id, to.address()));
    let [cluster, _, front] = requests(&sozu, "live", "live.example", a.address());
    let history = [
        cluster.clone(),
        add("a", &a),
        front.clone(),
        without("live", "a", a.address()),
        add("b", &b),
        without("live", "b", b.address()),
        add("c", &c),
    ];
    let mut producer = producer(&broker.url(), &topic, 100);
    producer.publish(payloads(history)).unwrap();
    sozu.apply([cluster, add("c", &c), front]).unwrap();

    let load = Load::start(sozu.http_port(), "live.example", "/");
    let mut daemon = daemon(&sozu, &broker.url(), &topic, "history")
        .start()
        .unwrap();
    daemon.wait_ready(LONG).unwrap();
    no_backlog(broker, &topic, &subscription("history"), SOON);
    daemon.terminate().unwrap();
    let old = daemon.directory().join("old");
    copy(&daemon.state_directory(), &old);

    daemon.start().unwrap();
    daemon.wait_ready(LONG).unwrap();
    let mut dice = Dice::new();
    let mut published = Published::default();
    let messages: Vec<_> = (0..rounds(5_000, 20_000))
        .map(|place| payload(published.next(place, &mut dice, &sozu)))
        .collect();
    producer.publish(messages).unwrap();
    producer
        .publish(payloads([
            RequestType::RemoveCluster("c0".to_owned()),
            RequestType::RemoveCluster("c1".to_owned()),
        ]))
        .unwrap();
    published.ends("c0");
    published.ends("c1");
    let as_published = |what: &str| {
        no_backlog(broker, &topic, &subscription("history"), LONG);
        wait_until(what, LONG, || {
            published.with_live(&sozu, "live", "live.example", c.address())
        });
    };
    as_published("all that was published");

    daemon.terminate().unwrap();
    fs::remove_dir_all(daemon.state_directory()).unwrap();
    fs::create_dir(daemon.state_directory()).unwrap();
    daemon.start().unwrap();
    daemon.wait_ready(LONG).unwrap();
    as_published("the same without its database");

    daemon.terminate().unwrap();
    fs::remove_dir_all(daemon.state_directory()).unwrap();
    copy(&old, &daemon.state_directory());
    daemon.start().unwrap();
    daemon.wait_ready(LONG).unwrap();
    as_published("the same from an old copy of its database");

    let tally = load.stop();
    assert_eq!(tally.failed(), 0, "{tally:?}");
    assert_eq!(tally.of(200, "C"), tally.total(), "{tally:?}");
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(copied.success());
}

#[test]
fn every_host_gets_every_message_and_a_taken_subscription_is_taken_over() {
    let (broker, topic) = (broker(), new_topic());
    let [first, second, third] = [(), (), ()].map(|()| Sozu::start().unwrap());
    let mut producer = producer(&broker.url(), &topic, 10);
    let names: Vec<String> = (0..200).map(|n| format!("n{n}")).collect();
    let clusters = || {
        names
            .iter()
            .map(|name| RequestType::AddCluster(support::cluster(name)))
    };
    producer.publish(payloads(clusters())).unwrap();
    let start = |sozu: &Sozu, instance: &str| {
        daemon(sozu, &broker.url(), &topic, instance)
            .start()
            .unwrap()
    };
    let mut one = start(&first, "host-1");
    let mut two = start(&second, "host-2");
    one.wait_ready(LONG).unwrap();
    two.wait_ready(LONG).unwrap();
    let complete = |sozu: &Sozu| {
        wait_until("all clusters", LONG, || {
            sozu.held().unwrap().clusters().len() == names.len()
        });
    };
    complete(&first);
    complete(&second);
    no_backlog(broker, &topic, &subscription("host-1"), SOON);

    // The name of the first host, and a database that knows nothing of what it has acknowledged.
    let mut twin = start(&third, "host-1");
    let said = wait_until("who has the subscription", SOON * 3, || {
        let (state, _, error) = consumer(&twin)?;
        let is_told = state == "degraded" && error.contains("in use by another consumer");
        if is_told { Ok(error) } else { Err(error) }
    });
    assert!(said.contains("sozu-manager-host-1"), "{said}");
    assert_eq!(twin.fetch("/readyz").unwrap().status, 503);
    one.kill9().unwrap();
    twin.wait_ready(LONG).unwrap();
    complete(&third);
    assert_eq!(restarts(&twin), 0, "an outage is no crash");
}

fn restarts(daemon: &Daemon) -> u64 {
    daemon.component("pulsar.platform").unwrap()["restarts"]
        .as_u64()
        .unwrap()
}

#[test]
#[allow(clippy::too_many_lines, reason = "a list of bad messages is long")]
fn bad_messages_are_dead_letters_and_the_good_ones_live() {
    let sozu = Sozu::builder().https_listeners(1).start().unwrap();
    let (broker, topic) = (broker(), new_topic());
    let letters_topic = new_topic();
    let more = format!(
        "allow_hostnames = [\"*.ok.example\"]\nallow_backends = [\"127.0.0.0/8\"]\ndead_letter_topic = \"{}\"",
        testkit::pulsar::topic(&letters_topic)
    );
    let mut daemon = Daemon::builder(env!("CARGO_BIN_EXE_sozu-manager"), &sozu)
        .routes(&[])
        .env("SOZU_MANAGER__INSTANCE", "poison")
        .extra_toml(&source(&broker.url(), &topic, &more))
        .start()
        .unwrap();
    daemon.wait_ready(LONG).unwrap();
    let loads = sozu.directory().join("loaded.json");
    let good = Backend::start("good").unwrap();
    let route = |name: &str| {
        payloads(requests(
            &sozu,
            name,
            &format!("{name}.ok.example"),
            good.address(),
        ))
    };
    let whole = payload(RequestType::AddCluster(support::cluster("cut")));
    let mut unix = backend("a", "unix", good.address());
    unix.unix_path = Some("/run/x.sock".to_owned());
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("no protobuf Request", vec![0xff; 40]),
        ("no protobuf Request", whole[..whole.len() - 2].to_vec()),
        ("does not know", vec![0xfa, 0x3f, 0x00]),
        (
            "never taken",
            payload(RequestType::LoadState(loads.display().to_string())),
        ),
        ("never taken", payload(RequestType::HardStop(HardStop {}))),
        ("unix_path", payload(RequestType::AddBackend(unix))),
        (
            "",
            payload(RequestType::AddCluster(support::cluster("a\0b"))),
        ),
        (
            "allow_hostnames",
            payload(RequestType::AddHttpFrontend(frontend(
                &sozu,
                "a",
                "login.example",
            ))),
        ),
        (
            "allow_backends",
            payload(RequestType::AddBackend(backend(
                "a",
                "far",
                "10.1.1.1:80".parse().unwrap(),
            ))),
        ),
        (
            "",
            payload(RequestType::AddHttpFrontend(frontend(
                &sozu,
                "a",
                "x/.ok.example",
            ))),
        ),
        (
            "bytes",
            payload(RequestType::AddCluster(support::cluster(
                &"x".repeat(1_950_000),
            ))),
        ),
    ];
    let key = payload(RequestType::AddCertificate(secret()));
    let bad = {
        let mut bad = bad;
        bad.push(("`verbs`", key.clone()));
        bad.push(("no protobuf Request", key[..key.len() - 1].to_vec()));
        bad
    };
    let mut producer = producer(&broker.url(), &topic, 1);
    producer.publish(route("a")).unwrap();
    for (n, (_, bytes)) in bad.iter().enumerate() {
        producer.publish([bytes.clone(), Vec::new()]).unwrap();
        producer.publish(route(&format!("g{n}"))).unwrap();
    }
    for n in 0..bad.len() {
        served(&sozu, &format!("g{n}.ok.example"), "good");
    }
    no_backlog(broker, &topic, &subscription("poison"), SOON * 2);
    let rows = at_rest(&daemon.state_directory(), 3 + 4 * bad.len(), SOON);
    assert_eq!(
        verdicts(&rows),
        [("applied", 3 + 3 * bad.len()), ("refused", bad.len())].into()
    );
    let given = letters::are_listed_and_exported(&daemon, &bad);
    letters::are_on_their_topic(&broker.url(), &letters_topic, &bad, &given);
    letters::hold_no_secret(&daemon);
    assert_eq!(
        daemon.metric(
            "sozu_manager_changes_total",
            &[("source", "platform"), ("verdict", "skipped")]
        ),
        u32::try_from(bad.len()).ok().map(f64::from)
    );
    assert_eq!(daemon.exit_status().unwrap(), None);
    assert!(sozu.main_pid().is_ok());
}

/// A certificate with a key that must be seen nowhere.
fn secret() -> AddCertificate {
    AddCertificate {
        address: std::net::SocketAddr::from(([127, 0, 0, 1], 443)).into(),
        certificate: CertificateAndKey {
            certificate: "-----BEGIN CERTIFICATE-----\n".to_owned(),
            key: format!("-----BEGIN PRIVATE KEY-----\n{}\n", letters::SECRET),
            ..CertificateAndKey::default()
        },
        ..AddCertificate::default()
    }
}
