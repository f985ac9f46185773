//! The end of a bus's catching up: what it would put in the place of what Sōzu held is a conclusion
//! that the guard judges. What it lets pass goes; what it holds stays as Sōzu has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sozu_socket::Life;

use super::{
    appending::Sender,
    declared::{Declaration, Stance, Wanted},
    events::{Effect, Now},
    guard::{self, TakeOver},
    held::Held,
    keeper::Keeper,
    key::{Key, Kind, Object},
    log::{Admission, Entry, Folded},
};
use crate::messages::SourceName;

impl Keeper {
    /// Buses that have come as far as their topics went when they subscribed have caught up, once the
    /// guard has judged what they would take over.
    pub(super) fn end_catching_up(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for source in self.buses_at_their_end() {
            // Sōzu as it is now decides, and the disk has to be free for what is held.
            let is_known = self.belief.is_read() && !self.must_read;
            if !is_known || self.appending.is_some() || now.at < self.append_again {
                return;
            }
            let conclusion = self.take_overs(&source);
            match self.judge_take_overs(now, &source, &conclusion) {
                Some(id) => self.hold_back(now, &source, conclusion, &id, effects),
                None => self.has_caught_up(&source),
            }
        }
    }

    /// The hold's id, if the guard holds what the bus would take over.
    fn judge_take_overs(
        &mut self,
        now: Now,
        source: &SourceName,
        conclusion: &[(TakeOver, Arc<Object>)],
    ) -> Option<Arc<str>> {
        if self.take_overs_are_judged(source) {
            return None;
        }
        let certificates = self.belief.keys().map(Key::kind);
        let certificates = certificates.filter(|kind| *kind == Kind::Certificate);
        let certificates = certificates.count();
        let take_overs: Vec<&TakeOver> = conclusion.iter().map(|(it, _)| it).collect();
        let history = self.histories.entry(source.clone()).or_default();
        history.owned(now.at, self.belief.count());
        let bounds = self.settings.bounds;
        match guard::judge_take_overs(&take_overs, certificates, history, bounds, now.at) {
            guard::Verdict::Pass => {
                history.removed(now.at, take_overs.len());
                if !take_overs.is_empty() {
                    let passed = (source.clone(), now.wall, take_overs.len());
                    self.acceptance.taken_over.push(passed);
                }
                None
            }
            guard::Verdict::Hold(id) => Some(id),
        }
    }

    /// What Sōzu holds is written as held, key by key, against what the bus says.
    fn hold_back(
        &mut self,
        now: Now,
        source: &SourceName,
        mut conclusion: Vec<(TakeOver, Arc<Object>)>,
        id: &Arc<str>,
        effects: &mut Vec<Effect>,
    ) {
        tracing::warn!(%source, hold = %id, objects = conclusion.len(), "What a bus would take over after it caught up is held; `sozu-manager holds list` shows it, `holds release` lets it through.");
        // What uses something comes after it.
        conclusion.sort_by_key(|(take_over, _)| take_over.key.kind());
        let mut entries = Vec::with_capacity(conclusion.len());
        for (_, held) in conclusion {
            self.last_seq += 1;
            entries.push(Arc::new(Entry {
                seq: self.last_seq,
                source: source.clone(),
                at: now.wall,
                request: Arc::new(held.add()),
                origin: None,
                position: None,
                original: None,
                admission: Admission::Held(id.clone()),
            }));
        }
        self.append(entries, Sender::Guard, effects);
    }

    /// What the bus wants, as it said while it caught up, where Sōzu holds another value that the bus has
    /// never said; and what Sōzu holds there. What goes or comes by the same change is kept with it: a cluster that stays
    /// has its backends.
    fn take_overs(&self, source: &SourceName) -> Vec<(TakeOver, Arc<Object>)> {
        let mut found = BTreeMap::new();
        let mut to_look_at = self.strange(source);
        while !to_look_at.is_empty() {
            to_look_at.retain(|key| !found.contains_key(key));
            let taken_over = to_look_at.iter();
            let taken_over =
                taken_over.filter_map(|key| Some((*key, self.take_over(source, key)?)));
            let more: BTreeMap<&Key, _> = taken_over.collect();
            to_look_at = self.said_with(source, |key| more.contains_key(key));
            found.extend(more);
        }
        found.into_values().collect()
    }

    /// What the changes touch that touch one of those.
    fn said_with(&self, source: &SourceName, is_one: impl Fn(&Key) -> bool) -> BTreeSet<&Key> {
        let changes = self.tail.iter().filter(|it| it.entry.source == *source);
        let changes = changes.filter(|it| it.keys.len() > 1 && it.keys.iter().any(&is_one));
        changes.flat_map(|folded| &folded.keys).collect()
    }

    /// The keys of which the bus spoke while it caught up, and under which Sōzu holds what it has never said.
    fn strange(&self, source: &SourceName) -> BTreeSet<&Key> {
        let life = self.life.as_ref().map(Life::as_str);
        let all = self.tail.iter().filter(|it| it.entry.source == *source);
        let is_anew = |folded: &Folded| folded.entry.admission == Admission::History { anew: true };
        // What another topic said is nothing that this one has said.
        let of_another_topic = all.clone().position(is_anew).unwrap_or_default();
        let mut spoken_of: BTreeSet<&Key> = BTreeSet::new();
        let mut said: BTreeSet<&Key> = BTreeSet::new();
        for folded in all.skip(of_another_topic) {
            for turned in folded.turned.iter().filter(|it| it.source == *source) {
                let Held::Object(held) = self.belief.held(&turned.key) else {
                    continue;
                };
                let says = |declaration: &Option<Declaration>| {
                    let object = declaration.as_ref().and_then(Declaration::standing);
                    object.is_some_and(|object| object.same(&held))
                };
                let before = turned.before.as_ref();
                let went = before.is_some_and(|says| is_to_go(says, life));
                let was_said = says(&turned.before) || went;
                if says(&turned.after) || (was_said && !is_anew(folded)) {
                    said.insert(&turned.key);
                }
                if folded.entry.is_history() {
                    spoken_of.insert(&turned.key);
                }
            }
        }
        spoken_of.retain(|key| !said.contains(key));
        spoken_of
    }

    /// What the bus would put in the place of what Sōzu holds there, if anything.
    fn take_over(&self, source: &SourceName, key: &Key) -> Option<(TakeOver, Arc<Object>)> {
        let held = self.belief.held(key).object()?.clone();
        let life = self.life.as_ref().map(Life::as_str);
        let all = self.desired.declared().all(key).iter();
        let mut others = all.filter(|(other, _)| other != source);
        if others.any(|(_, says)| is_to_go(says, life)) {
            return None;
        }
        let instead = match self.desired.declared().wanted(key) {
            Wanted::Object(object, owner) if owner == *source && !object.same(&held) => {
                Some(object)
            }
            Wanted::Nothing => None,
            _ => return None,
        };
        let key = key.clone();
        Some((TakeOver { key, instead }, held))
    }
}

/// Whether what Sōzu holds goes by it: it came back, or workers refused it and it is not gone yet.
fn is_to_go(says: &Declaration, life: Option<&str>) -> bool {
    matches!(&says.stance, Stance::Absent { unseen_in, .. } if unseen_in.as_deref() != life)
}
