//! The keeper against a model of Sōzu and of the disk, without I/O: effects are carried out one by
//! one, and the daemon can die before or after each of them.

mod chance;
mod days;
mod disk;
mod exhaustive;
mod faults;
mod floods;
mod letters;
mod ops;
mod orders;
mod pauses;
mod play;
mod refusals;
mod sources;
mod sozu;
mod takeovers;
mod truth;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use disk::Disk;
use play::{Death, REST, trace};
use sources::{Folder, Topic};
use sozu::{Fault, Proxy, WORKER_TIMEOUT, records};
use sozu_command_lib::{
    proto::command::{HttpListenerConfig, Request, TcpListenerConfig, request::RequestType},
    state::ConfigState,
};
use sozu_socket::{Life, Sozu};
use truth::Onlooker;

use super::{
    answer::Outcome,
    declared::Wanted,
    events::{Effect, End, Event, Mark, Now, Settings},
    examples::{HTTP, TCP, backend, cluster, http, keyed},
    gate::Mode,
    guard::Bounds,
    held::sort_records,
    keeper::Keeper,
    key::{Key, Object},
    log::{Admission, Entry},
    operator::Answer,
    policy::Policy,
    report::Report,
    verdict::Verdict,
};
use crate::messages::{
    BusChange, Changes, DeclareError, Declared, FileContent, ListedFile, Listing, OrderError,
    Original, Position, SourceName, Subscribed,
};

struct World {
    keeper: Keeper,
    mode: Mode,
    /// The configured ones, from the next start on.
    sources: Vec<SourceName>,
    disk: Disk,
    sozu: Proxy,
    /// What goes wrong with the next batch.
    fault: Option<Fault>,
    /// What goes wrong with which batch, counted from 0.
    faults: BTreeMap<usize, Fault>,
    batches: usize,
    /// How many batches something went wrong with.
    troubles: usize,
    at: Duration,
    pending: VecDeque<Effect>,
    replies: Vec<Result<Declared, DeclareError>>,
    answers: Vec<Answer>,
    sent: Vec<Request>,
    carried_out: usize,
    /// At which step the daemon dies, and how: before or after it carries out an effect.
    death: Option<(usize, Death)>,
    /// The steps at which a death is another one than at the step before: something outside of the
    /// daemon has changed.
    steps_that_matter: Vec<usize>,
    /// Transactions so far.
    writes: usize,
    /// From this one on the disk is full for a while.
    full_at: Option<usize>,
    full_until: Duration,
    onlooker: Onlooker,
    topics: Vec<Topic>,
    folder: Folder,
    older: ConfigState,
    had_strangers: bool,
    last_read: Vec<Request>,
    prepared: Option<Arc<Vec<Request>>>,
    went_as_prepared: usize,
}

fn source() -> SourceName {
    SourceName::new("s")
}

fn bus() -> SourceName {
    SourceName::new("bus")
}

fn other_bus() -> SourceName {
    SourceName::new("other")
}

fn place(entry: u64) -> Position {
    Position {
        ledger: 1,
        entry,
        index: -1,
    }
}

fn empty_sozu() -> ConfigState {
    let mut state = ConfigState::new();
    let http = HttpListenerConfig {
        address: HTTP.into(),
        ..HttpListenerConfig::default()
    };
    let tcp = TcpListenerConfig {
        address: TCP.into(),
        ..TcpListenerConfig::default()
    };
    state
        .dispatch(&RequestType::AddHttpListener(http).into())
        .unwrap();
    state
        .dispatch(&RequestType::AddTcpListener(tcp).into())
        .unwrap();
    state
}

fn settings(mode: Mode, topics: &[Topic]) -> Settings {
    let policy = Policy {
        verbs: vec!["routing".to_owned()],
        ..Policy::default()
    };
    Settings {
        bounds: Bounds {
            removal_share: 0.25,
            removal_minimum: 50,
        },
        mode,
        interval: Duration::from_mins(1),
        upgrade_workers: false,
        worker_timeout: WORKER_TIMEOUT,
        max_request_bytes: 1_900_000,
        sources: vec![source()],
        policies: topics
            .iter()
            .map(|topic| (topic.source.clone(), policy.clone()))
            .collect(),
        letter_room: None,
    }
}

fn now(at: Duration) -> Now {
    Now {
        at,
        wall: SystemTime::UNIX_EPOCH + Duration::from_hours(500_000) + at,
    }
}

impl World {
    fn new(sozu: ConfigState) -> Self {
        Self::in_mode(sozu, Mode::Apply)
    }

