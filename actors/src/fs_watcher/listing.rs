//! Lists a directory completely, or not at all.

use std::{
    ffi::OsStr,
    fs,
    io::ErrorKind,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use nix::errno::Errno;

/// What is in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// `st_dev` of the directory.
    pub(super) device: u64,
    /// The files that are meant for us, in path order.
    pub(super) paths: Vec<PathBuf>,
}

/// Why a directory was not listed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    #[error("the directory {0} is not there; make it, or mount it")]
    Missing(PathBuf),
    #[error("{0} is not a directory; name the directory that holds the files")]
    NotADirectory(PathBuf),
    #[error(
        "the directory {path} cannot be listed ({error}) by the user with uid {uid}; give that user read and execute access to it and to the directories above it",
        uid = nix::unistd::geteuid()
    )]
    Denied {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error(
        "the directory {path} cannot be listed: {error}; raise the limit on open files (LimitNOFILE= in the unit)"
    )]
    TooManyFiles {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("the directory {path} cannot be listed completely: {error}; mend the file system")]
    Io {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("the directory {path} is not read: {why}")]
    Unfit { path: PathBuf, why: String },
    #[error("the files in {0} come and go faster than they can be read; it is tried again")]
    Restless(PathBuf),
}

impl ListError {
    /// Why a directory could not be opened or listed.
    pub(super) fn of(directory: &Path, error: std::io::Error) -> Self {
        let path = directory.to_path_buf();
        let errno = error.raw_os_error().map(Errno::from_raw);
        if let Some(Errno::EMFILE | Errno::ENFILE) = errno {
            return ListError::TooManyFiles { path, error };
        }
        match error.kind() {
            ErrorKind::NotFound => Self::Missing(path),
            ErrorKind::NotADirectory => Self::NotADirectory(path),
            ErrorKind::PermissionDenied => Self::Denied { path, error },
            _ => Self::Io { path, error },
        }
    }
}

/// Every file of the directory that is meant for us. One error, and nothing counts.
pub(super) fn list(directory: &Path) -> Result<Names, ListError> {
    let list_error = |error: std::io::Error| ListError::of(directory, error);
    let place = || {
        let metadata = fs::metadata(directory).map_err(list_error)?;
        Ok((metadata.dev(), metadata.ino()))
    };
    let before = place()?;
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(list_error)? {
        let entry = entry.map_err(list_error)?;
        if meant_for_us(&entry.file_name()) {
            paths.push(entry.path());
        }
    }
    // Mounted over or replaced meanwhile: nobody knows which of the two was listed.
    if place()? != before {
        return Err(ListError::Restless(directory.to_path_buf()));
    }
    paths.sort_unstable();
    Ok(Names {
        device: before.0,
        paths,
    })
}

/// `*.toml` and `*.json`; never hidden files nor what editors leave beside a file they write.
fn meant_for_us(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let named = name.ends_with(b".toml") || name.ends_with(b".json");
    named && !name.starts_with(b".") && !name.starts_with(b"#")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_routes_files_are_listed_in_path_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "b.toml",
            "a.json",
            "c.toml",
            ".hidden.toml",
            ".a.toml.swp",
            "a.toml~",
            "#a.toml#",
            "#a.toml",
            "a.toml.tmp",
            "README",
            "toml",
            "..data",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let names = list(dir.path()).unwrap();
        let expected = ["a.json", "b.toml", "c.toml"].map(|name| dir.path().join(name));
        assert_eq!(names.paths, expected);
    }

    #[test]
    fn a_directory_that_is_not_there_or_is_none_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            list(&dir.path().join("no")),
            Err(ListError::Missing(_))
        ));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(list(&file), Err(ListError::NotADirectory(_))));
    }
}
