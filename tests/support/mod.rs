//! What the suites share: a Sōzu with a daemon beside it, route files, and what can be seen from outside.
//!
//! Nothing here looks into the daemon: it is judged by what Sōzu serves and holds, by its HTTP pages and by its log.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "each suite uses its part of it"
)]

mod audit;
mod journal;
pub mod open_files;
pub mod readers;
pub mod systemd;

use std::{collections::BTreeMap, fs, net::SocketAddr, time::Duration};

use sozu_command_lib::proto::command::{
    AddBackend, Cluster, LoadBalancingParams, PathRule, RequestHttpFrontend, RulePosition,
    SocketAddress, request::RequestType,
};
use testkit::{Backend, Daemon, SOON, Sozu, Tally, daemon::Builder, get, routes, wait_until};

#[allow(unused_imports, reason = "each suite uses its part of it")]
pub use audit::{Since, mutations_of};
#[allow(unused_imports, reason = "each suite uses its part of it")]
pub use journal::{Row, at_rest, journal, verdicts};

/// Within this what others changed is found, at `interval = "1s"`: reading takes at most a hundredth of Sōzu's time,
/// so that one read which a busy machine made slow puts the next one off.
pub const NEXT_READ: Duration = Duration::from_mins(1);

/// Settings of a daemon beside this Sōzu.
pub fn daemon(sozu: &Sozu) -> Builder {
    Daemon::builder(env!("CARGO_BIN_EXE_sozu-manager"), sozu)
}

/// A Sōzu and a daemon that is ready, with one empty routes directory.
pub fn sozu_and_daemon() -> (Sozu, Daemon) {
    let sozu = Sozu::start().unwrap();
    let mut daemon = daemon(&sozu).start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    (sozu, daemon)
}

/// The text of a route file: cluster `NAME` serves `NAME.example`.
pub fn route(sozu: &Sozu, name: &str, backend: &Backend) -> String {
    route_to(sozu, name, backend.address())
}

pub fn route_to(sozu: &Sozu, name: &str, backend: SocketAddr) -> String {
    routes::http(
        name,
        sozu.http_address(),
        &[&format!("{name}.example")],
        &[backend],
    )
}

/// Writes `NAME.toml` with [`route`].
pub fn write_route(daemon: &Daemon, sozu: &Sozu, name: &str, backend: &Backend) {
    let text = route(sozu, name, backend);
    routes::write(&daemon.routes(), &format!("{name}.toml"), &text).unwrap();
}

/// Removes `NAME.toml`.
pub fn remove_route(daemon: &Daemon, name: &str) {
    routes::remove(&daemon.routes(), &format!("{name}.toml")).unwrap();
}

/// What a request to a host brings: the status, and the body of a 200.
pub fn answer(sozu: &Sozu, host: &str) -> (u16, String) {
    match get(sozu.http_port(), host, "/") {
        Ok(answer) if answer.status == 200 => (200, answer.body),
        Ok(answer) => (answer.status, String::new()),
        Err(error) => (0, error.to_string()),
    }
}

/// Waits until a host is served by the backend with this body.
#[track_caller]
pub fn served(sozu: &Sozu, host: &str, body: &str) {
    served_within(SOON, sozu, host, body);
}

