//! One entry of the log, and what folding it did.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use sozu_command_lib::proto::command::{Request, request::RequestType};

use crate::{
    messages::{Original, Position, SourceName},
    state_keeper::{declared::Declaration, key::Key, verdict::Verdict},
};

/// How an entry was judged when it was taken. Stored with it, so that a change of configuration
/// never undoes what was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Said in so many words.
    Order,
    /// Said in so many words by a bus that caught up: what it would take over is a conclusion.
    History {
        /// By another topic than before: what that one said is not what this one says.
        anew: bool,
    },
    /// Suggested by absence, and let through by the guard.
    Conclusion,
    /// Suggested by absence, or by a first look, and held by the guard: the removal that is held, or
    /// what Sōzu keeps instead of what its bus says.
    Held(Arc<str>),
    /// Said by a person on this host, through the admin socket.
    Operator(Operator),
    /// Not let in.
    Refused(String),
}

/// A person's order, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The user id of the person's process.
    pub uid: u32,
    /// What was ordered.
    pub word: Word,
}

/// What a person orders of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// What this hold keeps may go.
    Release(Arc<str>),
    /// What this hold keeps stays, orphaned.
    Discard(Arc<str>),
    /// The orphan goes.
    Remove,
    /// A refused message is tried again: judged once more, and refused at once for this reason, if any.
    Retry(Result<(), Arc<str>>),
}

/// One change that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its place in the log.
    pub seq: u64,
    /// Who sent it.
    pub source: SourceName,
    /// When it was taken.
    pub at: SystemTime,
    /// The change, in Sōzu's own terms. Empty if it could not be read.
    pub request: Arc<Request>,
    /// The file that says so, for a directory.
    pub origin: Option<Arc<PathBuf>>,
    /// Its place in the stream, for a bus.
    pub position: Option<Position>,
    /// The message, for a bus: what is refused keeps it.
    pub original: Option<Arc<Original>>,
    /// How it was judged.
    pub admission: Admission,
}

/// An entry of the tail and what folding it did.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// The entry.
    pub entry: Arc<Entry>,
    /// The keys that it touches: those that it asks about, then clusters that go with their last user.
    pub keys: Vec<Key>,
    /// How many it asks about.
    pub asked: usize,
    /// The cluster that it names, if it turns nothing as it stands: it may, folded again.
    pub names: Option<Arc<str>>,
    /// What it turned, in order.
    pub turned: Vec<Turned>,
    /// Where it wants something and nothing was wanted before.
    pub revived: Vec<Key>,
    /// What folding says of it.
    pub provisional: Provisional,
    /// Its place among all folds. Entries that were folded again have a later one.
    pub nth: u64,
}

/// One declaration that an entry turned.
#[derive(Clone, Debug, PartialEq)]
pub struct Turned {
    /// Of which key.
    pub key: Key,
    /// Whose.
    pub source: SourceName,
    /// What it was.
    pub before: Option<Declaration>,
    /// What it is.
    pub after: Option<Declaration>,
}

/// What folding says of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provisional {
    /// Sōzu has to hold it before it is final.
    Sends {
        /// Somebody else had put another value there.
        taken_over: bool,
    },
    /// Nothing is to be sent for it.
    Final(Verdict),
    /// A backend of a cluster that nobody knows: it waits for it.
    Parked {
        /// The cluster's id.
        cluster: Arc<str>,
    },
}

impl Entry {
    /// Whether each object is spoken of by itself: in a directory's listing, in what the guard holds,
    /// and in what a person says of what is kept. A bus's order is taken as Sōzu would take it.
    pub fn is_listed(&self) -> bool {
        let is_kept = match &self.admission {
            Admission::Operator(operator) => !matches!(operator.word, Word::Retry(_)),
            admission => matches!(admission, Admission::Held(_)),
        };
        self.origin.is_some() || is_kept
    }

    /// Why it is not let in.
    pub fn refusal(&self) -> Option<&str> {
        match &self.admission {
            Admission::Refused(reason) => Some(reason),
            Admission::Operator(Operator {
                word: Word::Retry(Err(reason)),
                ..
            }) => Some(reason),
            _ => None,
        }
    }

    /// Whether it puts a certificate in the place of another one.
    pub fn is_replacement(&self) -> bool {
        matches!(
            self.request.request_type,
            Some(RequestType::ReplaceCertificate(_))
        )
    }

    /// Whether it was said while its bus caught up.
    pub fn is_history(&self) -> bool {
        matches!(self.admission, Admission::History { .. })
    }
}

impl Folded {
    /// Whether it waits for its cluster.
    pub fn is_parked(&self) -> bool {
        matches!(self.provisional, Provisional::Parked { .. })
    }

    /// The clusters that it is about. A frontend's key leaves its cluster out, but what an order to
    /// remove a cluster comes to depends on the frontends that name it.
    pub fn clusters(&self) -> impl Iterator<Item = &str> {
        let of_keys = self.keys.iter().filter_map(|key| match key {
            Key::Cluster(id) => Some(id.as_ref()),
            Key::Backend(backend) => Some(backend.cluster.as_ref()),
            _ => None,
        });
        let says = self.turned.iter();
        let of_objects = says.flat_map(|turned| turned.before.iter().chain(&turned.after));
        of_keys
            .chain(of_objects.filter_map(|says| says.object.as_ref()?.cluster()))
            .chain(self.names.as_deref())
    }
}
