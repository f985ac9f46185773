//! One process at a time in a directory, by the lock on its `.lock`.

use std::{
    fs::{File, Metadata, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use nix::{
    fcntl::{AtFlags, OFlag, openat},
    sys::stat::{Mode, fstatat},
};

use super::network::network_file_system;

const NAME: &str = ".lock";

/// Why a directory is not ours alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process holds it.
    #[error("the directory {} is in use by {holder}; stop that one, or give this one a directory of its own", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process, as far as its lock tells.
        holder: String,
    },
    /// It lies where a lock holds off no other host.
    #[error("the directory {} lies on a network file system ({kind}), where other hosts do not see our lock; name a directory on a disk of this host", path.display())]
    Network {
        /// The directory.
        path: PathBuf,
        /// The file system's name.
        kind: String,
    },
    /// The lock cannot be made or looked at.
    #[error("{} cannot be locked: {error}; it must be a plain file in a directory that the user of this process may write", path.display())]
    Io {
        /// The lock's path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A lock on a directory, held from the first [`DirectoryLock::hold`] until this is dropped.
#[derive(Debug, Default)]
pub struct DirectoryLock(Mutex<Option<File>>);

impl DirectoryLock {
    /// Holds the lock: takes it, or sees that it is still held. A directory that was removed and made again is
    /// another one, and locked anew. `path` is for the messages. Blocks for as long as the file system does.
    ///
    /// # Errors
    /// If another process holds it, if other hosts would not see it, or if it cannot be made.
    pub fn hold(&self, directory: &File, path: &Path) -> Result<(), LockError> {
        let io = |error: io::Error| LockError::Io {
            path: path.join(NAME),
            error,
        };
        // Nothing panics while it holds the mutex
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|held| lies_in(directory, held)) {
            return Ok(());
        }
        *held = None;
        let device = directory.metadata().map_err(io)?.dev();
        if let Some(kind) = network_file_system(device) {
            let path = path.to_owned();
            return Err(LockError::Network { path, kind });
        }
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(directory, NAME, flags, Mode::from_bits_truncate(0o600))
            .map_err(|error| io(error.into()))?;
        *held = Some(locked(File::from(file), path).map_err(|error| match error {
            Refused::Held(holder) => LockError::InUse {
                path: path.to_owned(),
                holder,
            },
            Refused::Io(error) => io(error),
        })?);
        Ok(())
    }
}

enum Refused {
    Held(String),
    Io(io::Error),
}

fn locked(mut file: File, path: &Path) -> Result<File, Refused> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Refused::Held(holder(&mut file))),
        Err(TryLockError::Error(error)) => return Err(Refused::Io(error)),
    }
    // Only for the message of the next one that comes; a full disk may leave it empty
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "{}", std::process::id()));
    if let Err(error) = written {
        tracing::debug!(directory = %path.display(), %error, "The lock does not name its holder.");
    }
    Ok(file)
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(20).read_to_string(&mut text) {
        Ok(1..) if text.bytes().all(|byte| byte.is_ascii_digit()) => format!("process {text}"),
        _ => "another process".to_owned(),
    }
}

/// Whether the lock that we hold is the one in this directory.
fn lies_in(directory: &File, held: &File) -> bool {
    let there = fstatat(directory, NAME, AtFlags::AT_SYMLINK_NOFOLLOW);
    let same = |held: &Metadata| {
        there.is_ok_and(|there| (there.st_dev, there.st_ino) == (held.dev(), held.ino()))
    };
    held.metadata().is_ok_and(|held| same(&held))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn opened(path: &Path) -> File {
        File::open(path).unwrap()
    }

    #[test]
    fn the_second_one_is_told_who_holds_it_until_the_first_lets_go() {
        let ground = tempfile::tempdir().unwrap();
        let (first, second) = (DirectoryLock::default(), DirectoryLock::default());
        let directory = opened(ground.path());
        first.hold(&directory, ground.path()).unwrap();
        first.hold(&directory, ground.path()).unwrap();
        let error = second.hold(&directory, ground.path()).unwrap_err();
        let holder = format!("process {};", std::process::id());
        assert!(error.to_string().contains(&holder), "{error}");
        drop(first);
        second.hold(&directory, ground.path()).unwrap();
        let mode = fs::metadata(ground.path().join(NAME))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn a_directory_that_was_made_again_is_locked_again() {
        let ground = tempfile::tempdir().unwrap();
        let path = ground.path().join("exchange");
        let (first, second) = (DirectoryLock::default(), DirectoryLock::default());
        fs::create_dir(&path).unwrap();
        first.hold(&opened(&path), &path).unwrap();
        fs::remove_dir_all(&path).unwrap();
        fs::create_dir(&path).unwrap();
        first.hold(&opened(&path), &path).unwrap();
        assert!(second.hold(&opened(&path), &path).is_err());
    }

    #[test]
    fn a_link_that_lies_at_the_locks_place_is_not_followed() {
        let ground = tempfile::tempdir().unwrap();
        let target = ground.path().join("target");
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, ground.path().join(NAME)).unwrap();
        let error = DirectoryLock::default()
            .hold(&opened(ground.path()), ground.path())
            .unwrap_err();
        assert!(matches!(error, LockError::Io { .. }), "{error}");
        assert_eq!(fs::read_to_string(target).unwrap(), "precious");
    }

    #[test]
    fn what_the_lock_says_is_no_more_than_a_number() {
        let ground = tempfile::tempdir().unwrap();
        let path = ground.path().join(NAME);
        for (text, holder_is) in [
            ("12", "process 12"),
            ("", "another process"),
            ("a\nb", "another process"),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(holder(&mut opened(&path)), holder_is);
        }
    }
}
