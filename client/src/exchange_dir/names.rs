//! The names of our files: taken, given up, and those that somebody left behind.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::unistd::{UnlinkatFlags, unlinkat};

/// What a file of ours is called; `.lock` and whatever else lies in the directory is somebody else's.
const PREFIX: &str = "sozu-socket-";

/// The names that one pool uses.
#[derive(Debug)]
pub(crate) struct Names {
    /// What they begin with: another pool removes them only when it begins.
    prefix: String,
    in_use: Arc<Mutex<InUse>>,
}

#[derive(Debug, Default)]
struct InUse {
    /// Whether the leftovers of earlier lives were removed.
    begun: bool,
    names: HashSet<String>,
}

/// A name in use. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct Link {
    directory: OwnedFd,
    pub(crate) name: String,
    in_use: Arc<Mutex<InUse>>,
}

impl Names {
    pub(crate) fn new() -> Self {
        Self {
            prefix: format!("{PREFIX}{:016x}-", rand::random::<u64>()),
            in_use: Arc::default(),
        }
    }

    /// A new name in the directory, which nobody can foresee.
    pub(crate) fn take(&self, directory: &File) -> io::Result<Link> {
        let name = format!("{}{:032x}", self.prefix, rand::random::<u128>());
        let directory = directory.try_clone()?.into();
        lock(&self.in_use).names.insert(name.clone());
        let in_use = Arc::clone(&self.in_use);
        Ok(Link {
            directory,
            name,
            in_use,
        })
    }

    /// Removes what an earlier life of ours left behind, and later what Sōzu made under a name that we had given up:
    /// for a `SaveState` that it reads after our deadline.
    pub(crate) fn remove_leftovers(&self, directory: &File, path: &Path) -> io::Result<()> {
        let mut in_use = lock(&self.in_use);
        let prefix = if in_use.begun { &self.prefix } else { PREFIX };
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(prefix) && !in_use.names.contains(name) {
                remove(directory, name)?;
            }
        }
        in_use.begun = true;
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        lock(&self.in_use).names.remove(&self.name);
        if let Err(error) = remove(&self.directory, &self.name) {
            tracing::warn!(name = self.name, %error, "A file in the exchange directory could not be removed.");
        }
    }
}

fn remove(directory: impl std::os::fd::AsFd, name: &str) -> io::Result<()> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Nothing panics while it holds the lock, so a poisoned one is as good as any.
fn lock(in_use: &Mutex<InUse>) -> MutexGuard<'_, InUse> {
    in_use.lock().unwrap_or_else(PoisonError::into_inner)
}
