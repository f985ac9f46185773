//! Killed between every two steps: before each effect of the keeper and after each, under the change of a bus and of a
//! directory, one request and many, while Sōzu lives and while it is started empty meanwhile.
//!
//! Needs the feature `failpoints`: `cargo test --features failpoints --test killed`. A bus has its keeper in a process of
//! its own: this test's binary once more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/bus.rs"]
mod bus;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use bus::{Host, Topic, position};
use prost::Message;
use sozu_command_lib::proto::command::{Cluster, Request, request::RequestType};
use support::{Row, frontend, journal, requests, route_to};
use tempfile::TempDir;
use testkit::{Daemon, SOON, Sozu, routes, wait_until};

const LONG: Duration = Duration::from_mins(1);
/// Where a bus's process finds its directory and Sōzu's socket.
const GROUND: &str = "A_BUS_IN_ITS_OWN_PROCESS";
const SOCKET: &str = "A_BUS_AND_ITS_SOCKET";

#[derive(Clone, Copy, PartialEq)]
enum Size {
    One,
    Many,
}

#[derive(Clone, Copy, PartialEq)]
enum Meanwhile {
    Alive,
    StartedEmpty,
}

#[test]
fn a_directory_with_one_request() {
    Story::<Files>::begin(Size::One, Meanwhile::Alive).run();
}

#[test]
fn a_directory_with_many_requests() {
    Story::<Files>::begin(Size::Many, Meanwhile::Alive).run();
}

#[test]
fn a_directory_with_one_request_and_sozu_starts_empty() {
    Story::<Files>::begin(Size::One, Meanwhile::StartedEmpty).run();
}

#[test]
fn a_directory_with_many_requests_and_sozu_starts_empty() {
    Story::<Files>::begin(Size::Many, Meanwhile::StartedEmpty).run();
}

#[test]
fn a_bus_with_one_request() {
    Story::<Bus>::begin(Size::One, Meanwhile::Alive).run();
}

#[test]
fn a_bus_with_many_requests() {
    Story::<Bus>::begin(Size::Many, Meanwhile::Alive).run();
}

#[test]
fn a_bus_with_one_request_and_sozu_starts_empty() {
    Story::<Bus>::begin(Size::One, Meanwhile::StartedEmpty).run();
}

#[test]
fn a_bus_with_many_requests_and_sozu_starts_empty() {
    Story::<Bus>::begin(Size::Many, Meanwhile::StartedEmpty).run();
}

/// A source with the daemon that it speaks to.
trait Source {
    fn begin(sozu: &Sozu) -> Self;
    fn state_directory(&self) -> PathBuf;
    /// Says something of its own in this round.
    fn says(&mut self, sozu: &Sozu, size: Size, round: usize);
    /// Lives until all of it is settled, or until `failpoints` end it. Whether they did.
    fn lives(&mut self, sozu: &Sozu, failpoints: &str) -> bool;
    /// The verdict that this row of the journal has to have at the end.
    fn expects(&self, row: &Row) -> &'static str;
    /// The rows that the journal has to have.
    fn has_rows(&self, rows: &[Row]);
    /// What Sōzu has to hold: host name and cluster, and the clusters.
    fn wants(&self) -> (BTreeMap<String, String>, BTreeMap<String, bool>);
}

struct Story<S> {
    sozu: Sozu,
    source: S,
    size: Size,
    meanwhile: Meanwhile,
    /// Verdicts as they were once on disk.
    final_ones: BTreeMap<i64, String>,
}

impl<S: Source> Story<S> {
    fn begin(size: Size, meanwhile: Meanwhile) -> Self {
        let sozu = Sozu::start().unwrap();
        let source = S::begin(&sozu);
        Self {
            sozu,
            source,
            size,
            meanwhile,
            final_ones: BTreeMap::new(),
        }
    }

