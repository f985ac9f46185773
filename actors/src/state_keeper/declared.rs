//! Declared sets and their merge.
//!
//! Each source says of a key [`Stance::Present`], [`Stance::Absent`] or [`Stance::Kept`]. What is
//! wanted of the key is derived from that, never stored: the object of the eldest source that
//! says Present or Kept (an orphan counts as the youngest); else nothing, if some source says
//! Absent; else there is no opinion.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::key::{Key, KeyMap, KeySet, Kind, Object};
use crate::messages::SourceName;

/// How long what a source removed is remembered.
pub const ABSENT_FOR: Duration = Duration::from_hours(720);

/// What a source says of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Stance {
    /// The source wants the object.
    Present,
    /// The source removed it.
    Absent {
        /// When; kept for 30 days.
        at: SystemTime,
        /// The life of Sōzu that was read without the object since then. If that same life holds
        /// it later, somebody put it there on purpose.
        unseen_in: Option<Arc<str>>,
    },
    /// The source let go and we have not.
    Kept(Why),
}

/// Why an object is kept although its source let go.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// The guard holds its removal under this id.
    Hold(Arc<str>),
    /// It is what Sōzu held when a bus caught up, and the guard holds what the bus says of the key.
    TakeOver {
        /// Under this id.
        hold: Arc<str>,
        /// What the bus wants in its place; nothing: that it goes.
        instead: Option<Arc<Object>>,
    },
    /// Others still have frontends or backends in the cluster.
    StillUsed,
    /// Nobody stands for it any more: its source left the configuration, or a person decided that
    /// it stays. Until another source says something of the key, or a person removes it.
    Orphaned,
}

impl Stance {
    /// The id under which the guard holds what the source wants.
    pub fn hold(&self) -> Option<&Arc<str>> {
        match self {
            Stance::Kept(Why::Hold(id) | Why::TakeOver { hold: id, .. }) => Some(id),
            _ => None,
        }
    }
}

/// One source's word on one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    /// What it says.
    pub stance: Stance,
    /// The object, for Present and Kept.
    pub object: Option<Arc<Object>>,
    /// The file that says so, for a directory.
    pub origin: Option<Arc<PathBuf>>,
    /// The log entry with which the source began to want the object: the lowest is the eldest.
    pub since: u64,
}

impl Declaration {
    /// Whether it says itself that nobody stands for the object any more.
    fn is_orphaned(&self) -> bool {
        self.stance == Stance::Kept(Why::Orphaned)
    }

    /// Of one leaf there is one private key: what comes under the same key brings it, should what was declared
    /// before be wanted again.
    pub fn learn_private_key(&mut self, comes: &Object) {
        let lacks_it = self.object.as_ref().filter(|object| object.is_keyless());
        if let (Some(Object::Certificate(own)), Object::Certificate(comes)) =
            (lacks_it.map(Arc::as_ref), comes)
        {
            let mut own = own.clone();
            own.certificate.key.clone_from(&comes.certificate.key);
            self.object = Some(Arc::new(Object::Certificate(own)));
        }
    }

    /// The object, if the declaration stands for one.
    pub fn standing(&self) -> Option<&Arc<Object>> {
        match self.stance {
            Stance::Present | Stance::Kept(_) => self.object.as_ref(),
            Stance::Absent { .. } => None,
        }
    }
}

/// What one declaration counts for.
#[derive(Default)]
struct Count {
    stands: bool,
    orphaned: bool,
    hold: Option<Arc<str>>,
}

impl Count {
    fn of(declaration: &Declaration) -> Self {
        Self {
            stands: declaration.standing().is_some(),
            orphaned: declaration.is_orphaned(),
            hold: declaration.stance.hold().cloned(),
        }
    }
}

/// What is wanted of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// This object, of this owner.
    Object(Arc<Object>, SourceName),
    /// Nothing may stand there.
    Nothing,
    /// Nobody has an opinion: what Sōzu holds there is foreign.
    NoOpinion,
}

