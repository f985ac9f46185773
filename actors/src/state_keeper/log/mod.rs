//! The log's tail: entries on disk whose verdicts are not final yet, folded over the accepted
//! declared sets. A refused entry leaves the tail and the tail is folded again, so that the undo is
//! the last accepted declaration, not what Sōzu happened to hold.

mod entry;
mod refolding;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

pub use self::entry::{Admission, Entry, Folded, Operator, Provisional, Turned, Word};
use super::{
    declared::{Declaration, Stance, Wanted, Why},
    desired::Desired,
    fold::fold,
    held::Belief,
    key::{Key, KeyMap, Object},
    verdict::Verdict,
};
use crate::messages::SourceName;

/// The tail, eldest first.
#[derive(Default)]
pub struct Tail {
    entries: VecDeque<Folded>,
    folds: u64,
    /// The last fold that turned what is wanted of a key.
    last_turn: KeyMap<u64>,
    /// How many wait for each cluster.
    parked: foldhash::HashMap<Arc<str>, usize>,
    /// While some do, the last fold of a source that had something to say of a key, though it changed
    /// nothing: what waits ends with it.
    last_word: foldhash::HashMap<(SourceName, Key), u64>,
    /// What Sōzu refused, by sequence number with the reason, as long as it is in the tail: folding
    /// it again brings nothing else.
    refused: HashMap<u64, String>,
    /// Wanted again where nothing was: what Sōzu may hold there still, no worker has answered for.
    revived: Vec<Key>,
}

