//! A scripted bus: the keeper with its pool in this process, on a directory that outlives them, and a topic whose
//! consumer speaks the keeper's messages as one of a real broker does.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "each suite uses its part of it"
)]

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use actors::{
    messages::{
        BusChange, Changes, FileContent, ListedFile, Listing, Order, Ordered, Pause, Position,
        SourceName, Subscribed, What,
    },
    socket_pool,
    state_keeper::{
        self, StateKeeper,
        events::Settings,
        gate::Mode,
        guard::Bounds,
        key::{Keyed, Object},
        policy::Policy,
        report::{Report, SourceReport},
        store::{Limits, StateDirectory, WhenFull},
    },
};
use sozu_command_lib::proto::command::{Request, request::RequestType};
use sozu_socket::Builder;
use supervisors::{Ref, Spec, Supervisor};
use tempfile::TempDir;
use testkit::{SOON, Sozu, wait_until};
use tokio::{
    runtime::Runtime,
    sync::{oneshot, watch},
};

const ASK: Duration = Duration::from_mins(2);
/// So many changes are handed over at once.
const CHUNK: usize = 5_000;

/// All that was ever published to a topic.
pub struct Topic {
    pub source: SourceName,
    pub messages: Vec<Arc<Request>>,
    /// How far its consumer has acknowledged: the broker delivers from there on.
    pub acknowledged: Option<Position>,
}

impl Topic {
    pub fn new(source: &str) -> Self {
        Self {
            source: SourceName::new(source),
            messages: Vec::new(),
            acknowledged: None,
        }
    }

    pub fn publish<R: Into<Request>>(&mut self, requests: impl IntoIterator<Item = R>) {
        self.messages
            .extend(requests.into_iter().map(|it| Arc::new(it.into())));
    }

    pub fn end(&self) -> Option<Position> {
        self.messages.len().checked_sub(1).map(position)
    }

    /// What the broker delivers: everything that is not acknowledged.
    pub fn delivers(&self) -> Vec<BusChange> {
        self.changes(self.unacknowledged())
    }

    fn unacknowledged(&self) -> Range<usize> {
        let from = self.acknowledged.map_or(0, |last| last.entry + 1);
        usize::try_from(from).unwrap()..self.messages.len()
    }

    fn changes(&self, range: Range<usize>) -> Vec<BusChange> {
        let messages = self.messages.iter().enumerate();
        let messages = messages.skip(range.start).take(range.len());
        messages
            .map(|(n, request)| BusChange {
                position: position(n),
                request: Ok(request.clone()),
                // They matter only to whoever reads a dead letter.
                original: Arc::default(),
            })
            .collect()
    }
}

/// The place of the topic's nth message.
pub fn position(n: usize) -> Position {
    Position {
        ledger: 7,
        entry: n as u64,
        index: -1,
    }
}

/// A keeper beside a Sōzu: its directories and settings, which outlive the trees that run on them.
pub struct Host {
    directory: PathBuf,
    /// None if the directory was given.
    own_directory: Option<TempDir>,
    state: Arc<StateDirectory>,
    settings: Settings,
    pool: Builder,
    runtime: Runtime,
    tree: Option<Tree>,
}

