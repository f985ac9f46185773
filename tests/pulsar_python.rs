//! A producer that was not written here: the official Python client (`.peers/bin/pulsar-python`) feeds the daemon, batched
//! and with every compression that it has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/pulsar.rs"]
mod pulsar;
mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use pulsar::{broker, daemon, new_topic, no_backlog, payloads, subscription};
use sozu_command_lib::proto::command::request::RequestType;
use support::{at_rest, cluster, verdicts};
use testkit::{SOON, Sozu, wait_until};

const LONG: Duration = Duration::from_mins(2);
/// So many messages with each compression, in entries of a hundred.
const EACH: usize = 500;
const KINDS: [&str; 5] = ["NONE", "LZ4", "ZLib", "ZSTD", "SNAPPY"];

/// Publishes what is in a file, message for message, each behind its length.
const PRODUCER: &str = r#"
import struct, sys, pulsar
url, topic, kind, path = sys.argv[1:]
client = pulsar.Client(url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
producer = client.create_producer(
    topic,
    compression_type=getattr(pulsar.CompressionType, kind),
    batching_enabled=True,
    batching_max_messages=100,
    batching_max_publish_delay_ms=1000,
    block_if_queue_full=True,
)
failed = []
def stored(result, _):
    if result != pulsar.Result.Ok:
        failed.append(str(result))
data, at = open(path, "rb").read(), 0
while at < len(data):
    (length,) = struct.unpack_from(">I", data, at)
    producer.send_async(data[at + 4 : at + 4 + length], stored)
    at += 4 + length
producer.flush()
client.close()
sys.exit(", ".join(failed) or 0)
"#;

fn python() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join(".peers");
    let cache = env::var_os("SOZU_MANAGER_PEERS").map(PathBuf::from);
    let cache = cache
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache/sozu-manager-peers")));
    [Some(here), cache]
        .into_iter()
        .flatten()
        .map(|peers| peers.join("bin/pulsar-python"))
        .find(|python| python.is_file())
        .expect("no .peers/bin/pulsar-python: run `make peers`")
}

fn publish(url: &str, topic: &str, kind: &str, file: &Path, messages: &[Vec<u8>]) {
    let mut bytes = Vec::new();
    for message in messages {
        bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend(message);
    }
    fs::write(file, bytes).unwrap();
    let topic = testkit::pulsar::topic(topic);
    let output = Command::new(python())
        .args(["-c", PRODUCER, url, topic.as_str(), kind])
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{kind}: {said}");
}

#[test]
fn the_official_python_client_feeds_it_with_every_compression() {
    let (sozu, broker, topic) = (Sozu::start().unwrap(), broker(), new_topic());
    let mut daemon = daemon(&sozu, &broker.url(), &topic, "python")
        .start()
        .unwrap();
    daemon.wait_ready(LONG).unwrap();
    let file = daemon.directory().join("messages");
    for kind in KINDS {
        let names: Vec<String> = (0..EACH).map(|n| format!("{kind}-{n}")).collect();
        let clusters = names
            .iter()
            .map(|name| RequestType::AddCluster(cluster(name)));
        publish(&broker.url(), &topic, kind, &file, &payloads(clusters));
    }
    let count = KINDS.len() * EACH;
    let rows = at_rest(&daemon.state_directory(), count, LONG);
    assert_eq!(verdicts(&rows), [("applied", count)].into());
    wait_until("all clusters in Sōzu", SOON, || {
        sozu.held().unwrap().clusters().len() == count
    });
    no_backlog(broker, &topic, &subscription("python"), SOON);
    // They came in entries: the last place of one lies behind others of it.
    let ends_an_entry = |position: &str| position.ends_with(":99");
    let entries = rows
        .iter()
        .filter(|row| row.position.as_deref().is_some_and(ends_an_entry));
    assert!(entries.count() >= KINDS.len());
}
