//! One look at the directory: listed completely, what changed read again, claims settled.
//!
//! Blocks: on the file system, and on names that have to be resolved.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use sha2::{Digest, Sha256};

use super::{
    file::{self, ReadError, Seen},
    listing::{ListError, Names, list},
    pki::Told,
    problem::{Fault, Problem},
    routes::{self, NamedFiles, Parsed, Resolved, claims},
};
use crate::{
    messages::{FileContent, ListedFile},
    state_keeper::{key::Keyed, report::Listeners},
};

/// So often a directory is listed again because a file went before it was read.
const TRIES: usize = 5;

/// What a directory says.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    pub(super) device: u64,
    /// In path order.
    pub(super) files: Vec<ListedFile>,
    /// How many objects the readable files declare.
    pub(super) objects: usize,
    /// In path order.
    pub(super) problems: Vec<Problem>,
    /// Of a directory of certificates: what it tells besides.
    pub(super) pki: Option<Arc<Told>>,
}

/// Looks at one directory, and remembers what need not be read again.
pub(super) struct Scanner {
    directory: PathBuf,
    listeners: Arc<Listeners>,
    entries: BTreeMap<PathBuf, Entry>,
    last: Option<(Names, Arc<Scan>)>,
    now: fn() -> SystemTime,
}

/// One file as it was last read.
struct Entry {
    path: Arc<PathBuf>,
    seen: Seen,
    named: Vec<(PathBuf, Seen)>,
    read_at: SystemTime,
    /// Of the file alone: names are resolved again only when this changes.
    digest: Option<[u8; 32]>,
    resolved: Resolved,
    content: Result<Arc<Vec<Keyed>>, Fault>,
    /// What it last gave: it goes on standing for that, and so against later files.
    last_good: Option<Arc<Vec<Keyed>>>,
}

impl Entry {
    /// Whether it need not be read again. What is wrong is tried again now and then.
    fn fresh(&self, seen: Seen, retry: bool) -> bool {
        let proves = |now: Seen, then: Seen| {
            now == then && then.is_none_or(|identity| identity.proves(self.read_at))
        };
        (self.content.is_ok() || !retry)
            && seen.is_some()
            && proves(seen, self.seen)
            && self
                .named
                .iter()
                .all(|(path, then)| proves(file::see(path), *then))
    }
}

/// A file that was read, before names are resolved.
struct Draft {
    path: Arc<PathBuf>,
    seen: Seen,
    read_at: SystemTime,
    digest: Option<[u8; 32]>,
    known: Resolved,
    parsed: Result<Parsed, Fault>,
}

