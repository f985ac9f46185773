//! What the daemon makes of the real Sōzu's speed, each figure beside Sōzu's own in the same run:
//! a flood of changes, one change, a restoration, memory, and what it costs when nothing happens.
//!
//! `CLUSTERS=50000` is the size; each cluster has a frontend and a backend.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss
)]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sozu_command_lib::{
    proto::command::{Request, ResponseStatus, WorkerRequest, request::RequestType},
    state::ConfigState,
};
use testkit::{Backend, Daemon, Sozu, get, routes, wait_until};

const PER_FILE: usize = 100;
const LONG: Duration = Duration::from_mins(10);
const BINARY: &str = env!("CARGO_BIN_EXE_sozu-manager");

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let clusters = std::env::var("CLUSTERS").map_or(50_000, |text| text.parse().unwrap());
    println!(
        "{clusters} clusters, {} requests; two workers",
        clusters * 3
    );
    let backend = Backend::start("A").unwrap();
    let bare = bare_load(clusters, &backend);
    let mut sozu = Sozu::builder().worker_timeout(10).start().unwrap();
    let mut daemon = flood(&sozu, clusters, &backend, bare);
    memory(&daemon, &sozu);
    one_change(&daemon, &sozu, &backend, "a Sōzu that holds all of them");
    idle(&daemon, clusters / PER_FILE);
    restoration(&mut sozu, clusters, bare);
    daemon.terminate().unwrap();
    let empty = Sozu::start().unwrap();
    let mut alone = Daemon::builder(BINARY, &empty).start().unwrap();
    alone.wait_ready(LONG).unwrap();
    one_change(&alone, &empty, &backend, "an empty Sōzu");
    alone.terminate().unwrap();
}

/// Sōzu's own time for one `LoadState` of all requests; the better of two.
fn bare_load(clusters: usize, backend: &Backend) -> Duration {
    let mut best = LONG;
    for _ in 0..2 {
        let sozu = Sozu::builder().worker_timeout(10).start().unwrap();
        let path = sozu.directory().join("all.json");
        write_state(&path, &requests(&sozu, clusters, backend));
        let began = Instant::now();
        let load = RequestType::LoadState(path.display().to_string());
        let answers = sozu.exchange(load).unwrap();
        best = best.min(began.elapsed());
        let last = answers.last().unwrap();
        assert_eq!(last.status, i32::from(ResponseStatus::Ok), "{last:?}");
    }
    println!(
        "bare LoadState: {best:.2?}, {:.0} requests/s",
        rate(clusters * 3, best)
    );
    best
}

fn flood(sozu: &Sozu, clusters: usize, backend: &Backend, bare: Duration) -> Daemon {
    let mut daemon = Daemon::builder(BINARY, sozu).prepare().unwrap();
    for file in 0..clusters / PER_FILE {
        let names = (0..PER_FILE).map(|n| format!("c{}", file * PER_FILE + n));
        let text: String = names
            .map(|name| {
                let host = format!("{name}.example");
                routes::http(&name, sozu.http_address(), &[&host], &[backend.address()])
            })
            .collect();
        routes::write(&daemon.routes(), &format!("f{file}.toml"), &text).unwrap();
    }
    let began = Instant::now();
    daemon.start().unwrap();
    let total = (clusters * 3) as f64;
    wait_until("the log has it", LONG, || {
        daemon.log().contains("The directory was declared.")
    });
    let prepared = began.elapsed();
    wait_until("every change is applied and on disk", LONG, || {
        daemon.metric("sozu_manager_changes_total", &[("verdict", "applied")]) == Some(total)
    });
    let took = began.elapsed().saturating_sub(prepared);
    println!("flood: read, compared and in the log after {prepared:.2?}");
    println!(
        "flood: from there all OK and on disk in {took:.2?}, {:.0} requests/s, {:.2} of a bare LoadState",
        rate(clusters * 3, took),
        bare.as_secs_f64() / took.as_secs_f64()
    );
    daemon.wait_ready(LONG).unwrap();
    daemon
}

fn restoration(sozu: &mut Sozu, clusters: usize, bare: Duration) {
    sozu.kill().unwrap();
    let began = Instant::now();
    sozu.start_again().unwrap();
    let last = format!("c{}.example", clusters - 1);
    wait_until(
        "everything is back",
        LONG,
        || matches!(get(sozu.http_port(), &last, "/"), Ok(answer) if answer.status == 200),
    );
    let took = began.elapsed();
    println!(
        "restoration: from Sōzu's start to the last route in {took:.2?}, {:.2} of a bare LoadState",
        took.as_secs_f64() / bare.as_secs_f64()
    );
}

