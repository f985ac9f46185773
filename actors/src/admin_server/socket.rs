//! The socket file: made with its final mode before anybody can find it, never taken from a daemon
//! that answers, removed at the end.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use nix::unistd::Group;

/// Of a directory that we make: everybody may pass through it, as the exchange directory may lie in
/// it too.
const DIRECTORY: u32 = 0o711;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers on it.
    #[error(
        "another daemon answers on {}; stop it, or give this one its own [admin] socket", .0.display()
    )]
    InUse(PathBuf),
    /// Something else lies there.
    #[error("{} is there and is no socket; move it away, or name another [admin] socket", .0.display())]
    NoSocket(PathBuf),
    /// There is no such group.
    #[error("there is no group `{0}`; create it, or name another [admin] group")]
    NoGroup(String),
    /// The system refuses.
    #[error("{}: {doing}: {error}; let the daemon's user write there, or name another [admin] socket", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why not.
        error: io::Error,
    },
}

/// A socket file of ours that somebody can connect to.
#[derive(Debug)]
pub struct Bound {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

/// Whether a daemon answers on the socket at `path`.
pub fn is_answered(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

impl Bound {
    /// Makes the socket file: 0600, or 0660 in `group`. Blocks for a moment.
    ///
    /// # Errors
    /// If somebody answers on it, or the system refuses.
    pub fn at(path: &Path, group: &str) -> Result<Self, SocketError> {
        let io = |doing| {
            move |error| SocketError::Io {
                path: path.to_owned(),
                doing,
                error,
            }
        };
        let group = match group {
            "" => None,
            name => match group_id(name).map_err(io("looking its group up"))? {
                Some(group) => Some(group),
                None => return Err(SocketError::NoGroup(name.to_owned())),
            },
        };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::NoSocket(path.to_owned()));
            }
            Ok(_) if is_answered(path) => return Err(SocketError::InUse(path.to_owned())),
            // Nobody answers: what an earlier daemon left behind is replaced below.
            _ => {}
        }
        let parent = path.parent().unwrap_or(Path::new("/"));
        make_directory(parent).map_err(io("making its directory"))?;
        // Nobody can connect to it before it has its mode: it gets its name last.
        let hidden = parent.join(format!(".{}", std::process::id()));
        let _ = fs::remove_file(&hidden);
        let listener = UnixListener::bind(&hidden).map_err(io("making a socket"))?;
        let named = match group {
            None => fs::set_permissions(&hidden, Permissions::from_mode(0o600)),
            Some(group) => chown(&hidden, None, Some(group))
                .and_then(|()| fs::set_permissions(&hidden, Permissions::from_mode(0o660))),
        }
        .and_then(|()| fs::rename(&hidden, path))
        .and_then(|()| inode(path));
        match named {
            Ok(inode) => Ok(Self {
                listener,
                path: path.to_owned(),
                inode,
            }),
            Err(error) => {
                let _ = fs::remove_file(&hidden);
                Err(io("giving it its mode, group and name")(error))
            }
        }
    }

    /// The listener, for another life.
    ///
    /// # Errors
    /// If the system gives no descriptor.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Whether the file at the path is still this socket.
    pub fn is_there(&self) -> bool {
        inode(&self.path).is_ok_and(|found| found == self.inode)
    }

    /// Removes the file, if it is still ours.
    pub fn remove(self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

fn group_id(name: &str) -> io::Result<Option<u32>> {
    Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
}

fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY)
        .create(path)?;
    // The process's umask may have taken something away.
    fs::set_permissions(path, Permissions::from_mode(DIRECTORY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn it_is_private_and_leaves_nothing_behind() {
        let ground = tempfile::tempdir().unwrap();
        let directory = ground.path().join("run/sozu-manager");
        let path = directory.join("admin.sock");
        let bound = Bound::at(&path, "").unwrap();
        assert_eq!((mode(&directory), mode(&path)), (0o711, 0o600));
        assert!(bound.is_there() && is_answered(&path));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        bound.remove();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    #[test]
    fn a_group_may_come_in() {
        let ground = tempfile::tempdir().unwrap();
        let path = ground.path().join("admin.sock");
        let own = nix::unistd::getegid();
        let name = Group::from_gid(own).unwrap().unwrap().name;
        let _bound = Bound::at(&path, &name).unwrap();
        assert_eq!(mode(&path), 0o660);
        assert_eq!(fs::metadata(&path).unwrap().gid(), own.as_raw());
        let error = Bound::at(&ground.path().join("b.sock"), "no such group").unwrap_err();
        assert!(matches!(error, SocketError::NoGroup(_)), "{error}");
    }

    #[test]
    fn what_an_earlier_daemon_left_is_replaced_and_one_that_answers_is_not() {
        let ground = tempfile::tempdir().unwrap();
        let path = ground.path().join("admin.sock");
        let first = Bound::at(&path, "").unwrap();
        assert!(matches!(
            Bound::at(&path, "").unwrap_err(),
            SocketError::InUse(_)
        ));
        drop(first);
        assert!(path.exists(), "as after a crash");
        let second = Bound::at(&path, "").unwrap();
        assert!(is_answered(&path));
        fs::remove_file(&path).unwrap();
        let third = Bound::at(&path, "").unwrap();
        assert!(!second.is_there());
        second.remove();
        assert!(third.is_there(), "one removes only its own");
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let ground = tempfile::tempdir().unwrap();
        let path = ground.path().join("admin.sock");
        fs::write(&path, "precious").unwrap();
        let error = Bound::at(&path, "").unwrap_err();
        assert!(matches!(error, SocketError::NoSocket(_)), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