/// The declared sets of all sources, the log's tail included.
#[derive(Default)]
pub struct Declared {
    keys: KeyMap<Vec<(SourceName, Declaration)>>,
    objects: BTreeMap<SourceName, BTreeMap<Kind, usize>>,
    holds: BTreeMap<SourceName, BTreeMap<Arc<str>, usize>>,
    orphans: BTreeMap<SourceName, usize>,
    /// The sources that are in no configuration.
    gone: BTreeSet<SourceName>,
    /// By cluster, the frontends and backends of which several sources say something.
    shared: HashMap<String, KeySet>,
}

impl Declared {
    /// Whether nobody stands for what `source` says: it is an orphan by its own word, or what a
    /// source wanted that is in no configuration. The latter is derived and never written: if the
    /// source comes back, all is as it was.
    pub fn is_orphaned(&self, source: &SourceName, says: &Declaration) -> bool {
        says.is_orphaned() || (says.stance == Stance::Present && self.gone.contains(source))
    }

    /// Whether `source` has let go of what it says, and whoever declares the key next has it: an orphan, or a
    /// cluster that stays while others use it.
    pub fn has_let_go(&self, source: &SourceName, says: &Declaration) -> bool {
        self.is_orphaned(source, says) || says.stance == Stance::Kept(Why::StillUsed)
    }

    /// From now on exactly these sources are in no configuration. Returns the keys of which one
    /// that left or came back says something.
    pub fn set_gone(&mut self, gone: BTreeSet<SourceName>) -> Vec<Key> {
        let turned: BTreeSet<_> = self.gone.symmetric_difference(&gone).cloned().collect();
        self.gone = gone;
        if turned.is_empty() {
            return Vec::new();
        }
        let says_one = |says: &[(SourceName, Declaration)]| {
            says.iter().any(|(source, _)| turned.contains(source))
        };
        let keys = self.keys.iter().filter(|(_, says)| says_one(says));
        keys.map(|(key, _)| key.clone()).collect()
    }

    /// The sources that are in no configuration.
    pub fn gone(&self) -> &BTreeSet<SourceName> {
        &self.gone
    }

    /// Every source that ever stood for something.
    pub fn sources(&self) -> impl Iterator<Item = &SourceName> {
        self.objects.keys()
    }

    /// What `source` says of `key`.
    pub fn get(&self, key: &Key, source: &SourceName) -> Option<&Declaration> {
        self.keys
            .get(key)?
            .iter()
            .find(|(name, _)| name == source)
            .map(|(_, declaration)| declaration)
    }

    /// What every source says of `key`.
    pub fn all(&self, key: &Key) -> &[(SourceName, Declaration)] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// Puts `declaration` in the place of what `source` said of `key`, which is returned.
    pub fn set(
        &mut self,
        key: &Key,
        source: &SourceName,
        declaration: Option<Declaration>,
    ) -> Option<Declaration> {
        let says = self.keys.entry(key.clone()).or_default();
        let place = says.iter().position(|(name, _)| name == source);
        let after = declaration.as_ref().map(Count::of).unwrap_or_default();
        let before = match (place, declaration) {
            (Some(at), Some(declaration)) => Some(std::mem::replace(&mut says[at].1, declaration)),
            (Some(at), None) => Some(says.remove(at).1),
            (None, Some(declaration)) => {
                // nearly every key has one source
                says.reserve_exact(1);
                says.push((source.clone(), declaration));
                None
            }
            (None, None) => None,
        };
        if says.len() > 1 {
            let objects = says.iter().filter_map(|(_, says)| says.standing());
            for cluster in objects.filter_map(|object| object.cluster()) {
                let shared = self.shared.entry(cluster.to_owned()).or_default();
                shared.insert(key.clone());
            }
        }
        if says.is_empty() {
            self.keys.remove(key);
        }
        self.tally(source, key.kind(), &after, true);
        let gone = before.as_ref().map(Count::of).unwrap_or_default();
        self.tally(source, key.kind(), &gone, false);
        before
    }

