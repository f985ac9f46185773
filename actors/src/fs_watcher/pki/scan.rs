//! One look at a directory of certificates: listed completely, what changed read again in
//! parallel, overlaps judged.
//!
//! Blocks on the file system.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::SystemTime,
};

use sozu_command_lib::proto::command::{AddCertificate, SocketAddress};

use super::{
    Settings,
    beneath::{self, Root},
    layout::{self, Layout, Parts, Plan},
    options, overlap,
    pair::{self, Facts, Pair, PairError},
};
use crate::{
    fs_watcher::{
        file::{self, Identity, Seen},
        listing::ListError,
        problem::{Fault, Problem},
        scan::Scan,
    },
    messages::{FileContent, ListedFile},
    state_keeper::{
        key::{Keyed, Object},
        report::{Listeners, Protocol},
    },
};

/// Folders this far below the directory are looked into: Caddy's `ISSUER/NAME`.
const DEPTH: usize = 2;
/// More threads read no faster from one disk.
const READERS: usize = 8;

/// What a look tells of certificates, besides what it declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::fs_watcher) struct Told {
    /// In short, for `/health`.
    pub(in crate::fs_watcher) summary: String,
    /// What is no problem, and still worth knowing: ignored files, names that another serves.
    pub(super) notes: Vec<Problem>,
    /// What may be loaded, in path order.
    pub(super) certificates: Vec<Certificate>,
    /// How many pairs cannot be loaded as they are.
    pub(super) unusable: usize,
}

/// One certificate of a directory, as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::fs_watcher) struct Certificate {
    pub(super) path: Arc<PathBuf>,
    pub(super) facts: Arc<Facts>,
    pub(super) layout: Layout,
    /// It serves none of its names.
    pub(super) shadowed: bool,
    /// The first of its names that it serves.
    pub(super) serves: Option<String>,
    /// Where.
    pub(super) listeners: Arc<[std::net::SocketAddr]>,
}

/// Looks at one directory, and remembers what need not be read again.
pub(in crate::fs_watcher) struct Scanner {
    settings: Settings,
    directory: PathBuf,
    folders: BTreeMap<PathBuf, Folder>,
    entries: BTreeMap<PathBuf, Entry>,
    /// Certificates that are not there, while their keys are.
    alone: BTreeSet<PathBuf>,
    /// Whether a folder could not be listed.
    closed: bool,
    listeners: Arc<[std::net::SocketAddr]>,
    last: Option<Scan>,
    /// When what was judged may be another judgement, in seconds since 1970.
    next_turn: Option<i64>,
    now: fn() -> SystemTime,
}

/// A folder as it was last listed.
struct Folder {
    identity: Identity,
    read_at: SystemTime,
    folders: Vec<OsString>,
    plan: Plan,
}

/// A pair as it was last read.
struct Entry {
    path: Arc<PathBuf>,
    parts: Parts,
    seen: Vec<(PathBuf, Seen)>,
    read_at: SystemTime,
    outcome: Outcome,
    /// What it last gave: it goes on standing for that.
    last_good: Option<Good>,
}

enum Outcome {
    Good,
    Bad(Fault),
    /// It is a certificate alone, or none: nobody's pair.
    NoPair(&'static str),
}

struct Good {
    facts: Arc<Facts>,
    /// For which listeners, with which word to Sōzu on its expiry.
    made_for: (Arc<[std::net::SocketAddr]>, Option<i64>),
    objects: Arc<Vec<Keyed>>,
}

impl Entry {
    fn fresh(&self, retry: bool) -> bool {
        let is_bad = matches!(self.outcome, Outcome::Bad(_));
        !(is_bad && retry)
            && self.seen.iter().all(|(path, then)| {
                file::see(path) == *then && then.is_none_or(|it| it.proves(self.read_at))
            })
    }
}

/// What stands for what it last gave, although it gives nothing now.
type Closed = BTreeMap<PathBuf, Why>;

enum Why {
    /// A folder cannot be listed.
    Folder(String),
    /// A certificate's key is there, and it is not.
    KeyAlone,
}

impl Scanner {
    pub(in crate::fs_watcher) fn new(directory: &Path, settings: Settings) -> Self {
        Self {
            settings,
            directory: directory.to_owned(),
            folders: BTreeMap::new(),
            entries: BTreeMap::new(),
            alone: BTreeSet::new(),
            closed: false,
            listeners: Arc::default(),
            last: None,
            next_turn: None,
            now: SystemTime::now,
        }
    }

