//! What goes into the keeper and what comes out of it: settings, what the disk held, events and
//! effects.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use sozu_command_lib::proto::command::Request;
use sozu_socket::{ExchangeError, Sozu};

use super::{
    answer::Outcome,
    declared::Declaration,
    gate::{Mode, Pause},
    guard::Bounds,
    held::Read,
    key::Key,
    log::Entry,
    operator::Answer,
    policy::Policy,
    store::Counts,
    verdict::Verdict,
};
use crate::messages::{
    Changes, DeclareError, Declared, Letters, Listing, Missing, Order, OrderError, Position,
    SourceName, Subscribed, Subscribes,
};

/// What the keeper is told by its configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The guard's bounds.
    pub bounds: Bounds,
    /// Whether anything is sent.
    pub mode: Mode,
    /// Whether a worker that differs from its main process is replaced.
    pub upgrade_workers: bool,
    /// How often Sōzu is read again.
    pub interval: Duration,
    /// Sōzu's own `worker_timeout`.
    pub worker_timeout: Duration,
    /// Sōzu's limit of one request, in bytes.
    pub max_request_bytes: usize,
    /// The directories.
    pub sources: Vec<SourceName>,
    /// The buses, and what each may do.
    pub policies: HashMap<SourceName, Policy>,
    /// Buses wait once there are so many dead letters; nothing: the oldest goes.
    pub letter_room: Option<Room>,
}

/// So many dead letters there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Letters.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Room {
    /// Whether no other letter is to come.
    pub fn is_used_up(&self) -> bool {
        self.rows == 0 || self.bytes == 0
    }

    /// One of so many bytes comes.
    pub fn take(&mut self, bytes: usize) {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }
}

/// When something happens.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Since an arbitrary start; never goes back.
    pub at: Duration,
    /// The calendar.
    pub wall: SystemTime,
}

/// What the database held at the start.
#[derive(Default)]
pub struct Loaded {
    /// The accepted declared sets.
    pub declarations: Vec<(Key, SourceName, Declaration)>,
    /// Entries without a verdict, in log order.
    pub tail: Vec<Entry>,
    /// The last entry's number.
    pub last_seq: u64,
    /// The device of each directory.
    pub devices: HashMap<SourceName, u64>,
    /// The last position that was taken of each bus.
    pub positions: HashMap<SourceName, Position>,
    /// The buses that have caught up once.
    pub caught_up: HashSet<SourceName>,
    /// The life of Sōzu that was last made complete.
    pub complete_life: Option<Arc<str>>,
    /// A person's pause, which may be over.
    pub pause: Option<Pause>,
    /// How many dead letters there are.
    pub letters: Arc<Counts>,
    /// The name by which each bus is subscribed.
    pub subscriptions: HashMap<SourceName, Arc<str>>,
    /// What is known to be missing of a bus's stream.
    pub gaps: HashMap<SourceName, Arc<str>>,
    /// What the guard let pass within the last hour, per source: removals by conclusion, and take-overs.
    pub removed_lately: HashMap<SourceName, usize>,
}

/// What happens to the keeper.
#[derive(Debug)]
pub enum Event {
    /// Whether Sōzu answers, and which life of it.
    Sozu(Sozu),
    /// A directory's complete listing; `reply` names who waits for the answer.
    Listing {
        /// The listing.
        listing: Listing,
        /// To whom.
        reply: u64,
    },
    /// A directory that could not be listed.
    NotListed(SourceName),
    /// Changes of a bus; `reply` names who waits for the answer.
    Changes {
        /// The changes.
        changes: Changes,
        /// To whom.
        reply: u64,
    },
    /// A bus is subscribed; `reply` names who waits for its position.
    Subscribed {
        /// The subscription.
        subscribed: Subscribed,
        /// To whom.
        reply: u64,
    },
    /// A bus is about to subscribe; `reply` names who waits for the answer.
    Subscribes {
        /// Who, and by which name.
        subscribes: Subscribes,
        /// To whom.
        reply: u64,
    },
    /// Something of a bus's stream is gone; `reply` names who waits for the answer.
    Missing {
        /// What.
        missing: Missing,
        /// To whom.
        reply: u64,
    },
    /// The entries of the last [`Effect::Append`] are on disk, or not.
    Appended(Result<(), String>),
    /// The last [`Effect::Accept`] is on disk, or not.
    Accepted(Result<(), String>),
    /// What came back for the last [`Effect::Send`].
    Sent(Outcome),
    /// What came back for the last [`Effect::AskStatus`]: each worker's id, and whether it answers.
    Status(Result<Vec<(u32, bool)>, ExchangeError>),
    /// What came back for the last [`Effect::UpgradeWorker`].
    Upgraded(Result<(), ExchangeError>),
    /// What came back for the last [`Effect::ReadBack`] or [`Effect::ReadAgain`].
    Read(Result<Read, ExchangeError>),
    /// A person's order; `reply` names who waits for the answer.
    Order {
        /// The order.
        order: Order,
        /// To whom.
        reply: u64,
    },
    /// The last [`Effect::EndLetters`] is on disk, for so many letters; or not.
    LettersEnded(Result<usize, OrderError>),
    /// So many dead letters there are now.
    Letters(Arc<Counts>),
    /// A person pauses, or ends the pause; `reply` names who waits for the answer.
    Pause {
        /// The user id of the person's process.
        uid: u32,
        /// How long; nothing ends it.
        lasts: Option<Duration>,
        /// To whom.
        reply: u64,
    },
    /// What a [`Effect::KeepPause`] said is on disk, or not.
    PauseKept {
        /// To whom.
        reply: u64,
        /// Whether it is.
        result: Result<(), String>,
    },
    /// Somebody wants to know how Sōzu differs; `reply` names who.
    Compare {
        /// To whom.
        reply: u64,
    },
    /// The configuration has changed.
    Settings(Settings),
    /// Time has passed.
    Tick,
}

