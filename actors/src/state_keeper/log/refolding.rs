//! Undoing entries and folding them again: what was refused leaves, and what comes later is folded over what stands then.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{Folded, Provisional, Tail};
use crate::{
    messages::SourceName,
    state_keeper::{
        desired::Desired,
        fold::{take_away, undo},
        held::Belief,
        key::{Key, KeyMap, Object},
        verdict::Verdict,
    },
};

impl Tail {
    /// Undoes the entries in `refused` (by sequence number, with the reason) and folds all later
    /// ones again. Returns the keys of which something else may be wanted now. What Sōzu's main
    /// process may hold though nobody wants it any more has to go again: the source of the refused
    /// entry says so from now on, durably, with the refusal.
    pub fn refuse(
        &mut self,
        refused: &HashMap<u64, String>,
        desired: &mut Desired,
        belief: &Belief,
    ) -> Vec<Key> {
        let first = self
            .entries
            .iter()
            .position(|folded| refused.contains_key(&folded.entry.seq));
        first.map_or_else(Vec::new, |first| {
            self.fold_again(first, refused, desired, belief, |_| Vec::new())
        })
    }

    /// Folds the entry `seq` and all later ones again, since what they were folded over is gone.
    pub fn reconsider(&mut self, seq: u64, desired: &mut Desired, belief: &Belief) -> Vec<Key> {
        let mut entries = self.entries.iter();
        let first = entries.position(|folded| folded.entry.seq == seq);
        first.map_or_else(Vec::new, |first| {
            self.fold_again(first, &HashMap::new(), desired, belief, |_| Vec::new())
        })
    }

    /// From now on exactly these sources are in no configuration: who owns what is another question then, and all is
    /// folded again. Returns the keys of which something else may be wanted now.
    pub fn set_gone(
        &mut self,
        gone: BTreeSet<SourceName>,
        desired: &mut Desired,
        belief: &Belief,
    ) -> Vec<Key> {
        if *desired.declared().gone() == gone {
            return Vec::new();
        }
        self.fold_again(0, &HashMap::new(), desired, belief, |desired| {
            desired.set_gone(gone, belief)
        })
    }

    /// Undoes the entries from `first` on, lets something happen, and folds them again.
    fn fold_again(
        &mut self,
        first: usize,
        refused: &HashMap<u64, String>,
        desired: &mut Desired,
        belief: &Belief,
        between: impl FnOnce(&mut Desired) -> Vec<Key>,
    ) -> Vec<Key> {
        let reasons = refused.iter();
        self.refused
            .extend(reasons.map(|(seq, reason)| (*seq, reason.clone())));
        let again: Vec<Folded> = self.entries.drain(first..).collect();
        self.last_turn.clear();
        self.last_word.clear();
        self.parked.clear();
        let before = std::mem::take(&mut self.entries);
        for folded in &before {
            self.remember(folded);
        }
        self.entries = before;
        let were_wanted = self.were_wanted(&again, belief);
        desired.set_ours(were_wanted.clone());
        for folded in again.iter().rev() {
            for turned in folded.turned.iter().rev() {
                undo(turned, desired, belief);
            }
        }
        let mut keys = between(desired);
        keys.extend(were_wanted.keys().cloned());
        for was in again {
            keys.extend(self.refold(was, &were_wanted, desired, belief));
        }
        let mut entries = self.entries.iter_mut();
        if let Some(refused) = entries.find(|folded| self.refused.contains_key(&folded.entry.seq)) {
            for (key, objects) in were_wanted {
                let goes = take_away(refused, &key, &objects, desired, belief);
                refused.turned.extend(goes);
            }
        }
        desired.set_ours(KeyMap::default());
        keys
    }

    /// What of these was wanted until now, and Sōzu may hold.
    fn were_wanted(&self, again: &[Folded], belief: &Belief) -> KeyMap<Vec<Arc<Object>>> {
        let mut were_wanted: KeyMap<Vec<Arc<Object>>> = KeyMap::default();
        for folded in again {
            for turned in &folded.turned {
                let objects = were_wanted.entry(turned.key.clone()).or_default();
                let says = turned.after.as_ref();
                objects.extend(says.and_then(|says| says.standing().cloned()));
                if matches!(folded.provisional, Provisional::Final(Verdict::Refused(_))) {
                    // It was to be taken away already, and still has to be.
                    objects.extend(belief.held(&turned.key).object().cloned());
                }
            }
        }
        // What Sōzu refused it may hold all the same, whatever was wanted in its place meanwhile.
        for folded in again
            .iter()
            .filter(|it| self.refused.contains_key(&it.entry.seq))
        {
            let request = folded.entry.request.request_type.as_ref();
            let brought = request.and_then(Object::brought_by).map(Object::canonical);
            if let (Some(key), Some(object)) = (folded.keys.first(), brought) {
                let objects = were_wanted.entry(key.clone()).or_default();
                objects.push(Arc::new(object));
            }
        }
        were_wanted
    }

    /// Folds an entry again, of which this came the last time. What it brought may be in Sōzu: refused now, by Sōzu or by
    /// our own checks, it takes that away, and what comes later is not folded over it.
    fn refold(
        &mut self,
        was: Folded,
        were_wanted: &KeyMap<Vec<Arc<Object>>>,
        desired: &mut Desired,
        belief: &Belief,
    ) -> Vec<Key> {
        let seq = was.entry.seq;
        let is_refused = |folded: &Folded| {
            let verdict = &folded.provisional;
            folded.entry.seq == seq && matches!(verdict, Provisional::Final(Verdict::Refused(_)))
        };
        let (keys, touched): (_, Vec<Key>) = if let Some(reason) = self.refused.get(&seq).cloned() {
            let touched = was.keys.clone();
            let refused = Folded {
                turned: Vec::new(),
                provisional: Provisional::Final(Verdict::Refused(reason)),
                ..was
            };
            let refused = self.enter(refused);
            self.entries.push_back(refused);
            (Vec::new(), touched)
        } else {
            let keys = self.fold_as(was.entry.clone(), Some(&was), desired, belief);
            if !self.entries.back().is_some_and(is_refused) {
                return keys;
            }
            let touched = was.turned.iter().map(|turned| turned.key.clone());
            (keys, touched.collect())
        };
        if let Some(refused) = self.entries.back_mut() {
            for key in touched {
                let objects = were_wanted.get(&key).map_or(&[][..], Vec::as_slice);
                let goes = take_away(refused, &key, objects, desired, belief);
                refused.turned.extend(goes);
            }
        }
        keys
    }
}
