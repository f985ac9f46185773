//! What all pairs of a directory say together: what it declares, and what is wrong with it.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    entry::{Entry, Outcome},
    folders::{Folders, Shut},
    overlap,
    pair::Facts,
    told::Told,
};
use crate::{
    fs_watcher::{problem::Fault, scan::Scan},
    messages::{FileContent, ListedFile},
};

/// Where and when the directory was looked at.
pub(super) struct At<'a> {
    pub(super) directory: &'a Path,
    pub(super) device: u64,
    /// The listeners that get the certificates.
    pub(super) listeners: &'a Arc<[SocketAddr]>,
    /// In seconds since 1970.
    pub(super) now: i64,
}

/// Puts it together. And when it may be another judgement, with no file changed, in seconds since
/// 1970.
pub(super) fn whole(
    at: &At<'_>,
    entries: &mut BTreeMap<PathBuf, Entry>,
    folders: &Folders,
    shut: Shut,
) -> (Scan, Option<i64>) {
    let claims = Claims::of(entries, at.now);
    let mut scan = Scan {
        device: at.device,
        files: Vec::with_capacity(entries.len()),
        objects: 0,
        problems: Vec::new(),
        pki: None,
    };
    let mut told = Told::default();
    let nowhere = at.listeners.is_empty() && !entries.is_empty();
    if nowhere {
        let text = "Sōzu has no HTTPS listener, so that nothing can be served; add one to Sōzu's own configuration";
        let directory = Arc::new(at.directory.to_owned());
        scan.problems.push(Fault::whole(text).of(&directory));
    }
    for entry in entries.values_mut() {
        let path = Arc::clone(&entry.path);
        let place = claims.place(&path);
        if let (Some(good), Some(place)) = (&mut entry.last_good, place) {
            good.make(at.listeners, place.expired_at);
            told.certificate(&path, good, entry.parts.layout, &claims, at.listeners);
        }
        if let Some(first) = claims.second.get(&path) {
            told.second(&path, first);
        }
        let content = match (&entry.outcome, &entry.last_good) {
            (Outcome::Good, Some(_)) if nowhere => {
                FileContent::Unreadable("Sōzu has no HTTPS listener".to_owned())
            }
            (Outcome::Good, Some(good)) if place.is_some() => {
                told.unusable_names(&path, &good.facts);
                scan.objects += good.objects.len();
                FileContent::Objects(good.objects.clone())
            }
            (Outcome::Good, _) => FileContent::Objects(Arc::default()),
            (Outcome::Bad(fault), last_good) => {
                let mut problem = fault.clone().of(&path);
                let why = problem.to_string();
                let stays = if last_good.is_some() {
                    "; its last good content stays"
                } else {
                    "; what it last gave stays, if it gave anything"
                };
                problem.fault.text.push_str(stays);
                scan.problems.push(problem);
                told.unusable += 1;
                FileContent::Unreadable(why)
            }
            (Outcome::NoPair(why), _) => {
                told.ignored(&path, why);
                FileContent::Unreadable((*why).to_owned())
            }
        };
        scan.files.push(ListedFile { path, content });
    }
    for (path, why) in shut {
        let path = Arc::new(path);
        if why.is_folder() {
            let fault = Fault::whole(format!("{why}; what is in it stays as it last was"));
            scan.problems.push(fault.of(&path));
        }
        let content = FileContent::Unreadable(why.to_string());
        scan.files.push(ListedFile { path, content });
    }
    for (path, why) in folders.ignored() {
        told.ignored(&Arc::new(path), why);
    }
    told.end(at.now);
    scan.files.sort_by(|a, b| a.path.cmp(&b.path));
    scan.problems.sort_by(|a, b| a.path.cmp(&b.path));
    scan.pki = Some(Arc::new(told));
    (scan, claims.next_turn)
}

/// Who claims which leaf, and who serves which name.
pub(super) struct Claims {
    /// Of each path that has its leaf first.
    places: HashMap<Arc<PathBuf>, overlap::Place>,
    /// The path of each, by the index in the judgement.
    paths: Vec<Arc<PathBuf>>,
    /// Paths whose leaf another one before them has.
    second: HashMap<Arc<PathBuf>, Arc<PathBuf>>,
    next_turn: Option<i64>,
}

impl Claims {
    fn of(entries: &BTreeMap<PathBuf, Entry>, now: i64) -> Self {
        let mut first: HashMap<&str, &Arc<PathBuf>> = HashMap::new();
        let mut second = HashMap::new();
        let mut facts: Vec<&Facts> = Vec::new();
        let mut paths = Vec::new();
        for entry in entries.values() {
            let Some(good) = &entry.last_good else {
                continue;
            };
            if let Some(before) = first.get(&*good.facts.fingerprint) {
                second.insert(entry.path.clone(), Arc::clone(before));
                continue;
            }
            first.insert(&good.facts.fingerprint, &entry.path);
            facts.push(&good.facts);
            paths.push(entry.path.clone());
        }
        let places = overlap::judge(&facts, now);
        Self {
            places: paths.iter().cloned().zip(places).collect(),
            paths,
            second,
            next_turn: overlap::next_turn(facts.into_iter(), now),
        }
    }

    /// What becomes of the certificate of this path, if it has its leaf first.
    pub(super) fn place(&self, path: &Arc<PathBuf>) -> Option<&overlap::Place> {
        self.places.get(path)
    }

    /// The path of one that [`overlap::Place::lost`] names.
    pub(super) fn path(&self, index: usize) -> &Path {
        &self.paths[index]
    }
}
