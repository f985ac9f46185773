//! What passes between the actors.

use std::{
    collections::BTreeMap, fmt, num::ParseIntError, path::PathBuf, str::FromStr, sync::Arc,
    time::Duration,
};

use actix::Message;
use serde::Serialize;
use sozu_command_lib::proto::command::Request;
use sozu_socket::{Answer, BulkAnswer, ExchangeError, Life, Prepared, Reading, StateDigest};
use tokio::sync::oneshot;

use crate::{
    metrics_scraper::{Notes, Snapshot},
    state_keeper::{self, key::Keyed, store::LetterLine},
};

/// A source's name as in the configuration: bare (`local`), unique over all kinds of sources.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceName(Arc<str>);

impl SourceName {
    /// Takes a name that the configuration has checked.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// To the keeper: all that a directory declares, from one complete listing. A directory that
/// could not be listed completely sends [`NotListed`] instead.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Declared, DeclareError>")]
pub struct Listing {
    /// Who declares.
    pub source: SourceName,
    /// `st_dev` of the directory: another one than last time may be a lost mount.
    pub device: u64,
    /// Each file of the directory once, in any order.
    pub files: Vec<ListedFile>,
}

/// One file of a listing.
#[derive(Clone, Debug)]
pub struct ListedFile {
    /// Its path.
    pub path: Arc<PathBuf>,
    /// What it says.
    pub content: FileContent,
}

/// What a file says.
#[derive(Clone, Debug)]
pub enum FileContent {
    /// What it declares. Shared, so that an unchanged file is not copied at each listing.
    Objects(Arc<Vec<Keyed>>),
    /// It is there but cannot be read or understood, and stands for what it last gave. With the
    /// reason, as the watcher shows it.
    Unreadable(String),
}

/// A place in a bus's stream. Later ones compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Pulsar's ledger; 0 for a bus that has none.
    pub ledger: u64,
    /// The entry in the ledger, or the offset in the stream.
    pub entry: u64,
    /// The message in a batched entry; -1 in an entry of one message.
    pub index: i32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.ledger, self.entry, self.index)
    }
}

impl FromStr for Position {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, ':');
        let mut next = || parts.next().unwrap_or("");
        Ok(Self {
            ledger: next().parse()?,
            entry: next().parse()?,
            index: next().parse()?,
        })
    }
}

/// To the keeper: changes of a bus, in the bus's order. Those at or behind the source's position
/// are known and skipped.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Declared, DeclareError>")]
pub struct Changes {
    /// Who sends them.
    pub source: SourceName,
    /// In order.
    pub changes: Vec<BusChange>,
}

/// One change of a bus.
#[derive(Clone, Debug)]
pub struct BusChange {
    /// Its place.
    pub position: Position,
    /// What it asks for, or why that cannot be read.
    pub request: Result<Arc<Request>, String>,
    /// The message as it came. What is refused keeps it.
    pub original: Arc<Original>,
}

/// A bus's message as it came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Original {
    /// Its bytes. They may hold secrets.
    pub bytes: Vec<u8>,
    /// The key that its producer gave it.
    pub key: Option<String>,
    /// When it was published, by its producer's clock, in milliseconds since 1970.
    pub published: Option<u64>,
    /// What it was when it was refused first, of one that is tried again: such a change has no position.
    pub again: Option<Again>,
}

impl Original {
    /// What it asks for.
    ///
    /// # Errors
    /// Why its bytes cannot be read.
    pub fn request(&self) -> Result<Arc<Request>, String> {
        prost::Message::decode(self.bytes.as_slice())
            .map(Arc::new)
            .map_err(|error| format!("the payload is no protobuf Request of Sōzu: {error}"))
    }
}

/// What is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// The message's place.
    pub id: Position,
    /// The change that it was.
    pub change: u64,
}

impl fmt::Debug for Original {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Original")
            .field("bytes", &self.bytes.len())
            .field("key", &self.key)
            .field("published", &self.published)
            .field("again", &self.again)
            .finish()
    }
}

