//! Kicks: something may have changed in the directory. Never what: that is listed and read.
//!
//! The directory is watched by itself, and its parent, since a watch does not survive the
//! directory: only the parent tells of the next one. So are the folders in it that matter.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};
use tokio::sync::Notify;

use super::file::{self, Identity, Seen};

/// So many paths are remembered between two looks; beyond it every watch is set anew.
const REMEMBERED: usize = 10_000;

/// Watches one directory.
pub(super) struct Watch {
    directory: PathBuf,
    /// Opened when first needed, and again if the system had no room for it.
    watcher: Option<RecommendedWatcher>,
    kicks: Arc<Kicks>,
    /// What is watched, as it was when the watch was set: the directory, and folders in it.
    armed: HashMap<PathBuf, Identity>,
    /// For which folders every watch was set.
    below: Option<Vec<(PathBuf, Identity)>>,
    parent: Seen,
}

/// What the callback leaves for the actor.
#[derive(Default)]
struct Kicks {
    kicked: Notify,
    /// Something happened to these paths: their watches may be gone.
    touched: Mutex<Touched>,
}

#[derive(Default)]
struct Touched {
    paths: HashSet<PathBuf>,
    all: bool,
}

impl Watch {
    /// Watches nothing yet.
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_path_buf(),
            watcher: None,
            kicks: Arc::default(),
            armed: HashMap::new(),
            below: None,
            parent: None,
        }
    }

    /// Sets the watches that are missing, on the directory and the folders `below` it, which were these
    /// ones when they were last listed. To be called before each listing, so that what changes after it is
    /// told. Says whether a folder is watched that was not before; an error says why the directory, or a
    /// folder, is not watched.
    ///
    /// Touches the file system: not for the runtime's threads.
    pub(super) fn arm(&mut self, below: Vec<(PathBuf, Identity)>) -> Result<bool, String> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none => none.insert(open(&self.directory, &self.kicks)?),
        };
        if let Some(parent) = self.directory.parent() {
            let now = place(parent);
            if self.parent != now {
                // It is watched to see the directory come back; without it the rescan does.
                let _ = watcher.unwatch(parent);
                let set = watcher.watch(parent, RecursiveMode::NonRecursive);
                self.parent = if set.is_ok() { now } else { None };
            }
        }
        let touched = self.kicks.touched();
        let own = place(&self.directory);
        let is_nothing = !touched.all && touched.paths.is_empty();
        if is_nothing
            && self.below.as_ref() == Some(&below)
            && self.armed.get(&self.directory) == own.as_ref()
        {
            return Ok(false);
        }
        self.below = None;
        let own = own.map(|own| (&self.directory, own));
        let paths = || {
            own.into_iter()
                .chain(below.iter().map(|(path, it)| (path, *it)))
        };
        let meant: HashSet<&PathBuf> = paths().map(|(path, _)| path).collect();
        self.armed.retain(|path, _| {
            let stays = meant.contains(path);
            if !stays {
                let _ = watcher.unwatch(path);
            }
            stays
        });
        let (mut added, mut is_complete) = (false, true);
        for (path, now) in paths() {
            let known = self.armed.get(path);
            let again = touched.all || touched.paths.contains(path);
            if known == Some(&now) && !again {
                continue;
            }
            if known.is_some() {
                let _ = watcher.unwatch(path);
                self.armed.remove(path);
            }
            if let Err(error) = watcher.watch(path, RecursiveMode::NonRecursive) {
                // It went since it was listed.
                if place(path).is_none() {
                    is_complete = false;
                    continue;
                }
                return Err(error.to_string());
            }
            added |= *path != self.directory;
            self.armed.insert(path.clone(), now);
        }
        if is_complete {
            self.below = Some(below);
        }
        Ok(added)
    }

    /// Waits until something may have changed. Kicks that come meanwhile are kept, as one.
    pub(super) fn kicked(&self) -> impl Future<Output = ()> + 'static {
        let kicks = Arc::clone(&self.kicks);
        async move { kicks.kicked.notified().await }
    }
}

fn open(directory: &Path, kicks: &Arc<Kicks>) -> Result<RecommendedWatcher, String> {
    let (about, kicks) = (directory.to_path_buf(), Arc::clone(kicks));
    let told = move |event: notify::Result<Event>| kicks.take(&about, event);
    notify::recommended_watcher(told).map_err(|error| error.to_string())
}

/// Which directory it is, without its times: these change with each file in it.
fn place(path: &Path) -> Seen {
    file::see(path).map(file::Identity::place)
}

impl Kicks {
    fn take(&self, directory: &Path, event: notify::Result<Event>) {
        let Ok(event) = event else {
            return self.kicked.notify_one();
        };
        // Our own reading makes these.
        if matches!(event.kind, EventKind::Access(_)) {
            return;
        }
        // The parent has other children. An event without a path stands for lost ones.
        let mut paths = event.paths.iter();
        let ours = paths.any(|path| path.starts_with(directory));
        let lost = event.paths.is_empty() || event.need_rescan();
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.all |= event.need_rescan() || touched.paths.len() > REMEMBERED;
        if !touched.all {
            let comes_or_goes = matches!(
                event.kind,
                EventKind::Create(_)
                    | EventKind::Remove(_)
                    | EventKind::Modify(ModifyKind::Name(_))
                    | EventKind::Any
                    | EventKind::Other
            );
            let ours = event
                .paths
                .iter()
                .filter(|path| path.starts_with(directory));
            touched
                .paths
                .extend(ours.filter(|_| comes_or_goes).cloned());
        }
        drop(touched);
        if ours || lost {
            self.kicked.notify_one();
        }
    }

    fn touched(&self) -> Touched {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut touched)
    }
}
