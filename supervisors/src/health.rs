//! What is seen from outside: every component's state and word, readable from any thread.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::Instant};

use crate::Spec;

/// What a component is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// A life has begun and is not ready yet, or is about to begin.
    Starting,
    /// By its own word.
    Running,
    /// By its own word: initialised, but what it talks to is away or wrong.
    Degraded,
    /// Its life has ended; it waits for the next one.
    Backoff,
    /// It ended too often and the next try is far away; or, by its own word, it waits for a person.
    Parked,
    /// Asked to stop.
    Stopping,
    /// Stopped for good.
    Stopped,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Starting,
        Self::Running,
        Self::Degraded,
        Self::Backoff,
        Self::Parked,
        Self::Stopping,
        Self::Stopped,
    ];

    /// Its name in health and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Backoff => "backoff",
            Self::Parked => "parked",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// Why a life ended without having been asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// It panicked.
    Panic,
    /// It said that it cannot go on.
    Error,
    /// It stopped itself.
    Stopped,
    /// It did not report in time.
    NotReady,
    /// It hangs.
    Unresponsive,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Panic,
        Self::Error,
        Self::Stopped,
        Self::NotReady,
        Self::Unresponsive,
    ];

    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Stopped => "stopped",
            Self::NotReady => "not_ready",
            Self::Unresponsive => "unresponsive",
        }
    }
}

/// Health of one component.
#[derive(Clone, Debug)]
pub struct Component {
    /// Its name, unique in the tree.
    pub name: String,
    /// What sort of component it is.
    pub kind: &'static str,
    /// What it is doing.
    pub state: State,
    /// Whether its crash loop escalates.
    pub critical: bool,
    /// How often a life of it ended without having been asked to.
    pub restarts: BTreeMap<Reason, u64>,
    /// Since when it is in this state.
    pub since: SystemTime,
    /// How long ago it last gave a sign of life: began a life, or answered its supervisor in its own turn. A life that was
    /// left behind on its thread still counts, as long as it is there: what it holds (a lock, a file) nobody else can get.
    pub silent_for: Duration,
    /// Its own word, or what it waits for.
    pub detail: String,
    /// What is wrong; after an end why it ended, until the next life reports.
    pub error: Option<String>,
}

/// Reads the health of a whole tree, or of a group, from any thread. What is added to the tree later is seen too,
/// what was taken out of it is not.
#[derive(Clone)]
pub struct Health(Arc<Tree>);

struct Tree {
    entries: watch::Sender<Vec<Entry>>,
    made: Instant,
    /// Of the loop's last turn: milliseconds since `made`.
    turned: AtomicU64,
}

#[derive(Clone)]
pub(crate) enum Entry {
    Component(Arc<Cell>),
    Group(Health),
}

impl fmt::Debug for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.components()).finish()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Tree {
            entries: watch::Sender::default(),
            made: Instant::now(),
            turned: AtomicU64::new(0),
        }))
    }
}

impl Health {
    /// Every component, in the order of the tree.
    pub fn components(&self) -> Vec<Component> {
        let mut components = Vec::new();
        self.each(&mut |cell| components.push(cell.component()));
        components
    }

    /// How long ago the supervisor's loop last turned: well under 2 s as long as its thread is not blocked. Before it
    /// runs: since it was made.
    pub fn last_turn(&self) -> Duration {
        let turned = self.0.made + Duration::from_millis(self.0.turned.load(Ordering::Relaxed));
        Instant::now().saturating_duration_since(turned)
    }

    pub(crate) fn turned(&self) {
        let now = u64::try_from(self.0.made.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.turned.store(now, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, entry: Entry) {
        self.0.entries.send_modify(|entries| entries.push(entry));
    }

    pub(crate) fn remove(&self, gone: &Entry) {
        self.0
            .entries
            .send_modify(|entries| entries.retain(|entry| !entry.same(gone)));
    }

    fn each(&self, what: &mut dyn FnMut(&Cell)) {
        // a copy: nothing else runs while the list is locked
        let entries = self.0.entries.borrow().clone();
        for entry in &entries {
            entry.each(what);
        }
    }
}

impl Entry {
    pub(crate) fn each(&self, what: &mut dyn FnMut(&Cell)) {
        match self {
            Self::Component(cell) => what(cell),
            Self::Group(health) => health.each(what),
        }
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Component(one), Self::Component(other)) => Arc::ptr_eq(one, other),
            (Self::Group(one), Self::Group(other)) => Arc::ptr_eq(&one.0, &other.0),
            _ => false,
        }
    }
}

/// Where one component's health is kept. A `watch` and no mutex: a panic poisons nothing.
pub(crate) struct Cell(watch::Sender<Kept>);

