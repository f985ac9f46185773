//! What an answer means, provoked on the real Sōzu: each time, at rest, its main process holds what is wanted, each
//! change has its one true verdict, none was refused for a trouble that passed, and the next change flows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/bus.rs"]
mod bus;
mod support;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actors::state_keeper::events::Settings;
use bus::{Host, Topic};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sozu_command_lib::proto::command::{Request, ResponseStatus, request::RequestType};
use support::{
    Row, all_well, answer, at_rest, daemon, frontend, requests, rounds, route, served,
    sozu_and_daemon, told, verdicts, write_route,
};
use testkit::{Backend, Fate, SOON, Sozu, Tap, routes, wait_until};

/// A trouble takes Sōzu's deadlines and ours, some of them several times.
const LONG: Duration = Duration::from_mins(1);

/// A Sōzu, and a bus that has brought cluster `a` and is at rest.
struct Scene {
    sozu: Sozu,
    host: Host,
    topic: Topic,
    next: usize,
}

impl Scene {
    fn begin() -> Self {
        let sozu = Sozu::start().unwrap();
        let host = Host::start(&sozu, &["platform"]);
        Self::with(sozu, host)
    }

    fn behind(tap: &Tap, sozu: Sozu) -> Self {
        let mut host = Host::prepare(&sozu, tap.socket(), &["platform"]);
        host.start_again();
        Self::with(sozu, host)
    }

    fn with(sozu: Sozu, host: Host) -> Self {
        let mut topic = Topic::new("platform");
        host.subscribe(&topic);
        host.publish(&mut topic, route_of(&sozu, "a"), SOON);
        Self {
            sozu,
            host,
            topic,
            next: 0,
        }
    }

    /// Publishes and hands over; what becomes of it is for [`Scene::rests`].
    fn publish<R: Into<Request>>(&mut self, requests: impl IntoIterator<Item = R>) {
        self.topic.publish(requests);
        self.host.consume(&self.topic);
    }

    /// Each change has a verdict: those after the first three, in order.
    #[track_caller]
    fn rests(&mut self) -> Vec<Row> {
        self.host.settled(&mut self.topic, LONG);
        let rows = at_rest(
            &self.host.state_directory(),
            self.topic.messages.len(),
            SOON,
        );
        assert_eq!(
            rows.len(),
            self.topic.messages.len(),
            "one row for each change"
        );
        rows[3..].to_vec()
    }

    #[track_caller]
    fn holds(&self, frontends: &[(&str, &str)]) {
        let mut wanted: Vec<_> = [("a.example", "a")]
            .iter()
            .chain(frontends)
            .map(|(hostname, cluster)| ((*hostname).to_owned(), (*cluster).to_owned()))
            .collect();
        wanted.sort();
        assert_eq!(self.sozu.held().unwrap().frontends(), wanted);
    }

    /// The next change flows.
    #[track_caller]
    fn flows(&mut self) {
        self.next += 1;
        let name = format!("next{}", self.next);
        let before = self.topic.messages.len();
        self.publish(route_of(&self.sozu, &name));
        let rows = self.rests();
        assert_eq!(verdicts(&rows[before - 3..]), [("applied", 3)].into());
        let hostname = format!("{name}.example");
        assert!(self.sozu.held().unwrap().hostnames().contains(&hostname));
    }
}

fn route_of(sozu: &Sozu, name: &str) -> [RequestType; 3] {
    let backend = "127.0.0.1:9".parse().unwrap();
    requests(sozu, name, &format!("{name}.example"), backend)
}

fn front(sozu: &Sozu, cluster: &str, hostname: &str) -> RequestType {
    RequestType::AddHttpFrontend(frontend(sozu, cluster, hostname))
}

fn names(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(Row::verdict).collect()
}

fn is_frontend(request: &Request, hostname: &str) -> bool {
    matches!(&request.request_type, Some(RequestType::AddHttpFrontend(front)) if front.hostname == hostname)
}

fn is_bulk(request: &Request) -> bool {
    matches!(request.request_type, Some(RequestType::LoadState(_)))
}

