//! Random changes of two directories and a bus, with random troubles, against the real Sōzu: at rest it holds what a model
//! of a few lines says, and the journal explains every object.
//!
//! The seed is printed; `SEED=…` repeats the choices, not the timing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/bus.rs"]
mod bus;
#[path = "support/dice.rs"]
mod dice;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

use bus::{Host, Topic, position};
use dice::Dice;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sozu_command_lib::proto::command::{
    AddBackend, Cluster, LoadBalancingParams, RemoveBackend, SocketAddress, request::RequestType,
};
use support::{Row, frontend, journal, rounds};
use testkit::{Fate, SOON, Sozu, Tap, wait_for, wait_until};

const LONG: Duration = Duration::from_mins(1);
const BUS: &str = "platform";
const PORTS: [u16; 3] = [9000, 9001, 9002];
const DIRECTORIES: [&str; 2] = ["files", "more"];

/// What Sōzu may hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Cluster(String),
    /// Of a cluster, at this port.
    Backend(String, u16),
    /// Of a host name.
    Frontend(String),
}

/// What stands under a key: of a cluster whether it is sticky, of a frontend its cluster.
type Value = String;

/// Each source's word on a key, the eldest first.
#[derive(Default)]
struct Model {
    says: BTreeMap<Key, Vec<(&'static str, Value)>>,
    /// The places of the topic whose message is refused.
    refused: BTreeSet<String>,
}

impl Model {
    fn owner(&self, key: &Key) -> Option<&(&'static str, Value)> {
        self.says.get(key)?.first()
    }

    fn declares(&self, source: &str, key: &Key) -> bool {
        let mut says = self.says.get(key).into_iter().flatten();
        says.any(|(of, _)| *of == source)
    }

    fn set(&mut self, source: &'static str, key: Key, value: Value) {
        let says = self.says.entry(key).or_default();
        match says.iter_mut().find(|(of, _)| *of == source) {
            Some((_, known)) => *known = value,
            None => says.push((source, value)),
        }
    }

    fn end(&mut self, source: &str, key: &Key) {
        if let Some(says) = self.says.get_mut(key) {
            says.retain(|(of, _)| *of != source);
            if says.is_empty() {
                self.says.remove(key);
            }
        }
    }

    /// A bus may not touch what another source owns.
    fn is_others(&self, key: &Key) -> bool {
        self.owner(key).is_some_and(|(of, _)| *of != BUS)
    }

    /// A cluster goes with all that is in it.
    fn end_cluster(&mut self, source: &str, cluster: &str) {
        let of = |key: &Key, says: &[(&str, Value)]| match key {
            Key::Cluster(id) | Key::Backend(id, _) => id == cluster,
            Key::Frontend(_) => says.iter().any(|(_, to)| to == cluster),
        };
        let says = self.says.iter().filter(|(key, says)| of(key, says));
        let keys: Vec<Key> = says.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.end(source, &key);
        }
    }

    fn is_held_by(&self, sozu: &Sozu) -> Result<(), String> {
        let held = sozu.held().map_err(|error| error.to_string())?;
        let mut seen: BTreeMap<Key, Value> = BTreeMap::new();
        let state = held.state().map_err(|error| error.to_string())?;
        for (id, cluster) in &state.clusters {
            seen.insert(
                Key::Cluster(id.to_string()),
                cluster.sticky_session.to_string(),
            );
        }
        for (cluster, address) in held.backends() {
            let port = address.rsplit(':').next().unwrap().parse().unwrap();
            seen.insert(Key::Backend(cluster, port), String::new());
        }
        for (hostname, cluster) in held.frontends() {
            seen.insert(Key::Frontend(hostname), cluster);
        }
        let wanted = self.says.iter();
        let wanted: BTreeMap<_, _> = wanted
            .map(|(key, says)| (key.clone(), says[0].1.clone()))
            .collect();
        if seen == wanted {
            return Ok(());
        }
        let missing: Vec<_> = wanted
            .iter()
            .filter(|it| seen.get(it.0) != Some(it.1))
            .collect();
        let extra: Vec<_> = seen
            .iter()
            .filter(|it| wanted.get(it.0) != Some(it.1))
            .collect();
        Err(format!("missing: {missing:?}; too much: {extra:?}"))
    }