    /// With an empty Sōzu.
    fn with_buses(buses: usize) -> Self {
        let names = [bus(), other_bus()].into_iter().take(buses);
        let topics = names.map(Topic::new).collect();
        Self::of(empty_sozu(), Mode::Apply, topics)
    }

    fn in_mode(sozu: ConfigState, mode: Mode) -> Self {
        Self::of(sozu, mode, vec![Topic::new(bus())])
    }

    fn of(sozu: ConfigState, mode: Mode, topics: Vec<Topic>) -> Self {
        // A bus that has never caught up would keep the proxy from being ready.
        let disk = Disk {
            caught_up: topics.iter().map(|topic| topic.source.clone()).collect(),
            ..Disk::default()
        };
        let settings = settings(mode, &topics);
        let keeper = Keeper::new(settings, disk.load(), now(Duration::ZERO));
        let mut world = Self {
            keeper,
            mode,
            sources: vec![source()],
            disk,
            sozu: Proxy::new(sozu),
            fault: None,
            faults: BTreeMap::new(),
            batches: 0,
            troubles: 0,
            at: Duration::ZERO,
            pending: VecDeque::new(),
            replies: Vec::new(),
            answers: Vec::new(),
            sent: Vec::new(),
            carried_out: 0,
            death: None,
            steps_that_matter: Vec::new(),
            writes: 0,
            full_at: None,
            full_until: Duration::ZERO,
            onlooker: Onlooker::default(),
            topics,
            folder: Folder::new(),
            older: empty_sozu(),
            had_strangers: false,
            last_read: Vec::new(),
            prepared: None,
            went_as_prepared: 0,
        };
        world.here();
        world
    }

    fn here(&mut self) {
        let life = Life::from(format!("life {}", self.sozu.life).as_str());
        self.tell(Event::Sozu(Sozu::Here(life)));
    }

    /// Another life of Sōzu, which holds `state`.
    fn sozu_restarts(&mut self, state: ConfigState) {
        self.sozu.restarts(state);
        self.here();
    }

    /// The daemon dies and is started again; what was under way is lost.
    fn dies(&mut self) {
        trace(|| "the daemon dies".to_owned());
        self.pending.clear();
        self.sources_begin_anew();
        self.forget_what_died();
        let settings = Settings {
            sources: self.sources.clone(),
            ..settings(self.mode, &self.topics)
        };
        self.keeper = Keeper::new(settings, self.disk.load(), now(self.at));
        self.here();
    }

    fn tell(&mut self, event: Event) {
        self.sozu.advance(self.at);
        self.look();
        let effects = self.keeper.on(now(self.at), event);
        for effect in &effects {
            if let Effect::Accept(acceptance) = effect {
                self.hear_verdicts(acceptance);
            }
        }
        self.pending.extend(effects);
    }

    /// Carries out every effect, and lets time pass, until nothing has happened for a while.
    fn rest(&mut self) {
        let mut quiet = 0;
        while quiet < 30 {
            if let Some(effect) = self.pending.pop_front() {
                quiet = 0;
                self.step(effect);
            } else {
                quiet += 1;
                self.at += Duration::from_secs(1);
                self.tell(Event::Tick);
            }
            assert!(self.carried_out < 10_000, "the keeper never comes to rest");
        }
    }

    fn step(&mut self, effect: Effect) {
        trace(|| format!("{:?} {effect:.300?}", self.at));
        self.carried_out += 1;
        if self.dies_at(self.carried_out * 2) {
            return;
        }
        let changes_something = matches!(
            effect,
            Effect::Append { .. }
                | Effect::AppendOrder(_)
                | Effect::EndLetters(_)
                | Effect::Accept(_)
                | Effect::Send(_)
                | Effect::KeepPause { .. }
        );
        let life = self.sozu.life;
        let (answer, took) = self.carry_out(effect);
        if changes_something {
            self.steps_that_matter.push(self.carried_out * 2 + 1);
        }
        if self.dies_at(self.carried_out * 2 + 1) {
            return;
        }
        self.at += took;
        if took >= Duration::from_secs(1) {
            self.steps_that_matter.push(self.carried_out * 2 + 2);
        }
        if let Some(event) = answer {
            trace(|| format!("{:?}     {event:.300?}", self.at));
            self.tell(event);
        }
        if self.sozu.life != life {
            self.here();
        }
    }

    fn dies_at(&mut self, step: usize) -> bool {
        match self.death {
            Some((at, Death::Alone)) if at == step => self.dies(),
            Some((at, Death::Both)) if at == step => self.both_die(),
            _ => return false,
        }
        true
    }

    /// What was before does not count.
    fn begins_to_count(&mut self) {
        self.carried_out = 0;
        self.batches = 0;
        self.writes = 0;
        self.steps_that_matter.clear();
    }

