//! One pair as it was last read: what it gave, what is wrong with it, whether it has to be read again.

use std::{
    ffi::{CString, OsString},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use sozu_command_lib::proto::command::{AddCertificate, SocketAddress};

use super::{
    Settings,
    beneath::Root,
    layout::Parts,
    options,
    pair::{self, Facts, Pair, PairError},
};
use crate::{
    fs_watcher::{file::Seen, problem::Fault},
    state_keeper::key::{Keyed, Object},
};

/// A pair as it was last read.
pub(super) struct Entry {
    pub(super) path: Arc<PathBuf>,
    pub(super) parts: Parts,
    /// Its files, as they lead from the root to them.
    seen: Vec<(CString, Seen)>,
    pub(super) read_at: SystemTime,
    pub(super) outcome: Outcome,
    /// What it last gave: it goes on standing for that.
    pub(super) last_good: Option<Good>,
}

/// What came of reading it.
pub(super) enum Outcome {
    Good,
    Bad(Fault),
    /// It is a certificate alone, or none: nobody's pair.
    NoPair(&'static str),
}

/// What a whole pair gives.
pub(super) struct Good {
    pub(super) facts: Arc<Facts>,
    /// For which listeners, with which word to Sōzu on its expiry.
    made_for: (Arc<[SocketAddr]>, Option<i64>),
    pub(super) objects: Arc<Vec<Keyed>>,
}

impl Entry {
    /// What was read now, in the place of what was read before.
    pub(super) fn new(draft: Draft, before: Option<Entry>) -> Self {
        let (path, last_good) = match before {
            Some(entry) => (entry.path, entry.last_good),
            None => (Arc::new(draft.path), None),
        };
        let (outcome, last_good) = match draft.outcome {
            Ok(pair) => (Outcome::Good, Some(Good::new(pair, last_good))),
            Err(Miss::Bad(fault)) => (Outcome::Bad(fault), last_good),
            Err(Miss::NoPair(_)) if last_good.is_some() => {
                let text = "its private key is gone; put it back, it is tried again";
                (Outcome::Bad(Fault::whole(text)), last_good)
            }
            Err(Miss::NoPair(why)) => (Outcome::NoPair(why), None),
        };
        Self {
            path,
            parts: draft.parts,
            seen: draft.seen,
            read_at: draft.read_at,
            outcome,
            last_good,
        }
    }

    /// Whether it need not be read again. `retry`: what is wrong has to be.
    pub(super) fn fresh(&self, root: &Root, retry: bool) -> bool {
        let is_bad = matches!(self.outcome, Outcome::Bad(_));
        !(is_bad && retry)
            && self.seen.iter().all(|(path, then)| {
                root.see(path) == *then && then.is_none_or(|it| it.proves(self.read_at))
            })
    }
}

/// What was read of one pair.
pub(super) struct Draft {
    pub(super) path: PathBuf,
    parts: Parts,
    seen: Vec<(CString, Seen)>,
    read_at: SystemTime,
    outcome: Result<Pair, Miss>,
}

enum Miss {
    Bad(Fault),
    NoPair(&'static str),
}

/// Reads one pair.
pub(super) fn draft(
    root: &Root,
    settings: &Settings,
    path: &Path,
    parts: &Parts,
    now: fn() -> SystemTime,
) -> Draft {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let names = [
        Some(&parts.certificate),
        parts.key.as_ref(),
        parts.options.as_ref(),
    ];
    // Seen before it is read: what changes meanwhile is another identity at the next look.
    let seen: Vec<(CString, Seen)> = names
        .into_iter()
        .flatten()
        .filter_map(|name| root.relative(&folder.join(name)))
        .map(|path| {
            let seen = root.see(&path);
            (path, seen)
        })
        .collect();
    let read_at = now();
    let outcome = read_pair(root, settings, folder, parts);
    Draft {
        path: path.to_owned(),
        parts: parts.clone(),
        seen,
        read_at,
        outcome,
    }
}

fn read_pair(root: &Root, settings: &Settings, folder: &Path, parts: &Parts) -> Result<Pair, Miss> {
    let bad = |text: String| Miss::Bad(Fault::whole(text));
    let read = |name: &OsString| {
        let path = folder.join(name);
        let relative = path.strip_prefix(&settings.root).unwrap_or(&path);
        root.read(relative).map(|(bytes, _)| bytes)
    };
    let certificate = read(&parts.certificate).map_err(|error| bad(error.to_string()))?;
    let beside = |name: &OsString, what: &str| {
        read(name).map_err(|error| bad(format!("its {what} {}: {error}", name.display())))
    };
    let key = match &parts.key {
        Some(name) => Some((beside(name, "key")?, name.display().to_string())),
        None => None,
    };
    let versions = match &parts.options {
        Some(name) => {
            let bytes = beside(name, "options")?;
            let versions = options::versions(&bytes);
            versions.map_err(|why| bad(format!("its {}: {why}", name.display())))?
        }
        None => Vec::new(),
    };
    let files = pair::Files {
        certificate: &certificate,
        key: key
            .as_ref()
            .map(|(bytes, name)| (bytes.as_slice(), name.clone())),
    };
    pair::read(&files, versions, &settings.allow_names).map_err(|error| match error {
        PairError::NoKey(_) | PairError::NoCertificate if parts.key.is_none() => {
            Miss::NoPair("there is no key for it, neither in it nor beside it")
        }
        PairError::Pem(_) if parts.key.is_none() && !certificate.starts_with(b"-----BEGIN") => {
            Miss::NoPair("it is no PEM file with a certificate and its key")
        }
        error => bad(error.to_string()),
    })
}

impl Good {
    /// An equal pair keeps its objects.
    fn new(pair: Pair, before: Option<Good>) -> Self {
        let address = SocketAddress::new_v4(0, 0, 0, 0, 0);
        let add = AddCertificate {
            address,
            certificate: pair.material,
            expired_at: None,
        };
        if let Some(before) = before
            && *before.facts == pair.facts
            && before.objects.first().is_some_and(|keyed| {
                matches!(&*keyed.object, Object::Certificate(known) if known.certificate == add.certificate)
            })
        {
            return before;
        }
        let facts = Arc::new(pair.facts);
        let objects = Keyed::new(Object::Certificate(Box::new(add)))
            .into_iter()
            .collect();
        Self {
            facts,
            // Made for nobody yet.
            made_for: (Arc::default(), None),
            objects: Arc::new(objects),
        }
    }

    /// Makes the objects for these listeners.
    pub(super) fn make(&mut self, listeners: &Arc<[SocketAddr]>, expired_at: Option<i64>) {
        let wanted = (Arc::clone(listeners), expired_at);
        if self.made_for == wanted || listeners.is_empty() {
            return;
        }
        let Some(Keyed { object, .. }) = self.objects.first() else {
            return;
        };
        let Object::Certificate(add) = &**object else {
            return;
        };
        let objects = listeners.iter().filter_map(|address| {
            let mut add = add.clone();
            add.address = (*address).into();
            add.expired_at = expired_at;
            Keyed::new(Object::Certificate(add)).ok()
        });
        self.objects = Arc::new(objects.collect());
        self.made_for = wanted;
    }
}
