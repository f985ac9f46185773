//! Kicks: something may have changed in the directory. Never what: that is listed and read.
//!
//! The directory is watched by itself, and its parent, since a watch does not survive the
//! directory: only the parent tells of the next one.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::file::{self, Seen};

/// Watches one directory.
pub(super) struct Watch {
    directory: PathBuf,
    /// Opened when first needed, and again if the system had no room for it.
    watcher: Option<RecommendedWatcher>,
    kicks: Arc<Kicks>,
    /// What was watched, as it was when the watch was set.
    armed: Seen,
    parent: Seen,
}

/// What the callback leaves for the actor.
#[derive(Default)]
struct Kicks {
    kicked: Notify,
    /// Something happened to the directory itself: its watch may be gone.
    replaced: AtomicBool,
}

impl Watch {
    /// Watches nothing yet.
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_path_buf(),
            watcher: None,
            kicks: Arc::default(),
            armed: None,
            parent: None,
        }
    }

    /// Sets the watches that are missing. To be called before each listing, so that what
    /// changes after it is told. An error says why the directory is not watched.
    ///
    /// Touches the file system: not for the runtime's threads.
    pub(super) fn arm(&mut self) -> Result<(), String> {
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
        let replaced = self.kicks.replaced.swap(false, Ordering::AcqRel);
        let now = place(&self.directory);
        if now.is_none() {
            self.armed = None;
            return Ok(());
        }
        if replaced || self.armed != now {
            let _ = watcher.unwatch(&self.directory);
            self.armed = None;
            watcher
                .watch(&self.directory, RecursiveMode::NonRecursive)
                .map_err(|error| error.to_string())?;
            self.armed = now;
        }
        Ok(())
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
        let itself = event.paths.iter().any(|path| path == directory);
        let inside = event
            .paths
            .iter()
            .any(|path| path.parent() == Some(directory));
        if itself || event.need_rescan() {
            self.replaced.store(true, Ordering::Release);
        }
        if itself || inside || event.paths.is_empty() || event.need_rescan() {
            self.kicked.notify_one();
        }
    }
}