    /// The folders that were found below the directory.
    pub(in crate::fs_watcher) fn folders(&self) -> Vec<PathBuf> {
        let below = self.folders.keys();
        below
            .filter(|path| **path != self.directory)
            .cloned()
            .collect()
    }

    /// Looks at the directory. `retry`: what is wrong is read again, changed or not.
    pub(in crate::fs_watcher) fn scan(
        &mut self,
        listeners: &Listeners,
        retry: bool,
    ) -> Result<Scan, ListError> {
        let device = self.device()?;
        let root = Root::open(&self.settings.root).map_err(|error| self.list_error(error))?;
        let mut closed = Closed::new();
        let listed = self.walk(&root, retry, &mut closed)?;
        if self.device()? != device {
            return Err(ListError::Restless(self.directory.clone()));
        }
        let read = if listed || self.last.is_none() {
            let wanted = self.wanted();
            let before = self.entries.len();
            self.entries.retain(|path, _| wanted.contains_key(path));
            let gone = before != self.entries.len();
            let stale = self.stale(wanted, retry);
            self.read(&root, &stale) || gone
        } else {
            let entries = self.entries.iter().filter(|(_, entry)| !entry.fresh(retry));
            let stale = entries.map(|(path, entry)| (path.clone(), entry.parts.clone()));
            let stale: Vec<(PathBuf, Parts)> = stale.collect();
            self.read(&root, &stale)
        };
        closed.extend(self.alone.iter().map(|path| (path.clone(), Why::KeyAlone)));
        let here = self.meant(listeners);
        let now = (self.now)()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let turned = self.next_turn.is_some_and(|at| at <= now);
        if let Some(last) = &self.last
            && !listed
            && !read
            && !turned
            && !self.closed
            && closed.values().all(|why| matches!(why, Why::KeyAlone))
            && here == self.listeners
            && last.device == device.0
        {
            return Ok(last.clone());
        }
        self.listeners = here;
        self.closed = closed.values().any(|why| matches!(why, Why::Folder(_)));
        let scan = self.settled(device.0, closed, now);
        self.last = Some(scan.clone());
        Ok(scan)
    }

    fn device(&self) -> Result<(u64, u64), ListError> {
        let metadata =
            fs::metadata(&self.directory).map_err(|error| ListError::of(&self.directory, error))?;
        Ok((metadata.dev(), metadata.ino()))
    }

    fn list_error(&self, error: beneath::Error) -> ListError {
        let path = self.directory.clone();
        match error {
            beneath::Error::Gone => ListError::Missing(path),
            beneath::Error::Io(error) | beneath::Error::Denied(error) => {
                ListError::of(&path, error)
            }
            other => ListError::Unfit {
                path,
                why: other.to_string(),
            },
        }
    }

    /// Lists the directory and the folders in it, as far as they have changed. Tells whether any has.
    fn walk(&mut self, root: &Root, retry: bool, closed: &mut Closed) -> Result<bool, ListError> {
        let mut changed = false;
        let mut met = BTreeSet::new();
        let mut ahead = vec![(self.directory.clone(), 0)];
        while let Some((path, depth)) = ahead.pop() {
            let known = self.folders.get(&path);
            let as_before = known.is_some_and(|folder| {
                file::see(&path) == Some(folder.identity) && folder.identity.proves(folder.read_at)
            });
            if !as_before {
                match self.list(root, &path, depth) {
                    Ok(different) => changed |= different,
                    Err(error) if depth == 0 => return Err(self.list_error(error)),
                    // It was removed since its name was read.
                    Err(beneath::Error::Gone) if !retry => continue,
                    Err(error) => {
                        closed.insert(path, Why::Folder(error.to_string()));
                        continue;
                    }
                }
            }
            if let Some(folder) = self.folders.get(&path)
                && depth < DEPTH
            {
                ahead.extend(
                    folder
                        .folders
                        .iter()
                        .map(|name| (path.join(name), depth + 1)),
                );
            }
            met.insert(path);
        }
        let before = self.folders.len();
        self.folders.retain(|path, _| met.contains(path));
        Ok(changed || before != self.folders.len())
    }