    /// Dies at the first step, then at the second, …, until it lives.
    fn run(mut self) {
        self.source.says(&self.sozu, Size::Many, 0);
        assert!(!self.source.lives(&self.sozu, ""));
        self.rests(0);
        for step in 0.. {
            let round = step + 1;
            self.source.says(&self.sozu, self.size, round);
            let failpoints = format!("state_keeper::step={step}*off->return");
            let died = self.source.lives(&self.sozu, &failpoints);
            self.look(round);
            if died {
                if self.meanwhile == Meanwhile::StartedEmpty {
                    self.sozu.kill().unwrap();
                    self.sozu.start_again().unwrap();
                }
                assert!(!self.source.lives(&self.sozu, ""));
            }
            self.rests(round);
            if !died {
                assert!(step > 10, "it died at {step} steps only");
                return;
            }
        }
    }

    /// What is final is true, in order, and stays so.
    fn look(&mut self, round: usize) {
        let mut open: BTreeSet<(Option<String>, Option<String>)> = BTreeSet::new();
        for row in journal(&self.source.state_directory()) {
            let key = (row.kind.clone(), row.key.clone());
            let Some(verdict) = row.verdict.clone() else {
                open.insert(key);
                continue;
            };
            assert!(
                !open.contains(&key),
                "out of order in round {round}: {row:?}"
            );
            let first = self.final_ones.entry(row.seq).or_insert(verdict);
            assert_eq!(row.verdict.as_ref(), Some(&*first), "{row:?}");
            assert_eq!(
                first,
                self.source.expects(&row),
                "in round {round}: {row:?}"
            );
        }
    }

    /// Each change has its verdict, and Sōzu holds what was declared and nothing else.
    fn rests(&mut self, round: usize) {
        let rows = journal(&self.source.state_directory());
        let open: Vec<_> = rows.iter().filter(|row| row.verdict.is_none()).collect();
        assert!(open.is_empty(), "in round {round}: {open:?}");
        self.look(round);
        self.source.has_rows(&rows);
        let (frontends, clusters) = self.source.wants();
        let held = self.sozu.held().unwrap();
        let seen: BTreeMap<_, _> = held.frontends().into_iter().collect();
        assert_eq!(seen, frontends, "in round {round}");
        let state = held.state().unwrap();
        let seen = state.clusters.iter();
        let seen: BTreeMap<_, _> = seen
            .map(|(id, cluster)| (id.to_string(), cluster.sticky_session))
            .collect();
        assert_eq!(seen, clusters, "in round {round}");
        let backends: Vec<_> = held.backends().into_iter().map(|(of, _)| of).collect();
        let wanted: Vec<_> = clusters.into_keys().collect();
        assert_eq!(backends, wanted, "in round {round}");
    }
}

/// `[routes.local]` of a real daemon.
struct Files {
    ground: TempDir,
    routes: PathBuf,
    frontends: BTreeMap<String, String>,
    clusters: BTreeMap<String, bool>,
    /// The changes that the journal has to tell: of which cluster's file, and what.
    changes: BTreeSet<(String, &'static str)>,
}

impl Files {
    fn daemon(&self, sozu: &Sozu, failpoints: &str) -> Daemon {
        let daemon = support::daemon(sozu).directory(self.ground.path());
        // The removals of many rounds are no accident here.
        let daemon = daemon.extra_toml("[guard]\nremoval_minimum = 100000");
        daemon.env("FAILPOINTS", failpoints).prepare().unwrap()
    }

    fn write(&mut self, sozu: &Sozu, name: &str) {
        let text = route_to(sozu, name, "127.0.0.1:9".parse().unwrap());
        routes::write(&self.routes, &format!("{name}.toml"), &text).unwrap();
        self.frontends
            .insert(format!("{name}.example"), name.to_owned());
        self.clusters.insert(name.to_owned(), false);
        self.changes.insert((name.to_owned(), "add"));
    }

