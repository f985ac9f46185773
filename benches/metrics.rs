//! What a scrape costs beside Sōzu's own `QueryMetrics` in the same run: time, memory, bytes, and the proxy's own speed.
//! `CLUSTERS=100000` measures (b) with so many and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss
)]

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sozu_command_lib::proto::command::{
    AddBackend, Cluster, LoadBalancingParams, PathRule, QueryMetricsOptions, Request,
    RequestHttpFrontend, ResponseStatus, RulePosition, SocketAddress, WorkerRequest,
    request::RequestType,
};
use testkit::{Backend, Daemon, Sozu, get};

const BINARY: &str = env!("CARGO_BIN_EXE_sozu-manager");
const LONG: Duration = Duration::from_mins(5);
const LARGE_BUFFERS: &str = "command_buffer_size = 1000000\nmax_command_buffer_size = 100000000";

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let backend = Backend::start("A").unwrap();
    if let Ok(clusters) = std::env::var("CLUSTERS") {
        return with_default_buffers(clusters.parse().unwrap(), &backend);
    }
    beside_the_bare_query(&backend);
    the_proxys_own_speed(&backend);
    for clusters in [10_000, 40_000, 100_000, 200_000] {
        with_default_buffers(clusters, &backend);
    }
}

/// (a) and (c): 18,000 clusters of which 5,000 had traffic.
fn beside_the_bare_query(backend: &Backend) {
    let sozu = loaded(18_000, backend, LARGE_BUFFERS);
    for n in 0..5_000 {
        get(sozu.http_port(), &format!("c{n}.example"), "/").unwrap();
    }
    let query = |workers| {
        let question = QueryMetricsOptions {
            workers,
            ..QueryMetricsOptions::default()
        };
        best(|| {
            let answers = sozu.exchange(RequestType::QueryMetrics(question.clone()));
            assert_eq!(
                answers.unwrap().last().unwrap().status,
                i32::from(ResponseStatus::Ok)
            );
        })
    };
    let (merged, apart) = (query(false), query(true));
    let mut daemon = exporter(&sozu, "share_for = \"1ms\"");
    fetch(&daemon, "");
    let scrape = best(|| drop(fetch(&daemon, "")));
    println!(
        "18,000 clusters, 5,000 with traffic: bare QueryMetrics {merged:.0?} merged, {apart:.0?} by worker; scrape \
         {scrape:.0?}: {:.2} and {:.2} times",
        scrape.as_secs_f64() / merged.as_secs_f64(),
        scrape.as_secs_f64() / apart.as_secs_f64()
    );
    daemon.terminate().unwrap();
    let mut daemon = exporter(&sozu, "share_for = \"1h\"");
    fetch(&daemon, "");
    println!(
        "a second scrape that shares the answer: {:.0?}",
        best(|| drop(fetch(&daemon, "")))
    );
    for encoding in ["identity", "gzip", "zstd"] {
        let before = cpu(&daemon);
        let rounds = 5;
        let mut bytes = 0;
        for _ in 0..rounds {
            bytes = fetch(&daemon, encoding).len();
        }
        let spent = (cpu(&daemon) - before) / f64::from(rounds);
        println!(
            "{encoding}: {bytes} bytes, {:.0} ms of CPU",
            spent * 1_000.0
        );
    }
    daemon.terminate().unwrap();
}

/// (b)
fn with_default_buffers(clusters: usize, backend: &Backend) {
    let sozu = loaded(clusters, backend, "");
    let mut daemon = Daemon::builder(BINARY, &sozu)
        .extra_toml(
            "[reconcile]\nmode = \"observe\"\n[metrics]\nmax_series = 1000000\nshare_for = \"1ms\"",
        )
        .start()
        .unwrap();
    daemon.wait_ready(LONG).unwrap();
    // Where the names do not fit Sōzu's buffers, the keeper has to have read them first.
    let shown = || {
        let text = String::from_utf8_lossy(&fetch(&daemon, "")).into_owned();
        let lines = text.lines();
        lines
            .filter(|line| line.starts_with("sozu_cluster_backends{"))
            .count()
    };
    testkit::wait_until("every cluster is shown", LONG, || match shown() {
        shown if shown == clusters => Ok(()),
        shown => Err(format!("{shown} of {clusters}")),
    });
    let scrape = best(|| drop(fetch(&daemon, "")));
    println!(
        "{clusters} clusters, default buffers: all shown; a scrape {scrape:.2?}; memory {} MB, {} MB at most",
        memory(&daemon, "VmRSS"),
        memory(&daemon, "VmHWM")
    );
    daemon.terminate().unwrap();
}