/// What the keeper wants done.
#[derive(Debug)]
pub enum Effect {
    /// Write entries to the log, in one transaction, before anything of them is sent.
    Append {
        /// The entries.
        entries: Vec<Arc<Entry>>,
        /// The place that a source has come to with them.
        mark: Option<(SourceName, Mark)>,
    },
    /// Write that dead letters end by a person's order, and as what one is tried again, in one transaction.
    EndLetters(Arc<Ending>),
    /// Write that there is a pause, or none.
    KeepPause {
        /// The pause.
        pause: Option<Pause>,
        /// Who waits for it.
        reply: u64,
    },
    /// A pause has ended by itself.
    PauseEnded(Pause),
    /// Answer a person.
    Answer(u64, Answer),
    /// Write verdicts and what they bring into the accepted sets, in one transaction.
    Accept(Arc<Acceptance>),
    /// These requests are sent next, unless something comes in between: their file can be written
    /// while Sōzu is busy.
    Prepare(Arc<Vec<Request>>),
    /// Send requests: one goes alone, two or more as a file.
    Send(Arc<Vec<Request>>),
    /// Ask for the workers' status.
    AskStatus,
    /// Have Sōzu replace this worker.
    UpgradeWorker(u32),
    /// Read all that the main process holds.
    ReadBack,
    /// As [`Effect::ReadBack`], where only that is told if it is the very same as at the last read.
    ReadAgain,
    /// Answer a listing or changes.
    Reply(u64, Result<Declared, DeclareError>),
    /// Answer a subscription: where the bus goes on.
    GoOn(u64, Result<Option<Position>, DeclareError>),
    /// So many changes of a bus came again.
    Redelivered(SourceName, usize),
    /// So many messages of a bus had no payload.
    Skipped(SourceName, usize),
    /// Sōzu was made complete in a new life.
    Restored {
        /// How long it took from its first sight.
        took: Duration,
    },
}

/// What became final, to be written in one transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acceptance {
    /// By sequence number.
    pub verdicts: Vec<FinalVerdict>,
    /// What sources say from now on; nothing: the source has no word on the key any more.
    pub declarations: Vec<(Key, SourceName, Option<Declaration>)>,
    /// This life of Sōzu is complete.
    pub complete_life: Option<Arc<str>>,
    /// These buses have caught up.
    pub caught_up: HashSet<SourceName>,
    /// And have taken over so many objects, which the guard let pass then.
    pub taken_over: Vec<(SourceName, SystemTime, usize)>,
    /// The names by which buses are subscribed from now on.
    pub subscriptions: Vec<(SourceName, Arc<str>)>,
    /// What is missing of a bus's stream; nothing: a person has accepted it.
    pub gaps: Vec<(SourceName, Option<Arc<str>>)>,
    /// Whose warnings a person has accepted.
    pub accepted: Vec<SourceName>,
}

/// Dead letters end.
#[derive(Debug)]
pub struct Ending {
    /// The user id of the person's process.
    pub uid: u32,
    /// How, and which.
    pub how: End,
}

/// How dead letters end.
#[derive(Debug)]
pub enum End {
    /// Nobody wants them.
    Discarded(Letters),
    /// One is tried again.
    Retried {
        /// Which.
        seq: u64,
        /// As what.
        again: Arc<Entry>,
        /// Also if it was overtaken.
        force: bool,
    },
}

/// A source's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The device of a directory.
    Device(u64),
    /// The last position of a bus that was taken.
    Position(Position),
}

/// One entry's verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct FinalVerdict {
    /// The entry.
    pub seq: u64,
    /// Whose it was.
    pub source: SourceName,
    /// What it is about.
    pub keys: Vec<Key>,
    /// What became of it.
    pub verdict: Verdict,
    /// When it was taken.
    pub taken: SystemTime,
}

impl Acceptance {
    /// Whether nothing became final.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
