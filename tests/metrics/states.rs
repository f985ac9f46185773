//! Valid in every state of Sōzu.

use std::{io::Read, io::Write, net::TcpStream};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{Backend, SOON, Sozu, get, wait_until};

use crate::{
    stand::{exporter, valid},
    support::{requests, sozu_up},
};

#[test]
fn promtool_has_nothing_to_say_in_any_state() {
    let mut sozu = Sozu::builder()
        .https_listeners(1)
        .tcp_listeners(1)
        .start()
        .unwrap();
    let daemon = exporter(&sozu);
    let text = valid(&daemon, "fresh");
    assert!(
        text.contains("\nsozu_client_connections{worker=\"0\"} "),
        "{text}"
    );

    let backend = Backend::start("A").unwrap();
    let long = "x".repeat(4_000);
    let odd = [
        "a",
        "quote\"d",
        "back\\slash",
        "line\nbreak",
        "größe …",
        "other",
        &long,
    ];
    for (n, id) in odd.iter().enumerate() {
        let host = format!("h{n}.example");
        sozu.apply(requests(&sozu, id, &host, backend.address()))
            .unwrap();
    }
    let text = valid(&daemon, "loaded");
    for id in [
        "a",
        "quote\\\"d",
        "back\\\\slash",
        "line\\nbreak",
        "größe …",
        "other",
        &long,
    ] {
        let line = format!("sozu_cluster_available_backends{{cluster=\"{id}\"}} 1");
        assert!(text.lines().any(|l| l == line), "no {line}");
    }

    for n in 0..odd.len() {
        get(sozu.http_port(), &format!("h{n}.example"), "/").unwrap();
    }
    get(sozu.http_port(), "nowhere.example", "/").unwrap();
    // No TLS, no cluster, no HTTP.
    let strange = [
        sozu.https_addresses()[0],
        sozu.tcp_addresses()[0],
        sozu.http_address(),
    ];
    for address in strange {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"\x16\x03 what is this?\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        // Closed or answered, as Sōzu likes.
        let _ = stream.read(&mut [0; 64]);
    }
    let text = valid(&daemon, "under traffic");
    assert!(
        text.contains("\nsozu_cluster_request_seconds_bucket{cluster=\"a\",le=\"0.001\"} "),
        "{text}"
    );
    assert_eq!(
        daemon.metric("sozu_manager_unknown_metrics", &[("what", "name")]),
        Some(0.0),
        "{}",
        unknown(&text)
    );
    assert_eq!(
        daemon.metric("sozu_manager_unknown_metrics", &[("what", "kind")]),
        Some(0.0)
    );

    let worker = sozu.worker_pids()[0];
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    valid(&daemon, "a worker was killed a moment ago");
    wait_until("a new worker", SOON, || {
        sozu.worker_pids().len() == 2 && !sozu.worker_pids().contains(&worker)
    });
    valid(&daemon, "a worker was killed");

    sozu.kill().unwrap();
    sozu_up(&daemon, 0.0);
    let text = valid(&daemon, "away");
    let of_sozu = text
        .lines()
        .filter(|line| line.starts_with("sozu_") && !line.starts_with("sozu_manager_"));
    assert_eq!(
        of_sozu.collect::<Vec<_>>(),
        ["sozu_up 0"],
        "something stale"
    );
}

/// The help of what the table does not know.
fn unknown(text: &str) -> String {
    let lines = text.lines().filter(|line| line.contains("does not know"));
    lines.collect::<Vec<_>>().join("\n")
}
