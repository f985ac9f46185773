//! Sōzu's own metrics: valid in every state, exact, and there when Sōzu, its workers or a scraper misbehave.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    thread,
    time::Duration,
};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sozu_command_lib::proto::command::{Request, UpgradeMain, request::RequestType};
use support::{
    daemon,
    readers::{openmetrics_reader, promtool},
    requests, sozu_up,
};
use testkit::{Backend, Daemon, Load, SOON, Sozu, Tap, get, tap::Fate, wait_until};

const EXPORTER: &str = "[metrics]\nshare_for = \"1ms\"";
const OPEN: &str = "Accept: application/openmetrics-text;version=1.0.0\r\n";

/// A daemon that does nothing but export.
fn exporter(sozu: &Sozu) -> Daemon {
    let mut daemon = daemon(sozu)
        .routes(&[])
        .extra_toml(EXPORTER)
        .start()
        .unwrap();
    daemon.wait_ready(SOON).unwrap();
    daemon
}

/// Both formats, judged by promtool and by Python's reader of OpenMetrics.
#[track_caller]
fn valid(daemon: &Daemon, state: &str) -> String {
    let text = daemon.metrics().unwrap();
    promtool(&text, state);
    let answer = testkit::client::get_with(daemon.http_port(), "here", "/metrics", OPEN).unwrap();
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(answer.body.ends_with("\n# EOF\n"), "{state}");
    if let Some(samples) = openmetrics_reader(&answer.body, state) {
        assert!(samples > 50, "{state}: {samples} samples");
    }
    text
}

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

/// All samples of Sōzu's counters and histograms.
fn totals(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| line.starts_with("sozu_") && !line.starts_with("sozu_manager_"))
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(series, _)| {
            let name = series.split('{').next().unwrap();
            ["_total", "_count", "_sum", "_bucket"]
                .iter()
                .any(|end| name.ends_with(end))
        })
        .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
        .collect()
}

#[track_caller]
fn none_fell(before: &str, after: &str) {
    let after = totals(after);
    for (series, value) in totals(before) {
        let now = after.get(&series).copied();
        assert!(now >= Some(value), "{series} was {value} and is {now:?}");
    }
}

#[test]
fn every_request_is_counted_once_over_the_death_of_a_worker_too() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    sozu.apply(requests(&sozu, "a", "a.example", backend.address()))
        .unwrap();
    let daemon = exporter(&sozu);
    let send = |count: usize| {
        for _ in 0..count {
            assert_eq!(get(sozu.http_port(), "a.example", "/").unwrap().status, 200);
        }
    };
    let of_a = [("cluster", "a")];
    let counted = |expected: f64| {
        for name in [
            "sozu_cluster_requests_total",
            "sozu_cluster_request_seconds_count",
            "sozu_cluster_backend_response_seconds_count",
        ] {
            // The session's end, where some are counted, may come after the client's last byte.
            wait_until(&format!("{name} is {expected}"), SOON, || {
                let value = daemon.metric(name, &of_a);
                if value == Some(expected) {
                    Ok(())
                } else {
                    Err(format!("{value:?}"))
                }
            });
        }
        let labels = [("cluster", "a"), ("class", "2xx")];
        assert_eq!(
            daemon.metric("sozu_cluster_http_responses_total", &labels),
            Some(expected)
        );
        assert_eq!(
            daemon.metric("sozu_http_requests_total", &[]),
            Some(expected)
        );
        daemon.metrics().unwrap()
    };
    send(50);
    let before = counted(50.0);

    let worker = sozu.worker_pids()[0];
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    wait_until("a new worker", SOON, || {
        let pids = sozu.worker_pids();
        pids.len() == 2 && !pids.contains(&worker)
    });
    wait_until("two workers tell", SOON, || {
        let text = daemon.metrics().unwrap();
        none_fell(&before, &text);
        text.lines()
            .filter(|line| line.starts_with("sozu_worker_uptime_seconds{"))
            .count()
            == 2
    });
    send(50);
    let after = counted(100.0);
    none_fell(&before, &after);
    assert_eq!(backend.requests(), 100);
}

/// The main process and both workers are replaced while they run.
#[test]
fn no_total_falls_over_a_hot_upgrade() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    sozu.apply(requests(&sozu, "a", "a.example", backend.address()))
        .unwrap();
    let daemon = exporter(&sozu);
    let send = || {
        for _ in 0..30 {
            assert_eq!(get(sozu.http_port(), "a.example", "/").unwrap().status, 200);
        }
    };
    let counted = |expected: f64| {
        wait_until(&format!("{expected} are counted"), SOON, || {
            let value = daemon.metric("sozu_cluster_requests_total", &[("cluster", "a")]);
            if value == Some(expected) {
                Ok(())
            } else {
                Err(format!("{value:?}"))
            }
        });
        daemon.metrics().unwrap()
    };
    send();
    let before = counted(30.0);
    let pids = sozu.pids();
    sozu.apply([RequestType::UpgradeMain(UpgradeMain {})])
        .unwrap();
    wait_until("a new main process", SOON, || sozu.pids().len() == 3);
    for worker in 0..2 {
        sozu.apply([RequestType::UpgradeWorker(worker)]).unwrap();
    }
    wait_until("everything is new", 2 * SOON, || {
        let now = sozu.pids();
        now.len() == 3 && now.iter().all(|pid| !pids.contains(pid))
    });
    send();
    let after = counted(60.0);
    none_fell(&before, &after);
}

