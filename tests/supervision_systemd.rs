//! systemd's side: every datagram of a life of the daemon, and the unit that is shipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{fs, os::unix::net::UnixDatagram, process::Command};

use support::{served, systemd::Systemd, write_route};
use testkit::{Backend, SOON, Sozu};

#[test]
fn every_datagram_of_a_life() {
    let mut sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    let mut systemd = Systemd::start();
    let mut daemon = support::daemon(&sozu)
        .env("NOTIFY_SOCKET", systemd.path().to_str().unwrap())
        .env("WATCHDOG_USEC", "3000000")
        .prepare()
        .unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    daemon.start().unwrap();

    systemd.until("READY=1", 0);
    let running = systemd.until("STATUS=all 6 components are running", 0);
    served(&sozu, "a.example", "A");
    let alive = systemd.until("WATCHDOG=1", 0);
    systemd.until("WATCHDOG=1", alive + 1);

    // Sōzu's absence is told, and is no reason to end us
    sozu.kill().unwrap();
    let away = systemd.until("STATUS=degraded: socket_pool is degraded (", running);
    systemd.until("WATCHDOG=1", away);
    sozu.start_again().unwrap();
    systemd.until("STATUS=all 6 components are running", away);

    assert_eq!(daemon.terminate().unwrap().code(), Some(0));
    let stopping = systemd.until("STOPPING=1", away);
    systemd.until("STATUS=stops: ", stopping);
    assert_eq!(systemd.count("READY=1"), 1);
    assert_eq!(systemd.count("STOPPING=1"), 1);
    let known = [
        "READY=1",
        "STOPPING=1",
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=15000000",
    ];
    for line in &systemd.heard {
        let fine = known.contains(&line.as_str()) || line.starts_with("STATUS=");
        assert!(fine, "{line}");
    }
    let late = &systemd.heard[stopping..];
    assert!(!late.iter().any(|line| line == "WATCHDOG=1"), "{late:?}");
}

/// One that does not listen holds up nobody, and hears the rest once it does.
#[test]
fn a_systemd_that_does_not_listen_holds_up_nobody() {
    let sozu = Sozu::start().unwrap();
    let mut systemd = Systemd::start();
    // its queue is full
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"full", systemd.path()).is_ok() {}
    let mut daemon = support::daemon(&sozu)
        .env("NOTIFY_SOCKET", systemd.path().to_str().unwrap())
        .start()
        .unwrap();
    daemon.wait_ready(SOON).unwrap();
    systemd.until("READY=1", 0);
    assert_eq!(daemon.terminate().unwrap().code(), Some(0));
}

/// A unit that is not watched is not fed.
#[test]
fn without_a_watchdog_there_are_no_pings() {
    let sozu = Sozu::start().unwrap();
    let mut systemd = Systemd::start();
    let mut daemon = support::daemon(&sozu)
        .env("NOTIFY_SOCKET", systemd.path().to_str().unwrap())
        .start()
        .unwrap();
    systemd.until("READY=1", 0);
    assert_eq!(daemon.terminate().unwrap().code(), Some(0));
    systemd.until("STOPPING=1", 0);
    assert_eq!(systemd.count("WATCHDOG=1"), 0);
}

/// systemd's own judgement of the shipped unit, with the binary where it was built.
#[test]
fn the_unit_is_correct_and_hardened() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        assert!(
            std::env::var_os("CI").is_none(),
            "in CI there is systemd-analyze (make peers)"
        );
        eprintln!("skipped: no systemd-analyze; `make peers` brings it");
        return;
    }
    let shipped = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/packaging/systemd/sozu-manager.service"
    );
    let text = fs::read_to_string(shipped).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("sozu-manager.service");
    let here = text.replace("/usr/bin/sozu-manager", env!("CARGO_BIN_EXE_sozu-manager"));
    fs::write(&unit, here).unwrap();

    let verify = analyze(&["verify", unit.to_str().unwrap()]);
    assert_eq!(verify, (Some(0), String::new()));
    // an exposure above 2.0 fails
    let security = [
        "security",
        "--offline=true",
        "--threshold=20",
        "--no-pager",
        unit.to_str().unwrap(),
    ];
    let (status, said) = analyze(&security);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("Overall exposure level"), "{said}");
}

fn analyze(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}
