//! One look at a directory of certificates: listed completely, what changed read again in
//! parallel, and what all of it says together.
//!
//! Blocks on the file system.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::SystemTime,
};

use super::{
    Settings,
    beneath::{self, Root},
    entry::{self, Draft, Entry},
    folders::{Folders, Shut, Why},
    layout::Parts,
    whole::{At, whole},
};
use crate::{
    fs_watcher::{file::Identity, listing::ListError, scan::Scan},
    state_keeper::report::{Listeners, Protocol},
};

/// More threads read no faster from one disk.
const READERS: usize = 8;

/// Looks at one directory, and remembers what need not be read again.
pub(in crate::fs_watcher) struct Scanner {
    settings: Settings,
    directory: PathBuf,
    folders: Folders,
    entries: BTreeMap<PathBuf, Entry>,
    /// Certificates that are not there, while their keys are.
    alone: BTreeSet<PathBuf>,
    /// Whether a folder could not be listed.
    shut: bool,
    listeners: Arc<[SocketAddr]>,
    last: Option<Arc<Scan>>,
    /// When what was judged may be another judgement, in seconds since 1970.
    next_turn: Option<i64>,
    now: fn() -> SystemTime,
}

impl Scanner {
    pub(in crate::fs_watcher) fn new(directory: &Path, settings: Settings) -> Self {
        Self::with_clock(directory, settings, SystemTime::now)
    }

    fn with_clock(directory: &Path, settings: Settings, now: fn() -> SystemTime) -> Self {
        Self {
            folders: Folders::new(directory, &settings, now),
            settings,
            directory: directory.to_owned(),
            entries: BTreeMap::new(),
            alone: BTreeSet::new(),
            shut: false,
            listeners: Arc::default(),
            last: None,
            next_turn: None,
            now,
        }
    }

    /// The folders that were found below the directory, and which ones they were.
    pub(in crate::fs_watcher) fn folders(&self) -> Vec<(PathBuf, Identity)> {
        let below = self.folders.below();
        below.map(|(path, place)| (path.clone(), place)).collect()
    }

    /// Looks at the directory: the same scan as the last time where nothing has changed. `retry`: what is
    /// wrong is read again, changed or not.
    pub(in crate::fs_watcher) fn scan(
        &mut self,
        listeners: &Listeners,
        retry: bool,
    ) -> Result<Arc<Scan>, ListError> {
        let device = self.device()?;
        let root = Root::open(&self.settings.root).map_err(|error| self.list_error(error))?;
        let mut shut = Shut::new();
        let listed = self.folders.walk(&root, retry, &mut shut);
        let listed = listed.map_err(|error| self.list_error(error))?;
        if self.device()? != device {
            return Err(ListError::Restless(self.directory.clone()));
        }
        let read = self.read_again(&root, listed, retry);
        shut.extend(self.alone.iter().map(|path| (path.clone(), Why::KeyAlone)));
        let here = self.meant(listeners);
        let now = self.now_in_seconds();
        let is_shut = shut.values().any(Why::is_folder);
        let turned = self.next_turn.is_some_and(|at| at <= now);
        if let Some(last) = &self.last
            && !(listed || read || turned || is_shut || self.shut)
            && here == self.listeners
            && last.device == device.0
        {
            return Ok(Arc::clone(last));
        }
        self.listeners = here;
        self.shut = is_shut;
        let at = At {
            directory: &self.directory,
            device: device.0,
            listeners: &self.listeners,
            now,
        };
        let (scan, next_turn) = whole(&at, &mut self.entries, &self.folders, shut);
        self.next_turn = next_turn;
        let scan = Arc::new(scan);
        self.last = Some(Arc::clone(&scan));
        Ok(scan)
    }

    /// Which directory it is: its device and its inode.
    fn device(&self) -> Result<(u64, u64), ListError> {
        let metadata =
            fs::metadata(&self.directory).map_err(|error| ListError::of(&self.directory, error))?;
        Ok((metadata.dev(), metadata.ino()))
    }

    fn list_error(&self, error: beneath::Error) -> ListError {
        let path = self.directory.clone();
        match error {
            beneath::Error::Gone => ListError::Missing(path),
            beneath::Error::Io(error) | beneath::Error::Denied(error) => {
                ListError::of(&path, error)
            }
            other => ListError::Unfit {
                path,
                why: other.to_string(),
            },
        }
    }

    fn now_in_seconds(&self) -> i64 {
        let now = (self.now)().duration_since(SystemTime::UNIX_EPOCH);
        i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
    }

    /// The listeners that get the certificates.
    fn meant(&self, listeners: &Listeners) -> Arc<[SocketAddr]> {
        if !self.settings.listeners.is_empty() {
            return self.settings.listeners.clone().into();
        }
        let https = listeners
            .iter()
            .filter(|(_, it)| it.protocol == Protocol::Https);
        https.map(|(address, _)| *address).collect()
    }

    /// Reads what has changed, and lets go what is gone. `listed`: there may be other names than
    /// before. Tells whether there was any of it.
    fn read_again(&mut self, root: &Root, listed: bool, retry: bool) -> bool {
        if !listed && self.last.is_some() {
            let entries = self.entries.iter();
            let stale = entries.filter(|(_, entry)| !entry.fresh(root, retry));
            let stale = stale.map(|(path, entry)| (path.clone(), entry.parts.clone()));
            let stale: Vec<(PathBuf, Parts)> = stale.collect();
            return self.read(root, &stale);
        }
        let pairs = self.folders.pairs();
        self.alone = self.folders.keys_alone(&pairs);
        let before = self.entries.len();
        self.entries.retain(|path, _| pairs.contains_key(path));
        let gone = before != self.entries.len();
        let is_fresh = |path: &PathBuf, parts: &Parts| {
            let entry = self.entries.get(path);
            entry.is_some_and(|entry| entry.parts == *parts && entry.fresh(root, retry))
        };
        let stale = pairs.into_iter();
        let stale: Vec<(PathBuf, Parts)> = stale
            .filter(|(path, parts)| !is_fresh(path, parts))
            .collect();
        self.read(root, &stale) || gone
    }

    /// Reads pairs, in parallel. Tells whether there were any.
    fn read(&mut self, root: &Root, stale: &[(PathBuf, Parts)]) -> bool {
        if stale.is_empty() {
            return false;
        }
        let readers = thread::available_parallelism()
            .map_or(2, usize::from)
            .min(READERS);
        let share = stale.len().div_ceil(readers).max(1);
        let settings = &self.settings;
        let now = self.now;
        let drafts: Vec<Draft> = thread::scope(|scope| {
            let read = move |chunk: &[(PathBuf, Parts)]| -> Vec<Draft> {
                let pairs = chunk.iter();
                pairs
                    .map(|(path, parts)| entry::draft(root, settings, path, parts, now))
                    .collect()
            };
            let threads: Vec<_> = stale
                .chunks(share)
                .map(|chunk| scope.spawn(move || read(chunk)))
                .collect();
            let drafts = threads.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            drafts.flatten().collect()
        });
        for draft in drafts {
            let before = self.entries.remove(&draft.path);
            self.entries
                .insert(draft.path.clone(), Entry::new(draft, before));
        }
        true
    }
}

#[cfg(test)]
mod tests;