#[track_caller]
pub fn served_within(deadline: Duration, sozu: &Sozu, host: &str, body: &str) {
    let wanted = (200, body.to_owned());
    wait_until(&format!("{host} is served by {body}"), deadline, || {
        let seen = answer(sozu, host);
        if seen == wanted {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
}

/// Waits until no route serves a host.
#[track_caller]
pub fn not_found(sozu: &Sozu, host: &str) {
    wait_until(&format!("{host} is not found"), SOON, || {
        let (status, body) = answer(sozu, host);
        if status == 404 {
            Ok(())
        } else {
            Err(format!("{status} {body}"))
        }
    });
}

/// One route as a test expects it in Sōzu: cluster, host name, backend.
pub type Route = (String, String, SocketAddr);

/// The route that [`route`] writes.
pub fn as_held(name: &str, backend: SocketAddr) -> Route {
    (name.to_owned(), format!("{name}.example"), backend)
}

/// Whether Sōzu's main process holds these routes and not one object more.
pub fn holds_exactly(sozu: &Sozu, routes: &[Route]) -> Result<(), String> {
    let held = sozu.held().map_err(|error| error.to_string())?;
    let sorted = |mut all: Vec<_>| {
        all.sort();
        all
    };
    let mut clusters: Vec<_> = routes.iter().map(|(cluster, ..)| cluster.clone()).collect();
    clusters.sort();
    let frontends = sorted(
        routes
            .iter()
            .map(|(cluster, host, _)| (host.clone(), cluster.clone()))
            .collect(),
    );
    let backends = sorted(
        routes
            .iter()
            .map(|(cluster, _, backend)| (cluster.clone(), backend.to_string()))
            .collect(),
    );
    same("clusters", &held.clusters(), &clusters)?;
    same("frontends", &held.frontends(), &frontends)?;
    same("backends", &held.backends(), &backends)
}

/// Says what is missing and what is too much, by name: a thousand equal lines help nobody.
fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    held: &[T],
    wanted: &[T],
) -> Result<(), String> {
    if held == wanted {
        return Ok(());
    }
    let missing: Vec<_> = wanted.iter().filter(|it| !held.contains(it)).collect();
    let extra: Vec<_> = held.iter().filter(|it| !wanted.contains(it)).collect();
    Err(format!(
        "{} {what} of {}; missing: {missing:?}; too much: {extra:?}",
        held.len(),
        wanted.len()
    ))
}

/// The same route as requests, for a test that speaks with Sōzu behind the daemon's back.
pub fn requests(
    sozu: &Sozu,
    cluster: &str,
    hostname: &str,
    backend: SocketAddr,
) -> [RequestType; 3] {
    [
        RequestType::AddCluster(self::cluster(cluster)),
        RequestType::AddBackend(AddBackend {
            cluster_id: cluster.to_owned(),
            backend_id: format!("{cluster}-by-hand"),
            address: SocketAddress::from(backend),
            load_balancing_parameters: Some(LoadBalancingParams::default()),
            ..AddBackend::default()
        }),
        RequestType::AddHttpFrontend(frontend(sozu, cluster, hostname)),
    ]
}

/// A cluster of that name.
pub fn cluster(name: &str) -> Cluster {
    Cluster {
        cluster_id: name.to_owned(),
        ..Cluster::default()
    }
}

pub fn frontend(sozu: &Sozu, cluster: &str, hostname: &str) -> RequestHttpFrontend {
    RequestHttpFrontend {
        cluster_id: Some(cluster.to_owned()),
        address: SocketAddress::from(sozu.http_address()),
        hostname: hostname.to_owned(),
        path: PathRule::prefix(String::new()),
        position: RulePosition::Tree.into(),
        ..RequestHttpFrontend::default()
    }
}

/// What is wrong with a component, in `/health`; empty if nothing is.
pub fn error_of(daemon: &Daemon, component: &str) -> String {
    let component = daemon.component(component).unwrap();
    component["error"].as_str().unwrap_or_default().to_owned()
}

/// Waits until `/health` says all these words of the routes directory, and gives the whole text.
#[track_caller]
pub fn told(daemon: &Daemon, words: &[&str]) -> String {
    told_of(daemon, "routes.local", words)
}

#[track_caller]
pub fn told_of(daemon: &Daemon, component: &str, words: &[&str]) -> String {
    wait_until(
        &format!("{words:?} of {component} in /health"),
        SOON,
        || {
            let seen = daemon
                .component(component)
                .map_err(|error| error.to_string())?;
            let error = seen["error"].as_str().unwrap_or_default().to_owned();
            if words.iter().all(|word| error.contains(word)) {
                Ok(error)
            } else {
                Err(error)
            }
        },
    )
}

/// Waits until `/health` has nothing to say against anything.
#[track_caller]
pub fn all_well(daemon: &Daemon) {
    wait_until("status ok in /health", SOON, || {
        let health = daemon.health().map_err(|error| error.to_string())?;
        if health["status"] == "ok" {
            Ok(())
        } else {
            Err(health.to_string())
        }
    });
}

/// How many answers had this status, whatever their body.
pub fn with_status(tally: &Tally, status: u16) -> u64 {
    let answers = tally.answers.iter();
    answers
        .filter(|((seen, _), _)| *seen == status)
        .map(|(_, count)| count)
        .sum()
}

/// Waits until `/metrics` says this of Sōzu; scrapes within a second share an answer.
#[track_caller]
pub fn sozu_up(daemon: &Daemon, up: f64) {
    wait_until(&format!("sozu_up {up}"), SOON, || {
        daemon.metric("sozu_up", &[]) == Some(up)
    });
}

/// The files in the exchange directory, without our lock.
pub fn exchanged(daemon: &Daemon) -> Vec<String> {
    let entries = fs::read_dir(daemon.exchange_directory()).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".lock")
        .collect()
}

/// Which lives ended so far without having been asked to: the labels (component and reason) → how often.
pub fn restarts(daemon: &Daemon) -> Result<BTreeMap<String, u64>, String> {
    const NAME: &str = "sozu_manager_component_restarts_total";
    let text = daemon.metrics().map_err(|error| error.to_string())?;
    let series = text.lines().filter_map(|line| line.strip_prefix(NAME));
    Ok(series
        .filter_map(|line| {
            let (labels, count) = line.rsplit_once(' ')?;
            let count: u64 = count.parse().ok()?;
            (count > 0).then(|| (labels.to_owned(), count))
        })
        .collect())
}

/// That, once, and nothing else.
pub fn once(component: &str, reason: &str) -> BTreeMap<String, u64> {
    let labels = format!("{{component=\"{component}\",reason=\"{reason}\"}}");
    BTreeMap::from([(labels, 1)])
}

/// How often a test of crashes repeats: more when `make test-long` asks for it.
pub fn rounds(short: usize, long: usize) -> usize {
    match std::env::var_os("SOZU_MANAGER_LONG") {
        Some(_) => long,
        None => short,
    }
}

/// How many certificates Sōzu's main process holds.
pub fn certificates_held(sozu: &Sozu) -> usize {
    let held = sozu.held().unwrap();
    let is_certificate = |request: &&sozu_command_lib::proto::command::Request| {
        matches!(request.request_type, Some(RequestType::AddCertificate(_)))
    };
    held.requests.iter().filter(is_certificate).count()
}