/// Lets the first `times` requests of this kind meet this fate.
fn first_times(
    tap: &Tap,
    times: usize,
    fate: Fate,
    is_meant: impl Fn(&Request) -> bool + Send + 'static,
) -> Arc<AtomicUsize> {
    let met = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&met);
    tap.rule(move |request| {
        if is_meant(request) && seen.fetch_add(1, Ordering::Relaxed) < times {
            fate
        } else {
            Fate::Pass
        }
    });
    met
}

#[test]
fn a_host_name_that_only_the_main_process_refuses_alone() {
    let mut scene = Scene::begin();
    let bad = front(&scene.sozu, "a", "a.example/");
    scene.publish([bad]);
    let rows = scene.rests();
    assert_eq!(names(&rows), ["refused"]);
    assert!(
        rows[0].reason().contains("Could not add route"),
        "{:?}",
        rows[0]
    );
    scene.holds(&[]);
    scene.flows();
}

#[test]
fn a_host_name_that_only_the_main_process_refuses_in_the_middle_of_a_bulk() {
    let mut scene = Scene::begin();
    let mut changes: Vec<RequestType> = Vec::new();
    for n in 0..100 {
        changes.extend(route_of(&scene.sozu, &format!("b{n}")));
    }
    changes.insert(150, front(&scene.sozu, "a", "a.example/"));
    scene.publish(changes);
    let rows = scene.rests();
    assert_eq!(verdicts(&rows), [("applied", 300), ("refused", 1)].into());
    assert_eq!(rows[150].verdict(), "refused");
    assert_eq!(scene.sozu.held().unwrap().hostnames().len(), 101);
    scene.flows();
}

/// The second one comes while the first is on its way to Sōzu.
#[test]
fn a_host_name_that_is_refused_twice_in_two_batches_that_overlap() {
    let sozu = Sozu::start().unwrap();
    let tap = Tap::before(&sozu).unwrap();
    let mut scene = Scene::behind(&tap, sozu);
    let (under_way, is_under_way) = std::sync::mpsc::channel();
    let (go, goes) = std::sync::mpsc::channel::<()>();
    let mut once = Some((under_way, goes));
    tap.rule(move |request| {
        if is_bulk(request)
            && let Some((under_way, goes)) = once.take()
        {
            under_way.send(()).unwrap();
            goes.recv().unwrap();
        }
        Fate::Pass
    });
    let (b, c) = (
        front(&scene.sozu, "a", "b.example"),
        front(&scene.sozu, "a", "c.example"),
    );
    let bad = front(&scene.sozu, "a", "a.example/");
    let other = front(&scene.sozu, "b", "a.example/");
    scene.publish([b, bad.clone()]);
    is_under_way.recv_timeout(SOON).unwrap();
    scene.publish([c, bad, other]);
    go.send(()).unwrap();
    let rows = scene.rests();
    assert_eq!(
        names(&rows),
        ["applied", "refused", "applied", "refused", "refused"]
    );
    scene.holds(&[("b.example", "a"), ("c.example", "a")]);
    scene.flows();
}

/// Somebody put another value there after Sōzu was read: it is taken over, alone and in a bulk.
#[test]
fn what_somebody_else_put_under_the_key_meanwhile_is_taken_over() {
    let mut scene = Scene::begin();
    let theirs =
        ["b.example", "c.example", "d.example"].map(|name| front(&scene.sozu, "theirs", name));
    scene.sozu.apply(theirs).unwrap();
    let change = front(&scene.sozu, "a", "b.example");
    scene.publish([change]);
    assert_eq!(names(&scene.rests()), ["taken_over"]);
    let changes = ["c.example", "d.example", "e.example"].map(|name| front(&scene.sozu, "a", name));
    scene.publish(changes);
    assert_eq!(
        names(&scene.rests()[1..]),
        ["taken_over", "taken_over", "applied"]
    );
    scene.holds(&[
        ("b.example", "a"),
        ("c.example", "a"),
        ("d.example", "a"),
        ("e.example", "a"),
    ]);
    scene.flows();
}

