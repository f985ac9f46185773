//! Dead letters as the commands and their topic show them.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "each suite uses its part of it"
)]

use std::{fs, path::Path, process::Stdio};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use testkit::{Daemon, SOON, wait_until};

/// It must be seen nowhere.
pub const SECRET: &str = "hunter2hunter2hunter2";

/// The exit status and both outputs of a command.
pub fn run(daemon: &Daemon, arguments: &[&str]) -> (i32, Vec<u8>, String) {
    let mut command = daemon.command(arguments);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), output.stdout, err)
}

/// As [`run`], of a command that succeeds: what it says.
#[track_caller]
pub fn says(daemon: &Daemon, arguments: &[&str]) -> String {
    let (status, out, err) = run(daemon, arguments);
    let out = String::from_utf8(out).unwrap();
    assert_eq!(status, 0, "{arguments:?}: {out}{err}");
    out
}

/// All letters, eldest first.
#[track_caller]
pub fn list(daemon: &Daemon) -> Vec<Value> {
    let letters = says(daemon, &["dead-letters", "list", "-o", "json"]);
    serde_json::from_str(&letters).unwrap()
}

pub fn id(letter: &Value) -> String {
    letter["id"].as_u64().unwrap().to_string()
}

/// Each refused message is a letter with all that is known of it, and with its bytes in the database; whoever asks gets them
/// but for its secrets. Returns what was given of each.
#[track_caller]
pub fn are_listed_and_exported(daemon: &Daemon, bad: &[(&str, Vec<u8>)]) -> Vec<Option<Vec<u8>>> {
    let letters = list(daemon);
    assert_eq!(letters.len(), bad.len());
    let kept = in_database(&daemon.state_directory());
    let exported = says(daemon, &["dead-letters", "export"]);
    let exported: Vec<Value> = exported
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(exported.len(), bad.len());
    let mut given = Vec::new();
    for (((reason, bytes), letter), (kept, line)) in
        bad.iter().zip(&letters).zip(kept.iter().zip(&exported))
    {
        let why = letter["reason"].as_str().unwrap();
        assert!(why.contains(reason), "{reason}: {why}");
        assert!(kept == bytes, "{why}: the original bytes are kept");
        assert_eq!(letter["bytes"], bytes.len(), "{why}");
        assert_eq!(letter["message_key"], "key");
        assert_eq!(letter["source"], "platform");
        for field in ["message", "published", "at"] {
            assert!(letter[field].is_string(), "{field} of {letter}");
        }
        assert_eq!(line["id"], letter["id"]);
        let payload = line["payload"]
            .as_str()
            .map(|it| STANDARD.decode(it).unwrap());
        let has_secret = bytes
            .windows(SECRET.len())
            .any(|it| it == SECRET.as_bytes());
        match &payload {
            Some(payload) if !has_secret => assert!(payload == bytes, "{why}"),
            Some(_) => assert_eq!(line["payload_is"], "without_secrets", "{why}"),
            None => assert!(
                has_secret && line["payload_is"] == "withheld",
                "{why}: {line}"
            ),
        }
        let (status, raw, _) = run(daemon, &["dead-letters", "export", &id(letter), "--raw"]);
        assert_eq!(status == 0, payload.is_some(), "{why}");
        assert!(payload.as_deref().unwrap_or_default() == raw, "{why}");
        given.push(payload);
    }
    let rows = u32::try_from(letters.len()).unwrap();
    wait_until("the letters are told and sent on", SOON, || {
        let source = &[("source", "platform")];
        let metric = daemon.metric("sozu_manager_dead_letters", source);
        let component = daemon.component("pulsar.platform").unwrap();
        let error = component["error"].as_str().unwrap_or_default();
        let told = error.contains(&format!("{rows} dead letters"));
        let sent = list(daemon).iter().all(|it| it["sent_on"].is_string());
        if metric == Some(f64::from(rows)) && told && sent {
            Ok(())
        } else {
            Err(format!("{metric:?}, {error:?}, sent: {sent}"))
        }
    });
    given
}

/// The bytes as the database keeps them.
fn in_database(state_directory: &Path) -> Vec<Vec<u8>> {
    let path = state_directory.join("state.db");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = rusqlite::Connection::open_with_flags(path, flags).unwrap();
    let bytes = "SELECT coalesce(original, request) FROM dead_letters ORDER BY seq";
    let mut rows = connection.prepare(bytes).unwrap();
    let rows = rows.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The same on the topic, each once, in whatever order they were refused.
#[track_caller]
pub fn are_on_their_topic(
    url: &str,
    topic: &str,
    bad: &[(&str, Vec<u8>)],
    given: &[Option<Vec<u8>>],
) {
    let mut read = testkit::pulsar::read(url, &testkit::pulsar::topic(topic), bad.len()).unwrap();
    assert_eq!(read.len(), bad.len());
    read.sort_by_key(|read| read.properties["letter_id"].parse::<u64>().unwrap());
    for (((reason, bytes), given), read) in bad.iter().zip(given).zip(&read) {
        let property = |name: &str| read.properties.get(name).map_or("", String::as_str);
        assert!(property("reason").contains(reason), "{reason}: {read:?}");
        assert_eq!(property("source"), "platform");
        assert_eq!(property("payload_bytes"), bytes.len().to_string());
        for name in ["message_id", "published", "instance", "letter_id"] {
            assert!(!property(name).is_empty(), "{name} of {reason}");
        }
        assert_eq!(read.key.as_deref(), Some("key"));
        assert!(
            given.as_deref().unwrap_or_default() == read.payload,
            "{reason}"
        );
        let shown = format!(
            "{:?}{}",
            read.properties,
            String::from_utf8_lossy(&read.payload)
        );
        assert!(!shown.contains(SECRET), "{reason}");
    }
}

/// Nothing that is said or logged has it.
#[track_caller]
pub fn hold_no_secret(daemon: &Daemon) {
    let mut seen = vec![fs::read_to_string(daemon.directory().join("daemon.log")).unwrap()];
    for letter in list(daemon) {
        for form in ["text", "json"] {
            let show = ["dead-letters", "show", &id(&letter), "-o", form];
            seen.push(says(daemon, &show));
        }
    }
    for command in [
        &["dead-letters", "list"][..],
        &["dead-letters", "export"],
        &["journal", "--limit", "1000", "-o", "json"],
        &["status"],
    ] {
        let (_, out, err) = run(daemon, command);
        seen.push(String::from_utf8_lossy(&out).into_owned() + &err);
    }
    // As base64, too, wherever it may begin.
    let encoded = STANDARD.encode(SECRET);
    for text in seen {
        assert!(!text.contains(SECRET) && !text.contains(&encoded[..20]));
    }
}