/// From the end of the write of one small file to the first 200, and Sōzu's own time for the same
/// three requests, sent one after the other.
fn one_change(daemon: &Daemon, sozu: &Sozu, backend: &Backend, on: &str) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 0..30 {
        let name = format!("one{n}");
        let host = format!("{name}.example");
        let text = routes::http(&name, sozu.http_address(), &[&host], &[backend.address()]);
        routes::write(&daemon.routes(), &format!("{name}.toml"), &text).unwrap();
        let began = Instant::now();
        served(sozu, &host);
        ours.push(began.elapsed());
        let name = format!("bare{n}");
        let requests = route(&name, sozu, backend);
        let began = Instant::now();
        sozu.apply(requests).unwrap();
        served(sozu, &format!("{name}.example"));
        theirs.push(began.elapsed());
    }
    println!(
        "one changed file on {on}: write to 200, p50 {:.1?}, p99 {:.1?}; Sōzu's own, p50 {:.1?}, p99 {:.1?} (300 ms of ours is the wait for a quiet directory)",
        at(&mut ours, 50),
        at(&mut ours, 99),
        at(&mut theirs, 50),
        at(&mut theirs, 99)
    );
}

fn served(sozu: &Sozu, host: &str) {
    let until = Instant::now() + LONG;
    while !matches!(get(sozu.http_port(), host, "/"), Ok(answer) if answer.status == 200) {
        assert!(Instant::now() < until, "{host} is never served");
        std::thread::yield_now();
    }
}

fn memory(daemon: &Daemon, sozu: &Sozu) {
    let pid = daemon.pid().unwrap();
    let state: ConfigState = sozu.held().unwrap().state().unwrap();
    let before = resident(std::process::id().cast_signed());
    let copy = state.clone();
    let bare = resident(std::process::id().cast_signed()).saturating_sub(before);
    drop((state, copy));
    let ours = resident(pid);
    println!(
        "memory: {} MB resident, a bare ConfigState of the same {} MB, ratio {:.1}",
        ours >> 20,
        bare >> 20,
        ours as f64 / bare as f64
    );
}

fn idle(daemon: &Daemon, files: usize) {
    let pid = daemon.pid().unwrap();
    let span = Duration::from_secs(65);
    let (before, began) = (cpu_seconds(&pid.to_string()), Instant::now());
    std::thread::sleep(span);
    let share = (cpu_seconds(&pid.to_string()) - before) / began.elapsed().as_secs_f64();
    println!(
        "idle with {files} files: {:.2} % of a core over {span:?}",
        share * 100.0
    );
}

fn requests(sozu: &Sozu, clusters: usize, backend: &Backend) -> Vec<Request> {
    let routes: Vec<[Request; 3]> = (0..clusters)
        .map(|n| route(&format!("c{n}"), sozu, backend))
        .collect();
    let kind = |kind: usize| routes.iter().map(move |route| route[kind].clone());
    kind(0).chain(kind(1)).chain(kind(2)).collect()
}

fn route(name: &str, sozu: &Sozu, backend: &Backend) -> [Request; 3] {
    use sozu_command_lib::proto::command::{
        AddBackend, Cluster, PathRule, RequestHttpFrontend, RulePosition,
    };
    let cluster = Cluster {
        cluster_id: name.to_owned(),
        ..Cluster::default()
    };
    let add = AddBackend {
        cluster_id: name.to_owned(),
        backend_id: format!("{name}-0"),
        address: backend.address().into(),
        ..AddBackend::default()
    };
    let front = RequestHttpFrontend {
        cluster_id: Some(name.to_owned()),
        address: sozu.http_address().into(),
        hostname: format!("{name}.example"),
        path: PathRule::prefix("/"),
        position: RulePosition::Tree.into(),
        ..RequestHttpFrontend::default()
    };
    [
        RequestType::AddCluster(cluster).into(),
        RequestType::AddBackend(add).into(),
        RequestType::AddHttpFrontend(front).into(),
    ]
}

fn write_state(path: &Path, requests: &[Request]) {
    let mut file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    for (n, request) in requests.iter().enumerate() {
        let record = WorkerRequest {
            id: format!("SAVE-{n}"),
            content: request.clone(),
        };
        serde_json::to_writer(&mut file, &record).unwrap();
        file.write_all(b"\n\0").unwrap();
    }
    file.flush().unwrap();
}

fn rate(requests: usize, took: Duration) -> f64 {
    requests as f64 / took.as_secs_f64()
}

fn at(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

fn resident(pid: i32) -> u64 {
    let path = PathBuf::from(format!("/proc/{pid}/statm"));
    let text = fs::read_to_string(path).unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn cpu_seconds(pid: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks = |n: usize| fields[n].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}