impl Tail {
    /// The entries, eldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Folded> + Clone {
        self.entries.iter()
    }

    /// The entry at this place.
    pub fn at(&self, place: usize) -> &Folded {
        &self.entries[place]
    }

    /// The entries that wait for their cluster, eldest first.
    pub fn parked(&self) -> impl Iterator<Item = &Folded> {
        let looked_at = if self.parked.is_empty() {
            0
        } else {
            self.entries.len()
        };
        let entries = self.entries.iter().take(looked_at);
        entries.filter(|folded| folded.is_parked())
    }

    /// The room that a flood took, and that nothing is in now.
    pub fn give_back(&mut self) {
        self.entries.shrink_to_fit();
        self.last_turn.shrink_to_fit();
        self.last_word.shrink_to_fit();
        self.revived.shrink_to_fit();
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether every entry is final.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Folds an entry and appends it, and then what was parked for a cluster that it brings.
    /// Returns the keys of which something else may be wanted now.
    pub fn fold(&mut self, entry: Arc<Entry>, desired: &mut Desired, belief: &Belief) -> Vec<Key> {
        self.fold_as(entry, None, desired, belief)
    }

    /// `earlier`: what came of folding it the last time. What it took over then counts, since what Sōzu holds by now may
    /// be of a later entry; and what it revived then was asked about.
    fn fold_as(
        &mut self,
        entry: Arc<Entry>,
        earlier: Option<&Folded>,
        desired: &mut Desired,
        belief: &Belief,
    ) -> Vec<Key> {
        let mut folded = fold(entry, desired, belief);
        if let (Some(Provisional::Sends { taken_over: took }), Provisional::Sends { taken_over }) = (
            earlier.map(|earlier| &earlier.provisional),
            &mut folded.provisional,
        ) {
            *taken_over = *took;
        }
        // Was the removal in between history too, it was never sent: what Sōzu holds is what its workers serve.
        let is_history = folded.entry.is_history();
        let was_sent = |key: &Key| !is_history || !self.last_turn.contains_key(key);
        folded.revived.retain(was_sent);
        let known = earlier.map_or(&[][..], |earlier| &earlier.revived);
        let new = folded.revived.iter().filter(|key| !known.contains(key));
        self.revived.extend(new.cloned());
        let turned = folded.turned.iter().map(|turned| &turned.key);
        let turned = turned.filter(|key| !folded.keys.contains(key));
        let mut keys: Vec<Key> = folded.keys.iter().chain(turned).cloned().collect();
        let arrived = keys.iter().filter_map(|key| match key {
            Key::Cluster(id) if desired.has_cluster(id) => Some(id.clone()),
            _ => None,
        });
        let arrived: Vec<Arc<str>> = arrived.collect();
        let waited: Vec<Arc<Entry>> = arrived.iter().flat_map(|id| self.unpark(id)).collect();
        let folded = self.enter(folded);
        if folded.provisional == Provisional::Final(Verdict::Held) {
            self.hold_back(&folded, desired);
        }
        self.entries.push_back(folded);
        for entry in waited {
            keys.extend(self.fold(entry, desired, belief));
        }
        keys
    }

    /// Where a take-over is held, all that its bus said of the key until it had caught up is, and what others said whose
    /// turn it is not any more.
    fn hold_back(&mut self, held: &Folded, desired: &Desired) {
        let source = &held.entry.source;
        let stances = held
            .turned
            .iter()
            .filter_map(|turned| turned.after.as_ref());
        let mut stances = stances.map(|says| &says.stance);
        let is_take_over = |stance| matches!(stance, &Stance::Kept(Why::TakeOver { .. }));
        if !stances.any(is_take_over) {
            return;
        }
        let is_owned = |key: &Key| matches!(desired.declared().wanted(key), Wanted::Object(_, owner) if owner == *source);
        for folded in &mut self.entries {
            let same_source = folded.entry.source == *source;
            let is_held = |key| held.keys.contains(key) && (same_source || is_owned(key));
            let sends = matches!(folded.provisional, Provisional::Sends { .. });
            if sends && folded.keys.iter().any(is_held) {
                folded.provisional = Provisional::Final(Verdict::Held);
            }
        }
    }

    fn enter(&mut self, mut folded: Folded) -> Folded {
        self.folds += 1;
        folded.nth = self.folds;
        self.remember(&folded);
        folded
    }

    /// What was refused overtakes nothing, and what waits only waits.
    fn remember(&mut self, folded: &Folded) {
        match &folded.provisional {
            Provisional::Final(Verdict::Refused(_)) => return,
            Provisional::Parked { cluster } => {
                *self.parked.entry(cluster.clone()).or_default() += 1;
                return;
            }
            Provisional::Sends { .. } => {
                for key in &folded.keys {
                    self.last_turn.insert(key.clone(), folded.nth);
                }
            }
            Provisional::Final(_) => {}
        }
        if !self.parked.is_empty() {
            for key in &folded.keys {
                let place = (folded.entry.source.clone(), key.clone());
                self.last_word.insert(place, folded.nth);
            }
        }
    }

    /// Whether later entries turn every key that this one asks about; of a certificate in the place of another one, the key
    /// of the one that comes.
    pub fn is_overtaken(&self, folded: &Folded) -> bool {
        let counts = if folded.entry.is_replacement() {
            1
        } else {
            folded.asked
        };
        let mut keys = folded.keys.iter().take(counts);
        keys.all(|key| self.is_turned_later(key, folded))
    }

    /// The place of the last entry that turns the key, if it is a later one than this.
    pub fn overtaken_at(&self, key: &Key, folded: &Folded) -> Option<usize> {
        let last = self.last_turn.get(key).filter(|nth| **nth > folded.nth)?;
        let place = self.entries.binary_search_by_key(last, |folded| folded.nth);
        place.ok()
    }

    /// Whether any entry turns what is wanted of the key.
    pub fn turns(&self, key: &Key) -> bool {
        self.last_turn.contains_key(key)
    }

    /// Whether a later entry than this one turns the key.
    pub fn is_turned_later(&self, key: &Key, folded: &Folded) -> bool {
        self.last_turn.get(key) > Some(&folded.nth)
    }

    /// Whether it waits for its cluster, and nothing has ended that.
    pub fn is_waiting(&self, folded: &Folded) -> bool {
        match &folded.provisional {
            Provisional::Parked { cluster } => self.ended(folded, cluster).is_none(),
            _ => false,
        }
    }

    /// What became of an entry that waited for `cluster`: a later change of its key by its source
    /// ended it, or its source's order to remove the cluster, which it would not have outlived. (Had
    /// the cluster come, it would not wait any more.)
    pub fn ended(&self, parked: &Folded, cluster: &Arc<str>) -> Option<(Verdict, Key)> {
        let is_later = |key: &Key| {
            let place = (parked.entry.source.clone(), key.clone());
            self.last_word.get(&place) > Some(&parked.nth)
        };
        let cluster = Key::Cluster(cluster.clone());
        match parked.keys.iter().find(|key| is_later(key)) {
            Some(key) => Some((Verdict::Superseded, key.clone())),
            None if is_later(&cluster) => Some((Verdict::RemovedWithItsCluster, cluster)),
            None => None,
        }
    }

    /// Takes out what waits for the cluster, unless that has ended.
    fn unpark(&mut self, cluster: &str) -> Vec<Arc<Entry>> {
        if !self.parked.contains_key(cluster) {
            return Vec::new();
        }
        let waits = |folded: &Folded| {
            matches!(&folded.provisional, Provisional::Parked { cluster: of } if **of == *cluster)
                && self.is_waiting(folded)
        };
        let entries = self.entries.iter().enumerate();
        let waiting = entries.filter(|(_, folded)| waits(folded));
        let places: Vec<usize> = waiting.map(|(place, _)| place).collect();
        self.take(&places)
            .into_iter()
            .map(|folded| folded.entry)
            .collect()
    }

    /// The keys that were wanted again since this was last asked.
    pub fn revived(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.revived)
    }

    /// The last entry that made this object, or nothing, be wanted of `key`: the one that a refusal
    /// refuses. A later one on the key wants something else, and was not asked about.
    pub fn last_to_want(&self, key: &Key, object: Option<&Object>) -> Option<u64> {
        let place = self.place_of(key, object)?;
        Some(self.entries[place].entry.seq)
    }

    /// Somebody else has another value where this object is wanted: the entry that wants it takes it
    /// over.
    pub fn take_over(&mut self, key: &Key, object: &Object) {
        if let Some(place) = self.place_of(key, Some(object)) {
            self.entries[place].provisional = Provisional::Sends { taken_over: true };
        }
    }

    fn place_of(&self, key: &Key, object: Option<&Object>) -> Option<usize> {
        let standing =
            |says: &Option<Declaration>| says.as_ref().and_then(|says| says.standing().cloned());
        let is_it = |says: &Option<Declaration>| match (standing(says), object) {
            (Some(says), Some(object)) => says.same(object),
            (None, None) => true,
            _ => false,
        };
        let is_orphaned = |says: &Option<Declaration>| {
            let stance = says.as_ref().map(|says| &says.stance);
            stance == Some(&Stance::Kept(Why::Orphaned))
        };
        // One that only keeps what its source wanted before did not ask for it.
        let keeps = |before: &Option<Declaration>| is_it(before) && !is_orphaned(before);
        let wants = |turned: &Turned| {
            turned.key == *key
                && is_it(&turned.after)
                && (object.is_none() || !keeps(&turned.before))
        };
        self.entries.iter().rposition(|folded| {
            matches!(folded.provisional, Provisional::Sends { .. })
                && folded.turned.iter().any(wants)
        })
    }

    /// Takes the entries at these places (ascending) out.
    pub fn take(&mut self, places: &[usize]) -> Vec<Folded> {
        let Some(end) = places.last().map(|last| last + 1) else {
            return Vec::new();
        };
        if end == places.len() {
            // In a flood the eldest go, and all of them.
            let taken: Vec<Folded> = self.entries.drain(..end).collect();
            return self.taken(taken);
        }
        let mut wanted = places.iter().peekable();
        let mut taken = Vec::with_capacity(places.len());
        let mut stay = Vec::new();
        for (place, folded) in self.entries.drain(..end).enumerate() {
            if wanted.next_if_eq(&&place).is_some() {
                taken.push(folded);
            } else {
                stay.push(folded);
            }
        }
        for folded in stay.into_iter().rev() {
            self.entries.push_front(folded);
        }
        self.taken(taken)
    }

    fn taken(&mut self, taken: Vec<Folded>) -> Vec<Folded> {
        for folded in &taken {
            self.refused.remove(&folded.entry.seq);
            if let Provisional::Parked { cluster } = &folded.provisional
                && let Some(waiting) = self.parked.get_mut(cluster)
            {
                *waiting -= 1;
                if *waiting == 0 {
                    self.parked.remove(cluster);
                }
            }
            for key in &folded.keys {
                if self.last_turn.get(key) == Some(&folded.nth) {
                    self.last_turn.remove(key);
                }
            }
        }
        if self.parked.is_empty() {
            self.last_word.clear();
        }
        taken
    }
}
