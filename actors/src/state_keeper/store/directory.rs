//! The state directory: one process's, and within it one life of the keeper's at a time.

use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use sozu_socket::directory::DirectoryLock;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

use super::StoreError;

/// The directory of the database. It outlives the lives of the keeper.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    lock: DirectoryLock,
    turns: Arc<Turns<()>>,
    /// How the database was found damaged while it was in use.
    damage: Mutex<Option<String>>,
}

/// Held by whoever has the database open.
#[derive(Clone, Debug)]
pub(super) struct Turn(
    #[expect(dead_code, reason = "held as long as this lives")] Arc<OwnedMutexGuard<()>>,
);

impl StateDirectory {
    /// Names it. Nothing is touched.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            lock: DirectoryLock::default(),
            turns: Arc::default(),
            damage: Mutex::default(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory where it is missing, and holds its lock for as long as this lives; then nobody but us may
    /// enter it.
    ///
    /// # Errors
    /// If another process has it, if other hosts could, or if it cannot be made.
    pub fn lock(&self) -> Result<(), StoreError> {
        let io = |source| StoreError::Io {
            path: self.path.clone(),
            source,
        };
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path);
        let directory = made.and_then(|()| File::open(&self.path)).map_err(io)?;
        self.lock.hold(&directory, &self.path)?;
        directory
            .set_permissions(fs::Permissions::from_mode(0o700))
            .map_err(io)
    }

    /// Waits until an earlier life's last write is done: a later one must find it when it reads.
    pub(super) fn turn(&self) -> Turn {
        Turn(Arc::new(Arc::clone(&self.turns).blocking_lock_owned()))
    }

    /// Waits until nobody has the database open: then all of it is in its one file, which can be copied.
    pub async fn closed(&self) {
        let _ = self.turns.lock().await;
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join("state.db")
    }

    /// Nothing panics while it holds the mutex, so a poisoned one is as good as any.
    pub(super) fn set_damage(&self, damage: Option<String>) {
        *self.damage.lock().unwrap_or_else(PoisonError::into_inner) = damage;
    }

    pub(super) fn damage(&self) -> Option<String> {
        let damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        damage.clone()
    }
}
