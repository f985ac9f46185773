//! Opens and lists what lies beneath one directory, whatever links say: the kernel resolves the
//! path, and refuses to leave it.

use std::{
    collections::BTreeSet,
    ffi::{CStr, CString, OsStr, OsString},
    fs::{File, Metadata},
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::{Mode, fstatat},
};
use zeroize::Zeroizing;

use crate::fs_watcher::file::{Identity, Seen};

/// The largest file that is read, in bytes: a certificate with its chain and its key has a
/// hundredth of that.
pub(super) const MAX_BYTES: u64 = 1024 * 1024;

/// Why something gave no content.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("it is not there")]
    Gone,
    #[error(
        "it is a link that leads out of {0}, or an absolute one; make it a relative link within, or set `root` to what holds both"
    )]
    Outside(PathBuf),
    #[error("it is a ring of links; make it a file")]
    Ring,
    #[error("it is not a regular file; put a file there")]
    NotRegular,
    #[error(
        "it has {0} bytes, and {MAX_BYTES} are read at most; leave only the certificate, its chain and its key in it"
    )]
    TooLarge(u64),
    #[error(
        "it cannot be read by the user with uid {uid} ({0}); let that user read it (`chgrp` and `chmod g+r`, or `setfacl -m u:{uid}:r`), and enter the directories above it; under systemd see ReadOnlyPaths= and ProtectHome=",
        uid = nix::unistd::geteuid()
    )]
    Denied(io::Error),
    #[error(
        "anybody may write into it (mode {0:04o}), so that anybody could put a certificate there; `chmod o-w` it"
    )]
    WorldWritable(u32),
    #[error("it cannot be read: {0}")]
    Io(io::Error),
}

/// A directory that nothing leads out of.
pub(super) struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens it; links in its own path are followed.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|errno| error(errno, path))?;
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }

    fn at(&self, relative: &Path, flags: OFlag) -> Result<File, Error> {
        let relative = if relative.as_os_str().is_empty() {
            Path::new(".")
        } else {
            relative
        };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let fd =
            openat2(self.fd.as_fd(), relative, how).map_err(|errno| error(errno, &self.path))?;
        Ok(File::from(fd))
    }

    /// How a path leads from the root to what it names. Nothing: it has a NUL, which no file's name has.
    pub(super) fn relative(&self, path: &Path) -> Option<CString> {
        let relative = path.strip_prefix(&self.path).unwrap_or(path).as_os_str();
        let relative = if relative.is_empty() {
            OsStr::new(".")
        } else {
            relative
        };
        CString::new(relative.as_bytes()).ok()
    }

    /// What a path leads to just now, as [`file::see`](crate::fs_watcher::file::see) does; what it
    /// holds is for [`read`](Self::read) alone. From the open directory the kernel has fewer names to look up.
    pub(super) fn see(&self, relative: &CStr) -> Seen {
        let stat = fstatat(&self.fd, relative, AtFlags::empty());
        stat.ok().as_ref().map(Identity::of_stat)
    }

    /// Reads a regular file whole; the one descriptor that was checked.
    pub(super) fn read(&self, relative: &Path) -> Result<(Zeroizing<Vec<u8>>, Metadata), Error> {
        let mut file = self.at(relative, OFlag::O_RDONLY)?;
        let metadata = file.metadata().map_err(Error::Io)?;
        if !metadata.is_file() {
            return Err(Error::NotRegular);
        }
        if metadata.size() > MAX_BYTES {
            return Err(Error::TooLarge(metadata.size()));
        }
        // One allocation, so that no copy of a key is left behind by a growing one.
        let room = usize::try_from(MAX_BYTES.min(metadata.size() + 4096)).unwrap_or(0);
        let mut bytes = Zeroizing::new(vec![0; room]);
        let mut length = 0;
        loop {
            match file.read(&mut bytes[length..]) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Io(error)),
            }
        }
        if length == room {
            // It grew while it was read: the next look finds it as it is then.
            return Err(Error::TooLarge(length as u64));
        }
        bytes.truncate(length);
        Ok((bytes, metadata))
    }

    /// Lists a directory: its names, and those of them that are directories. Hidden ones are
    /// nobody's.
    pub(super) fn list(&self, relative: &Path) -> Result<Folder, Error> {
        let file = self.at(relative, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let metadata = file.metadata().map_err(Error::Io)?;
        if metadata.mode() & 0o002 != 0 {
            return Err(Error::WorldWritable(metadata.mode() & 0o7777));
        }
        let mut folder = Folder {
            metadata,
            files: BTreeSet::new(),
            folders: Vec::new(),
        };
        let mut dir = Dir::from_fd(file.into()).map_err(|errno| Error::Io(errno.into()))?;
        for entry in dir.iter() {
            let entry = entry.map_err(|errno| Error::Io(errno.into()))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name.as_bytes().starts_with(b".") {
                continue;
            }
            let is_directory = match entry.file_type() {
                Some(Type::Directory) => true,
                Some(Type::File) => false,
                _ => self.leads_to_directory(&relative.join(name)),
            };
            if is_directory {
                folder.folders.push(name.to_owned());
            } else {
                folder.files.insert(name.to_owned());
            }
        }
        folder.folders.sort_unstable();
        Ok(folder)
    }

    /// A link that leads out, or to nothing, is told as a file.
    fn leads_to_directory(&self, relative: &Path) -> bool {
        self.at(relative, OFlag::O_PATH)
            .and_then(|file| file.metadata().map_err(Error::Io))
            .is_ok_and(|metadata| metadata.is_dir())
    }
}