    /// Lists one folder; whether its names are other ones than before.
    fn list(&mut self, root: &Root, path: &Path, depth: usize) -> Result<bool, beneath::Error> {
        let relative = self.relative(path);
        let read_at = (self.now)();
        let listed = root.list(&relative)?;
        let name = path.file_name().filter(|_| depth > 0);
        let plan = layout::plan(name, &listed.files, self.settings.layout);
        let folder = Folder {
            identity: Identity::of(&listed.metadata),
            read_at,
            folders: listed.folders,
            plan,
        };
        let same = self
            .folders
            .get(path)
            .is_some_and(|known| known.plan == folder.plan && known.folders == folder.folders);
        self.folders.insert(path.to_owned(), folder);
        Ok(!same)
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.settings.root)
            .map_or_else(|_| PathBuf::from(path), Path::to_owned)
    }

    /// The pairs that the folders hold.
    fn wanted(&mut self) -> BTreeMap<PathBuf, Parts> {
        let mut wanted = BTreeMap::new();
        let mut alone = BTreeSet::new();
        for (path, folder) in &self.folders {
            for parts in &folder.plan.pairs {
                wanted.insert(path.join(&parts.certificate), parts.clone());
            }
            // A key alone may be one half of a renewal: what the other half gave stands.
            for (name, _) in &folder.plan.ignored {
                let certificates = layout::certificates_of(name).into_iter();
                alone.extend(certificates.map(|certificate| path.join(certificate)));
            }
        }
        alone.retain(|path| !wanted.contains_key(path));
        self.alone = alone;
        wanted
    }

    /// Those of them that have to be read.
    fn stale(&self, wanted: BTreeMap<PathBuf, Parts>, retry: bool) -> Vec<(PathBuf, Parts)> {
        let is_fresh = |path: &PathBuf, parts: &Parts| {
            let entry = self.entries.get(path);
            entry.is_some_and(|entry| entry.parts == *parts && entry.fresh(retry))
        };
        let wanted = wanted.into_iter();
        wanted
            .filter(|(path, parts)| !is_fresh(path, parts))
            .collect()
    }

