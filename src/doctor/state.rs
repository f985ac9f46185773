//! The state directory: ours, private, on a disk of this host, with room.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::sys::statvfs::statvfs;
use sozu_socket::directory::network_file_system;

use super::{Doctor, Finding, paths, us::user};

const DIRECTORY: &str = "state.directory";
const SPACE: &str = "state.space";
/// No database fits into less: SQLite's write-ahead log alone may have 4 MB.
const TOO_LITTLE: u64 = 16 << 20;
/// A busy journal takes this much in a day.
const LITTLE: u64 = 256 << 20;

pub(super) fn findings(doctor: &Doctor<'_>) -> Vec<Finding> {
    let path = &doctor.config.state_directory;
    let mut findings = vec![directory(path, doctor.us.uid)];
    let place: PathBuf = if path.is_dir() {
        path.clone()
    } else {
        paths::nearest(path).to_owned()
    };
    findings.extend(free(&place).map(|(bytes, inodes)| space(&place, bytes, inodes)));
    findings
}

fn directory(path: &Path, us: u32) -> Finding {
    let shown = path.display();
    let name = user(us);
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(_) if path.symlink_metadata().is_err() && paths::may_write(paths::nearest(path)) => {
            return Finding::ok(
                DIRECTORY,
                format!("{shown} is not there yet; the daemon makes it"),
            );
        }
        Err(error) => {
            return Finding::wrong(
                DIRECTORY,
                format!("{shown}: {error}, and {name} cannot make it"),
                format!(
                    "run `install -d -m 0700 -o {name} {shown}`, or let systemd make it (StateDirectory=)"
                ),
            );
        }
    };
    if !found.is_dir() {
        let says = format!("{shown} is no directory");
        return Finding::wrong(
            DIRECTORY,
            says,
            "move it away, or set another state_directory",
        );
    }
    if let Some(kind) = network_file_system(found.dev()) {
        return Finding::wrong(
            DIRECTORY,
            format!(
                "{shown} lies on a network file system ({kind}), where a lock holds off no other host"
            ),
            "set state_directory to a directory on a disk of this host",
        );
    }
    let database = path.join("state.db");
    let owner = fs::metadata(&database).map_or(found.uid(), |it| it.uid());
    if owner != us && us != 0 {
        return Finding::wrong(
            DIRECTORY,
            format!(
                "{shown} belongs to {} (uid {owner}), not to {name}",
                user(owner)
            ),
            format!(
                "run this as {0}, or `chown -R {name} {shown}` if the daemon runs as {name}",
                user(owner)
            ),
        );
    }
    if !paths::may_write(path) {
        return Finding::wrong(
            DIRECTORY,
            format!("{shown} cannot be written by {name}"),
            format!(
                "run `chmod 0700 {shown}`; if its file system is mounted read-only, mount it writable"
            ),
        );
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Finding::warning(
            DIRECTORY,
            format!("{shown} has mode {mode:04o}: others may enter it"),
            format!("run `chmod 0700 {shown}`; the daemon does it at its start"),
        );
    }
    Finding::ok(DIRECTORY, format!("{shown} is there and private"))
}

/// Free bytes and files for this user.
fn free(path: &Path) -> Option<(u64, Option<u64>)> {
    let found = statvfs(path).ok()?;
    let bytes = found
        .blocks_available()
        .saturating_mul(found.fragment_size());
    // Some file systems have no fixed number of files, and say 0 of 0.
    let files = (found.files() > 0).then(|| found.files_available());
    Some((bytes, files))
}

fn space(path: &Path, bytes: u64, files: Option<u64>) -> Finding {
    let shown = path.display();
    let megabytes = bytes >> 20;
    let remedy =
        "free space, or set state_directory to another disk: without room no change is taken";
    if files.is_some_and(|files| files < 100) {
        let says = format!("{shown} has no room for more files (inodes)");
        return Finding::wrong(SPACE, says, remedy);
    }
    let says = format!("{megabytes} MiB are free for {shown}");
    match bytes {
        ..TOO_LITTLE => Finding::wrong(SPACE, says, remedy),
        TOO_LITTLE..LITTLE => Finding::warning(SPACE, says, remedy),
        _ => Finding::ok(SPACE, says),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn little_room_is_told_before_it_is_none() {
        for (bytes, files, state) in [
            (0, None, State::Wrong),
            (17 << 20, Some(1000), State::Warning),
            (1 << 30, Some(1000), State::Ok),
            (1 << 30, None, State::Ok),
            (1 << 30, Some(3), State::Wrong),
        ] {
            let found = space(Path::new("/var/lib/x"), bytes, files);
            assert_eq!(found.state, state, "{found:?}");
        }
        assert!(free(Path::new("/")).is_some());
    }

    #[test]
    fn each_wrong_directory_is_told_with_its_remedy() {
        let ground = tempfile::tempdir().unwrap();
        let at = |name: &str| ground.path().join(name);
        fs::write(at("file"), "").unwrap();
        for (name, mode) in [("wide", 0o755), ("private", 0o700)] {
            fs::create_dir(at(name)).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let us = nix::unistd::geteuid().as_raw();
        for (name, uid, state, part) in [
            ("missing", us, State::Ok, ""),
            ("file", us, State::Wrong, "move it away"),
            ("wide", us, State::Warning, "chmod 0700"),
            ("private", us, State::Ok, ""),
            ("private", us + 1, State::Wrong, "chown -R"),
        ] {
            let found = directory(&at(name), uid);
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.remedy.unwrap_or_default().contains(part), "{name}");
        }
    }
}
