//! A person pauses the daemon and resumes it, against the real Sōzu.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::process::Stdio;

use serde_json::Value;
use testkit::{Backend, Daemon, SOON, Sozu, get, routes, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_sozu-manager");

/// The exit status, standard output, standard error.
fn says(daemon: &Daemon, arguments: &[&str]) -> (i32, String, String) {
    let mut command = daemon.command(arguments);
    let output = command.stdin(Stdio::null()).output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn json(daemon: &Daemon, arguments: &[&str]) -> Value {
    let (status, out, err) = says(daemon, arguments);
    assert_eq!(status, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

fn writes(daemon: &Daemon, sozu: &Sozu, name: &str, backend: &Backend) {
    let host = format!("{name}.example");
    let text = routes::http(name, sozu.http_address(), &[&host], &[backend.address()]);
    routes::write(&daemon.routes(), &format!("{name}.toml"), &text).unwrap();
}

fn answers(sozu: &Sozu, host: &str, status: u16) {
    wait_until(&format!("{status} from {host}"), SOON, || {
        get(sozu.http_port(), host, "/").is_ok_and(|answer| answer.status == status)
    });
}

fn keeper(daemon: &Daemon) -> Value {
    daemon.component("state_keeper").unwrap()
}

/// What is written is taken and waits.
fn waits(daemon: &Daemon, objects: usize) -> Value {
    let detail = format!("{objects} to be sent");
    wait_until(&format!("{objects} objects wait"), SOON, || {
        let keeper = keeper(daemon);
        match keeper["detail"].as_str() {
            Some(text) if text.ends_with(&detail) => Ok(keeper),
            _ => Err(keeper.to_string()),
        }
    })
}

#[test]
fn what_changes_in_a_pause_waits_for_its_end_over_a_restart_too() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("hello").unwrap();
    let mut daemon = Daemon::builder(BINARY, &sozu).prepare().unwrap();
    writes(&daemon, &sozu, "a", &backend);
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    answers(&sozu, "a.example", 200);

    let (status, out, err) = says(&daemon, &["pause", "--for", "30m"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(
        out.starts_with("Paused until ") && out.contains("`resume`"),
        "{out}"
    );
    let before = sozu.held().unwrap().requests;
    writes(&daemon, &sozu, "b", &backend);
    let told = waits(&daemon, 3);
    let uid = nix::unistd::geteuid();
    let detail = told["detail"].as_str().unwrap();
    assert!(detail.starts_with("paused until 20"), "{detail}");
    assert!(detail.contains(&format!("by uid {uid};")), "{detail}");
    assert_eq!(told["state"], "degraded");
    assert_eq!(daemon.fetch("/readyz").unwrap().status, 200);
    assert_eq!(daemon.get("/health").unwrap().1["status"], "degraded");
    let (status, shown, _) = says(&daemon, &["status"]);
    assert!(status == 3 && shown.contains(detail), "{shown}");
    let (status, differs, _) = says(&daemon, &["diff"]);
    assert!(status == 3 && differs.contains("b.example"), "{differs}");
    assert_eq!(sozu.held().unwrap().requests, before, "nothing was sent");

    daemon.kill9().unwrap();
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    waits(&daemon, 3);
    assert_eq!(sozu.held().unwrap().requests, before, "nothing was sent");

    let resumed = json(&daemon, &["resume", "-o", "json"]);
    assert_eq!(resumed["was_paused"], true);
    assert_eq!(resumed["paused_until"], Value::Null);
    answers(&sozu, "b.example", 200);
    wait_until("all is well", SOON, || {
        keeper(&daemon)["state"] == "running"
    });
    let (status, out, _) = says(&daemon, &["resume"]);
    assert_eq!((status, out.as_str()), (0, "Nothing was paused.\n"));
}

#[test]
fn a_pause_ends_by_itself() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("hello").unwrap();
    let mut daemon = Daemon::builder(BINARY, &sozu).start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    let paused = json(&daemon, &["pause", "--for", "2s", "-o", "json"]);
    assert_eq!(paused["uid"], nix::unistd::geteuid().as_raw());
    assert!(paused["paused_until"].is_string(), "{paused}");
    writes(&daemon, &sozu, "a", &backend);
    answers(&sozu, "a.example", 200);
    wait_until("all is well", SOON, || {
        keeper(&daemon)["state"] == "running"
    });
    let log = daemon.log();
    for line in ["A person paused", "The pause has ended by itself"] {
        assert!(log.contains(line), "{line} is not in {log}");
    }
}

#[test]
fn what_is_no_pause_is_told() {
    let sozu = Sozu::start().unwrap();
    let mut daemon = Daemon::builder(BINARY, &sozu).start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    for (lasts, expected) in [("0s", 1), ("8d", 1), ("soon", 2), ("-1h", 2)] {
        let (status, _, err) = says(&daemon, &["pause", "--for", lasts]);
        assert_eq!(status, expected, "{lasts}: {err}");
        assert!(expected == 2 || err.contains("from 1s to 7d"), "{err}");
    }
    assert_eq!(keeper(&daemon)["state"], "running");
    assert!(daemon.terminate().unwrap().success());
    assert_eq!(says(&daemon, &["pause"]).0, 69);

    let mut exporter = Daemon::builder(BINARY, &sozu).routes(&[]).start().unwrap();
    exporter.wait_ready(SOON).unwrap();
    let (status, _, err) = says(&exporter, &["pause"]);
    assert!(status == 1 && err.contains("nothing is ever sent"), "{err}");
}