    /// The owner's last word on each object that was not refused is that it be there.
    fn is_explained_by(&self, rows: &[Row]) {
        for row in rows {
            let place = row.position.as_deref().unwrap_or("none");
            let is_refused = row.verdict() == "refused";
            assert_eq!(is_refused, self.refused.contains(place), "{row:?}");
            assert!(
                row.verdict() != "open" && row.verdict() != "divergent",
                "{row:?}"
            );
        }
        for (key, says) in &self.says {
            let (owner, _) = says[0];
            let is_about = |row: &&Row| match key {
                Key::Cluster(id) => {
                    row.kind.as_deref() == Some("cluster") && row.key.as_ref() == Some(id)
                }
                Key::Backend(id, port) => {
                    row.kind.as_deref() == Some("backend")
                        && row.is_about(&format!("{id};{id}-{port};"))
                }
                Key::Frontend(hostname) => row.is_about(hostname),
            };
            let last = rows
                .iter()
                .filter(|row| row.source == owner && row.verdict() != "refused")
                .rfind(is_about);
            let change = last.map(|row| row.change.as_str());
            assert_eq!(change, Some("add"), "{key:?} of {owner}: {last:?}");
        }
    }
}

fn cluster(id: &str, sticky_session: bool) -> RequestType {
    RequestType::AddCluster(Cluster {
        cluster_id: id.to_owned(),
        sticky_session,
        ..Cluster::default()
    })
}

fn backend(cluster: &str, port: u16) -> AddBackend {
    AddBackend {
        cluster_id: cluster.to_owned(),
        backend_id: format!("{cluster}-{port}"),
        address: SocketAddress::from(std::net::SocketAddr::from(([127, 0, 0, 1], port))),
        load_balancing_parameters: Some(LoadBalancingParams::default()),
        ..AddBackend::default()
    }
}

/// A Sōzu, a keeper, and its sources.
struct Play {
    sozu: Sozu,
    host: Host,
    topic: Topic,
    /// File → what it declares, of each directory.
    files: BTreeMap<&'static str, BTreeMap<String, Vec<RequestType>>>,
    model: Model,
    dice: Dice,
    done: BTreeMap<&'static str, usize>,
}

impl Play {
    fn begin() -> (Self, Tap) {
        let sozu = Sozu::start().unwrap();
        let tap = Tap::before(&sozu).unwrap();
        let mut dice = Dice::new();
        let mut cuts = dice.another();
        tap.rule(move |_| match cuts.roll(40) {
            0 => Fate::Cut,
            1 => Fate::CutBefore,
            _ => Fate::Pass,
        });
        let mut host = Host::prepare(&sozu, tap.socket(), &[BUS]);
        host.settings(|settings| {
            settings.sources = DIRECTORIES.map(actors::messages::SourceName::new).to_vec();
            settings.interval = Duration::from_secs(2);
            // The removals of a minute are no accident here.
            settings.bounds.removal_minimum = usize::MAX;
        });
        let mut play = Self {
            sozu,
            host,
            topic: Topic::new(BUS),
            files: DIRECTORIES.map(|name| (name, BTreeMap::new())).into(),
            model: Model::default(),
            dice,
            done: BTreeMap::new(),
        };
        play.daemon_starts();
        // Each source has a cluster of its own, to which it points the host names for which all contend.
        for name in DIRECTORIES {
            let own = vec![
                cluster(name, false),
                RequestType::AddBackend(backend(name, 9000)),
            ];
            play.model
                .set(name, Key::Cluster(name.to_owned()), "false".to_owned());
            play.model
                .set(name, Key::Backend(name.to_owned(), 9000), String::new());
            play.writes(name, "own", own);
        }
        play.says(cluster(BUS, false));
        play.says(RequestType::AddBackend(backend(BUS, 9000)));
        play.model
            .set(BUS, Key::Cluster(BUS.to_owned()), "false".to_owned());
        play.model
            .set(BUS, Key::Backend(BUS.to_owned(), 9000), String::new());
        (play, tap)
    }