impl Scanner {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_path_buf(),
            listeners: Arc::default(),
            entries: BTreeMap::new(),
            last: None,
            now: SystemTime::now,
        }
    }

    /// Looks at the directory: the same scan as the last time where nothing has changed. `retry`: what is
    /// wrong is read again, changed or not.
    pub(super) fn scan(
        &mut self,
        listeners: &Arc<Listeners>,
        retry: bool,
    ) -> Result<Arc<Scan>, ListError> {
        // What a file means depends on the listeners that there are.
        let stale = self.listeners != *listeners;
        if stale {
            self.listeners = Arc::clone(listeners);
        }
        for _ in 0..TRIES {
            let names = list(&self.directory)?;
            let Some(drafts) = self.drafts(&names, stale, retry) else {
                continue;
            };
            if let Some((known, scan)) = &self.last
                && drafts.is_empty()
                && *known == names
            {
                return Ok(Arc::clone(scan));
            }
            self.read(drafts);
            self.entries
                .retain(|path, _| names.paths.binary_search(path).is_ok());
            let scan = Arc::new(self.settled(names.device));
            self.last = Some((names, Arc::clone(&scan)));
            return Ok(scan);
        }
        Err(ListError::Restless(self.directory.clone()))
    }

    /// Reads what may have changed. `None`: a listed file is gone.
    fn drafts(&self, names: &Names, stale: bool, retry: bool) -> Option<Vec<Draft>> {
        let mut drafts = Vec::new();
        for path in &names.paths {
            let known = self.entries.get(path);
            let seen = file::see(path);
            if !stale && known.is_some_and(|entry| entry.fresh(seen, retry)) {
                continue;
            }
            let read_at = (self.now)();
            let (digest, parsed) = match file::read(path) {
                Ok(bytes) => {
                    let digest = <[u8; 32]>::from(Sha256::digest(&bytes));
                    (Some(digest), routes::parse(path, bytes))
                }
                Err(ReadError::Gone) => return None,
                Err(error) => (None, Err(Fault::whole(error.to_string()))),
            };
            let unchanged = known.filter(|entry| digest.is_some() && entry.digest == digest);
            drafts.push(Draft {
                path: known.map_or_else(|| Arc::new(path.clone()), |entry| Arc::clone(&entry.path)),
                seen,
                read_at,
                digest,
                known: unchanged
                    .map(|entry| entry.resolved.clone())
                    .unwrap_or_default(),
                parsed,
            });
        }
        Some(drafts)
    }

    /// Resolves the names of all drafts at once, and makes entries of them.
    fn read(&mut self, drafts: Vec<Draft>) {
        let unknown: BTreeSet<String> = drafts
            .iter()
            .filter_map(|draft| Some((draft, draft.parsed.as_ref().ok()?)))
            .flat_map(|(draft, parsed)| {
                let names = parsed.names().into_iter();
                names.filter(|name| !draft.known.contains_key(name))
            })
            .collect();
        let answers = routes::resolve_all(unknown);
        for draft in drafts {
            let mut resolved = draft.known;
            if let Ok(parsed) = &draft.parsed {
                for name in parsed.names() {
                    if let Some(answer) = answers.get(&name) {
                        resolved.insert(name, answer.clone());
                    }
                }
            }
            let mut named = NamedFiles::of(&draft.path);
            let content = draft
                .parsed
                .and_then(|parsed| parsed.objects(&self.listeners, &mut named, &resolved))
                .map(Arc::new);
            // A name without an answer is asked again when the file is next read.
            resolved.retain(|_, answer| answer.is_ok());
            let before = self
                .entries
                .remove(&*draft.path)
                .and_then(|entry| entry.last_good);
            let content = content.map(|objects| match &before {
                Some(before) if *before == objects => Arc::clone(before),
                _ => objects,
            });
            let entry = Entry {
                path: Arc::clone(&draft.path),
                seen: draft.seen,
                named: named.seen,
                read_at: draft.read_at,
                digest: draft.digest,
                resolved,
                last_good: content.as_ref().ok().cloned().or(before),
                content,
            };
            self.entries.insert(draft.path.to_path_buf(), entry);
        }
    }

    /// What all entries say together.
    fn settled(&self, device: u64) -> Scan {
        let claims = self.entries.values().map(|entry| claims::Claim {
            path: Arc::clone(&entry.path),
            objects: entry.last_good.clone().unwrap_or_default(),
        });
        let (kept, shadowed) = claims::settle(claims.collect());
        let mut scan = Scan {
            device,
            files: Vec::with_capacity(kept.len()),
            objects: 0,
            problems: shadowed,
            pki: None,
        };
        for (entry, kept) in self.entries.values().zip(kept) {
            let content = match &entry.content {
                Ok(_) => {
                    scan.objects += kept.len();
                    FileContent::Objects(kept)
                }
                Err(fault) => {
                    let mut problem = fault.clone().of(&entry.path);
                    let why = problem.to_string();
                    problem.fault.text.push_str("; its last good content stays");
                    scan.problems.push(problem);
                    FileContent::Unreadable(why)
                }
            };
            scan.files.push(ListedFile {
                path: Arc::clone(&entry.path),
                content,
            });
        }
        // A file that cannot be read tells that first: what it last gave matters less.
        scan.problems.sort_by(|a, b| a.path.cmp(&b.path));
        scan
    }
}

#[cfg(test)]
mod tests;