    /// Lets so many effects happen, or all until nothing but reads has happened for longer than Sōzu
    /// is left unread.
    fn lives(&mut self, effects: usize) {
        let mut since = self.at;
        let mut left = effects;
        let is_over = |world: &Self, since| {
            let is_quiet = world.at >= since + Duration::from_secs(75) && world.pending.is_empty();
            is_quiet || world.carried_out >= TOO_LONG
        };
        while left > 0 && !is_over(self, since) {
            self.disk.full = self.at < self.full_until;
            self.sources_speak();
            if let Some(effect) = self.pending.pop_front() {
                let only_looks = matches!(
                    effect,
                    Effect::AskStatus | Effect::ReadBack | Effect::ReadAgain
                );
                if !only_looks || self.keeper.trouble.is_some() {
                    since = self.at;
                }
                left -= 1;
                self.step(effect);
            } else {
                let is_quiet = self.at > since + Duration::from_secs(4);
                self.at += Duration::from_secs(if is_quiet { 7 } else { 1 });
                self.tell(Event::Tick);
            }
        }
    }

    /// A transaction begins: whether the disk is full.
    fn is_disk_full(&mut self) -> bool {
        if self.full_at == Some(self.writes) {
            self.full_until = self.at + Duration::from_secs(3);
            self.disk.full = true;
        }
        self.writes += 1;
        self.disk.full
    }

    fn carry_out(&mut self, effect: Effect) -> (Option<Event>, Duration) {
        let mut took = Duration::ZERO;
        let no_space = || Err("no space left".to_owned());
        let event = match effect {
            Effect::Append { .. } if self.is_disk_full() => Event::Appended(no_space()),
            Effect::Accept(_) if self.is_disk_full() => Event::Accepted(no_space()),
            Effect::Append {
                entries,
                source,
                mark,
            } => {
                self.disk
                    .journal
                    .extend(entries.into_iter().map(|entry| (entry, None)));
                match mark {
                    Mark::Device(device) => {
                        self.disk.devices.insert(source, device);
                    }
                    Mark::Position(position) => {
                        self.disk.positions.insert(source, position);
                    }
                }
                Event::Appended(Ok(()))
            }
            Effect::AppendOrder(_) if self.is_disk_full() => Event::OrderAppended(no_space()),
            Effect::AppendOrder(entries) => {
                let open = entries.into_iter().map(|entry| (entry, None));
                self.disk.journal.extend(open);
                Event::OrderAppended(Ok(()))
            }
            Effect::EndLetters(_) if self.is_disk_full() => {
                Event::LettersEnded(Err(OrderError::Disk("no space left".to_owned())))
            }
            Effect::EndLetters(ending) => {
                if let End::Retried { again, .. } = &ending.how {
                    self.disk.journal.push((again.clone(), None));
                }
                Event::LettersEnded(Ok(1))
            }
            Effect::Answer(_, answer) => {
                self.answers.push(answer);
                return (None, took);
            }
            Effect::Accept(acceptance) => {
                self.disk.accept(&acceptance);
                self.look_at_the_order();
                Event::Accepted(Ok(()))
            }
            Effect::Send(requests) => {
                let outcome;
                (outcome, took) = self.send(&requests);
                Event::Sent(outcome)
            }
            Effect::AskStatus => {
                let workers;
                (workers, took) = self.sozu.status(self.at);
                Event::Status(Ok(workers))
            }
            Effect::UpgradeWorker(_) => unreachable!("it is not wanted"),
            Effect::Prepare(requests) => {
                self.prepared = Some(requests);
                return (None, took);
            }
            Effect::ReadAgain if self.last_read == records(&self.sozu.main) => {
                Event::ReadSame(Duration::from_millis(1))
            }
            Effect::ReadBack | Effect::ReadAgain => {
                let took = Duration::from_millis(1);
                self.last_read = records(&self.sozu.main);
                Event::Read(Ok(sort_records(self.last_read.clone(), took)))
            }
            Effect::Reply(reply, result) => {
                self.is_heard(reply, &result);
                self.replies.push(result);
                return (None, took);
            }
            Effect::GoOn(reply, result) => {
                self.goes_on(reply, &result);
                return (None, took);
            }
            Effect::KeepPause { reply, .. } if self.is_disk_full() => Event::PauseKept {
                reply,
                result: no_space(),
            },
            Effect::KeepPause { pause, reply } => {
                self.disk.pause = pause;
                Event::PauseKept {
                    reply,
                    result: Ok(()),
                }
            }
            Effect::Redelivered(..)
            | Effect::Skipped(..)
            | Effect::Restored { .. }
            | Effect::PauseEnded(_) => {
                return (None, took);
            }
        };
        (Some(event), took)
    }

