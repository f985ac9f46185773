//! Tens of thousands of clusters behind Sōzu's default buffers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    thread,
    time::Duration,
};

use sozu_command_lib::proto::command::{
    Request, ResponseStatus, WorkerRequest, request::RequestType,
};
use support::{
    daemon,
    readers::{openmetrics_reader, promtool},
    requests, rounds,
};
use testkit::{Backend, Daemon, SOON, Sozu, client::get_with, get, wait_until};

const PATIENT: &str = "X-Prometheus-Scrape-Timeout-Seconds: 60\r\n";

fn loaded(clusters: usize, name: impl Fn(usize) -> String, backend: &Backend) -> Sozu {
    let sozu = Sozu::builder().worker_timeout(10).start().unwrap();
    let path = sozu.directory().join("all.json");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    for n in 0..clusters {
        let (id, host) = (name(n), format!("c{n}.example"));
        for request in requests(&sozu, &id, &host, backend.address()) {
            let record = WorkerRequest {
                id: format!("{n}"),
                content: Request::from(request),
            };
            serde_json::to_writer(&mut file, &record).unwrap();
            file.write_all(b"\n\0").unwrap();
        }
    }
    file.into_inner().unwrap().sync_all().unwrap();
    let load = RequestType::LoadState(path.display().to_string());
    let answers = sozu.exchange(load).unwrap();
    let last = answers.last().unwrap();
    assert_eq!(last.status, i32::from(ResponseStatus::Ok), "{last:?}");
    sozu
}

/// A machine with other work may keep the client waiting for longer than it likes.
fn answer(daemon: &Daemon, headers: &str) -> String {
    let ask = || get_with(daemon.http_port(), "here", "/metrics", headers);
    wait_until("an answer", 6 * SOON, ask).body
}

fn scrape(daemon: &Daemon) -> String {
    answer(daemon, PATIENT)
}

fn value(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

/// An exporter alone: the names come from Sōzu, in one answer that fits.
#[test]
fn forty_thousand_clusters_are_all_there() {
    let clusters = 40_000;
    let backend = Backend::start("A").unwrap();
    let sozu = loaded(clusters, |n| format!("c{n}"), &backend);
    for n in 0..10 {
        get(sozu.http_port(), &format!("c{n}.example"), "/").unwrap();
    }
    let mut daemon = daemon(&sozu).routes(&[]).start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    let text = scrape(&daemon);
    assert_eq!(value(&text, "sozu_manager_scrape_complete "), Some(1.0));
    let line = |line: &&str| line.starts_with("sozu_cluster_available_backends{");
    assert_eq!(text.lines().filter(line).count(), clusters);
    assert_eq!(
        value(&text, "sozu_cluster_requests_total{cluster=\"c7\"}"),
        Some(1.0)
    );
    promtool(&text, "40,000 clusters");
    let open = format!("{PATIENT}Accept: application/openmetrics-text;version=1.0.0\r\n");
    let text = answer(&daemon, &open);
    if let Some(samples) = openmetrics_reader(&text, "40,000 clusters") {
        assert!(samples > clusters, "{samples} samples");
    }
    a_byte_a_second_keeps_nobody_waiting(&daemon);
}

/// The text is longer than what the kernel takes for one who does not read.
fn a_byte_a_second_keeps_nobody_waiting(daemon: &Daemon) {
    let mut slow = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.http_port())).unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: here\r\n{PATIENT}\r\n");
    slow.write_all(request.as_bytes()).unwrap();
    slow.set_read_timeout(Some(6 * SOON)).unwrap();
    let before = daemon.component("http_server").unwrap()["restarts"].clone();
    for expected in b"HTTP" {
        let mut byte = [0];
        slow.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [*expected]);
        let text = scrape(daemon);
        assert_eq!(value(&text, "sozu_manager_scrape_complete "), Some(1.0));
        // It is its own pace that is shown here, nothing is waited for.
        thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(daemon.component("http_server").unwrap()["restarts"], before);
}

/// A daemon with a keeper knows the names, however many they are.
#[test]
fn what_the_list_of_names_is_too_long_for_comes_with_the_keepers_list() {
    let clusters = rounds(20_000, 200_000);
    let backend = Backend::start("A").unwrap();
    let name = |n| format!("a-cluster-with-a-name-as-long-as-those-that-some-program-makes-{n}");
    let sozu = loaded(clusters, name, &backend);
    let mut daemon = daemon(&sozu)
        .extra_toml("[reconcile]\nmode = \"observe\"\n[metrics]\nmax_series = 1000000")
        .start()
        .unwrap();
    daemon.wait_ready(6 * SOON).unwrap();
    wait_until("a whole scrape", 12 * SOON, || {
        let text = scrape(&daemon);
        let line = |line: &&str| line.starts_with("sozu_cluster_available_backends{");
        let count = text.lines().filter(line).count();
        if count == clusters {
            Ok(())
        } else {
            Err(format!("{count} of {clusters} clusters"))
        }
    });

    // Alone, it has the workers' metrics, and says what it has not.
    daemon.terminate().unwrap();
    let mut alone = support::daemon(&sozu).routes(&[]).start().unwrap();
    alone.wait_ready(SOON).unwrap();
    let text = scrape(&alone);
    assert_eq!(value(&text, "sozu_manager_scrape_complete "), Some(0.0));
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let all = clusters as f64;
    assert_eq!(value(&text, "sozu_manager_unasked_clusters "), Some(all));
    assert!(text.contains("\nsozu_client_connections{worker=\"0\"} "));
}
