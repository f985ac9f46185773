//! Those who scrape, many at once or slowly, and a Sōzu that answers half, late or not at all.

use std::{io::Read, io::Write, net::Ipv4Addr, net::TcpStream, thread, time::Duration};

use sozu_command_lib::proto::command::{Request, request::RequestType};
use testkit::{Backend, SOON, Sozu, Tap, get, tap::Fate, wait_until};

use crate::{
    stand::{EXPORTER, exporter},
    support::{daemon, requests, sozu_up},
};

/// Sōzu's own count of what was ordered of it.
fn orders(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .filter(|line| line.starts_with("sozu_config_events_total{"));
    lines.map(ToOwned::to_owned).collect()
}

/// An exporter asks for the workers and their metrics, once for all who ask at a time, and for nothing else.
#[test]
fn two_hundred_scrapes_at_once_cost_sozu_one_query() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    sozu.apply(requests(&sozu, "a", "a.example", backend.address()))
        .unwrap();
    let tap = Tap::before(&sozu).unwrap();
    let mut daemon = daemon(&sozu)
        .routes(&[])
        .extra_toml("[metrics]\nshare_for = \"1m\"")
        .env(
            "SOZU_MANAGER__SOZU__COMMAND_SOCKET",
            tap.socket().to_str().unwrap(),
        )
        .start()
        .unwrap();
    daemon.wait_ready(SOON).unwrap();
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = asked.clone();
    tap.rule(move |request: &mut Request| {
        let what = match &request.request_type {
            Some(RequestType::QueryMetrics(_)) => "metrics",
            Some(RequestType::ListWorkers(_)) => "workers",
            _ => "something else",
        };
        seen.lock().unwrap().push(what);
        Fate::Pass
    });
    let before = orders(&daemon.metrics().unwrap());
    asked.lock().unwrap().clear();
    let port = daemon.http_port();
    let scrapes: Vec<_> = (0..200)
        .map(|_| thread::spawn(move || get(port, "here", "/metrics").unwrap()))
        .collect();
    for scrape in scrapes {
        let answer = scrape.join().unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("\nsozu_up 1\n"));
    }
    let asked = asked.lock().unwrap().clone();
    assert!(!asked.contains(&"metrics"), "within share_for: {asked:?}");
    assert!(!asked.contains(&"something else"), "{asked:?}");
    assert_eq!(orders(&daemon.metrics().unwrap()), before);
    assert!(!daemon.state_directory().join("state.db").exists());
}

#[test]
fn a_sozu_that_answers_half_or_late_is_told_within_the_deadline() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    sozu.apply(requests(&sozu, "a", "a.example", backend.address()))
        .unwrap();
    let tap = Tap::before(&sozu).unwrap();
    let daemon = daemon(&sozu)
        .routes(&[])
        .extra_toml(EXPORTER)
        .env(
            "SOZU_MANAGER__SOZU__COMMAND_SOCKET",
            tap.socket().to_str().unwrap(),
        )
        .start()
        .unwrap();
    sozu_up(&daemon, 1.0);
    let scrape = || {
        let header = "X-Prometheus-Scrape-Timeout-Seconds: 1\r\n";
        testkit::client::get_with(daemon.http_port(), "here", "/metrics", header)
            .unwrap()
            .body
    };
    let complete = || scrape().contains("\nsozu_manager_scrape_complete 1\n");
    wait_until("a whole scrape", SOON, complete);

    // It tells its own and the workers', and nothing of the clusters.
    tap.rule(|request: &mut Request| match &request.request_type {
        Some(RequestType::QueryMetrics(question)) if !question.no_clusters => Fate::Mute,
        _ => Fate::Pass,
    });
    let text = scrape();
    for line in ["sozu_up 1", "sozu_manager_scrape_complete 0"] {
        assert!(text.lines().any(|l| l == line), "no {line} in {text}");
    }
    assert!(text.contains("\nsozu_client_connections{"), "{text}");
    assert!(!text.contains("cluster=\"a\""), "stale: {text}");

    // The connection ends in the middle: that is no answer.
    tap.rule(|request: &mut Request| match &request.request_type {
        Some(RequestType::QueryMetrics(_)) => Fate::Cut,
        _ => Fate::Pass,
    });
    wait_until("sozu_up 0", SOON, || {
        let text = scrape();
        text.contains("\nsozu_up 0\n") && !text.contains("\nsozu_client_connections{")
    });

    tap.rule(|_| Fate::Pass);
    wait_until("a whole scrape again", SOON, complete);
    let component = daemon.component("metrics_scraper").unwrap();
    assert_eq!(
        (&component["state"], &component["restarts"]),
        (&"running".into(), &0.into())
    );
}

/// All workers hang: the main process says that it is there, and that it is not all.
#[test]
fn workers_that_hang_are_told_apart_from_an_outage() {
    let sozu = Sozu::start().unwrap();
    let daemon = exporter(&sozu);
    sozu.stop_workers().unwrap();
    let header = "X-Prometheus-Scrape-Timeout-Seconds: 1\r\n";
    let text = testkit::client::get_with(daemon.http_port(), "here", "/metrics", header)
        .unwrap()
        .body;
    sozu.continue_workers().unwrap();
    for line in [
        "sozu_up 1",
        "sozu_workers 2",
        "sozu_manager_scrape_complete 0",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in {text}");
    }
}

/// Somebody who reads a byte now and then keeps nobody else waiting.
#[test]
fn slow_readers_keep_nobody_waiting() {
    let sozu = Sozu::start().unwrap();
    let daemon = exporter(&sozu);
    let slow: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.http_port())).unwrap();
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
                .unwrap();
            stream.read_exact(&mut [0]).unwrap();
            stream
        })
        .collect();
    for path in ["/metrics", "/livez", "/health"] {
        assert_eq!(daemon.fetch(path).unwrap().status, 200);
    }
    drop(slow);
}

#[test]
fn the_answer_is_packed_when_the_scraper_can_unpack_it() {
    let sozu = Sozu::start().unwrap();
    let daemon = exporter(&sozu);
    for (encoding, magic) in [
        ("gzip", &[0x1f, 0x8b][..]),
        ("zstd", &[0x28, 0xb5, 0x2f, 0xfd]),
    ] {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.http_port())).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let request =
            format!("GET /metrics HTTP/1.0\r\nHost: here\r\nAccept-Encoding: {encoding}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        assert!(
            head.contains(&format!("content-encoding: {encoding}")),
            "{head}"
        );
        let body = &bytes[end + 4..];
        assert!(
            body.windows(magic.len())
                .take(20)
                .any(|window| window == magic),
            "{encoding}"
        );
        let plain = daemon.metrics().unwrap().len();
        assert!(
            body.len() * 3 < plain,
            "{encoding}: {} of {plain} bytes",
            body.len()
        );
    }
}