/// A refused message that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its change's place in the log.
    pub seq: u64,
    /// Whose it was.
    pub source: SourceName,
    /// The message, as it is tried again.
    pub original: Arc<Original>,
}

/// To the keeper: a bus is subscribed, and its topic ended here when it was. Until the source has
/// come that far it catches up: its history is not replayed into live traffic.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Option<Position>, DeclareError>")]
pub struct Subscribed {
    /// Whose.
    pub source: SourceName,
    /// The last message's place; nothing for an empty topic.
    pub end: Option<Position>,
}

/// To the keeper: a bus is about to subscribe. The first name that it is told is kept.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Declared, DeclareError>")]
pub struct Subscribes {
    /// Whose.
    pub source: SourceName,
    /// The subscription's name at the broker.
    pub subscription: Arc<str>,
}

/// To the keeper: something of a bus's stream is gone for good. It is told until a person accepts it.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Declared, DeclareError>")]
pub struct Missing {
    /// Whose.
    pub source: SourceName,
    /// What, in words.
    pub what: Arc<str>,
}

/// To the keeper: the source could not list its directory. It declares nothing, and holds up
/// nothing.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct NotListed {
    /// Whose directory.
    pub source: SourceName,
    /// Why.
    pub why: String,
}

/// The keeper has taken a listing: it is on disk. What becomes of it is in the keeper's
/// [`Report`](crate::state_keeper::report::Report).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    /// How many changes the listing made; 0 when it said what was known already.
    pub changes: usize,
}

/// Why a listing was not taken. Nothing of it counts; send it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclareError {
    /// The database cannot be written.
    #[error(
        "the state directory cannot be written: {0}; free space or mend its permissions, it is tried again"
    )]
    Disk(String),
    /// The directory lies on another device than last time and lacks what it declared then.
    #[error(
        "the directory is on another device than last time and lacks {missing} of the objects it declared: a lost mount? mount it again, or put the files back"
    )]
    OtherDevice {
        /// How many objects are missing.
        missing: usize,
    },
    /// The keeper has not read its database or Sōzu yet.
    #[error("the keeper is starting; it is tried again")]
    Starting,
    /// The source is in no configuration: it has just left it.
    #[error("the source is not in the configuration")]
    NotConfigured,
    /// Sōzu is away: a bus keeps its backlog meanwhile.
    #[error("Sōzu is away; it is tried again")]
    Away,
    /// The bus was subscribed by another name before.
    #[error(
        "the subscription is {configured} in the configuration and was {stored} until now: nobody would read {stored} any more, and the broker would keep its backlog for ever. Write {stored} back; or, if {configured} is meant, remove the old one (`pulsar-admin topics unsubscribe -s {stored} TOPIC`) and run `sozu-manager sources accept {source_name}`"
    )]
    OtherSubscription {
        /// Whose.
        source_name: SourceName,
        /// As it was.
        stored: Arc<str>,
        /// As it would be.
        configured: Arc<str>,
    },
    /// There is no room for another dead letter, and none is to be dropped.
    #[error(
        "the dead letters are full ([dead_letters] max_rows, max_bytes) and when_full is \"stop\": nothing is taken, the broker keeps the messages; look at `sozu-manager dead-letters list`, then retry or discard some, or raise the limits"
    )]
    LettersFull {
        /// What came up to here was taken all the same.
        taken: Option<Position>,
    },
}

/// To the keeper: what a person orders through the admin socket. It passes the guard, and goes
/// through the log like any other change.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Ordered, OrderError>")]
pub struct Order {
    /// The user id of the person's process, for the journal.
    pub uid: u32,
    /// What is ordered.
    pub what: What,
}

/// What a person orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// What this hold keeps may go.
    Release(Arc<str>),
    /// What this hold keeps stays, orphaned.
    Discard(Arc<str>),
    /// What this source left behind goes.
    RemoveOrphans(SourceName),
    /// This dead letter is tried again.
    Retry {
        /// Which.
        letter: Letter,
        /// Also if a later change of the same object was taken.
        force: bool,
    },
    /// Nobody wants these dead letters any more.
    DiscardLetters(Letters),
    /// This source goes on as it is: with another subscription, or with what is missing.
    Accept(SourceName),
}

