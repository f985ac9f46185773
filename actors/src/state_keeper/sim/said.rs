//! What is wanted by the simplest rule: who said what of a key, the eldest counts.

use std::collections::{BTreeMap, BTreeSet};

use super::{truth::NOTHING, *};
use crate::state_keeper::key::Key;

/// Since when, and what.
type Says = BTreeMap<SourceName, (u64, String)>;

/// The accepted entries, one after the other.
#[derive(Default)]
pub(super) struct Said {
    of: BTreeMap<Key, Says>,
    /// What a person dropped stays until somebody else says something of it.
    orphaned: BTreeSet<(Key, SourceName)>,
}

impl Said {
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.of.keys()
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.of.contains_key(key)
    }

    pub(super) fn wanted(&self, key: &Key) -> String {
        let eldest = self.of.get(key).and_then(|says| says.values().min());
        eldest.map_or(NOTHING.to_owned(), |(_, value)| value.clone())
    }

    pub(super) fn all_wanted(&self, asked: &[(Key, String)]) -> Vec<String> {
        asked.iter().map(|(key, _)| self.wanted(key)).collect()
    }

    /// A person dropped what the guard held of this source: if it is the eldest, it stays.
    pub(super) fn is_dropped(&mut self, key: &Key, source: &SourceName) {
        let says = self.of.entry(key.clone()).or_default();
        let eldest = says.iter().min_by_key(|(_, (since, _))| *since);
        if eldest.is_some_and(|(eldest, _)| eldest == source) {
            self.orphaned.insert((key.clone(), source.clone()));
        } else {
            says.remove(source);
        }
    }

    /// The guard holds it: the source has an opinion since then, whatever it is. A listing kept what it had.
    pub(super) fn is_held(&mut self, entry: &Entry, key: &Key, value: &str) {
        if value == NOTHING && entry.original.is_none() {
            return;
        }
        say(self.of.entry(key.clone()).or_default(), entry, value);
    }

    /// The entry says this of the key.
    pub(super) fn take(&mut self, entry: &Entry, key: &Key, value: &str) {
        let says = self.of.entry(key.clone()).or_default();
        self.orphaned.retain(|(of, source)| {
            if of == key && *source != entry.source {
                says.remove(source);
            }
            of != key
        });
        if value == NOTHING {
            says.remove(&entry.source);
        } else {
            say(says, entry, value);
        }
        let is_order = entry.original.is_some();
        if let (Key::Cluster(id), NOTHING, true) = (key, value, is_order) {
            self.take_along(entry, id);
        }
    }

    /// An order to remove a cluster takes along what its source said of it.
    fn take_along(&mut self, entry: &Entry, cluster: &str) {
        let of = format!("\"cluster_id\":\"{cluster}\"");
        for (key, says) in &mut self.of {
            let goes = says.get(&entry.source);
            if goes.is_some_and(|(_, value)| value.contains(&of)) {
                says.remove(&entry.source);
                says.retain(|source, _| !self.orphaned.remove(&(key.clone(), source.clone())));
            }
        }
    }
}

/// Whoever had an opinion keeps its age.
fn say(says: &mut Says, entry: &Entry, value: &str) {
    let since = says.get(&entry.source);
    let since = since.map_or(entry.seq, |(since, _)| *since);
    says.insert(entry.source.clone(), (since, value.to_owned()));
}
