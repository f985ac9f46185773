//! The keeper itself: `on(now, event) → effects`, without I/O, clock, actix or SQLite.
//!
//! One thing is under way with Sōzu at a time: a fence, a read, or a batch. Everything else only
//! marks keys dirty; `Keeper::advance` decides what comes next.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sozu_socket::{Life, Sozu};

use super::{
    appending::Appending,
    declared::{Declaration, Wanted},
    desired::Desired,
    doubts::Doubts,
    events::{Acceptance, Effect, Event, Loaded, Now, Settings},
    gate::{Gate, gate},
    guard::History,
    held::Belief,
    intake::{Taking, Word},
    key::{Key, KeyMap, KeySet, Object},
    listing::Taken,
    log::{Entry, Tail},
    operator,
    orders::Bus,
    pause::Pausing,
    plan::Step,
    report::Listeners,
    sending::{self, Prepared},
    store::Counts,
    upgrade::Workers,
    warnings::Warnings,
};
use crate::messages::{DeclareError, Declared, Position, SourceName};

/// How long a start waits for each directory to speak once.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// Time passes for the keeper at least this often.
const TURN: Duration = Duration::from_secs(1);
/// So many requests are a flood.
const FLOOD: usize = 1000;

/// What is under way with Sōzu.
#[derive(Debug)]
pub(super) enum Doing {
    Nothing,
    Fencing,
    Reading {
        life: Option<Life>,
    },
    Sending {
        steps: Vec<Step>,
        requests: usize,
        life: Option<Life>,
    },
    /// This worker is being replaced.
    Upgrading(u32),
}

/// What is being written into the accepted sets.
pub(super) enum Accepting {
    Nothing,
    Writing(Arc<Acceptance>),
    /// It could not be written and is tried again: what is final stays final.
    Failed {
        acceptance: Arc<Acceptance>,
        again: Duration,
    },
}

/// What was refused, so that it is not tried again until something about it changes.
pub(super) struct RefusedObject {
    pub object: Arc<Object>,
    /// What somebody else had under its key.
    pub foreign: Option<Arc<Object>>,
    pub listeners: Option<Arc<Listeners>>,
    pub file: Option<Arc<PathBuf>>,
    pub reason: String,
}

/// The keeper.
pub struct Keeper {
    pub(super) settings: Settings,
    pub(super) desired: Desired,
    pub(super) tail: Tail,
    pub(super) last_seq: u64,
    pub(super) belief: Belief,
    pub(super) listeners: Option<Arc<Listeners>>,
    pub(super) dirty: KeySet,
    pub(super) in_flight: KeySet,
    /// Dirty keys in the order in which they are sent, and whether each goes.
    pub(super) queue: VecDeque<(Key, bool)>,
    /// Of these, the certificates that take another one's place.
    pub(super) renewals: KeyMap<Key>,
    pub(super) prepared: Option<Prepared>,
    pub(super) doubts: Doubts,
    /// What cannot be sent just now, and why.
    pub(super) unservable: BTreeMap<Key, String>,
    pub(super) foreign: KeySet,
    pub(super) shadowed: BTreeMap<SourceName, BTreeMap<Key, String>>,
    pub(super) refused: HashMap<(SourceName, Key), RefusedObject>,
    /// The files of each directory as they were last taken.
    pub(super) taken: HashMap<SourceName, Taken>,
    pub(super) histories: HashMap<SourceName, History>,
    pub(super) devices: HashMap<SourceName, u64>,
    pub(super) positions: HashMap<SourceName, Position>,
    pub(super) buses: HashMap<SourceName, Bus>,
    pub(super) last_turn: Duration,
    pub(super) unspoken: HashSet<SourceName>,
    /// A batch of a flood was sent in the last turn, and the rest of the turn was put off.
    busy: bool,
    settled_at: Duration,
    pub(super) last_change: HashMap<SourceName, SystemTime>,
    // Sōzu
    pub(super) sozu: Sozu,
    pub(super) life: Option<Life>,
    pub(super) life_seen: Duration,
    pub(super) complete: bool,
    pub(super) complete_life: Option<Arc<str>>,
    pub(super) workers: usize,
    pub(super) silent: Vec<u32>,
    pub(super) workers_known: Workers,
    pub(super) doing: Doing,
    pub(super) must_read: bool,
    pub(super) fence_ends: Duration,
    pub(super) next_read: Duration,
    pub(super) last_proof: Option<SystemTime>,
    pub(super) trouble: Option<String>,
    pub(super) tries: u32,
    pub(super) wait_until: Duration,
    // what a person said
    pub(super) pausing: Option<Pausing>,
    pub(super) last_paused: Duration,
    // the log
    pub(super) intake: VecDeque<Taking>,
    pub(super) appending: Option<Appending>,
    /// When what could not be written and nobody says again is tried anew.
    pub(super) append_again: Duration,
    pub(super) acceptance: Acceptance,
    pub(super) accepting: Accepting,
    pub(super) disk: Option<String>,
    /// How many dead letters are on disk.
    pub(super) letters: Arc<Counts>,
    /// What buses have told of themselves that a person may have to accept.
    pub(super) warnings: Warnings,
    /// What persons asked for.
    pub(super) desk: operator::Desk,
}