/// Which dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letters {
    /// One.
    One(u64),
    /// All of this source.
    Of(SourceName),
    /// All.
    All,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Release(id) => write!(f, "holds release {id}"),
            What::Discard(id) => write!(f, "holds discard {id}"),
            What::RemoveOrphans(source) => write!(f, "orphans remove {source}"),
            What::Retry { letter, force } => {
                let force = if *force { " --force" } else { "" };
                write!(f, "dead-letters retry {}{force}", letter.seq)
            }
            What::Accept(source) => write!(f, "sources accept {source}"),
            What::DiscardLetters(Letters::One(seq)) => write!(f, "dead-letters discard {seq}"),
            What::DiscardLetters(Letters::Of(source)) => {
                write!(f, "dead-letters discard --source {source}")
            }
            What::DiscardLetters(Letters::All) => write!(f, "dead-letters discard --all"),
        }
    }
}

/// An order was taken: it is on disk. What became of it so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ordered {
    /// How many objects it is about.
    pub objects: usize,
    /// Final verdicts, with how many objects have each.
    pub verdicts: BTreeMap<&'static str, usize>,
    /// How many objects have none yet; they follow by themselves.
    pub open: usize,
    /// What those wait for.
    pub waits_for: Option<String>,
    /// Why some were refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// Why an order was not taken. Nothing of it counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no such hold, or no longer.
    #[error("there is no hold {0}; `sozu-manager holds list` shows those that there are")]
    NoSuchHold(Arc<str>),
    /// The source left nothing behind.
    #[error(
        "source {0} left nothing behind; `sozu-manager orphans list` shows the sources that did"
    )]
    NoOrphans(SourceName),
    /// There is no such dead letter, or no longer.
    #[error(
        "there is no dead letter {0}; `sozu-manager dead-letters list` shows those that there are"
    )]
    NoSuchLetter(u64),
    /// What it asks for was overtaken.
    #[error(
        "the change {by}, which came later, is about the same object: trying {letter} again would undo it; discard it, or add --force if that is what you want"
    )]
    Overtaken {
        /// The letter.
        letter: u64,
        /// The later change.
        by: u64,
    },
    /// Nobody would judge what its source may send.
    #[error(
        "the source {0} is not in the configuration: what it may send is not known; put it back, or discard the letter"
    )]
    NoSource(SourceName),
    /// The source waits for nobody.
    #[error("the source {0} waits for nobody; `sozu-manager status` shows what is wrong")]
    NothingToAccept(SourceName),
    /// The database cannot be written.
    #[error(
        "the state directory cannot be written: {0}; free space or mend its permissions, then try again"
    )]
    Disk(String),
    /// The keeper has not read its database yet.
    #[error("the keeper is starting; try again")]
    Starting,
}

/// To the keeper: a person pauses, or ends the pause. It counts at once.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Paused, OrderError>")]
pub struct Pause {
    /// The user id of the person's process.
    pub uid: u32,
    /// How long nothing is sent; nothing ends the pause.
    pub lasts: Option<Duration>,
}

/// How it stands after a pause, or the end of one, was ordered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Paused {
    /// When it ends by itself (RFC 3339); none: nothing is paused.
    pub paused_until: Option<String>,
    /// Who paused.
    pub uid: Option<u32>,
    /// Whether there was a pause before.
    pub was_paused: bool,
    /// How many objects are to be sent.
    pub waiting: usize,
    /// How many objects were on their way to Sōzu already.
    pub under_way: usize,
    /// Why the daemon's next start will not know of it.
    pub not_kept: Option<String>,
}

/// To the keeper: other settings, and other sources, from now on.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Reconfigure(pub state_keeper::Config);

