//! Which certificate whoever asks really gets is asked of Sōzu, shaken hands for, and told with its expiry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use testkit::{
    Daemon, SOON, Sozu,
    pki::{Authority, Days, Issued},
    tls::shake,
    wait_until,
};

use crate::{
    stand::{UNTOUCHED, stand},
    support::{self, all_well},
    tools,
};

#[test]
fn what_is_really_served_is_told_and_when_it_expires() {
    let stand = stand();
    let issued = stand.add("a", "a.example");
    let wildcard = stand.ca.issue(&["*.w.example"]).unwrap();
    stand.write("w", &wildcard);
    let old = stand.ca.issue_for(&["a.example"], Days(-50, 20)).unwrap();
    stand.write("old", &old);
    stand.counts("served", 3.0);
    stand.counts("shadowed", 1.0);
    let expiry = |copy: &str| {
        let labels = [
            ("source", "certs"),
            ("certificate", "*.w.example ecdsa"),
            ("copy", copy),
        ];
        stand.daemon.metric(
            "sozu_manager_certificate_not_after_timestamp_seconds",
            &labels,
        )
    };
    let in_90_days = SystemTime::now() + Duration::from_hours(90 * 24);
    let in_90_days = in_90_days.duration_since(UNIX_EPOCH).unwrap();
    for copy in ["file", "served"] {
        let expiry = expiry(copy).unwrap();
        assert!((expiry - in_90_days.as_secs_f64()).abs() < 600.0, "{copy}");
    }
    all_well(&stand.daemon);

    // The daemon may send nothing: what is renewed is not served yet, what is new not at all.
    let paused = stand.daemon.command(&["pause", "--for", "1h"]).output();
    assert!(paused.unwrap().status.success());
    let clients = stand.clients(&["a.example"]);
    let renewed = stand.issue("a.example");
    stand.write("a", &renewed);
    stand.write("new", &stand.issue("new.example"));
    stand.counts("served_older", 1.0);
    stand.counts("not_loaded", 1.0);
    let resumed = stand.daemon.command(&["resume"]).output();
    assert!(resumed.unwrap().status.success());
    stand.served("a.example", &renewed);
    stand.counts("served", 4.0);
    clients.end(&[("a.example", &[&issued, &renewed])]);
}

/// A daemon with a directory of one certificate, beside this Sōzu.
fn beside(sozu: &Sozu, settings: &str) -> (Daemon, Issued, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let issued = Authority::new().unwrap().issue(&[UNTOUCHED]).unwrap();
    tools::flat(directory.path(), UNTOUCHED, &issued);
    let table = format!(
        "[pki.certs]\ndirectory = \"{}\"\n{settings}",
        directory.path().display()
    );
    let builder = support::daemon(sozu).routes(&[]).extra_toml(&table);
    let mut daemon = builder.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    let labels = [("source", "certs"), ("state", "served")];
    wait_until("it is served", SOON, || {
        let seen = daemon.metric("sozu_manager_certificates", &labels);
        if seen == Some(1.0) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    (daemon, issued, directory)
}

/// How many handshakes succeeded, as Sōzu counts them.
fn handshakes(daemon: &Daemon) -> f64 {
    let text = daemon.metrics().unwrap();
    let counts = text
        .lines()
        .filter(|line| line.starts_with("sozu_tls_handshakes_by_version_total"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    counts.sum()
}

#[test]
fn a_listener_that_expects_the_proxy_protocol_is_shaken_hands_with_too() {
    let sozu = Sozu::builder()
        .http_listeners(0)
        .https_listeners(1)
        .https_toml("expect_proxy = true")
        .start()
        .unwrap();
    let (daemon, _issued, _directory) = beside(&sozu, "");
    wait_until("Sōzu has counted a handshake", SOON, || {
        handshakes(&daemon) > 0.0
    });
    all_well(&daemon);
    assert!(
        shake(sozu.https_addresses()[0], UNTOUCHED).is_err(),
        "a client that does not speak it gets nowhere"
    );
}

#[test]
fn without_handshakes_sozu_alone_is_asked() {
    let sozu = Sozu::builder().https_listeners(1).start().unwrap();
    let (daemon, issued, _directory) = beside(&sozu, "handshakes = false\n");
    assert!(handshakes(&daemon).abs() < 0.5);
    let shown = shake(sozu.https_addresses()[0], UNTOUCHED).unwrap();
    assert_eq!(shown.leaf, issued.der);
    wait_until("Sōzu has counted this one", SOON, || {
        handshakes(&daemon) > 0.0
    });
}

#[test]
fn every_https_listener_gets_it_or_those_that_are_named() {
    let sozu = Sozu::builder().https_listeners(2).start().unwrap();
    let addresses = sozu.https_addresses();
    let shows = |issued: &Issued| {
        let shown = addresses.iter().map(|address| shake(*address, UNTOUCHED));
        let shown = shown.map(|shown| shown.is_ok_and(|it| it.leaf == issued.der));
        shown.collect::<Vec<bool>>()
    };
    {
        let settings = format!("listeners = [\"{}\"]\n", addresses[1]);
        let (_daemon, issued, _directory) = beside(&sozu, &settings);
        assert_eq!(shows(&issued), [false, true]);
    }
    let (_daemon, issued, _directory) = beside(&sozu, "");
    assert_eq!(shows(&issued), [true, true]);
}