struct Tree {
    keeper: Ref<StateKeeper>,
    report: watch::Receiver<Arc<Report>>,
    kill: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Host {
    /// With these buses, which may route whatever they like. Runs at once.
    pub fn start(sozu: &Sozu, buses: &[&str]) -> Self {
        let mut host = Self::prepare(sozu, sozu.command_socket(), buses);
        host.start_again();
        host
    }

    pub fn prepare(sozu: &Sozu, socket: PathBuf, buses: &[&str]) -> Self {
        let own_directory = tempfile::tempdir().unwrap();
        let mut host = Self::at(own_directory.path(), sozu.worker_timeout(), socket, buses);
        host.own_directory = Some(own_directory);
        host
    }

    /// On a directory that somebody else looks after.
    pub fn at(directory: &Path, worker_timeout: Duration, socket: PathBuf, buses: &[&str]) -> Self {
        let policy = Policy {
            verbs: vec!["routing".to_owned()],
            ..Policy::default()
        };
        let policies: HashMap<_, _> = buses
            .iter()
            .map(|name| (SourceName::new(name), policy.clone()))
            .collect();
        let pool = Builder::new(socket)
            .worker_timeout(worker_timeout)
            .exchange_directory(directory.join("exchange"));
        Self {
            state: Arc::new(StateDirectory::new(directory.join("state"))),
            settings: Settings {
                bounds: Bounds {
                    removal_share: 0.25,
                    removal_minimum: 50,
                },
                mode: Mode::Apply,
                interval: Duration::from_mins(1),
                upgrade_workers: false,
                worker_timeout,
                max_request_bytes: 1_900_000,
                sources: Vec::new(),
                policies,
                letter_room: None,
            },
            pool,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            tree: None,
            directory: directory.to_owned(),
            own_directory: None,
        }
    }

    pub fn settings(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
    }

    pub fn state_directory(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// A new life on the same directory.
    pub fn start_again(&mut self) {
        assert!(self.tree.is_none(), "it runs");
        let pool = socket_pool::Config {
            pool: self.pool.clone(),
        };
        let keeper = state_keeper::Config {
            state_directory: Arc::clone(&self.state),
            instance: "scripted".to_owned(),
            limits: Limits {
                journal_keep: Duration::from_hours(1),
                journal_rows: 1_000_000,
                dead_letter_rows: 100_000,
                dead_letter_bytes: 1_000_000_000,
                when_full: WhenFull::DropOldest,
            },
            settings: self.settings.clone(),
        };
        let (kill, killed) = oneshot::channel();
        let (runs, running) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let (seen, see) = watch::channel(sozu_socket::Sozu::Unasked);
                let (report, reported) = watch::channel(Arc::new(Report::default()));
                let mut root = Supervisor::new("root");
                let critical = |name| Spec::critical(name, name);
                let pool = root.child(critical("socket_pool"), pool.build(seen));
                let keeper = keeper.build(pool, see, report);
                let keeper = root.child(critical("state_keeper"), keeper);
                runs.send((keeper, reported)).unwrap();
                // Dropping the tree ends it wherever it is.
                tokio::select! {
                    ended = root.run(std::future::pending()) => panic!("{ended:?}"),
                    _ = killed => {}
                }
            });
        });
        let (keeper, report) = running.recv().unwrap();
        self.tree = Some(Tree {
            keeper,
            report,
            kill,
            thread,
        });
    }

    /// Ends the present life wherever it is, as a crash does. What was under way with Sōzu goes on there.
    pub fn kill(&mut self) {
        let tree = self.tree.take().expect("it runs");
        let _ = tree.kill.send(());
        tree.thread.join().unwrap();
    }

    fn tree(&self) -> &Tree {
        self.tree.as_ref().expect("it runs")
    }

    pub fn report(&self) -> Arc<Report> {
        self.tree().report.borrow().clone()
    }

    pub fn report_of(&self, topic: &Topic) -> SourceReport {
        let report = self.report();
        report
            .sources
            .get(&topic.source)
            .cloned()
            .unwrap_or_default()
    }

    /// Tells the keeper where the topic ends now. Returns where it goes on.
    pub fn subscribe(&self, topic: &Topic) -> Option<Position> {
        wait_until("the keeper's word on the subscription", SOON, || {
            let subscribed = Subscribed {
                source: topic.source.clone(),
                end: topic.end(),
            };
            let asked = self
                .runtime
                .block_on(self.tree().keeper.ask(subscribed, ASK));
            asked
                .map_err(|error| error.to_string())?
                .map_err(|error| error.to_string())
        })
    }

    /// Tells what a directory says, file by file: all of it.
    pub fn list(
        &self,
        source: &str,
        files: &BTreeMap<String, Vec<RequestType>>,
    ) -> Result<usize, String> {
        self.list_within(source, files, ASK)
    }

    pub fn list_within(
        &self,
        source: &str,
        files: &BTreeMap<String, Vec<RequestType>>,
        within: Duration,
    ) -> Result<usize, String> {
        let objects = |requests: &[RequestType]| {
            let objects = requests
                .iter()
                .map(|request| Object::added_by(request).unwrap());
            FileContent::Objects(Arc::new(
                objects.map(|it| Keyed::new(it).unwrap()).collect(),
            ))
        };
        let listing = Listing {
            source: SourceName::new(source),
            device: 1,
            files: files
                .iter()
                .map(|(name, requests)| ListedFile {
                    path: Arc::new(name.into()),
                    content: objects(requests),
                })
                .collect(),
        };
        let asked = self
            .runtime
            .block_on(self.tree().keeper.ask(listing, within));
        match asked {
            Ok(Ok(declared)) => Ok(declared.changes),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A person pauses, or ends the pause.
    #[track_caller]
    pub fn pause(&self, lasts: Option<Duration>) {
        let pause = Pause { uid: 1000, lasts };
        let asked = self.runtime.block_on(self.tree().keeper.ask(pause, ASK));
        asked.unwrap().unwrap();
    }

    /// A person's order, with its receipt.
    #[track_caller]
    pub fn order(&self, what: What) -> Ordered {
        let order = Order { uid: 1000, what };
        let asked = self.runtime.block_on(self.tree().keeper.ask(order, ASK));
        asked.unwrap().unwrap()
    }

    /// Hands over changes once; `within`: no longer than this, as a life that ends meanwhile does.
    pub fn offer(
        &self,
        topic: &Topic,
        changes: Vec<BusChange>,
        within: Duration,
    ) -> Result<usize, String> {
        let changes = Changes {
            source: topic.source.clone(),
            changes,
        };
        let asked = self
            .runtime
            .block_on(self.tree().keeper.ask(changes, within));
        match asked {
            Ok(Ok(declared)) => Ok(declared.changes),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Hands over whatever the broker delivers, until all of it is taken.
    #[track_caller]
    pub fn consume(&self, topic: &Topic) {
        let all = topic.unacknowledged();
        for from in all.clone().step_by(CHUNK) {
            let chunk = from..all.end.min(from + CHUNK);
            let until = Instant::now() + ASK;
            while let Err(error) = self.offer(topic, topic.changes(chunk.clone()), ASK) {
                assert!(Instant::now() < until, "{error}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Acknowledges as far as the keeper allows.
    pub fn acknowledge(&self, topic: &mut Topic) {
        let settled = self.report_of(topic).settled;
        assert!(settled <= topic.end(), "{settled:?}");
        topic.acknowledged = topic.acknowledged.max(settled);
    }

    /// Waits until everything that was published may be acknowledged, and acknowledges it.
    #[track_caller]
    pub fn settled(&self, topic: &mut Topic, deadline: Duration) {
        let end = topic.end();
        wait_until("the last change may be acknowledged", deadline, || {
            let settled = self.report_of(topic).settled;
            if settled == end {
                Ok(())
            } else {
                Err(format!("{settled:?} of {end:?}"))
            }
        });
        self.acknowledge(topic);
    }

    /// Publishes, hands over and waits for the end of it.
    #[track_caller]
    pub fn publish<R: Into<Request>>(
        &self,
        topic: &mut Topic,
        requests: impl IntoIterator<Item = R>,
        deadline: Duration,
    ) {
        topic.publish(requests);
        self.consume(topic);
        self.settled(topic, deadline);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.tree.is_some() {
            self.kill();
        }
    }
}
