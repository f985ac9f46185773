//! What this user may do with a path.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// The first directory above `path` that this user may not pass through.
pub(super) fn blocked_at(path: &Path) -> Option<PathBuf> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    above
        .into_iter()
        .filter(|it| it.is_dir())
        .find(|it| access(*it, AccessFlags::X_OK).is_err())
        .map(Path::to_owned)
}

/// Whether this user may make and remove files in a directory.
pub(super) fn may_write(directory: &Path) -> bool {
    access(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

/// Where a missing directory could be made: the nearest one above it that is there.
pub(super) fn nearest(path: &Path) -> &Path {
    let there = path.ancestors().skip(1).find(|it| it.is_dir());
    there.unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_directory_is_one_that_is_there() {
        let ground = tempfile::tempdir().unwrap();
        let missing = ground.path().join("a/b/c");
        assert_eq!(nearest(&missing), ground.path());
        assert!(may_write(ground.path()));
        assert_eq!(blocked_at(&missing), None);
    }
}