    /// A frontend that Sōzu's main process refuses, and a cluster that it takes.
    fn write_bad(&mut self, sozu: &Sozu, name: &str) {
        let text = route_to(sozu, name, "127.0.0.1:9".parse().unwrap());
        let text = text.replace(&format!("{name}.example"), &format!("{name}.example/"));
        routes::write(&self.routes, &format!("{name}.toml"), &text).unwrap();
        self.clusters.insert(name.to_owned(), false);
    }

    fn remove(&mut self, name: &str) {
        if self.clusters.remove(name).is_some() {
            routes::remove(&self.routes, &format!("{name}.toml")).unwrap();
            self.frontends.remove(&format!("{name}.example"));
            if !name.starts_with("bad") {
                self.changes.insert((name.to_owned(), "remove"));
            }
        }
    }
}

impl Source for Files {
    fn begin(sozu: &Sozu) -> Self {
        let ground = tempfile::tempdir().unwrap();
        let daemon = support::daemon(sozu).directory(ground.path()).prepare();
        let routes = daemon.unwrap().routes();
        Self {
            ground,
            routes,
            frontends: BTreeMap::new(),
            clusters: BTreeMap::new(),
            changes: BTreeSet::new(),
        }
    }

    fn state_directory(&self) -> PathBuf {
        self.ground.path().join("state")
    }

    fn says(&mut self, sozu: &Sozu, size: Size, round: usize) {
        if size == Size::One {
            // The cluster of round 0 is changed: one request.
            let sticky = round % 2 == 1;
            let text = route_to(sozu, "r0", "127.0.0.1:9".parse().unwrap());
            let setting = format!("[clusters.r0]\nsticky_session = {sticky}");
            let text = text.replace("[clusters.r0]", &setting);
            routes::write(&self.routes, "r0.toml", &text).unwrap();
            self.clusters.insert("r0".to_owned(), sticky);
            return;
        }
        if round > 0 {
            self.remove(&format!("r{}", round - 1));
            self.remove(&format!("bad{}", round - 1));
        }
        self.write(sozu, &format!("r{round}"));
        self.write(sozu, &format!("s{round}"));
        if round > 0 {
            self.write_bad(sozu, &format!("bad{round}"));
        }
    }

    fn lives(&mut self, sozu: &Sozu, failpoints: &str) -> bool {
        let mut daemon = self.daemon(sozu, failpoints);
        daemon.start().unwrap();
        let (frontends, clusters) = (self.frontends.clone(), self.clusters.clone());
        let directory = self.state_directory();
        let died = wait_until("it is at rest, or dies", LONG, || {
            if daemon.exit_status().unwrap().is_some() {
                return Ok(true);
            }
            let held = sozu.held().map_err(|error| error.to_string())?;
            let state = held.state().map_err(|error| error.to_string())?;
            let seen = state.clusters.iter();
            let seen: BTreeMap<_, _> = seen
                .map(|(id, cluster)| (id.to_string(), cluster.sticky_session))
                .collect();
            let is_held = held.frontends().into_iter().collect::<BTreeMap<_, _>>() == frontends
                && seen == clusters;
            if !is_held || daemon.fetch("/readyz").map_err(|it| it.to_string())?.status != 200 {
                return Err("Sōzu does not hold it yet".to_owned());
            }
            // A life of its own tries what was refused again.
            let told = daemon
                .component("routes.local")
                .map_err(|it| it.to_string())?;
            if let Some(name) = clusters.keys().find(|name| name.starts_with("bad"))
                && !told.to_string().contains(&format!("{name}.example/"))
            {
                return Err(format!("{name} is not refused yet: {told}"));
            }
            let open = journal(&directory)
                .into_iter()
                .filter(|row| row.verdict.is_none())
                .count();
            if open == 0 {
                Ok(false)
            } else {
                Err(format!("{open} changes are open"))
            }
        });
        let ended = if died {
            daemon.wait_exit(SOON).unwrap()
        } else {
            daemon.terminate().unwrap()
        };
        // A step of its rest may be the one at which it dies.
        let died = ended.signal() == Some(6);
        assert!(died || ended.success(), "{ended}: {}", daemon.log());
        died
    }