/// To whoever runs the daemon: read the configuration again, and say what came of it.
#[derive(Debug)]
pub struct ReloadNow {
    /// The user id of the person's process.
    pub uid: u32,
    /// For the answer.
    pub reply: oneshot::Sender<Result<Reloaded, String>>,
}

/// The configuration was read again, and runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// What was changed; nothing, if it is the same as before.
    pub changed: Vec<String>,
    /// What is wrong with what the configuration names, and is tried again by itself.
    pub notes: Vec<String>,
}

/// To the keeper: the source's dead letters that its dead-letter topic has not had yet, eldest first, without their secrets.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Vec<LetterLine>, DeclareError>")]
pub struct ListUnsent {
    /// Whose.
    pub source: SourceName,
    /// At most so many.
    pub limit: u32,
}

/// To the keeper: the dead-letter topic has these letters, by their ids.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), DeclareError>")]
pub struct SentOn(pub Vec<u64>);

/// To the keeper: every hold, eldest source first.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Vec<Kept>, OrderError>")]
pub struct ListHolds;

/// To the keeper: what sources left behind.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Vec<Kept>, OrderError>")]
pub struct ListOrphans;

/// Objects that are kept although nobody stands for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The hold's id; none for orphans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Arc<str>>,
    /// Whose they were.
    pub source: String,
    /// How many.
    pub objects: usize,
    /// Which.
    pub keys: Vec<KeyName>,
}

/// A key as people see it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct KeyName {
    /// The kind of the object.
    pub kind: &'static str,
    /// The key, unique within its kind.
    pub key: String,
}

/// To the keeper: how Sōzu differs from what is wanted. Sōzu is read for the answer.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Vec<Differing>, DiffError>")]
pub struct Compare;

/// One key under which Sōzu does not hold what is wanted, or holds what is nobody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Differing {
    /// `missing`, `different`, `resurrected`, `divergent` or `foreign`.
    pub difference: &'static str,
    /// Which.
    #[serde(flatten)]
    pub key: KeyName,
    /// Whose wish it is.
    pub source: Option<String>,
    /// What keeps it from being mended.
    pub why: Option<String>,
}

/// Why nothing can be said about the difference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiffError {
    /// Sōzu was not read in time.
    #[error("what Sōzu holds is not known: {0}")]
    Unread(String),
    /// The keeper has not read its database yet.
    #[error("the keeper is starting; try again")]
    Starting,
}

/// To the socket pool: one request, alone.
#[derive(Clone, Message)]
#[rtype(result = "Result<Answer, ExchangeError>")]
pub struct Exchange(pub Request);

/// To the socket pool: write many requests into one `LoadState` file. Nothing is sent yet.
#[derive(Clone, Message)]
#[rtype(result = "Result<Prepared, ExchangeError>")]
pub struct Prepare(pub Arc<Vec<Request>>);

/// To the socket pool: have Sōzu load a file.
#[derive(Message)]
#[rtype(result = "Result<BulkAnswer, ExchangeError>")]
pub struct Load(pub Prepared);

/// To the socket pool: read back all that Sōzu's main process holds; only that it is the same, if it
/// has this digest. And which life of Sōzu is there when it was read.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(Reading, Life), ExchangeError>")]
pub struct ReadBack(pub StateDigest);

/// To the keeper: the ids of the clusters that Sōzu holds; nothing until this life of it was read.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<Vec<String>>")]
pub struct ListClusters;

/// To the metrics scraper: what Sōzu says now, shared between concurrent askers.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Scrape")]
pub struct ScrapeNow {
    /// What is known by then is the answer.
    pub within: Duration,
}

/// One answer of the metrics scraper.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    /// Whether Sōzu answered.
    pub up: bool,
    /// How many workers run, by the word of Sōzu's main process; 0 when it did not answer.
    pub workers: usize,
    /// Whether all of Sōzu's metrics that were asked for are here.
    pub complete: bool,
    /// Clusters that could not be asked.
    pub unasked: usize,
    /// Sōzu's metrics.
    pub metrics: Arc<Snapshot>,
    /// What is not shown as Sōzu tells it.
    pub(crate) notes: Notes,
}