/// What was done after the last scrape goes with the worker, and no more.
#[test]
fn a_dead_worker_takes_at_most_what_it_did_since_the_last_scrape() {
    let sozu = Sozu::builder().workers(1).start().unwrap();
    let backend = Backend::start("A").unwrap();
    sozu.apply(requests(&sozu, "a", "a.example", backend.address()))
        .unwrap();
    let daemon = exporter(&sozu);
    let total = || daemon.metric("sozu_cluster_requests_total", &[("cluster", "a")]);
    for _ in 0..20 {
        get(sozu.http_port(), "a.example", "/").unwrap();
    }
    wait_until("twenty are counted", SOON, || total() == Some(20.0));
    for _ in 0..7 {
        get(sozu.http_port(), "a.example", "/").unwrap();
    }
    let worker = sozu.worker_pids()[0];
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    wait_until("a new worker", SOON, || {
        sozu.worker_pids().first().is_some_and(|pid| *pid != worker)
    });
    wait_until("the new worker serves", SOON, || {
        get(sozu.http_port(), "a.example", "/").is_ok_and(|answer| answer.status == 200)
    });
    wait_until("one more is counted", SOON, || {
        let value = total();
        if value == Some(21.0) {
            Ok(())
        } else {
            Err(format!("{value:?}"))
        }
    });
}

#[test]
fn a_histogram_agrees_with_who_sent_the_requests() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    sozu.apply(requests(&sozu, "a", "a.example", backend.address()))
        .unwrap();
    let daemon = exporter(&sozu);
    let load = Load::start(sozu.http_port(), "a.example", "/");
    wait_until("some load", SOON, || load.tally().total() >= 300);
    let tally = load.stop();
    assert_eq!(tally.failed(), 0, "{tally}");
    let sent = f64::from(u32::try_from(backend.requests()).unwrap());
    wait_until("all of it is counted", SOON, || {
        let counted = daemon.metric("sozu_cluster_request_seconds_count", &[("cluster", "a")]);
        if counted == Some(sent) {
            Ok(())
        } else {
            Err(format!("{counted:?} of {sent}"))
        }
    });
    let text = daemon.metrics().unwrap();
    let bucket = |le| {
        daemon.metric(
            "sozu_cluster_request_seconds_bucket",
            &[("cluster", "a"), ("le", le)],
        )
    };
    assert_eq!(bucket("+Inf"), Some(sent), "{text}");
    let mut last = 0.0;
    for le in [
        "0.001", "0.004", "0.016", "0.064", "0.256", "1.024", "4.096", "16.384",
    ] {
        let now = bucket(le).unwrap();
        assert!(now >= last, "{le}: {now} < {last}");
        last = now;
    }
    // Whole milliseconds: the sum is within what the buckets allow.
    let sum = daemon
        .metric("sozu_cluster_request_seconds_sum", &[("cluster", "a")])
        .unwrap();
    assert!((0.0..=sent * 4.0).contains(&sum), "{sum}");
}

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

#[test]
fn beyond_the_budget_the_busiest_are_named_and_the_sums_are_right() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    for n in 0..30 {
        let (id, host) = (format!("c{n:02}"), format!("c{n:02}.example"));
        let cluster = requests(&sozu, &id, &host, backend.address());
        sozu.apply(cluster).unwrap();
    }
    let requests_sent = f64::from(29 * 2 + 20);
    let send = || {
        for n in 0..30 {
            let host = format!("c{n:02}.example");
            for _ in 0..if n == 17 { 20 } else { 2 } {
                get(sozu.http_port(), &host, "/").unwrap();
            }
        }
    };
    send();
    let daemon = daemon(&sozu)
        .routes(&[])
        .extra_toml("[metrics]\nshare_for = \"1ms\"\nmax_series = 1300")
        .start()
        .unwrap();
    sozu_up(&daemon, 1.0);
    let sum = |text: &str| -> f64 {
        totals(text)
            .iter()
            .filter(|(series, _)| series.starts_with("sozu_cluster_requests_total{"))
            .map(|(_, value)| value)
            .sum()
    };
    let counted = |expected: f64| {
        wait_until("all is counted", SOON, || {
            let sum = sum(&daemon.metrics().unwrap());
            if (sum - expected).abs() < 0.5 {
                Ok(())
            } else {
                Err(format!("{sum} of {expected}"))
            }
        });
    };
    counted(requests_sent);
    let before = daemon.metrics().unwrap();
    send();
    counted(2.0 * requests_sent);
    let text = valid(&daemon, "beyond the budget");
    none_fell(&before, &text);
    for cluster in ["c17", "other"] {
        let series = format!("sozu_cluster_requests_total{{cluster=\"{cluster}\"}}");
        assert!(text.contains(&series), "no {series} in {text}");
    }
    let left_out = daemon.metric("sozu_manager_clusters_in_other", &[]);
    let left_out = left_out.unwrap();
    assert!((1.0..30.0).contains(&left_out), "{left_out}");
    let of_sozu = |line: &&str| line.starts_with("sozu_") && !line.starts_with("sozu_manager_");
    // `sozu_up` and `sozu_workers` are not in the budget.
    assert!(text.lines().filter(of_sozu).count() <= 1_302);
}