    /// Lets what `source` says of `key` share its object with whoever else has the same one in memory.
    pub fn share(&mut self, key: &Key, source: &SourceName, object: &Arc<Object>) {
        let says = self.keys.get_mut(key).into_iter().flatten();
        for (_, declaration) in says.filter(|(name, _)| name == source) {
            if let Some(own) = &mut declaration.object
                && own.same(object)
            {
                *own = object.clone();
            }
        }
    }

    /// The key itself, if somebody says something of it, and what is wanted there.
    pub fn known(&self, key: &Key) -> Option<(&Key, Wanted)> {
        let (key, _) = self.keys.get_key_value(key)?;
        Some((key, self.wanted(key)))
    }

    /// What is wanted of `key`.
    pub fn wanted(&self, key: &Key) -> Wanted {
        let says = self.all(key);
        let eldest = says
            .iter()
            .filter_map(|(source, declaration)| {
                let age = (self.is_orphaned(source, declaration), declaration.since);
                Some((age, source, declaration.standing()?))
            })
            .min_by_key(|(age, ..)| *age);
        match eldest {
            Some((_, source, object)) => Wanted::Object(object.clone(), source.clone()),
            None if says.is_empty() => Wanted::NoOpinion,
            None => Wanted::Nothing,
        }
    }

    /// What `source` declares in the cluster, of that of which other sources have a word too.
    pub fn shared(&self, cluster: &str, source: &SourceName) -> impl Iterator<Item = &Key> {
        let keys = self.shared.get(cluster).into_iter().flatten();
        keys.filter(move |key| {
            let says = self.get(key, source).and_then(Declaration::standing);
            let of = says.and_then(|object| object.cluster());
            !matches!(key, Key::Cluster(_)) && of == Some(cluster)
        })
    }

