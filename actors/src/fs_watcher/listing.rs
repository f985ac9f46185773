//! Lists a directory completely, or not at all.

use std::{
    ffi::OsStr,
    fs::{self, Metadata},
    io::ErrorKind,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::errno::Errno;

/// Readings of a directory that changes meanwhile.
const TRIES: usize = 5;
/// A change that is older than this has a time of its own.
const YOUNG: Duration = Duration::from_secs(2);

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
    for _ in 0..TRIES {
        let before = fs::metadata(directory).map_err(list_error)?;
        let paths = paths_in(directory).map_err(list_error)?;
        // A file that is renamed while the directory is read may be missed under both its names. The directory's time
        // tells, unless it was turned just before: then only a second look does.
        let is_settled = !is_young(&before) || paths_in(directory).map_err(list_error)? == paths;
        let after = fs::metadata(directory).map_err(list_error)?;
        if is_settled && state(&after) == state(&before) {
            let device = before.dev();
            return Ok(Names { device, paths });
        }
    }
    Err(ListError::Restless(directory.to_path_buf()))
}

/// Which directory it is (something may be mounted over it), and when it was changed.
fn state(directory: &Metadata) -> [i128; 4] {
    [
        directory.dev().into(),
        directory.ino().into(),
        directory.mtime().into(),
        directory.mtime_nsec().into(),
    ]
}

/// Whether it was changed so lately that another change may bear the same time: file systems count in
/// ticks of some milliseconds, older ones in seconds.
fn is_young(directory: &Metadata) -> bool {
    let changed = directory.modified().ok();
    let age = changed.and_then(|changed| changed.elapsed().ok());
    age.is_none_or(|age| age < YOUNG)
}

fn paths_in(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if meant_for_us(&entry.file_name()) {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    Ok(paths)
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
    fn a_file_that_is_renamed_meanwhile_is_never_missed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: String| dir.path().join(name);
        for n in 0..1_000 {
            fs::write(path(format!("{n}.toml")), "").unwrap();
        }
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    fs::rename(path("7.toml".to_owned()), path("x.toml".to_owned())).unwrap();
                    fs::rename(path("x.toml".to_owned()), path("7.toml".to_owned())).unwrap();
                    std::thread::sleep(Duration::from_micros(300));
                }
            });
            let mut missed = 0;
            for _ in 0..500 {
                match list(dir.path()) {
                    // Twice, where it was seen under both names: the one that is gone tells when it is opened.
                    Ok(names) => missed += usize::from(names.paths.len() < 1_000),
                    Err(error) => assert!(matches!(error, ListError::Restless(_)), "{error}"),
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(missed, 0);
        });
    }

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