    fn send(&mut self, requests: &Arc<Vec<Request>>) -> (Outcome, Duration) {
        let fault = self.fault.take();
        let fault = fault.or_else(|| self.faults.remove(&self.batches));
        self.batches += 1;
        self.troubles += usize::from(fault.is_some());
        let prepared = self.prepared.take();
        let is_prepared = prepared.is_some_and(|it| Arc::ptr_eq(&it, requests));
        self.went_as_prepared += usize::from(is_prepared);
        self.sent.extend(requests.iter().cloned());
        self.sozu.send(requests, fault, self.at)
    }

    fn lists(&mut self, files: &[(&str, Option<&[Object]>)]) {
        let files = files.iter().map(|(path, content)| ListedFile {
            path: Arc::new((*path).into()),
            content: match content {
                Some(objects) => FileContent::Objects(keyed(objects)),
                None => FileContent::Unreadable("broken".to_owned()),
            },
        });
        let listing = Listing {
            source: source(),
            device: 1,
            files: files.collect(),
        };
        // The watcher lists again until it is heard; a full disk is for the test to mend.
        for _ in 0..5 {
            self.replies.clear();
            let listing = listing.clone();
            self.tell(Event::Listing { listing, reply: 0 });
            self.rest();
            match self.replies.last() {
                None | Some(Err(DeclareError::Starting)) => {}
                Some(_) => return,
            }
        }
        panic!("the keeper never takes the listing");
    }

    /// The bus subscribes while its topic ends at `end`.
    fn subscribes(&mut self, end: Option<u64>) {
        let subscribed = Subscribed {
            source: bus(),
            end: end.map(place),
        };
        self.tell(Event::Subscribed {
            subscribed,
            reply: 0,
        });
        self.rest();
    }

    /// The bus sends its topic from its `first` message on.
    fn sends(&mut self, first: u64, requests: &[Request]) {
        let changes = bus_changes(first, requests);
        for _ in 0..5 {
            self.replies.clear();
            let changes = changes.clone();
            self.tell(Event::Changes { changes, reply: 0 });
            self.rest();
            if matches!(self.replies.last(), Some(Ok(_))) {
                return;
            }
        }
        panic!("the keeper never takes the changes: {:?}", self.replies);
    }

    fn acknowledges(&self) -> Option<u64> {
        self.report().sources[&bus()]
            .settled
            .map(|position| position.entry)
    }

    /// One file, whose objects are these.
    fn declares(&mut self, objects: &[Object]) {
        self.lists(&[("a.toml", Some(objects))]);
    }

    fn report(&self) -> Report {
        self.keeper.report(now(self.at))
    }

    fn verdicts(&self) -> Vec<&'static str> {
        self.disk
            .journal
            .iter()
            .map(|(_, verdict)| verdict.as_ref().map_or("open", Verdict::name))
            .collect()
    }

    #[track_caller]
    fn sozu_holds(&self, objects: &[Object]) {
        let held = sort_records(records(&self.sozu.main), Duration::ZERO).held;
        let mut held: Vec<String> = held
            .values()
            .map(|object| format!("{object:?} {:?}", object.cluster()))
            .collect();
        let mut expected: Vec<String> = objects
            .iter()
            .map(|object| format!("{object:?} {:?}", object.cluster()))
            .collect();
        held.sort();
        expected.sort();
        assert_eq!(held, expected);
    }
}

/// A history of so many effects never comes to rest.
const TOO_LONG: usize = 1000;

fn route(id: &str, port: u16) -> Vec<Object> {
    vec![
        cluster(id),
        backend(id, &format!("{id}-0"), port),
        http(id, &format!("{id}.example")),
    ]
}

fn hold(state: &mut ConfigState, objects: &[Object]) {
    for object in objects {
        state.dispatch(&object.add()).unwrap();
    }
}

fn adds(objects: &[Object]) -> Vec<Request> {
    objects.iter().map(Object::add).collect()
}

/// All of an object, to compare by.
fn text(object: &Object) -> String {
    serde_json::to_string(&object.add()).unwrap()
}

/// Messages of the bus's topic from the `first` one on.
fn bus_changes(first: u64, requests: &[Request]) -> Changes {
    let changes = requests
        .iter()
        .zip(first..)
        .map(|(request, entry)| BusChange {
            position: place(entry),
            request: Ok(request.clone()),
            original: Arc::default(),
        });
    Changes {
        source: bus(),
        changes: changes.collect(),
    }
}