    fn expects(&self, row: &Row) -> &'static str {
        if row.is_about("example/") {
            "refused"
        } else {
            "applied"
        }
    }

    /// Each change once. One that Sōzu refuses may be tried again after a start.
    fn has_rows(&self, rows: &[Row]) {
        let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.verdict() != "refused") {
            let key = row.key.clone().unwrap();
            let name = self.changes.iter().find(|(name, change)| {
                let cluster = row.kind.as_deref() == Some("cluster") && key == *name;
                cluster && *change == row.change
            });
            if let Some((name, change)) = name {
                *counts.entry((name.clone(), *change)).or_default() += 1;
            }
        }
        let seen: BTreeSet<_> = counts.keys().cloned().collect();
        assert_eq!(seen, self.changes);
        let is_changed_often = |name: &str| name == "r0";
        let twice = counts
            .iter()
            .find(|((name, _), count)| **count != 1 && !is_changed_often(name));
        assert_eq!(twice, None);
    }

    fn wants(&self) -> (BTreeMap<String, String>, BTreeMap<String, bool>) {
        (self.frontends.clone(), self.clusters.clone())
    }
}

/// A topic, and a keeper that hears it in another process.
struct Bus {
    ground: TempDir,
    messages: Vec<Request>,
    /// What has to become of each.
    verdicts: Vec<&'static str>,
    frontends: BTreeMap<String, String>,
    clusters: BTreeMap<String, bool>,
}

impl Bus {
    fn publish(&mut self, request: RequestType, verdict: &'static str) {
        self.messages.push(request.into());
        self.verdicts.push(verdict);
    }

    fn route(&mut self, sozu: &Sozu, name: &str) {
        let hostname = format!("{name}.example");
        for request in requests(sozu, name, &hostname, "127.0.0.1:9".parse().unwrap()) {
            self.publish(request, "applied");
        }
        self.frontends.insert(hostname, name.to_owned());
        self.clusters.insert(name.to_owned(), false);
    }

    fn cluster(&mut self, name: &str, sticky_session: bool, verdict: &'static str) {
        let cluster = Cluster {
            cluster_id: name.to_owned(),
            sticky_session,
            ..Cluster::default()
        };
        self.publish(RequestType::AddCluster(cluster), verdict);
        self.clusters.insert(name.to_owned(), sticky_session);
    }

    fn start(&self, sozu: &Sozu, failpoints: &str) -> ExitStatus {
        let log = fs::File::create(self.ground.path().join("log")).unwrap();
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "a_bus_in_a_process_of_its_own", "--nocapture"])
            .env(GROUND, self.ground.path())
            .env(SOCKET, sozu.command_socket())
            .env("FAILPOINTS", failpoints)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        // It waits for nothing longer than that.
        wait_until("the bus's process ends", 3 * LONG, || {
            process.try_wait().unwrap()
        })
    }
}

impl Source for Bus {
    fn begin(_: &Sozu) -> Self {
        Self {
            ground: tempfile::tempdir().unwrap(),
            messages: Vec::new(),
            verdicts: Vec::new(),
            frontends: BTreeMap::new(),
            clusters: BTreeMap::new(),
        }
    }

    fn state_directory(&self) -> PathBuf {
        self.ground.path().join("state")
    }