/// What is in a directory.
pub(super) struct Folder {
    pub(super) metadata: Metadata,
    pub(super) files: BTreeSet<OsString>,
    pub(super) folders: Vec<OsString>,
}

fn error(errno: Errno, root: &Path) -> Error {
    match errno {
        Errno::ENOENT => Error::Gone,
        Errno::EXDEV => Error::Outside(root.to_owned()),
        Errno::ELOOP => Error::Ring,
        Errno::ENXIO => Error::NotRegular,
        Errno::EACCES | Errno::EPERM => Error::Denied(errno.into()),
        other => Error::Io(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::fs_watcher::file;

    #[test]
    fn nothing_leads_out_and_only_regular_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let root_path = dir.path().join("root");
        fs::create_dir_all(root_path.join("live")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(root_path.join("file"), "content").unwrap();
        let at = |name: &str| root_path.join("live").join(name);
        symlink("../file", at("within")).unwrap();
        symlink("../../secret", at("out")).unwrap();
        symlink(root_path.join("file"), at("absolute")).unwrap();
        symlink("ring", at("ring")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        File::create(at("large"))
            .unwrap()
            .set_len(MAX_BYTES + 1)
            .unwrap();

        let root = Root::open(&root_path).unwrap();
        let read = |name: &str| {
            root.read(&Path::new("live").join(name))
                .map(|(bytes, _)| bytes.to_vec())
        };
        assert_eq!(read("within").unwrap(), b"content");
        assert!(matches!(read("out"), Err(Error::Outside(_))));
        assert!(matches!(read("absolute"), Err(Error::Outside(_))));
        assert!(matches!(read("ring"), Err(Error::Ring)));
        assert!(matches!(read("fifo"), Err(Error::NotRegular)));
        assert!(matches!(read("socket"), Err(Error::NotRegular)));
        assert!(matches!(read("large"), Err(Error::TooLarge(_))));
        assert!(matches!(read("none"), Err(Error::Gone)));
        assert!(matches!(root.list(Path::new("live")), Ok(folder) if folder.files.len() == 7));
        let paths = ["within", "ring", "fifo", "none"].map(at);
        for path in paths.iter().chain([&root_path, &root_path.join("live")]) {
            let relative = root.relative(path).unwrap();
            assert_eq!(root.see(&relative), file::see(path), "{relative:?}");
        }
    }
}