impl Keeper {
    /// Folds the log's tail over the accepted sets. Each entry of the tail counts as one with an
    /// unknown outcome: a start reads Sōzu behind a fence before anything is sent.
    pub fn new(settings: Settings, loaded: Loaded, now: Now) -> Self {
        let mut keeper = Self {
            unspoken: settings.sources.iter().cloned().collect(),
            desired: Desired::default(),
            tail: Tail::default(),
            last_seq: loaded.last_seq,
            belief: Belief::default(),
            listeners: None,
            dirty: KeySet::default(),
            in_flight: KeySet::default(),
            queue: VecDeque::new(),
            renewals: KeyMap::default(),
            prepared: None,
            doubts: Doubts::of_a_start(),
            unservable: BTreeMap::new(),
            foreign: KeySet::default(),
            shadowed: BTreeMap::new(),
            refused: HashMap::new(),
            taken: HashMap::new(),
            histories: HashMap::new(),
            devices: loaded.devices,
            positions: loaded.positions,
            buses: Bus::all(&settings.policies, &loaded.caught_up),
            last_turn: now.at,
            busy: false,
            settled_at: now.at,
            last_change: HashMap::new(),
            sozu: Sozu::Unasked,
            life: None,
            life_seen: now.at,
            complete: false,
            complete_life: loaded.complete_life,
            workers: 0,
            silent: Vec::new(),
            workers_known: Workers::default(),
            doing: Doing::Nothing,
            must_read: true,
            fence_ends: now.at,
            next_read: now.at,
            last_proof: None,
            trouble: None,
            tries: 0,
            wait_until: now.at,
            pausing: loaded.pause.and_then(|pause| Pausing::of(pause, now)),
            last_paused: now.at,
            intake: VecDeque::new(),
            appending: None,
            append_again: now.at,
            acceptance: Acceptance::default(),
            accepting: Accepting::Nothing,
            disk: None,
            letters: loaded.letters,
            warnings: Warnings::new(loaded.subscriptions, loaded.gaps),
            desk: operator::Desk::default(),
            settings,
        };
        keeper.load(loaded.declarations, loaded.tail, now);
        for (source, removed) in loaded.removed_lately {
            let owned = keeper.desired.declared().count(&source) + removed;
            let history = keeper.histories.entry(source).or_default();
            history.owned(now.at, owned);
            history.removed(now.at, removed);
        }
        keeper
    }

    fn load(
        &mut self,
        mut declarations: Vec<(Key, SourceName, Declaration)>,
        tail: Vec<Entry>,
        now: Now,
    ) {
        let sources = declarations.iter().map(|(_, source, _)| source);
        let sources = sources.chain(tail.iter().map(|entry| &entry.source));
        let gone = sources
            .filter(|source| !self.is_configured(source))
            .cloned();
        let gone = gone.collect();
        self.desired.set_gone(gone, &self.belief);
        declarations.sort_by_key(|(a, ..)| a.kind());
        for (key, source, declaration) in declarations {
            let declared = self
                .desired
                .declare(&key, &source, Some(declaration), &self.belief);
            if let Err(error) = declared {
                tracing::error!(kind = %key.kind(), %key, %source, error, "An object of the database is not taken; it is left as it is.");
            }
            self.look_for_shadows(&key);
        }
        // What was sent before the start is not known, with an empty tail either: it may have healed.
        self.fence_ends = now.at + self.longest(sending::BATCH);
        let tail: Vec<Arc<Entry>> = tail.into_iter().map(Arc::new).collect();
        self.remember_taken(&tail);
        for entry in tail {
            self.fold(entry);
        }
        self.go_on_catching_up();
        self.excuse_who_left();
        self.doubt_the_tail();
    }