/// `Exists` is by itself never a refusal.
#[test]
fn what_somebody_else_put_there_with_the_same_value_is_adopted() {
    let mut scene = Scene::begin();
    let theirs = ["b.example", "c.example"].map(|name| front(&scene.sozu, "a", name));
    scene.sozu.apply(theirs).unwrap();
    let change = front(&scene.sozu, "a", "b.example");
    scene.publish([change]);
    assert_eq!(names(&scene.rests()), ["applied"]);
    let changes = ["c.example", "d.example"].map(|name| front(&scene.sozu, "a", name));
    scene.publish(changes);
    assert_eq!(names(&scene.rests()[1..]), ["applied", "applied"]);
    scene.holds(&[("b.example", "a"), ("c.example", "a"), ("d.example", "a")]);
    scene.flows();
}

/// A Sōzu that knows a verb less: its record in a file is unreadable, and alone it is an unknown request.
#[test]
fn a_verb_that_sozu_does_not_know_is_refused_and_takes_nobody_along() {
    let sozu = Sozu::start().unwrap();
    let tap = Tap::before(&sozu).unwrap();
    let mut scene = Scene::behind(&tap, sozu);
    tap.rule(|request| {
        if let Some(RequestType::LoadState(path)) = &request.request_type {
            let file = fs::read_to_string(path).unwrap();
            let records = file.split_inclusive('\0').map(|record| {
                if record.contains("new.example") {
                    record.replace("ADD_HTTP_FRONTEND", "ADD_FRONTEND_OF_TOMORROW")
                } else {
                    record.to_owned()
                }
            });
            fs::write(path, records.collect::<String>()).unwrap();
        }
        if is_frontend(request, "new.example") {
            request.request_type = None;
        }
        Fate::Pass
    });
    let changes =
        ["m.example", "new.example", "z.example"].map(|name| front(&scene.sozu, "a", name));
    scene.publish(changes);
    let rows = scene.rests();
    assert_eq!(names(&rows), ["applied", "refused", "applied"], "{rows:?}");
    scene.holds(&[("m.example", "a"), ("z.example", "a")]);
    scene.flows();
}

/// The deadline passes, the main process holds it, and the worker comes back.
#[test]
fn one_worker_is_stopped_under_a_single_change() {
    let mut scene = Scene::begin();
    scene.sozu.stop_one_worker().unwrap();
    let change = front(&scene.sozu, "a", "b.example");
    scene.publish([change]);
    // A silent worker holds up no receipt.
    assert_eq!(names(&scene.rests()), ["applied"]);
    scene.holds(&[("b.example", "a")]);
    scene.sozu.continue_workers().unwrap();
    scene.flows();
}

#[test]
fn one_worker_is_stopped_under_a_bulk() {
    let mut scene = Scene::begin();
    scene.sozu.stop_one_worker().unwrap();
    let changes = (0..30).flat_map(|n| route_of(&scene.sozu, &format!("b{n}")));
    let changes: Vec<_> = changes.collect();
    scene.publish(changes);
    let rows = scene.rests();
    assert_eq!(verdicts(&rows), [("applied", 90)].into());
    assert_eq!(scene.sozu.held().unwrap().hostnames().len(), 31);
    scene.sozu.continue_workers().unwrap();
    scene.flows();
}

#[test]
fn a_worker_is_killed_during_a_bulk() {
    let mut scene = Scene::begin();
    let count = rounds(20_000, 60_000) / 3;
    let changes = (0..count).flat_map(|n| route_of(&scene.sozu, &format!("b{n}")));
    let changes: Vec<_> = changes.collect();
    let worker = scene.sozu.worker_pids()[0];
    scene.publish(changes);
    // Sōzu has begun to load, and is not through with it.
    wait_until("Sōzu loads", SOON, || {
        scene.sozu.log().contains("loading state at path")
    });
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    let rows = scene.rests();
    assert_eq!(verdicts(&rows), [("applied", 3 * count)].into());
    assert_eq!(scene.sozu.held().unwrap().hostnames().len(), count + 1);
    scene.flows();
}

