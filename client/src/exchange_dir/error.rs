//! Why no file can be passed to Sōzu.

use std::{
    io,
    path::{Path, PathBuf},
};

use nix::{errno::Errno, unistd::geteuid};

use super::LockError;

/// Why no file can be passed to Sōzu, and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error("there is no exchange directory: set one (exchange_directory) to load or save in bulk")]
    None,
    #[error("cannot ask whose Sōzu's command socket {} is: {error}; is Sōzu running?", path.display())]
    Socket { path: PathBuf, error: io::Error },
    #[error("the exchange directory {} is not usable: {what} failed: {error}; {}", path.display(), remedy(path, error))]
    Unusable {
        path: PathBuf,
        what: &'static str,
        error: io::Error,
    },
    #[error(
        "the exchange directory {} belongs to uid {owner}, neither to us nor to Sōzu: chown it to uid {us}, or name another one",
        path.display()
    )]
    Stranger { path: PathBuf, owner: u32, us: u32 },
    #[error(
        "the exchange directory {} has mode {mode:04o}, wider than {allowed:04o}, and is not ours: chmod it to {allowed:04o}",
        path.display()
    )]
    Wide {
        path: PathBuf,
        mode: u32,
        allowed: u32,
    },
    #[error("cannot give a file in {} the directory's group {gid}: {error}; be a member of that group, of which Sōzu must be one too", path.display())]
    Group {
        path: PathBuf,
        gid: u32,
        error: io::Error,
    },
    #[error("the exchange directory {} is a symbolic link, which somebody may point elsewhere: remove it, or name the directory itself", .0.display())]
    Link(PathBuf),
    #[error("the exchange directory: {0}")]
    Lock(#[from] LockError),
    #[error("the path {} is not UTF-8, which Sōzu cannot be told", .0.display())]
    NotText(PathBuf),
}

fn remedy(path: &Path, error: &io::Error) -> String {
    if matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EMFILE | Errno::ENFILE)
    ) {
        return "raise the limit on open files (LimitNOFILE= in the unit)".to_owned();
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "let uid {} own it (chown), and pass through the directories above it; or make {} as root for it",
            geteuid(),
            path.display()
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free space where it lies".to_owned()
        }
        _ => "it must be a directory of our own".to_owned(),
    }
}