struct Kept {
    /// Whose word counts; none between two lives.
    life: Option<u64>,
    ready: bool,
    /// The last one that began.
    began: u64,
    /// The last one that ended without having been asked to.
    ended: u64,
    heard: Instant,
    /// Lives that do not let go of their thread, and when each was last heard.
    left_behind: Vec<(u64, Instant)>,
    component: Component,
}

/// What came of a component's word.
pub(crate) struct Heard {
    /// The first word of this life.
    pub(crate) first: bool,
    pub(crate) changed: bool,
}

impl Cell {
    pub(crate) fn new(spec: &Spec) -> Self {
        Self(watch::Sender::new(Kept {
            life: None,
            ready: false,
            began: 0,
            ended: 0,
            heard: Instant::now(),
            left_behind: Vec::new(),
            component: Component {
                name: spec.name.clone(),
                kind: spec.kind,
                state: State::Starting,
                critical: spec.critical,
                restarts: BTreeMap::new(),
                since: SystemTime::now(),
                silent_for: Duration::ZERO,
                detail: "not started yet".to_owned(),
                error: None,
            },
        }))
    }

    pub(crate) fn component(&self) -> Component {
        let kept = self.0.borrow();
        let left_behind = kept.left_behind.iter().map(|(_, heard)| *heard);
        let heard = left_behind.fold(kept.heard, Instant::min);
        Component {
            silent_for: Instant::now().saturating_duration_since(heard),
            ..kept.component.clone()
        }
    }

    pub(crate) fn name(&self) -> String {
        self.0.borrow().component.name.clone()
    }

    /// A life begins. What ended the one before it stays to be seen until this one reports.
    pub(crate) fn begin(&self, life: u64) {
        self.0.send_modify(|kept| {
            kept.life = Some(life);
            kept.began = life;
            kept.ready = false;
            kept.heard = Instant::now();
            kept.component.enter(State::Starting, String::new());
        });
    }

    /// Waits for the first word of a life after the one of this number, or for its end.
    pub(crate) async fn first_word(&self, after: u64) -> Result<(), String> {
        let ended = |kept: &Kept| kept.ended > after || kept.component.state == State::Stopped;
        let ready = |kept: &Kept| kept.ready && kept.life.is_some_and(|life| life > after);
        let mut news = self.0.subscribe();
        let heard = news.wait_for(|kept| ready(kept) || ended(kept)).await;
        match heard {
            Ok(kept) if !ready(&kept) => Err(kept.component.error.clone().unwrap_or_default()),
            // the sender is ours, so the news have no end
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// It gave a sign of life.
    pub(crate) fn beat(&self) {
        self.0.send_modify(|kept| kept.heard = Instant::now());
    }

    /// This life, the present one, does not let go of its thread, and another one takes its place.
    pub(crate) fn left_behind(&self, life: u64) {
        self.0
            .send_modify(|kept| kept.left_behind.push((life, kept.heard)));
    }

    /// A life that was left behind is over after all.
    pub(crate) fn gone(&self, life: u64) {
        self.0
            .send_modify(|kept| kept.left_behind.retain(|(left, _)| *left != life));
    }

    /// The word of a life; nothing, if it is not the present one.
    pub(crate) fn word(
        &self,
        life: u64,
        state: State,
        detail: String,
        error: Option<String>,
    ) -> Option<Heard> {
        let mut heard = None;
        self.0.send_if_modified(|kept| {
            if kept.life != Some(life) {
                return false;
            }
            // one that stops may still say how far it is
            let stopping = kept.component.state == State::Stopping;
            let state = if stopping { State::Stopping } else { state };
            heard = Some(Heard {
                first: !std::mem::replace(&mut kept.ready, true),
                changed: kept.component.state != state,
            });
            kept.component.enter(state, detail);
            kept.component.error = error;
            true
        });
        heard
    }

    /// Asked to stop.
    pub(crate) fn stopping(&self) {
        self.0
            .send_modify(|kept| kept.component.enter(State::Stopping, String::new()));
    }

    /// No life speaks for it any more.
    pub(crate) fn between(&self, state: State, detail: String) {
        self.0.send_modify(|kept| {
            kept.life = None;
            kept.component.enter(state, detail);
        });
    }

    /// A life ended, for this reason, without having been asked to.
    pub(crate) fn count(&self, reason: Reason, error: String) {
        self.0.send_modify(|kept| {
            kept.ended = kept.began;
            *kept.component.restarts.entry(reason).or_default() += 1;
            kept.component.error = Some(error);
        });
    }
}

impl Component {
    fn enter(&mut self, state: State, detail: String) {
        if self.state != state {
            self.state = state;
            self.since = SystemTime::now();
        }
        self.detail = detail;
    }
}