    /// Reads pairs, in parallel. Tells whether there were any.
    fn read(&mut self, root: &Root, stale: &[(PathBuf, Parts)]) -> bool {
        if stale.is_empty() {
            return false;
        }
        let readers = thread::available_parallelism()
            .map_or(2, usize::from)
            .min(READERS);
        let share = stale.len().div_ceil(readers).max(1);
        let settings = &self.settings;
        let now = self.now;
        let drafts: Vec<Draft> = thread::scope(|scope| {
            let parts: Vec<_> = stale
                .chunks(share)
                .map(|chunk| {
                    scope.spawn(move || {
                        let drafts = chunk
                            .iter()
                            .map(|(path, parts)| draft(root, settings, path, parts, now));
                        drafts.collect::<Vec<_>>()
                    })
                })
                .collect();
            parts
                .into_iter()
                .flat_map(|part| {
                    part.join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        for draft in drafts {
            self.take(draft);
        }
        true
    }

    fn take(&mut self, draft: Draft) {
        let before = self.entries.remove(&draft.path);
        let (path, last_good) = match before {
            Some(entry) => (entry.path, entry.last_good),
            None => (Arc::new(draft.path.clone()), None),
        };
        let (outcome, last_good) = match draft.outcome {
            Ok(pair) => (Outcome::Good, Some(Good::new(pair, last_good))),
            Err(Miss::Bad(fault)) => (Outcome::Bad(fault), last_good),
            Err(Miss::NoPair(_)) if last_good.is_some() => {
                let text = "its private key is gone; put it back, it is tried again";
                (Outcome::Bad(Fault::whole(text)), last_good)
            }
            Err(Miss::NoPair(why)) => (Outcome::NoPair(why), None),
        };
        let entry = Entry {
            path,
            parts: draft.parts,
            seen: draft.seen,
            read_at: draft.read_at,
            outcome,
            last_good,
        };
        self.entries.insert(draft.path, entry);
    }

    /// The listeners that get the certificates.
    fn meant(&self, listeners: &Listeners) -> Arc<[std::net::SocketAddr]> {
        if !self.settings.listeners.is_empty() {
            return self.settings.listeners.clone().into();
        }
        let https = listeners
            .iter()
            .filter(|(_, it)| it.protocol == Protocol::Https);
        https.map(|(address, _)| *address).collect()
    }

    /// What all pairs say together.
    fn settled(&mut self, device: u64, closed: Closed, now: i64) -> Scan {
        let claims = Claims::of(&self.entries, now);
        self.next_turn = claims.next_turn;
        let mut scan = Scan {
            device,
            files: Vec::new(),
            objects: 0,
            problems: Vec::new(),
            pki: None,
        };
        let mut told = Told::default();
        let nowhere = self.listeners.is_empty() && !self.entries.is_empty();
        if nowhere {
            let text = "Sōzu has no HTTPS listener, so that nothing can be served; add one to Sōzu's own configuration";
            scan.problems
                .push(Fault::whole(text).of(&Arc::new(self.directory.clone())));
        }
        for entry in self.entries.values_mut() {
            let place = claims.places.get(entry.path.as_path());
            let path = Arc::clone(&entry.path);
            if let (Some(good), Some(place)) = (&mut entry.last_good, place) {
                good.make(&self.listeners, place.expired_at);
                note_overlaps(&mut told, &path, place, &claims);
                told.certificates.push(certificate(
                    &path,
                    good,
                    place,
                    entry.parts.layout,
                    &self.listeners,
                ));
            }
            if let Some(first) = claims.second.get(entry.path.as_path()) {
                let text = format!(
                    "it is the same certificate as {}, which comes first",
                    first.display()
                );
                told.notes.push(Fault::whole(text).of(&path));
            }
            let content = match (&entry.outcome, &entry.last_good) {
                (Outcome::Good, Some(_)) if nowhere => {
                    FileContent::Unreadable("Sōzu has no HTTPS listener".to_owned())
                }
                (Outcome::Good, Some(good)) if place.is_some() => {
                    note_unusable(&mut told, &path, &good.facts);
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
                    told.notes
                        .push(Fault::whole(format!("ignored: {why}")).of(&path));
                    FileContent::Unreadable((*why).to_owned())
                }
            };
            scan.files.push(ListedFile { path, content });
        }
        for (path, why) in closed {
            let path = Arc::new(path);
            let why = match why {
                Why::KeyAlone => "its key is there and it is not; write both".to_owned(),
                Why::Folder(why) => {
                    let fault = Fault::whole(format!("{why}; what is in it stays as it last was"));
                    scan.problems.push(fault.of(&path));
                    why
                }
            };
            scan.files.push(ListedFile {
                path,
                content: FileContent::Unreadable(why),
            });
        }
        for (path, folder) in &self.folders {
            told.notes
                .extend(folder.plan.ignored.iter().map(|(name, why)| {
                    Fault::whole(format!("ignored: {why}")).of(&Arc::new(path.join(name)))
                }));
        }
        told.notes.sort_by(|a, b| a.path.cmp(&b.path));
        told.summary = summary(&told, now);
        scan.files.sort_by(|a, b| a.path.cmp(&b.path));
        scan.problems.sort_by(|a, b| a.path.cmp(&b.path));
        scan.pki = Some(Arc::new(told));
        scan
    }
}

/// What was read of one pair.
struct Draft {
    path: PathBuf,
    parts: Parts,
    seen: Vec<(PathBuf, Seen)>,
    read_at: SystemTime,
    outcome: Result<Pair, Miss>,
}

enum Miss {
    Bad(Fault),
    NoPair(&'static str),
}

fn draft(
    root: &Root,
    settings: &Settings,
    path: &Path,
    parts: &Parts,
    now: fn() -> SystemTime,
) -> Draft {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let names = [
        Some(&parts.certificate),
        parts.key.as_ref(),
        parts.options.as_ref(),
    ];
    // Seen before it is read: what changes meanwhile is another identity at the next look.
    let seen: Vec<(PathBuf, Seen)> = names
        .into_iter()
        .flatten()
        .map(|name| folder.join(name))
        .map(|path| {
            let seen = file::see(&path);
            (path, seen)
        })
        .collect();
    let read_at = now();
    let outcome = read_pair(root, settings, folder, parts);
    Draft {
        path: path.to_owned(),
        parts: parts.clone(),
        seen,
        read_at,
        outcome,
    }
}

fn read_pair(root: &Root, settings: &Settings, folder: &Path, parts: &Parts) -> Result<Pair, Miss> {
    let bad = |text: String| Miss::Bad(Fault::whole(text));
    let read = |name: &OsString| {
        let path = folder.join(name);
        let relative = path.strip_prefix(&settings.root).unwrap_or(&path);
        root.read(relative).map(|(bytes, _)| bytes)
    };
    let certificate = read(&parts.certificate).map_err(|error| bad(error.to_string()))?;
    let beside = |name: &OsString, what: &str| {
        read(name).map_err(|error| bad(format!("its {what} {}: {error}", name.display())))
    };
    let key = match &parts.key {
        Some(name) => Some((beside(name, "key")?, name.display().to_string())),
        None => None,
    };
    let versions = match &parts.options {
        Some(name) => {
            let bytes = beside(name, "options")?;
            let versions = options::versions(&bytes);
            versions.map_err(|why| bad(format!("its {}: {why}", name.display())))?
        }
        None => Vec::new(),
    };
    let files = pair::Files {
        certificate: &certificate,
        key: key
            .as_ref()
            .map(|(bytes, name)| (bytes.as_slice(), name.clone())),
    };
    pair::read(&files, versions, &settings.allow_names).map_err(|error| match error {
        PairError::NoKey(_) | PairError::NoCertificate if parts.key.is_none() => {
            Miss::NoPair("there is no key for it, neither in it nor beside it")
        }
        PairError::Pem(_) if parts.key.is_none() && !certificate.starts_with(b"-----BEGIN") => {
            Miss::NoPair("it is no PEM file with a certificate and its key")
        }
        error => bad(error.to_string()),
    })
}

impl Good {
    /// An equal pair keeps its objects.
    fn new(pair: Pair, before: Option<Good>) -> Self {
        let address = SocketAddress::new_v4(0, 0, 0, 0, 0);
        let add = AddCertificate {
            address,
            certificate: pair.material,
            expired_at: None,
        };
        if let Some(before) = before
            && *before.facts == pair.facts
            && before.objects.first().is_some_and(|keyed| {
                matches!(&*keyed.object, Object::Certificate(known) if known.certificate == add.certificate)
            })
        {
            return before;
        }
        let facts = Arc::new(pair.facts);
        let objects = Keyed::new(Object::Certificate(Box::new(add)))
            .into_iter()
            .collect();
        Self {
            facts,
            // Made for nobody yet.
            made_for: (Arc::default(), None),
            objects: Arc::new(objects),
        }
    }

    /// Makes the objects for these listeners.
    fn make(&mut self, listeners: &Arc<[std::net::SocketAddr]>, expired_at: Option<i64>) {
        let wanted = (Arc::clone(listeners), expired_at);
        if self.made_for == wanted || listeners.is_empty() {
            return;
        }
        let Some(Keyed { object, .. }) = self.objects.first() else {
            return;
        };
        let Object::Certificate(add) = &**object else {
            return;
        };
        let objects = listeners.iter().filter_map(|address| {
            let mut add = add.clone();
            add.address = (*address).into();
            add.expired_at = expired_at;
            Keyed::new(Object::Certificate(add)).ok()
        });
        self.objects = Arc::new(objects.collect());
        self.made_for = wanted;
    }
}

/// Who claims which leaf, and who serves which name.
struct Claims {
    /// Of each path that has its leaf first.
    places: HashMap<PathBuf, overlap::Place>,
    /// The path of each, by the index in the judgement.
    paths: Vec<PathBuf>,
    /// Paths whose leaf another one before them has.
    second: HashMap<PathBuf, PathBuf>,
    next_turn: Option<i64>,
}

impl Claims {
    fn of(entries: &BTreeMap<PathBuf, Entry>, now: i64) -> Self {
        let mut first: HashMap<&str, &Path> = HashMap::new();
        let mut second = HashMap::new();
        let mut facts: Vec<&Facts> = Vec::new();
        let mut paths = Vec::new();
        for (path, entry) in entries {
            let Some(good) = &entry.last_good else {
                continue;
            };
            if let Some(before) = first.get(&*good.facts.fingerprint) {
                second.insert(path.clone(), before.to_path_buf());
                continue;
            }
            first.insert(&good.facts.fingerprint, path);
            facts.push(&good.facts);
            paths.push(path.clone());
        }
        let places = overlap::judge(&facts, now);
        Self {
            places: paths.iter().cloned().zip(places).collect(),
            paths,
            second,
            next_turn: overlap::next_turn(facts.into_iter(), now),
        }
    }
}

fn note_overlaps(told: &mut Told, path: &Arc<PathBuf>, place: &overlap::Place, claims: &Claims) {
    if let Some((name, winner)) = place.lost.first() {
        let more = match place.lost.len() {
            1 => String::new(),
            count => format!(" and {} more of its names", count - 1),
        };
        let winner = claims.paths[*winner].display();
        let text = format!("{name}{more} is served by {winner}: it is valid, or the newer one");
        told.notes.push(Fault::whole(text).of(path));
    }
}

fn note_unusable(told: &mut Told, path: &Arc<PathBuf>, facts: &Facts) {
    if !facts.unusable.is_empty() {
        let text = format!(
            "Sōzu cannot serve it for {}: it goes by host names alone",
            facts.unusable.join(", ")
        );
        told.notes.push(Fault::whole(text).of(path));
    }
}

fn certificate(
    path: &Arc<PathBuf>,
    good: &Good,
    place: &overlap::Place,
    layout: Layout,
    listeners: &Arc<[std::net::SocketAddr]>,
) -> Certificate {
    let lost = |name: &&String| place.lost.iter().any(|(other, _)| other == *name);
    let serves = good.facts.names.iter().find(|name| !lost(name)).cloned();
    Certificate {
        path: Arc::clone(path),
        facts: Arc::clone(&good.facts),
        layout,
        shadowed: serves.is_none(),
        serves,
        listeners: Arc::clone(listeners),
    }
}

fn summary(told: &Told, now: i64) -> String {
    let count = told.certificates.len();
    let s = if count == 1 { "" } else { "s" };
    let layouts: BTreeSet<&str> = told
        .certificates
        .iter()
        .map(|it| it.layout.name())
        .collect();
    let mut text = format!("{count} certificate{s}");
    if !layouts.is_empty() {
        let layouts: Vec<&str> = layouts.into_iter().collect();
        text = format!("{text} ({})", layouts.join(", "));
    }
    let ignored = told
        .notes
        .iter()
        .filter(|note| note.fault.text.starts_with("ignored"))
        .count();
    let shadowed = told.certificates.iter().filter(|it| it.shadowed).count();
    let expired = told
        .certificates
        .iter()
        .filter(|it| it.facts.not_after <= now)
        .count();
    for (count, what) in [
        (shadowed, "shadowed"),
        (expired, "expired"),
        (ignored, "ignored"),
    ] {
        if count > 0 {
            text = format!("{text}, {count} {what}");
        }
    }
    let next = told
        .certificates
        .iter()
        .filter(|it| it.facts.not_after > now && !it.shadowed);
    if let Some(next) = next.min_by_key(|it| it.facts.not_after) {
        let days = (next.facts.not_after - now) / 86_400;
        text = format!(
            "{text}; the next to expire is {} in {days} days",
            next.facts.names[0]
        );
    }
    text
}
