//! What every measurement stands on: route files, requests, the database, the processes' figures.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags};
use sozu_command_lib::proto::command::{
    AddBackend, Cluster, PathRule, Request, RequestHttpFrontend, RulePosition, WorkerRequest,
    request::RequestType,
};
use testkit::{Daemon, Sozu, routes};

pub(crate) const LONG: Duration = Duration::from_mins(10);
/// Of the directory that a large Sōzu is filled from.
pub(crate) const FILES: usize = 10_000;
const BINARY: &str = env!("CARGO_BIN_EXE_sozu-manager");

/// A size from the environment.
pub(crate) fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

pub(crate) fn say_machine() {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo");
    let model = model.lines().find(|line| line.starts_with("model name"));
    println!(
        "{} × {}; Linux {}load {}",
        std::thread::available_parallelism().unwrap(),
        model
            .and_then(|line| line.split(": ").nth(1))
            .unwrap_or("?"),
        read("/proc/sys/kernel/osrelease"),
        read("/proc/loadavg")
    );
}

pub(crate) fn sozu() -> Sozu {
    Sozu::builder().worker_timeout(10).start().unwrap()
}

/// The daemon and its directory of [`FILES`] files with so many clusters; it does not run yet.
pub(crate) fn prepared(sozu: &Sozu, socket: &Path, clusters: usize) -> Daemon {
    let daemon = Daemon::builder(BINARY, sozu)
        .env(
            "SOZU_MANAGER__SOZU__COMMAND_SOCKET",
            &socket.display().to_string(),
        )
        .prepare()
        .unwrap();
    for file in 0..FILES {
        let names = (file * clusters / FILES)..((file + 1) * clusters / FILES);
        let mut text = "# Routes.\n".to_owned();
        for name in names.map(|n| format!("c{n}")) {
            let host = format!("{name}.example");
            text += &routes::http(&name, sozu.http_address(), &[&host], &[backend()]);
        }
        fs::write(daemon.routes().join(format!("f{file}.toml")), text).unwrap();
    }
    daemon
}

/// A daemon that has filled its Sōzu, and is at rest.
pub(crate) fn full(clusters: usize) -> (Daemon, Sozu) {
    let sozu = sozu();
    let mut daemon = prepared(&sozu, &sozu.command_socket(), clusters);
    daemon.start().unwrap();
    daemon.wait_ready(LONG).unwrap();
    when(final_on_disk(&daemon.state_directory(), clusters * 3));
    (daemon, sozu)
}

/// Where nobody listens: nothing is sent through the routes of a flood.
fn backend() -> SocketAddr {
    ([127, 0, 0, 1], 9).into()
}

/// Tells whether the journal on disk has so many changes, each with its verdict.
pub(crate) fn final_on_disk(state_directory: &Path, changes: usize) -> impl FnMut() -> bool {
    let path = state_directory.join("state.db");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = None;
    move || {
        if connection.is_none() {
            connection = Connection::open_with_flags(&path, flags).ok();
        }
        let one = |sql: &str| -> Option<usize> {
            let mut statement = connection.as_ref()?.prepare_cached(sql).ok()?;
            statement.query_row([], |row| row.get(0)).ok()
        };
        one("SELECT max(seq) FROM journal") >= Some(changes)
            && one("SELECT seq FROM journal WHERE verdict IS NULL LIMIT 1").is_none()
    }
}

/// Waits without taking much from those who work.
pub(crate) fn when(mut is_so: impl FnMut() -> bool) -> Instant {
    let until = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < until, "it never comes");
        std::thread::sleep(Duration::from_millis(10));
    }
    Instant::now()
}

/// The requests that add so many clusters, each with its frontend and backend.
pub(crate) fn requests(sozu: &Sozu, clusters: usize) -> Vec<Request> {
    let names: Vec<String> = (0..clusters).map(|n| format!("c{n}")).collect();
    let add_cluster = names.iter().map(|name| {
        RequestType::AddCluster(Cluster {
            cluster_id: name.clone(),
            ..Cluster::default()
        })
    });
    let add_backend = names.iter().map(|name| {
        RequestType::AddBackend(AddBackend {
            cluster_id: name.clone(),
            backend_id: format!("{name}-0"),
            address: backend().into(),
            ..AddBackend::default()
        })
    });
    let fronts = names
        .iter()
        .map(|name| frontend(name, &format!("{name}.example"), sozu));
    add_cluster
        .chain(add_backend)
        .chain(fronts)
        .map(Request::from)
        .collect()
}

pub(crate) fn frontend(cluster: &str, hostname: &str, sozu: &Sozu) -> RequestType {
    RequestType::AddHttpFrontend(RequestHttpFrontend {
        cluster_id: Some(cluster.to_owned()),
        address: sozu.http_address().into(),
        hostname: hostname.to_owned(),
        path: PathRule::prefix("/"),
        position: RulePosition::Tree.into(),
        ..RequestHttpFrontend::default()
    })
}

/// Writes requests as Sōzu's `LoadState` reads them.
pub(crate) fn write_state(path: &Path, requests: &[Request]) {
    let mut file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    for (n, request) in requests.iter().enumerate() {
        let record = WorkerRequest::new(format!("SAVE-{n}"), request.clone());
        serde_json::to_writer(&mut file, &record).unwrap();
        file.write_all(b"\n\0").unwrap();
    }
    file.flush().unwrap();
}

/// Resident memory in bytes.
pub(crate) fn resident(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    text.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}

/// CPU time so far, in seconds.
pub(crate) fn cpu(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = text.rsplit(')').next().unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |n: usize| fields[n].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

pub(crate) fn cpu_of_workers(sozu: &Sozu) -> f64 {
    sozu.worker_pids().into_iter().map(cpu).sum()
}