/// Sōzu got the request, and the connection ends before its answer.
#[test]
fn the_socket_is_cut_in_the_middle() {
    let sozu = Sozu::start().unwrap();
    let tap = Tap::before(&sozu).unwrap();
    let mut scene = Scene::behind(&tap, sozu);
    let met = first_times(&tap, 1, Fate::Cut, |request| {
        is_frontend(request, "b.example")
    });
    let change = front(&scene.sozu, "a", "b.example");
    scene.publish([change]);
    assert_eq!(names(&scene.rests()), ["applied"]);
    assert_eq!(met.load(Ordering::Relaxed), 1, "a read proves a frontend");

    first_times(&tap, 1, Fate::Cut, is_bulk);
    let changes = route_of(&scene.sozu, "c");
    scene.publish(changes);
    assert_eq!(names(&scene.rests()[1..]), ["applied"; 3]);
    scene.holds(&[("b.example", "a"), ("c.example", "c")]);
    scene.flows();
}

/// Our deadline passes: once Sōzu has it, once it has not.
#[test]
fn a_request_is_never_answered() {
    let sozu = Sozu::start().unwrap();
    let tap = Tap::before(&sozu).unwrap();
    let mut scene = Scene::behind(&tap, sozu);
    first_times(&tap, 1, Fate::Mute, |request| {
        is_frontend(request, "b.example")
    });
    let change = front(&scene.sozu, "a", "b.example");
    scene.publish([change]);
    assert_eq!(names(&scene.rests()), ["applied"]);
    first_times(&tap, 1, Fate::Swallow, |request| {
        is_frontend(request, "c.example")
    });
    let change = front(&scene.sozu, "a", "c.example");
    scene.publish([change]);
    assert_eq!(names(&scene.rests()[1..]), ["applied"]);
    scene.holds(&[("b.example", "a"), ("c.example", "a")]);
    scene.flows();
}

/// Sōzu answers all else, but never this one: it is told, and not tried for ever.
#[test]
fn a_request_that_is_never_answered_however_often_it_is_sent_is_refused() {
    let sozu = Sozu::start().unwrap();
    let tap = Tap::before(&sozu).unwrap();
    let mut scene = Scene::behind(&tap, sozu);
    let met = first_times(&tap, usize::MAX, Fate::Swallow, |request| {
        is_frontend(request, "b.example")
    });
    let change = front(&scene.sozu, "a", "b.example");
    scene.publish([change]);
    let rows = scene.rests();
    assert_eq!(names(&rows), ["refused"]);
    assert!(rows[0].reason().contains("no answer"), "{:?}", rows[0]);
    assert_eq!(met.load(Ordering::Relaxed), 3);
    scene.holds(&[]);
    scene.flows();
}

/// Sōzu would close the connection without a word: it is not asked.
#[test]
fn a_request_above_the_frame_limit_is_refused_and_takes_nobody_along() {
    let mut scene = Scene::begin();
    let mut large = frontend(&scene.sozu, "a", "large.example");
    large.tags.insert("note".to_owned(), "x".repeat(2_000_000));
    let [b, c] = ["b.example", "c.example"].map(|name| front(&scene.sozu, "a", name));
    scene.publish([b, RequestType::AddHttpFrontend(large), c]);
    let rows = scene.rests();
    assert_eq!(names(&rows), ["applied", "refused", "applied"]);
    assert!(
        rows[1].reason().contains("max_request_bytes"),
        "{}",
        rows[1].reason()
    );
    scene.holds(&[("b.example", "a"), ("c.example", "a")]);
    scene.flows();
}

/// The main process takes the frontend back, the workers wake and apply it: a route that it knows nothing of.
#[test]
fn all_workers_are_stopped_under_a_change_and_the_difference_is_told() {
    let mut scene = Scene::begin();
    scene.sozu.stop_workers().unwrap();
    let change = front(&scene.sozu, "a", "b.example");
    scene.publish([change]);
    wait_until("Sōzu's main process takes it back", LONG, || {
        scene.sozu.log().contains("b.example")
            && !scene
                .sozu
                .held()
                .unwrap()
                .hostnames()
                .contains(&"b.example".to_owned())
    });
    scene.sozu.continue_workers().unwrap();
    let rows = scene.rests();
    assert_eq!(names(&rows), ["divergent"], "{rows:?}");
    assert_eq!(
        answer(&scene.sozu, "b.example").0,
        503,
        "a phantom route to a backend that is away"
    );
    let report = scene.host.report();
    assert_eq!(
        report.drift.values().sum::<usize>(),
        1,
        "{:?}",
        report.drift
    );
    scene.holds(&[]);
    scene.flows();
}