    /// Every key of which somebody says something.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.keys()
    }

    /// All that `source` says.
    pub fn of<'a>(
        &'a self,
        source: &'a SourceName,
    ) -> impl Iterator<Item = (&'a Key, &'a Declaration)> {
        self.keys.iter().filter_map(move |(key, says)| {
            let (_, declaration) = says.iter().find(|(name, _)| name == source)?;
            Some((key, declaration))
        })
    }

    fn tally(&mut self, source: &SourceName, kind: Kind, count: &Count, more: bool) {
        let turn = |place: &mut usize| *place = if more { *place + 1 } else { *place - 1 };
        if count.stands {
            turn(
                self.objects
                    .entry(source.clone())
                    .or_default()
                    .entry(kind)
                    .or_default(),
            );
        }
        if count.orphaned {
            turn(self.orphans.entry(source.clone()).or_default());
        }
        if let Some(id) = &count.hold {
            let holds = self.holds.entry(source.clone()).or_default();
            turn(holds.entry(id.clone()).or_default());
            holds.retain(|_, objects| *objects > 0);
        }
    }

    /// The holds of each source, with how many objects each keeps.
    pub fn holds(&self, source: &SourceName) -> impl Iterator<Item = (&Arc<str>, usize)> {
        let holds = self.holds.get(source).into_iter().flatten();
        holds.map(|(id, objects)| (id, *objects))
    }

    /// How many objects `source` has left behind.
    pub fn orphans(&self, source: &SourceName) -> usize {
        self.orphans.get(source).copied().unwrap_or(0)
    }

    /// How many objects each source stands for, by kind.
    pub fn objects(&self) -> &BTreeMap<SourceName, BTreeMap<Kind, usize>> {
        &self.objects
    }

    /// How many objects `source` stands for.
    pub fn count(&self, source: &SourceName) -> usize {
        self.objects
            .get(source)
            .map_or(0, |kinds| kinds.values().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_keeper::examples::cluster;

    fn says(stance: Stance, since: u64, sticky: bool) -> Declaration {
        let mut object = cluster("a");
        if let Object::Cluster(cluster) = &mut object {
            cluster.sticky_session = sticky;
        }
        Declaration {
            stance,
            object: Some(Arc::new(object)),
            origin: None,
            since,
        }
    }

    fn absent() -> Stance {
        Stance::Absent {
            at: SystemTime::UNIX_EPOCH,
            unseen_in: None,
        }
    }

    #[test]
    fn what_is_wanted_is_the_eldest_word_that_stands() {
        let key = cluster("a").key().unwrap();
        let (x, y) = (SourceName::new("x"), SourceName::new("y"));
        let hold = Stance::Kept(Why::Hold("h".into()));
        let orphaned = || Stance::Kept(Why::Orphaned);
        let present = |since, sticky| Some(says(Stance::Present, since, sticky));
        let gone = |since| Some(says(absent(), since, true));
        let owned_by = |name: &str| Err(name.to_owned());
        // (what x says, what y says, what is wanted, or who owns it)
        let table = [
            (None, None, Ok(Wanted::NoOpinion)),
            (gone(1), None, Ok(Wanted::Nothing)),
            (present(2, true), None, owned_by("x")),
            (present(2, true), present(1, false), owned_by("y")),
            (gone(1), present(2, false), owned_by("y")),
            (Some(says(hold, 1, true)), present(2, false), owned_by("x")),
            (Some(says(orphaned(), 1, true)), None, owned_by("x")),
            (
                Some(says(orphaned(), 1, true)),
                present(2, false),
                owned_by("y"),
            ),
            (gone(1), gone(2), Ok(Wanted::Nothing)),
        ];
        for (row, (x_says, y_says, expected)) in table.into_iter().enumerate() {
            let mut declared = Declared::default();
            declared.set(&key, &x, x_says);
            declared.set(&key, &y, y_says);
            let wanted = match declared.wanted(&key) {
                Wanted::Object(_, owner) => owned_by(owner.as_str()),
                other => Ok(other),
            };
            assert_eq!(wanted, expected, "row {row}");
        }
    }

    #[test]
    fn what_a_source_wanted_that_left_is_orphaned_until_it_comes_back() {
        let key = cluster("a").key().unwrap();
        let (x, y) = (SourceName::new("x"), SourceName::new("y"));
        let mut declared = Declared::default();
        declared.set(&key, &x, Some(says(Stance::Present, 1, true)));
        declared.set(&key, &y, Some(says(Stance::Present, 2, false)));
        let owner = |declared: &Declared| match declared.wanted(&key) {
            Wanted::Object(_, owner) => owner.as_str().to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(owner(&declared), "x");
        let left = BTreeSet::from([x.clone()]);
        assert_eq!(declared.set_gone(left.clone()), std::slice::from_ref(&key));
        assert_eq!(owner(&declared), "y");
        declared.set(&key, &y, None);
        assert_eq!(owner(&declared), "x", "it stays");
        assert_eq!(declared.set_gone(left), []);
        assert_eq!(
            declared.set_gone(BTreeSet::new()),
            std::slice::from_ref(&key)
        );
        declared.set(&key, &y, Some(says(Stance::Present, 2, false)));
        assert_eq!(owner(&declared), "x");
    }

    #[test]
    fn counts_follow_what_stands() {
        let key = cluster("a").key().unwrap();
        let x = SourceName::new("x");
        let mut declared = Declared::default();
        declared.set(&key, &x, Some(says(Stance::Present, 1, true)));
        declared.set(&key, &x, Some(says(Stance::Present, 1, false)));
        assert_eq!(declared.count(&x), 1);
        declared.set(&key, &x, Some(says(absent(), 1, false)));
        assert_eq!(declared.count(&x), 0);
        declared.set(&key, &x, None);
        assert_eq!(declared.keys().count(), 0);
    }
}
