//! The exchange directory: files passed to and from Sōzu by their path, private keys in them.
//!
//! We make every file ourselves, with a name nobody can foresee, since Sōzu would follow a link that lies at the
//! path and make its file readable for all. What Sōzu wrote is read through the descriptor that we kept. Everything
//! here blocks; call it from `spawn_blocking`.

mod error;
mod lock;
mod names;
mod network;

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::{
    fcntl::{OFlag, open, openat},
    sys::stat::Mode,
    unistd::{Gid, fchown, geteuid},
};

pub(crate) use error::DirectoryError;
pub use lock::{DirectoryLock, LockError};
use names::{Link, Names};
pub use network::network_file_system;

/// What the directory may be at most: ours alone, or passable for the group that Sōzu is in.
const ALONE: u32 = 0o700;
const WITH_GROUP: u32 = 0o710;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// We write, Sōzu reads.
    Load,
    /// Sōzu writes, we read.
    Save,
}

/// The directory, made usable whenever a file is made: one that was lost or is mended heals without a restart.
#[derive(Debug)]
pub(crate) struct ExchangeDirectory {
    ours: Option<PathBuf>,
    in_sozu: Option<PathBuf>,
    command_socket: PathBuf,
    lock: Arc<DirectoryLock>,
    names: Names,
}

/// A file in the exchange directory, which goes when this is dropped.
#[derive(Debug)]
pub(crate) struct ExchangeFile {
    pub(crate) file: File,
    /// What Sōzu is told.
    pub(crate) path_in_sozu: String,
    pub(crate) link: Link,
}

impl ExchangeDirectory {
    pub(crate) fn new(
        ours: Option<PathBuf>,
        in_sozu: Option<PathBuf>,
        command_socket: PathBuf,
        lock: Arc<DirectoryLock>,
    ) -> Self {
        Self {
            ours,
            in_sozu,
            command_socket,
            lock,
            names: Names::new(),
        }
    }

    /// Makes an empty file with the modes that Sōzu's user needs, and no more.
    pub(crate) fn create(&self, purpose: Purpose) -> Result<ExchangeFile, DirectoryError> {
        let path = self.ours.as_deref().ok_or(DirectoryError::None)?;
        // Sōzu would take a relative path from where it was started
        let path =
            &std::path::absolute(path).map_err(unusable(path, "finding its absolute path"))?;
        let sozu = fs::metadata(&self.command_socket).map_err(|error| DirectoryError::Socket {
            path: self.command_socket.clone(),
            error,
        })?;
        let with_group = sozu.uid() != geteuid().as_raw();

        let directory = prepare(path, &sozu, with_group, &self.lock)?;
        self.names
            .remove_leftovers(&directory, path)
            .map_err(unusable(path, "removing leftover files"))?;

        let link = self
            .names
            .take(&directory)
            .map_err(unusable(path, "keeping it open"))?;
        let flags =
            OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(
            &directory,
            link.name.as_str(),
            flags,
            Mode::from_bits_truncate(0o600),
        )
        .map_err(io::Error::from)
        .map_err(unusable(path, "making a file in it"))?;
        let file = File::from(file);
        if with_group {
            let gid = directory
                .metadata()
                .map_err(unusable(path, "looking at it"))?
                .gid();
            fchown(&file, None, Some(Gid::from_raw(gid))).map_err(|error| {
                DirectoryError::Group {
                    path: path.clone(),
                    gid,
                    error: error.into(),
                }
            })?;
        }
        file.set_permissions(Permissions::from_mode(file_mode(purpose, with_group)))
            .map_err(unusable(path, "setting a file's mode"))?;

        let in_sozu = self.in_sozu.as_deref().unwrap_or(path).join(&link.name);
        let path_in_sozu = in_sozu.into_os_string().into_string();
        let path_in_sozu = path_in_sozu.map_err(|path| DirectoryError::NotText(path.into()))?;
        Ok(ExchangeFile {
            file,
            path_in_sozu,
            link,
        })
    }
}

/// Opens the directory: made if it is missing, locked, tightened if it is ours, else refused when it is wider than it
/// may be.
fn prepare(
    path: &Path,
    sozu: &fs::Metadata,
    with_group: bool,
    lock: &DirectoryLock,
) -> Result<File, DirectoryError> {
    let allowed = if with_group { WITH_GROUP } else { ALONE };
    let is_new = make(path)?;
    let directory = opened(path)?;
    let found = directory
        .metadata()
        .map_err(unusable(path, "looking at it"))?;
    let us = geteuid().as_raw();
    let mode = found.mode() & 0o7777;
    let is_ours = found.uid() == us;
    if !is_ours && found.uid() != sozu.uid() {
        return Err(DirectoryError::Stranger {
            path: path.to_owned(),
            owner: found.uid(),
            us,
        });
    }
    if !is_ours && mode & 0o777 & !WITH_GROUP != 0 {
        return Err(DirectoryError::Wide {
            path: path.to_owned(),
            mode,
            allowed: WITH_GROUP,
        });
    }
    lock.hold(&directory, path)?;
    if is_new && with_group {
        // A group of which Sōzu is a member. If we are none it keeps ours: Sōzu may be in that one, or be root; else
        // it says that it may not use our files, and a person must find a common group.
        let gid = sozu.gid();
        if let Err(error) = fchown(&directory, None, Some(Gid::from_raw(gid))) {
            tracing::debug!(directory = %path.display(), gid, %error, "The exchange directory keeps our group.");
        }
    }
    if is_ours && mode & 0o777 != allowed {
        tracing::debug!(
            directory = %path.display(),
            from = format!("{mode:04o}"),
            to = format!("{allowed:04o}"),
            "The exchange directory gets the mode that it needs."
        );
        directory
            .set_permissions(Permissions::from_mode(allowed))
            .map_err(unusable(path, "setting its mode"))?;
    }
    Ok(directory)
}

/// Locks the directory before anything is done, if it is there and ours. Whatever else is wrong with it is found, and
/// may be mended, when a file is made.
pub(crate) fn lock_early(path: &Path, lock: &DirectoryLock) -> Result<(), LockError> {
    let Ok(directory) = opened(path) else {
        return Ok(());
    };
    let owner = directory.metadata().map(|found| found.uid());
    if owner.is_ok_and(|owner| owner == geteuid().as_raw()) {
        lock.hold(&directory, path)?;
    }
    Ok(())
}

fn opened(path: &Path) -> Result<File, DirectoryError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match open(path, flags, Mode::empty()) {
        Ok(directory) => Ok(File::from(directory)),
        Err(error) if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) => {
            tracing::debug!(directory = %path.display(), %error, "The exchange directory is a link.");
            Err(DirectoryError::Link(path.to_owned()))
        }
        Err(error) => Err(unusable(path, "opening it")(error.into())),
    }
}

/// Makes the directory if it is missing, and tells whether it was.
fn make(path: &Path) -> Result<bool, DirectoryError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(unusable(path, "making its parents"))?;
    }
    match DirBuilder::new().mode(ALONE).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(unusable(path, "making it")(error)),
    }
}

fn file_mode(purpose: Purpose, with_group: bool) -> u32 {
    match (purpose, with_group) {
        (_, false) => 0o600,
        (Purpose::Load, true) => 0o640,
        (Purpose::Save, true) => 0o660,
    }
}

fn unusable(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |error| DirectoryError::Unusable { path, what, error }
}

#[cfg(test)]
mod tests;