    /// Takes an event and says what is to be done.
    pub fn on(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        let settles = self.may_settle(now, &event);
        let is_written = matches!(event, Event::Accepted(_));
        match event {
            Event::Sozu(sozu) => self.on_sozu(now, sozu),
            Event::Listing { listing, reply } => self.queue(Word::Listing(listing), reply),
            Event::Changes { changes, reply } => self.queue(Word::Changes(changes), reply),
            Event::Subscribed { subscribed, reply } => {
                let position = if self.belief.is_read() {
                    Ok(self.on_subscribed(&subscribed))
                } else {
                    Err(DeclareError::Starting)
                };
                effects.push(Effect::GoOn(reply, position));
            }
            Event::Subscribes { subscribes, reply } => {
                let answer = self.on_subscribes(&subscribes);
                effects.push(Effect::Reply(reply, answer));
            }
            Event::Missing { missing, reply } => {
                self.on_missing(missing);
                effects.push(Effect::Reply(reply, Ok(Declared { changes: 0 })));
            }
            Event::NotListed(source) => {
                self.unspoken.remove(&source);
            }
            Event::Appended(result) => self.on_appended(now, result, &mut effects),
            Event::Accepted(result) => self.on_accepted(now, result),
            Event::Sent(outcome) => self.on_sent(now, &outcome),
            Event::Status(result) => self.on_status(now, result, &mut effects),
            Event::Upgraded(result) => self.on_upgraded(now, result),
            Event::Read(result) => self.on_read(now, result),
            Event::Order { order, reply } => self.desk.orders.push_back((order, reply)),
            Event::LettersEnded(result) => self.on_letters_ended(now, result, &mut effects),
            Event::Letters(letters) => self.letters = letters,
            Event::Pause { uid, lasts, reply } => {
                self.on_pause(now, uid, lasts, reply, &mut effects);
            }
            Event::PauseKept { reply, result } => {
                self.on_pause_kept(reply, result, &mut effects);
            }
            Event::Compare { reply } => self.on_compare(now, reply),
            Event::Settings(settings) => self.on_settings(now, settings),
            Event::Tick => {}
        }
        self.expire_parked(now.at.saturating_sub(self.last_turn));
        self.last_turn = now.at;
        self.pass_pause(now, &mut effects);
        self.answer_comparisons(now, &mut effects);
        self.end_catching_up(now, &mut effects);
        self.take_order(now, &mut effects);
        self.take_next(now, &mut effects);
        self.advance(now, &mut effects);
        self.busy = is_flood(&effects);
        if self.busy {
            // Sōzu is not to wait for the rest of our work, which follows at once.
            return effects;
        }
        self.prepare_next(now, &mut effects);
        if settles {
            self.settled_at = now.at;
            self.settle();
        }
        if settles || is_written {
            self.settle_buses();
        }
        self.complete(now, &mut effects);
        self.accept(now, &mut effects);
        self.give_receipts(now, &mut effects);
        effects
    }

    /// Whether something may be final that was not before. In a flood that is a question of many
    /// entries: it is asked after each answer of Sōzu, and now and then.
    fn may_settle(&self, now: Now, event: &Event) -> bool {
        let says_little = matches!(
            event,
            Event::Changes { .. }
                | Event::Appended(_)
                | Event::Accepted(_)
                | Event::Letters(_)
                | Event::Tick
        );
        !says_little || self.busy || self.tail.len() < FLOOD || now.at >= self.settled_at + TURN
    }

    fn queue(&mut self, word: Word, reply: u64) {
        self.intake.push_back(Taking {
            word,
            reply,
            asked_again: false,
        });
    }

