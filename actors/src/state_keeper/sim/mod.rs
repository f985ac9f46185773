//! The keeper against a model of Sōzu and of the disk, without I/O: effects are carried out one by
//! one, and the daemon can die before or after each of them.
//!
//! The world: `sozu`, `disk`, `sources`; how it runs: `carrying`, `saying`, `ops`, `play`; who judges: `truth`. The rest
//! are days with an end that is written down, and the searches `exhaustive` and `chance`.

mod buses;
mod carrying;
mod chance;
mod days;
mod disk;
mod exhaustive;
mod faults;
mod floods;
mod found;
mod judge;
mod letters;
mod ops;
mod orders;
mod pauses;
mod play;
mod refusals;
mod said;
mod saying;
mod sources;
mod sozu;
mod takeovers;
mod truth;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use carrying::TOO_LONG;
use disk::Disk;
use play::{Death, REST, trace};
use sources::{Folder, Topic};
use sozu::{Fault, Proxy, WORKER_TIMEOUT, records};
use sozu_command_lib::{
    proto::command::{
        HttpListenerConfig, HttpsListenerConfig, Request, TcpListenerConfig, request::RequestType,
    },
    state::ConfigState,
};
use sozu_socket::{Life, Sozu};
use truth::Onlooker;

use super::{
    answer::Outcome,
    declared::Wanted,
    events::{Effect, End, Event, Now, Settings},
    examples::{HTTP, HTTPS, LEAF, RENEWED, TCP, backend, certificate, cluster, http, keyed},
    gate::Mode,
    guard::Bounds,
    held::{Read, What, sort_records},
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
    bounds: Bounds,
    /// Workers that differ are replaced.
    is_cured: bool,
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
    /// In no configuration just now.
    absent: BTreeSet<SourceName>,
    /// Some were: what they said stands as long as nobody else says something.
    had_leavers: bool,
    /// How often the sources have begun to speak anew.
    epoch: u64,
    last_read: Vec<Request>,
    /// Sōzu was started anew, and the keeper is told after so many effects.
    unseen_for: Option<usize>,
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
    let https = HttpsListenerConfig {
        address: HTTPS.into(),
        ..HttpsListenerConfig::default()
    };
    let tcp = TcpListenerConfig {
        address: TCP.into(),
        ..TcpListenerConfig::default()
    };
    for listener in [
        RequestType::AddHttpListener(http),
        RequestType::AddHttpsListener(https),
        RequestType::AddTcpListener(tcp),
    ] {
        state.dispatch(&listener.into()).unwrap();
    }
    state
}

/// With so few objects the guard holds nothing but the last certificate.
const FEW: Bounds = Bounds {
    removal_share: 0.25,
    removal_minimum: 50,
};

fn settings(mode: Mode, bounds: Bounds, topics: &[Topic]) -> Settings {
    let policy = Policy {
        verbs: ["routing", "certificates"].map(str::to_owned).into(),
        ..Policy::default()
    };
    Settings {
        bounds,
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
        let settings = settings(mode, FEW, &topics);
        let keeper = Keeper::new(
            settings,
            disk.load(now(Duration::ZERO).wall),
            now(Duration::ZERO),
        );
        let mut world = Self {
            keeper,
            mode,
            bounds: FEW,
            is_cured: false,
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
            absent: BTreeSet::new(),
            had_leavers: false,
            epoch: 0,
            last_read: Vec::new(),
            unseen_for: None,
            prepared: None,
            went_as_prepared: 0,
        };
        world.here();
        world
    }

    fn sozu_life(&self) -> Life {
        Life::from(format!("life {}", self.sozu.life).as_str())
    }

    /// The keeper is told which Sōzu is there.
    fn here(&mut self) {
        self.unseen_for = None;
        self.tell(Event::Sozu(Sozu::Here(self.sozu_life())));
    }

    /// Of the configuration as it is now.
    fn settings(&self) -> Settings {
        let mut settings = settings(self.mode, self.bounds, &self.topics);
        settings.upgrade_workers = self.is_cured;
        settings.sources.clone_from(&self.sources);
        let is_there = |source: &SourceName| !self.absent.contains(source);
        settings.sources.retain(is_there);
        settings.policies.retain(|source, _| is_there(source));
        settings
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
        let settings = self.settings();
        let now = now(self.at);
        self.keeper = Keeper::new(settings, self.disk.load(now.wall), now);
        self.here();
    }
}

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

/// All of an object, to compare by, but for a private key: it is not stored where a file has it.
fn text(object: &Object) -> String {
    match object {
        // The key tells its leaf.
        Object::Certificate(add) => format!("for {:?}", add.certificate.names),
        _ => serde_json::to_string(&object.add()).unwrap(),
    }
}

/// Messages of the bus's topic from the `first` one on.
fn bus_changes(first: u64, requests: &[Request]) -> Changes {
    let changes = requests
        .iter()
        .zip(first..)
        .map(|(request, entry)| BusChange {
            position: place(entry),
            request: Ok(Arc::new(request.clone())),
            original: Arc::default(),
        });
    Changes {
        source: bus(),
        changes: changes.collect(),
    }
}