/// The same from a directory: one listing in which one name is refused, one request is too large, and one key is
/// somebody else's; the other files go on.
#[test]
fn of_a_listing_what_can_be_applied_is_applied() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    sozu.apply([front(&sozu, "theirs", "r7.example")]).unwrap();
    let hidden = daemon.directory().join("hidden");
    fs::create_dir(&hidden).unwrap();
    for n in 0..20 {
        let name = format!("r{n}");
        routes::write(
            &hidden,
            &format!("{name}.toml"),
            &route(&sozu, &name, &backend),
        )
        .unwrap();
    }
    let listener = sozu.http_address();
    let bad = routes::http("bad", listener, &["a.example/"], &[backend.address()]);
    routes::write(&hidden, "bad.toml", &bad).unwrap();
    let large = routes::http(
        "large",
        listener,
        &[&"x".repeat(2_000_000)],
        &[backend.address()],
    );
    routes::write(&hidden, "large.toml", &large).unwrap();
    // All at once: the directory is put in the place of the empty one.
    fs::remove_dir(daemon.routes()).unwrap();
    fs::rename(&hidden, daemon.routes()).unwrap();

    for n in 0..20 {
        served(&sozu, &format!("r{n}.example"), "A");
    }
    told(&daemon, &["a.example/", "max_request_bytes"]);
    let rows = at_rest(&daemon.state_directory(), 66, LONG);
    assert_eq!(rows.len(), 66, "each once: {:?}", verdicts(&rows));
    assert_eq!(
        verdicts(&rows),
        [("applied", 63), ("refused", 2), ("taken_over", 1)].into()
    );
    for row in &rows {
        let wanted = match row {
            row if row.is_about("a.example/") || row.is_about("xxxx") => "refused",
            row if row.is_about("r7.example") => "taken_over",
            _ => "applied",
        };
        assert_eq!(row.verdict(), wanted, "{:.200}", format!("{row:?}"));
    }
    write_route(&daemon, &sozu, "next", &backend);
    served(&sozu, "next.example", "A");
    for name in ["bad.toml", "large.toml"] {
        routes::remove(&daemon.routes(), name).unwrap();
    }
    all_well(&daemon);
}

/// A worker that is silent under a single file and under many: told as such, and nothing is refused for it.
#[test]
fn a_worker_is_stopped_under_the_files_of_a_directory() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    sozu.stop_one_worker().unwrap();
    for name in ["one", "two", "three"] {
        write_route(&daemon, &sozu, name, &backend);
    }
    let rows = at_rest(&daemon.state_directory(), 9, LONG);
    assert_eq!(verdicts(&rows), [("applied", 9)].into());
    sozu.continue_workers().unwrap();
    write_route(&daemon, &sozu, "next", &backend);
    for name in ["one", "two", "three", "next"] {
        served(&sozu, &format!("{name}.example"), "A");
    }
    at_rest(&daemon.state_directory(), 12, LONG);
    wait_until("all is well", LONG, || {
        daemon.health().is_ok_and(|health| health["status"] == "ok")
    });
}

/// The connection breaks under a listing, then Sōzu's answer to one is kept back.
#[test]
fn the_socket_fails_under_the_files_of_a_directory() {
    let sozu = Sozu::start().unwrap();
    let tap = Tap::before(&sozu).unwrap();
    let socket = tap.socket().display().to_string();
    let mut daemon = daemon(&sozu)
        .env("SOZU_MANAGER__SOZU__COMMAND_SOCKET", &socket)
        .start()
        .unwrap();
    daemon.wait_ready(SOON).unwrap();
    let backend = Backend::start("A").unwrap();
    for (n, fate) in [Fate::Cut, Fate::Mute, Fate::Swallow]
        .into_iter()
        .enumerate()
    {
        let met = first_times(&tap, 1, fate, is_bulk);
        write_route(&daemon, &sozu, &format!("r{n}"), &backend);
        let rows = at_rest(&daemon.state_directory(), 3 * (n + 1), LONG);
        assert_eq!(verdicts(&rows), [("applied", 3 * (n + 1))].into());
        assert!(met.load(Ordering::Relaxed) > 0, "it met {fate:?}");
        served(&sozu, &format!("r{n}.example"), "A");
    }
    all_well(&daemon);
}