/// (d)
fn the_proxys_own_speed(backend: &Backend) {
    let sozu = loaded(18_000, backend, LARGE_BUFFERS);
    for n in 0..5_000 {
        get(sozu.http_port(), &format!("c{n}.example"), "/").unwrap();
    }
    let alone = percentile(&sozu, || ());
    let question = QueryMetricsOptions::default();
    let queried = percentile(&sozu, || {
        sozu.exchange(RequestType::QueryMetrics(question.clone()))
            .unwrap();
    });
    let mut daemon = exporter(&sozu, "share_for = \"1ms\"");
    let scraped = percentile(&sozu, || drop(fetch(&daemon, "")));
    println!(
        "the proxy's p99: {alone:.2?} alone, {queried:.2?} with a bare QueryMetrics a second, {scraped:.2?} with a scrape a second"
    );
    daemon.terminate().unwrap();
}

/// The 99th percentile of requests in 10 s, while something is done every second.
fn percentile(sozu: &Sozu, every_second: impl Fn()) -> Duration {
    let stop = Arc::new(AtomicBool::new(false));
    let (port, stopped) = (sozu.http_port(), stop.clone());
    let client = thread::spawn(move || {
        let mut times = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            let began = Instant::now();
            get(port, "c1.example", "/").unwrap();
            times.push(began.elapsed());
        }
        times
    });
    for _ in 0..10 {
        let began = Instant::now();
        every_second();
        thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
    }
    stop.store(true, Ordering::Relaxed);
    let mut times = client.join().unwrap();
    times.sort();
    times[times.len() * 99 / 100]
}

fn exporter(sozu: &Sozu, metrics: &str) -> Daemon {
    let mut daemon = Daemon::builder(BINARY, sozu)
        .routes(&[])
        .extra_toml(&format!("[metrics]\nmax_series = 1000000\n{metrics}"))
        .start()
        .unwrap();
    daemon.wait_ready(LONG).unwrap();
    daemon
}

fn best(mut work: impl FnMut()) -> Duration {
    let times = (0..5).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed()
    });
    times.min().unwrap()
}

/// The body as it comes over the wire.
fn fetch(daemon: &Daemon, encoding: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.http_port())).unwrap();
    let request = format!(
        "GET /metrics HTTP/1.0\r\nHost: here\r\nAccept-Encoding: {encoding}\r\n\
         X-Prometheus-Scrape-Timeout-Seconds: 60\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

fn cpu(daemon: &Daemon) -> f64 {
    daemon.metric("process_cpu_seconds_total", &[]).unwrap()
}

/// In MB.
fn memory(daemon: &Daemon, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid().unwrap())).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1_000
}

fn loaded(clusters: usize, backend: &Backend, extra: &str) -> Sozu {
    let sozu = Sozu::builder()
        .worker_timeout(10)
        .extra_toml(extra)
        .start()
        .unwrap();
    let path = sozu.directory().join("all.json");
    let mut file = std::io::BufWriter::new(fs::File::create(&path).unwrap());
    for n in 0..clusters {
        for request in requests(&sozu, &format!("c{n}"), backend) {
            let record = WorkerRequest {
                id: n.to_string(),
                content: Request::from(request),
            };
            serde_json::to_writer(&mut file, &record).unwrap();
            file.write_all(b"\n\0").unwrap();
        }
    }
    file.flush().unwrap();
    drop(file);
    let load = RequestType::LoadState(path.display().to_string());
    let answers = sozu.exchange(load).unwrap();
    assert_eq!(
        answers.last().unwrap().status,
        i32::from(ResponseStatus::Ok)
    );
    sozu
}

fn requests(sozu: &Sozu, name: &str, backend: &Backend) -> [RequestType; 3] {
    [
        RequestType::AddCluster(Cluster {
            cluster_id: name.to_owned(),
            ..Cluster::default()
        }),
        RequestType::AddBackend(AddBackend {
            cluster_id: name.to_owned(),
            backend_id: format!("{name}-0"),
            address: SocketAddress::from(backend.address()),
            load_balancing_parameters: Some(LoadBalancingParams::default()),
            ..AddBackend::default()
        }),
        RequestType::AddHttpFrontend(RequestHttpFrontend {
            cluster_id: Some(name.to_owned()),
            address: SocketAddress::from(sozu.http_address()),
            hostname: format!("{name}.example"),
            path: PathRule::prefix(String::new()),
            position: RulePosition::Tree.into(),
            ..RequestHttpFrontend::default()
        }),
    ]
}