    /// When [`Event::Tick`] is due at the latest: at least once a second.
    pub fn wake_at(&self, now: Now) -> Duration {
        if self.busy {
            return now.at;
        }
        let due = [self.wait_until, self.next_read]
            .into_iter()
            .filter(|at| *at > now.at)
            .min();
        due.map_or(now.at + TURN, |due| due.min(now.at + TURN))
    }

    fn on_sozu(&mut self, now: Now, sozu: Sozu) {
        if let Sozu::Here(life) = &sozu {
            let same = self.life.as_ref().is_some_and(|known| known == life);
            if !same {
                self.forget_foreign();
                self.belief.forget_all();
                if self.life.is_some() {
                    self.forget_doubts();
                }
                self.workers_known = Workers::default();
                self.complete = false;
                self.life_seen = now.at;
                self.must_read = true;
                self.wait_until = now.at;
                self.tries = 0;
            }
            self.life = Some(life.clone());
        }
        self.sozu = sozu;
    }

    /// What strangers had in the life before stands no longer, and nothing may be built on it.
    fn forget_foreign(&mut self) {
        let mut foreign: Vec<Key> = self.foreign.drain().collect();
        foreign.sort_by(|a, b| b.kind().cmp(&a.kind()).then_with(|| a.cmp(b)));
        for key in foreign {
            if let Some(object) = self.belief.held(&key).object() {
                self.desired.observe(&key, Some(object), None);
            }
        }
    }

    /// Derives what may be sent.
    pub(super) fn gate(&self, now: Now) -> Gate {
        let all_have_spoken = self.unspoken.is_empty() || now.at > self.life_seen + FIRST_WORD;
        gate(
            self.settings.mode,
            self.pausing.map(|pausing| pausing.pause),
            matches!(self.sozu, Sozu::Here(_)),
            self.belief.is_read(),
            all_have_spoken,
        )
    }

    /// Sōzu's longest deadline for a batch of so many requests, and ours a little longer.
    pub(super) fn longest(&self, requests: usize) -> Duration {
        let timeout = self.settings.worker_timeout;
        let entries =
            Duration::from_millis(10).saturating_mul(u32::try_from(requests).unwrap_or(u32::MAX));
        (timeout + entries).min(timeout * 10) + Duration::from_secs(5)
    }

    fn advance(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let is_here = matches!(self.sozu, Sozu::Here(_));
        if !matches!(self.doing, Doing::Nothing) || !is_here || now.at < self.wait_until {
            return;
        }
        if self.must_read || now.at >= self.next_read {
            self.must_read = true;
            self.forget_prepared();
            self.doing = Doing::Fencing;
            effects.push(Effect::AskStatus);
        } else if self.gate(now) == Gate::Open {
            self.send_next(effects);
            self.cure(now, effects);
        } else {
            self.forget_prepared();
        }
    }

    /// Folds an entry that is on disk.
    pub(super) fn fold(&mut self, entry: Arc<Entry>) {
        let keys = self.tail.fold(entry, &mut self.desired, &self.belief);
        self.mark(keys);
    }

    /// Something else may be wanted of these keys.
    pub(super) fn mark(&mut self, keys: Vec<Key>) {
        // What was refused by workers, or came back with an older state, may still be there.
        let revived = self.tail.revived().into_iter();
        let provable = revived.filter(|key| !key.kind().is_frontend());
        self.doubts.unproven.extend(provable);
        for key in keys {
            self.look_for_shadows(&key);
            self.forget_prepared_of(&key);
            self.foreign.remove(&key);
            let is_wanted = matches!(self.desired.declared().wanted(&key), Wanted::Object(..));
            if is_wanted || !key.kind().is_frontend() {
                // Another value may be refused for good, by the main process too; and what that keeps can be removed.
                self.doubts.divergent.remove(&key);
            }
            self.dirty.insert(key);
        }
    }
}

fn is_flood(effects: &[Effect]) -> bool {
    let is_large =
        |effect: &Effect| matches!(effect, Effect::Send(requests) if requests.len() >= FLOOD);
    effects.iter().any(is_large)
}