/// The same in bulk: frontends are told as divergent, what the main process keeps is applied.
#[test]
fn all_workers_are_stopped_under_a_bulk_and_the_difference_is_told() {
    let mut scene = Scene::begin();
    scene.sozu.stop_workers().unwrap();
    let changes = ["b", "c"].map(|name| route_of(&scene.sozu, name));
    scene.publish(changes.into_iter().flatten());
    wait_until(
        "Sōzu's main process takes the frontends back",
        LONG,
        || {
            let held = scene.sozu.held().unwrap();
            held.clusters().len() == 3 && held.hostnames().len() == 1
        },
    );
    scene.sozu.continue_workers().unwrap();
    let rows = scene.rests();
    for row in &rows {
        let wanted = match row.kind.as_deref() {
            Some("http_frontend") => "divergent",
            _ => "applied",
        };
        assert_eq!(row.verdict(), wanted, "{row:?}");
    }
    scene.holds(&[]);
    scene.flows();
}

/// All workers have a route of which their main process knows nothing.
fn divergent(change: impl FnOnce(&mut Settings)) -> (Scene, Vec<i32>) {
    let sozu = Sozu::start().unwrap();
    let mut host = Host::prepare(&sozu, sozu.command_socket(), &["platform"]);
    host.settings(change);
    host.start_again();
    let mut scene = Scene::with(sozu, host);
    let workers = scene.sozu.worker_pids();
    scene.sozu.stop_workers().unwrap();
    let change = front(&scene.sozu, "a", "b.example");
    scene.publish([change]);
    wait_until("Sōzu's main process takes it back", LONG, || {
        let held = scene.sozu.held().unwrap();
        scene.sozu.log().contains("b.example") && held.hostnames() == ["a.example"]
    });
    scene.sozu.continue_workers().unwrap();
    let rows = scene.rests();
    assert_eq!(names(&rows), ["divergent"], "{rows:?}");
    (scene, workers)
}

#[track_caller]
fn is_cured(scene: &Scene, before: &[i32]) {
    wait_until("the workers are new, and it is held", LONG, || {
        let workers = scene.sozu.worker_pids();
        let are_new = workers.len() == 2 && workers.iter().all(|pid| !before.contains(pid));
        let hostnames = scene.sozu.held().unwrap().hostnames();
        let is_told = scene.host.report().drift.is_empty();
        if are_new && is_told && hostnames == ["a.example", "b.example"] {
            Ok(())
        } else {
            Err(format!("{workers:?} after {before:?}, {hostnames:?}"))
        }
    });
}

fn upgrades(sozu: &Sozu) -> usize {
    let log = sozu.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("verb=worker_upgraded"));
    lines.count()
}

/// They are replaced one by one, each once, and what was missing is sent again.
#[test]
fn workers_that_differ_are_replaced_and_what_was_missing_is_sent_again() {
    let (mut scene, before) = divergent(|settings| settings.upgrade_workers = true);
    is_cured(&scene, &before);
    scene.flows();
    assert_eq!(upgrades(&scene.sozu), 2);
}

/// Unless it is asked to, the daemon replaces none; after an operator has, it sends what was missing.
#[test]
fn what_was_missing_is_sent_again_after_an_operator_has_replaced_the_workers() {
    let (mut scene, before) = divergent(|settings| settings.interval = Duration::from_secs(1));
    scene.flows();
    assert_eq!(upgrades(&scene.sozu), 0);
    for worker in [0, 1] {
        let upgraded = scene.sozu.request(RequestType::UpgradeWorker(worker));
        assert_eq!(upgraded.unwrap().status, ResponseStatus::Ok as i32);
    }
    wait_until("it is held", LONG, || {
        scene
            .sozu
            .held()
            .unwrap()
            .hostnames()
            .contains(&"b.example".to_owned())
    });
    let after = scene.sozu.worker_pids();
    assert!(after.iter().all(|pid| !before.contains(pid)), "{after:?}");
    scene.flows();
}
