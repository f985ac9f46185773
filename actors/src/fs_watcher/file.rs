//! Reads one file safely: regular, bounded, never blocking on what is not a file; and tells
//! whether it has changed since.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{ErrorKind, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::{Duration, SystemTime},
};

use nix::{
    fcntl::OFlag,
    sys::stat::{FileStat, SFlag},
};

/// The largest file that is read, in bytes.
pub(super) const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Times are coarse, on some file systems by seconds: a file that changed so shortly before it
/// was read may have changed again without its times telling.
const RESOLUTION: Duration = Duration::from_secs(2);

/// What a file is told by, without reading it. `None`: there is none.
pub(super) type Seen = Option<Identity>;

/// Device, inode, size and times of what a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    regular: bool,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            regular: metadata.is_file(),
        }
    }

    /// The same by the system call itself.
    pub(super) fn of_stat(stat: &FileStat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size.cast_unsigned(),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
            regular: stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits(),
        }
    }

    /// Which file it is, whatever is in it.
    pub(super) fn place(self) -> Self {
        Self {
            size: 0,
            modified: (0, 0),
            changed: (0, 0),
            ..self
        }
    }

    /// Whether an equal identity later proves that what was read at `read_at` is still there.
    pub(super) fn proves(&self, read_at: SystemTime) -> bool {
        let Ok(read_at) = read_at.duration_since(SystemTime::UNIX_EPOCH) else {
            return false;
        };
        [self.modified, self.changed].iter().all(|(seconds, _)| {
            u64::try_from(*seconds)
                .is_ok_and(|seconds| read_at > Duration::from_secs(seconds) + RESOLUTION)
        })
    }
}

/// What a path leads to just now, links followed. Errors count as nothing there: whoever reads
/// the file meets them again, with words.
pub(super) fn see(path: &Path) -> Seen {
    fs::metadata(path).ok().as_ref().map(Identity::of)
}

/// Why a file gave no content.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("it is not there")]
    Gone,
    #[error("it is a link that leads to nothing; remove it, or make what it leads to")]
    Dangling,
    #[error("it is not a regular file; put a file there")]
    NotRegular,
    #[error("it has {0} bytes, and {MAX_BYTES} are read at most; split it")]
    TooLarge(u64),
    #[error(
        "it cannot be read ({0}) by the user with uid {uid}; give that user read access to it and to the directories above it",
        uid = nix::unistd::geteuid()
    )]
    Denied(std::io::Error),
    #[error("it cannot be read: {0}")]
    Io(std::io::Error),
}

/// Reads a file whole. Links are followed: directories full of links are common (Kubernetes).
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    let io_error = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound if fs::symlink_metadata(path).is_ok() => ReadError::Dangling,
        ErrorKind::NotFound => ReadError::Gone,
        ErrorKind::PermissionDenied => ReadError::Denied(error),
        _ => ReadError::Io(error),
    };
    // Opening alone can do something to a device: it is looked at first, and again once open.
    check(&fs::metadata(path).map_err(io_error)?)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)
        .map_err(io_error)?;
    check(&file.metadata().map_err(ReadError::Io)?)?;
    read_bounded(file)
}

fn check(metadata: &Metadata) -> Result<(), ReadError> {
    if !metadata.is_file() {
        return Err(ReadError::NotRegular);
    }
    if metadata.size() > MAX_BYTES {
        return Err(ReadError::TooLarge(metadata.size()));
    }
    Ok(())
}

/// It may grow while it is read.
fn read_bounded(file: File) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(ReadError::Io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReadError::TooLarge(bytes.len() as u64));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_not_a_regular_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo.toml");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(matches!(read(&fifo), Err(ReadError::NotRegular)));
        assert!(matches!(read(dir.path()), Err(ReadError::NotRegular)));
        assert!(matches!(
            read(Path::new("/dev/zero")),
            Err(ReadError::NotRegular)
        ));
        let socket = dir.path().join("socket.toml");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(read(&socket), Err(ReadError::NotRegular)));
    }

    #[test]
    fn links_are_followed_and_loops_and_dangling_ones_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link, dangling, ring, gone] =
            ["file", "link", "dangling", "ring", "gone"].map(|name| dir.path().join(name));
        fs::write(&file, "content").unwrap();
        symlink("file", &link).unwrap();
        symlink("nothing", &dangling).unwrap();
        symlink("ring", &ring).unwrap();
        assert_eq!(read(&link).unwrap(), b"content");
        assert_eq!(see(&link), see(&file));
        assert!(matches!(read(&dangling), Err(ReadError::Dangling)));
        assert!(matches!(read(&ring), Err(ReadError::Io(_))));
        assert!(matches!(read(&gone), Err(ReadError::Gone)));
    }

    #[test]
    fn a_sparse_giant_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("giant.toml");
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(matches!(read(&path), Err(ReadError::TooLarge(_))));
    }

    #[test]
    fn times_prove_nothing_within_their_resolution() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        fs::write(&path, "x").unwrap();
        let identity = see(&path).unwrap();
        let now = SystemTime::now();
        assert!(!identity.proves(now));
        assert!(identity.proves(now + Duration::from_secs(4)));
        assert!(!identity.proves(SystemTime::UNIX_EPOCH));
    }
}