    fn counts(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    fn daemon_starts(&mut self) {
        self.host.start_again();
        for name in DIRECTORIES {
            self.lists(name);
        }
        self.host.subscribe(&self.topic);
        self.host.consume(&self.topic);
    }

    fn daemon_dies(&mut self) {
        self.host.acknowledge(&mut self.topic);
        self.host.kill();
        self.daemon_starts();
        self.counts("deaths of the daemon");
    }

    fn lists(&self, name: &str) {
        wait_until("the directory is heard", LONG, || {
            self.host.list(name, &self.files[name])
        });
    }

    /// A directory's file says this from now on; nothing: it is removed.
    fn writes(&mut self, name: &'static str, file: &str, objects: Vec<RequestType>) {
        let files = self.files.get_mut(name).unwrap();
        if objects.is_empty() {
            files.remove(file);
        } else {
            files.insert(file.to_owned(), objects);
        }
        if self.dice.roll(20) == 0 {
            // It dies with the listing in its hands, or just behind it.
            let within = Duration::from_micros(self.dice.roll(20_000) as u64);
            let _ = self.host.list_within(name, &self.files[name], within);
            self.daemon_dies();
        } else {
            self.lists(name);
        }
        self.counts("changes of directories");
    }

    /// The next message of the topic. Returns its place.
    fn says(&mut self, request: RequestType) -> String {
        let place = position(self.topic.messages.len()).to_string();
        self.topic.publish([request]);
        if self.dice.roll(20) == 0 {
            let within = Duration::from_micros(self.dice.roll(20_000) as u64);
            let _ = self.host.offer(&self.topic, self.topic.delivers(), within);
            self.daemon_dies();
        } else {
            self.host.consume(&self.topic);
        }
        self.counts("messages");
        place
    }

    fn a_directory_changes(&mut self, name: &'static str) {
        if self.dice.roll(2) == 0 {
            let hostname = format!("h{}.example", self.dice.roll(10));
            let key = Key::Frontend(hostname.clone());
            if self.model.declares(name, &key) {
                self.model.end(name, &key);
                self.writes(name, &hostname, vec![]);
            } else {
                let front = frontend(&self.sozu, name, &hostname);
                self.model.set(name, key, name.to_owned());
                self.writes(name, &hostname, vec![RequestType::AddHttpFrontend(front)]);
            }
            return;
        }
        let id = format!("{name}-{}", self.dice.roll(6));
        if self.dice.roll(3) == 0 {
            self.model.end_cluster(name, &id);
            return self.writes(name, &id, vec![]);
        }
        let (sticky, port) = (self.dice.roll(2) == 0, PORTS[self.dice.roll(3)]);
        let hostname = format!("{id}.example");
        let objects = vec![
            cluster(&id, sticky),
            RequestType::AddBackend(backend(&id, port)),
            RequestType::AddHttpFrontend(frontend(&self.sozu, &id, &hostname)),
        ];
        self.model.end_cluster(name, &id);
        self.model
            .set(name, Key::Cluster(id.clone()), sticky.to_string());
        self.model
            .set(name, Key::Backend(id.clone(), port), String::new());
        self.model.set(name, Key::Frontend(hostname), id.clone());
        self.writes(name, &id, objects);
    }

    fn the_bus_changes(&mut self) {
        let id = format!("{BUS}-{}", self.dice.roll(6));
        let key = Key::Cluster(id.clone());
        let is_there = self.model.declares(BUS, &key);
        let port = PORTS[self.dice.roll(3)];
        match self.dice.roll(10) {
            0 => {
                let hostname = format!("bad{}.example/", self.dice.roll(9));
                let front = frontend(&self.sozu, BUS, &hostname);
                let place = self.says(RequestType::AddHttpFrontend(front));
                self.model.refused.insert(place);
            }
            1..5 => self.the_bus_contends(),
            5 if is_there => {
                self.model.end_cluster(BUS, &id);
                self.says(RequestType::RemoveCluster(id));
            }
            6 if is_there => {
                self.model
                    .set(BUS, Key::Backend(id.clone(), port), String::new());
                self.says(RequestType::AddBackend(backend(&id, port)));
            }
            7 if is_there => {
                self.model.end(BUS, &Key::Backend(id.clone(), port));
                let AddBackend {
                    backend_id,
                    address,
                    ..
                } = backend(&id, port);
                self.says(RequestType::RemoveBackend(RemoveBackend {
                    cluster_id: id,
                    backend_id,
                    address,
                }));
            }
            8 if is_there => {
                let hostname = format!("{id}.example");
                self.model
                    .set(BUS, Key::Frontend(hostname.clone()), id.clone());
                let front = frontend(&self.sozu, &id, &hostname);
                self.says(RequestType::AddHttpFrontend(front));
            }
            _ => {
                let sticky = self.dice.roll(2) == 0;
                self.model.set(BUS, key, sticky.to_string());
                self.says(cluster(&id, sticky));
            }
        }
    }

    /// For a host name that directories want, too.
    fn the_bus_contends(&mut self) {
        let hostname = format!("h{}.example", self.dice.roll(10));
        let front = frontend(&self.sozu, BUS, &hostname);
        let key = Key::Frontend(hostname);
        let is_others = self.model.is_others(&key);
        let place = if self.dice.roll(2) == 0 {
            if !is_others {
                self.model.set(BUS, key, BUS.to_owned());
            }
            self.says(RequestType::AddHttpFrontend(front))
        } else {
            if !is_others {
                self.model.end(BUS, &key);
            }
            self.says(RequestType::RemoveHttpFrontend(front))
        };
        if is_others {
            self.model.refused.insert(place);
        }
    }

    fn a_trouble(&mut self) {
        match self.dice.roll(7) {
            0 => self.daemon_dies(),
            1 => {
                let _ = fs::remove_file(self.sozu.saved_state());
                self.sozu_starts_again();
                self.counts("starts of an empty Sōzu");
            }
            2 => {
                let saved = self.sozu.saved_state();
                let _ = fs::remove_file(&saved);
                self.sozu.save_state(&saved).unwrap();
            }
            3 => {
                self.sozu_starts_again();
                self.counts("starts of Sōzu from an older state");
            }
            4 => {
                // Within its deadline, and beyond it.
                self.sozu.stop_one_worker().unwrap();
                let change = self.dice.roll(2);
                self.a_directory_changes(DIRECTORIES[change]);
                std::thread::sleep(Duration::from_millis(1_500 * self.dice.roll(3) as u64));
                self.sozu.continue_workers().unwrap();
                self.counts("stalls of a worker");
            }
            5 => {
                if let Some(worker) = self.sozu.worker_pids().first() {
                    kill(Pid::from_raw(*worker), Signal::SIGKILL).unwrap();
                    self.counts("deaths of a worker");
                }
            }
            _ => {
                self.host.pause(Some(Duration::from_millis(500)));
                self.counts("pauses");
            }
        }
    }

    fn sozu_starts_again(&mut self) {
        self.sozu.kill().unwrap();
        self.sozu.start_again().unwrap();
    }

    #[track_caller]
    fn rests(&mut self) {
        self.host.pause(None);
        self.host.settled(&mut self.topic, 2 * LONG);
        let directory = self.host.state_directory();
        let held = wait_for("Sōzu holds what the model says", LONG, || {
            self.model.is_held_by(&self.sozu)
        });
        if let Err(error) = held {
            let report = self.host.report();
            let rows = journal(&directory);
            let last: Vec<_> = rows.iter().rev().take(100).rev().collect();
            panic!("{error}\n{report:?}\n{last:#?}\n{:?}", self.done);
        }
        let rows = wait_until("every change has its verdict", SOON, || {
            let rows = journal(&directory);
            let open = rows.iter().find(|row| row.verdict.is_none()).cloned();
            open.map_or(Ok(rows), |row| Err(format!("{row:?}")))
        });
        self.model.is_explained_by(&rows);
        self.counts("rests");
    }
}

#[test]
fn at_rest_sozu_holds_what_the_model_says() {
    let (mut play, tap) = Play::begin();
    let end = Instant::now() + Duration::from_secs(rounds(60, 600) as u64);
    while Instant::now() < end {
        for _ in 0..=play.dice.roll(30) {
            match play.dice.roll(5) {
                0 => play.a_directory_changes(DIRECTORIES[0]),
                1 => play.a_directory_changes(DIRECTORIES[1]),
                _ => play.the_bus_changes(),
            }
        }
        play.a_trouble();
        if play.dice.roll(3) == 0 {
            play.rests();
        }
        play.host.acknowledge(&mut play.topic);
    }
    play.rests();
    drop(tap);
    eprintln!("{:?}", play.done);
}