    fn says(&mut self, sozu: &Sozu, size: Size, round: usize) {
        if size == Size::One {
            return self.cluster("r0", round % 2 == 1, "applied");
        }
        self.route(sozu, &format!("r{round}"));
        if round == 0 {
            return;
        }
        let bad = frontend(sozu, &format!("r{round}"), &format!("bad{round}.example/"));
        self.publish(RequestType::AddHttpFrontend(bad), "refused");
        // One name is pointed to each route in turn, and each route goes with the round after it.
        let front = frontend(sozu, &format!("r{round}"), "turning.example");
        self.publish(RequestType::AddHttpFrontend(front), "applied");
        let this = format!("r{round}");
        self.frontends
            .insert("turning.example".to_owned(), this.clone());
        self.cluster(&this, false, "duplicate");
        let last = format!("r{}", round - 1);
        self.publish(RequestType::RemoveCluster(last.clone()), "applied");
        self.clusters.remove(&last);
        self.frontends.remove(&format!("{last}.example"));
    }

    fn lives(&mut self, sozu: &Sozu, failpoints: &str) -> bool {
        let mut topic = Vec::new();
        for message in &self.messages {
            message.encode_length_delimited(&mut topic).unwrap();
        }
        fs::write(self.ground.path().join("topic"), topic).unwrap();
        let ended = self.start(sozu, failpoints);
        let log = || fs::read_to_string(self.ground.path().join("log")).unwrap();
        let died = ended.signal() == Some(6);
        assert!(died || ended.success(), "{ended}: {}", log());
        // What was acknowledged is final.
        let acknowledged = acknowledged(self.ground.path());
        let rows = journal(&self.state_directory());
        let open = rows
            .iter()
            .take(acknowledged)
            .find(|row| row.verdict.is_none());
        assert!(open.is_none(), "acknowledged, and not final: {open:?}");
        died
    }

    fn expects(&self, row: &Row) -> &'static str {
        let place = row.position.as_deref().unwrap();
        let places = (0..self.verdicts.len()).map(|n| position(n).to_string());
        let n = places.into_iter().position(|it| it == place).unwrap();
        self.verdicts[n]
    }

    /// Each message once, in their order.
    fn has_rows(&self, rows: &[Row]) {
        let seen: Vec<_> = rows.iter().filter_map(|row| row.position.clone()).collect();
        let all: Vec<_> = (0..self.messages.len())
            .map(|n| position(n).to_string())
            .collect();
        assert_eq!(seen, all);
    }

    fn wants(&self) -> (BTreeMap<String, String>, BTreeMap<String, bool>) {
        (self.frontends.clone(), self.clusters.clone())
    }
}

/// How many messages the broker delivers no more.
fn acknowledged(ground: &Path) -> usize {
    let text = fs::read_to_string(ground.join("acknowledged"));
    text.map_or(0, |text| text.trim().parse().unwrap())
}

/// Nothing by itself: what [`Bus`] starts. Hears the topic until all of it may be acknowledged, and Sōzu holds it.
#[test]
fn a_bus_in_a_process_of_its_own() {
    let (Some(ground), Some(socket)) = (env::var_os(GROUND), env::var_os(SOCKET)) else {
        return;
    };
    let ground = PathBuf::from(ground);
    let _failpoints = fail::FailScenario::setup();
    let mut topic = Topic::new("platform");
    let bytes = fs::read(ground.join("topic")).unwrap();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        topic.publish([Request::decode_length_delimited(&mut rest).unwrap()]);
    }
    topic.acknowledged = acknowledged(&ground).checked_sub(1).map(position);
    let timeout = Duration::from_secs(2);
    let mut host = Host::at(&ground, timeout, socket.into(), &["platform"]);
    host.start_again();
    host.subscribe(&topic);
    host.consume(&topic);
    wait_until("all of it may be acknowledged", LONG, || {
        host.acknowledge(&mut topic);
        let count = topic.acknowledged.map_or(0, |last| last.entry + 1);
        // Whole or not at all, as a broker has it.
        let new = ground.join("acknowledged.new");
        fs::write(&new, count.to_string()).unwrap();
        fs::rename(new, ground.join("acknowledged")).unwrap();
        // Sōzu may have started empty after the last of them was.
        topic.acknowledged == topic.end() && host.report().ready()
    });
}
