//! The folders of a directory: listed again only where they have changed, and which pairs their
//! names promise.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{CString, OsString},
    fmt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    Settings,
    beneath::{self, Root},
    layout::{self, Layout, Parts, Plan},
};
use crate::fs_watcher::file::Identity;

/// Folders this far below the directory are looked into: Caddy's `ISSUER/NAME`.
const DEPTH: usize = 2;

/// All folders of one directory, the directory itself among them.
pub(super) struct Folders {
    directory: PathBuf,
    root: PathBuf,
    only: Option<Layout>,
    known: BTreeMap<PathBuf, Folder>,
    /// Whether the last walk listed every folder that it met.
    complete: bool,
    now: fn() -> SystemTime,
}

/// A folder as it was last listed.
struct Folder {
    /// How it is reached from the root.
    relative: Option<CString>,
    identity: Identity,
    read_at: SystemTime,
    folders: Vec<OsString>,
    plan: Plan,
}

impl Folder {
    /// Whether what was listed is there still.
    fn is_as_before(&self, root: &Root) -> bool {
        let seen = self.relative.as_ref().and_then(|path| root.see(path));
        seen == Some(self.identity) && self.identity.proves(self.read_at)
    }
}

/// What stands for what it last gave, although it gives nothing now.
pub(super) type Shut = BTreeMap<PathBuf, Why>;

/// Why it gives nothing.
#[derive(Debug)]
pub(super) enum Why {
    /// A folder cannot be listed.
    Folder(String),
    /// A certificate's key is there, and it is not.
    KeyAlone,
}

impl Why {
    pub(super) const fn is_folder(&self) -> bool {
        matches!(self, Why::Folder(_))
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Folder(why) => f.write_str(why),
            Why::KeyAlone => f.write_str("its key is there and it is not; write both"),
        }
    }
}

impl Folders {
    pub(super) fn new(directory: &Path, settings: &Settings, now: fn() -> SystemTime) -> Self {
        Self {
            directory: directory.to_owned(),
            root: settings.root.clone(),
            only: settings.layout,
            known: BTreeMap::new(),
            complete: false,
            now,
        }
    }

    /// Those below the directory, and which ones they were when they were listed.
    pub(super) fn below(&self) -> impl Iterator<Item = (&PathBuf, Identity)> {
        let known = self.known.iter();
        known
            .filter(|(path, _)| **path != self.directory)
            .map(|(path, folder)| (path, folder.identity.place()))
    }

    /// Lists the directory and the folders in it, as far as they have changed. Tells whether any has.
    /// `retry`: what is gone by now is told, too.
    ///
    /// # Errors
    /// Why the directory itself cannot be listed.
    pub(super) fn walk(
        &mut self,
        root: &Root,
        retry: bool,
        shut: &mut Shut,
    ) -> Result<bool, beneath::Error> {
        if self.complete && self.known.values().all(|it| it.is_as_before(root)) {
            return Ok(false);
        }
        self.complete = false;
        let (mut changed, mut complete) = (false, true);
        let mut met = BTreeSet::new();
        let mut ahead = vec![(self.directory.clone(), 0)];
        while let Some((path, depth)) = ahead.pop() {
            let known = self.known.get(&path);
            if !known.is_some_and(|folder| folder.is_as_before(root)) {
                match self.list(root, &path, depth) {
                    Ok(different) => changed |= different,
                    Err(error) if depth == 0 => return Err(error),
                    // It was removed since its name was read.
                    Err(beneath::Error::Gone) if !retry => {
                        complete = false;
                        continue;
                    }
                    Err(error) => {
                        complete = false;
                        shut.insert(path, Why::Folder(error.to_string()));
                        continue;
                    }
                }
            }
            if let Some(folder) = self.known.get(&path)
                && depth < DEPTH
            {
                let folders = folder.folders.iter();
                ahead.extend(folders.map(|name| (path.join(name), depth + 1)));
            }
            met.insert(path);
        }
        self.complete = complete;
        let before = self.known.len();
        self.known.retain(|path, _| met.contains(path));
        Ok(changed || before != self.known.len())
    }

    /// Lists one folder; whether its names are other ones than before.
    fn list(&mut self, root: &Root, path: &Path, depth: usize) -> Result<bool, beneath::Error> {
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        let read_at = (self.now)();
        let listed = root.list(relative)?;
        let name = path.file_name().filter(|_| depth > 0);
        let plan = layout::plan(name, &listed.files, self.only);
        let folder = Folder {
            relative: root.relative(path),
            identity: Identity::of(&listed.metadata),
            read_at,
            folders: listed.folders,
            plan,
        };
        let same = self
            .known
            .get(path)
            .is_some_and(|known| known.plan == folder.plan && known.folders == folder.folders);
        self.known.insert(path.to_owned(), folder);
        Ok(!same)
    }

    /// The pairs that the folders hold, by their certificates.
    pub(super) fn pairs(&self) -> BTreeMap<PathBuf, Parts> {
        let mut pairs = BTreeMap::new();
        for (path, folder) in &self.known {
            for parts in &folder.plan.pairs {
                pairs.insert(path.join(&parts.certificate), parts.clone());
            }
        }
        pairs
    }

    /// The certificates that are not there, while keys that may be theirs are. A key alone may be one
    /// half of a renewal: what the other half gave stands.
    pub(super) fn keys_alone(&self, pairs: &BTreeMap<PathBuf, Parts>) -> BTreeSet<PathBuf> {
        let mut alone = BTreeSet::new();
        for (path, folder) in &self.known {
            for (name, _) in &folder.plan.ignored {
                let certificates = layout::certificates_of(name).into_iter();
                alone.extend(certificates.map(|certificate| path.join(certificate)));
            }
        }
        alone.retain(|path| !pairs.contains_key(path));
        alone
    }

    /// Files that belong to no pair, with the reason.
    pub(super) fn ignored(&self) -> impl Iterator<Item = (PathBuf, &'static str)> {
        self.known.iter().flat_map(|(path, folder)| {
            let ignored = folder.plan.ignored.iter();
            ignored.map(|(name, why)| (path.join(name), *why))
        })
    }
}
