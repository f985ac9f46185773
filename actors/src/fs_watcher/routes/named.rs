//! The files that a routes file names: certificates, keys, answers. They are part of its content.

use std::path::{Path, PathBuf};

use crate::fs_watcher::file::{self, Seen};

/// Reads named files and remembers which, so that a change of one is noticed.
pub(in crate::fs_watcher) struct NamedFiles {
    base: PathBuf,
    /// What was looked at, as it was seen before it was read; also what could not be read.
    pub(in crate::fs_watcher) seen: Vec<(PathBuf, Seen)>,
}

impl NamedFiles {
    /// Relative names start from the directory of the file that names them.
    pub(in crate::fs_watcher) fn of(path: &Path) -> Self {
        Self {
            base: path.parent().unwrap_or(Path::new("/")).to_path_buf(),
            seen: Vec::new(),
        }
    }

    /// The text of a named file, or what is wrong with it.
    pub(super) fn read(&mut self, name: &str) -> Result<String, String> {
        let path = self.base.join(name);
        self.seen.push((path.clone(), file::see(&path)));
        let bytes = file::read(&path)
            .map_err(|error| format!("the file {} that it names: {error}", path.display()))?;
        String::from_utf8(bytes).map_err(|_| {
            format!(
                "the file {} that it names is not UTF-8; give PEM or text",
                path.display()
            )
        })
    }
}
