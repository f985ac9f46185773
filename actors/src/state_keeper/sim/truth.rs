//! What has to be true at every moment, and at rest: the promise, told by an onlooker who knows what every process of Sōzu
//! holds and what is on disk, and nothing of how the keeper works.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::{
    declared::{Stance, Why},
    verdict::Verdict,
};
use super::{World, sozu::held_in, text, *};
use crate::state_keeper::{
    events::Acceptance,
    key::{Key, key_of},
};

pub(super) const NOTHING: &str = "nothing";

/// What was seen so far.
#[derive(Default)]
pub(super) struct Onlooker {
    moment: u64,
    version: u64,
    /// What the main process and at least one worker hold under a key now.
    stands: HashMap<Key, BTreeSet<String>>,
    /// When it last did.
    stood: HashMap<(Key, String), u64>,
    /// Which life of Sōzu that is, and what they held at the end of the one before.
    life: u32,
    ended: BTreeSet<(Key, String)>,
    /// When an entry was written.
    taken: HashMap<u64, u64>,
    /// What strangers have put there, in any life, or that they have taken it away.
    pub(super) strangers: BTreeSet<(Key, String)>,
    /// Was parked once: then it may be acknowledged before it is final.
    pub(super) parked: BTreeSet<u64>,
    /// Was not parked when it was last seen.
    folded: BTreeSet<u64>,
    /// Was parked until the end: its cluster never came.
    pub(super) never_folded: BTreeSet<u64>,
    settled: HashMap<SourceName, Option<Position>>,
    acknowledged: HashMap<SourceName, Option<Position>>,
    /// What the main process kept though no worker took it, when the daemon died or Sōzu came back with a saved state, or
    /// what went to a life that nobody had seen: nothing tells it from other objects. (Of frontends: Sōzu cancels the
    /// task of a file that it cannot read to its end.)
    pub(super) unprovable: BTreeSet<Key>,
    /// Went wrong in a life of Sōzu that nobody had seen yet, or was removed again before the daemon died: the
    /// keeper forgets its doubts about that.
    pub(super) undoubted: BTreeSet<Key>,
    /// What was wrong.
    pub(super) wrong: Vec<String>,
}

/// Whether it is accepted that the cluster stays until nobody needs it any more.
fn is_still_used(acceptance: &Acceptance, entry: &Entry, key: &Key) -> bool {
    let mut declarations = acceptance.declarations.iter();
    declarations.any(|(of, source, says)| {
        let stance = says.as_ref().map(|says| &says.stance);
        of == key && *source == entry.source && stance == Some(&Stance::Kept(Why::StillUsed))
    })
}

/// What an entry asks for: keys and values.
pub(super) fn asks(entry: &Entry) -> Vec<(Key, String)> {
    let Some(request) = entry.request.request_type.as_ref() else {
        return Vec::new();
    };
    let nothing = |key: Key| (key, NOTHING.to_owned());
    let brought = Object::brought_by(request).map(Object::canonical);
    let comes = brought.and_then(|object| Some((object.key().ok()?, text(&object))));
    let goes = match request {
        RequestType::ReplaceCertificate(replace) => {
            let old = Key::certificate(replace.address.into(), &replace.old_fingerprint);
            Some(nothing(old))
        }
        _ if comes.is_none() => key_of(request).and_then(Result::ok).map(nothing),
        _ => None,
    };
    comes.into_iter().chain(goes).collect()
}

impl World {
    pub(super) fn strangers_remove(&mut self, key: Key) {
        self.had_strangers = true;
        self.onlooker.strangers.insert((key, NOTHING.to_owned()));
    }

    pub(super) fn strangers_put(&mut self, objects: &[Object]) {
        self.had_strangers = true;
        for object in objects {
            let key = object.key().unwrap();
            self.onlooker.strangers.insert((key, text(object)));
        }
    }

    /// Sōzu has started from an older state. Where a stranger has put something, our word that nothing
    /// may stand there has ended with it: what is in that state is theirs.
    pub(super) fn strangers_start_it(&mut self) {
        let strangers = &mut self.onlooker.strangers;
        let keys: BTreeSet<Key> = strangers.iter().map(|(key, _)| key.clone()).collect();
        let held = self.sozu.holds().swap_remove(0).into_iter();
        strangers.extend(held.filter(|(key, _)| keys.contains(key)));
        self.forget_what_workers_refused();
    }

    /// What Sōzu holds or has saved, and none of its workers has: should it be asked for once more, nothing tells it
    /// from other objects.
    fn forget_what_workers_refused(&mut self) {
        let workers = self.sozu.holds().split_off(1);
        let is_with_workers =
            |(key, value): &(Key, String)| workers.iter().any(|held| held.get(key) == Some(value));
        let saved = [&self.sozu.main, &self.older].into_iter().flat_map(held_in);
        let refused = saved.filter(|held| !held.0.kind().is_frontend() && !is_with_workers(held));
        self.onlooker.unprovable.extend(refused.map(|(key, _)| key));
    }

    /// A batch goes to a life of Sōzu that nobody has read yet: what stands there under these keys, nobody has read.
    pub(super) fn sends_unseen(&mut self, requests: &[Request], goes_wrong: bool) {
        let added = requests.iter().filter_map(|it| it.request_type.as_ref());
        let added = added.filter_map(Object::brought_by);
        let keys = added.filter_map(|object| object.key().ok());
        if goes_wrong {
            self.onlooker.undoubted.extend(keys.clone());
        }
        let kept = keys.filter(|key| !key.kind().is_frontend());
        self.onlooker.unprovable.extend(kept);
        // The main process lets the routes of a cluster go with it, also where workers do not have the cluster.
        let held = sort_records(records(&self.sozu.main), Duration::ZERO).held;
        let goes = |id: &str| {
            let mut requests = requests.iter().filter_map(|it| it.request_type.as_ref());
            requests.any(|it| matches!(it, RequestType::RemoveCluster(gone) if gone == id))
        };
        let along = held
            .iter()
            .filter(|(key, object)| key.kind().is_frontend() && object.cluster().is_some_and(goes));
        let along = along.map(|(key, _)| key.clone());
        self.onlooker.undoubted.extend(along);
    }

    /// Something may have happened.
    pub(super) fn look(&mut self) {
        let seen = &mut self.onlooker;
        seen.moment += 1;
        let mut last = 0;
        for folded in self.keeper.tail.iter() {
            let seq = folded.entry.seq;
            if folded.is_parked() {
                seen.parked.insert(seq);
                seen.folded.remove(&seq);
            } else {
                seen.folded.insert(seq);
            }
            if seq < last {
                // Its cluster has come meanwhile.
                seen.parked.insert(seq);
            }
            last = last.max(seq);
        }
        for (entry, _) in &self.disk.journal[seen.taken.len()..] {
            seen.taken.insert(entry.seq, seen.moment);
        }
        if seen.version != self.sozu.version {
            seen.version = self.sozu.version;
            let holds = self.sozu.holds();
            if std::mem::replace(&mut seen.life, self.sozu.life) != self.sozu.life {
                let stood = seen.stands.iter();
                let pairs = stood.flat_map(|(key, values)| {
                    values.iter().map(|value| (key.clone(), value.clone()))
                });
                seen.ended = pairs.collect();
            }
            let mut keys: BTreeSet<Key> = seen.stands.keys().cloned().collect();
            keys.extend(holds.iter().flat_map(|held| held.keys().cloned()));
            let value = |held: &BTreeMap<Key, String>, key: &Key| {
                held.get(key).cloned().unwrap_or_else(|| NOTHING.to_owned())
            };
            for key in keys {
                let in_main = value(&holds[0], &key);
                // A route that every worker serves and the main process has taken back can neither be
                // seen nor removed: a removal can be true of the main process alone.
                let is_gone = in_main == NOTHING && key.kind().is_frontend();
                let by_a_worker =
                    is_gone || holds[1..].iter().any(|held| value(held, &key) == in_main);
                let now: BTreeSet<String> = by_a_worker.then_some(in_main).into_iter().collect();
                let before = seen
                    .stands
                    .insert(key.clone(), now)
                    .unwrap_or_else(|| BTreeSet::from([NOTHING.to_owned()]));
                for value in before {
                    seen.stood.insert((key.clone(), value), seen.moment);
                }
            }
        }
        let buses = self.topics.iter().map(|topic| topic.source.clone());
        for bus in buses.collect::<Vec<_>>() {
            self.look_at_the_position(&bus);
        }
    }

    fn look_at_the_position(&mut self, bus: &SourceName) {
        let settled = self.keeper.settled_position(bus);
        let mut wrong = Vec::new();
        let before = self.onlooker.settled.insert(bus.clone(), settled);
        if settled < before.flatten() {
            wrong.push(format!("the position goes back: {before:?} → {settled:?}"));
        }
        let acknowledged = self.onlooker.acknowledged.entry(bus.clone()).or_default();
        if settled > *acknowledged {
            *acknowledged = settled;
            for (entry, verdict) in &self.disk.journal {
                let is_passed =
                    entry.source == *bus && entry.position.is_some() && entry.position <= settled;
                if is_passed && verdict.is_none() && !self.onlooker.parked.contains(&entry.seq) {
                    wrong.push(format!("{settled:?} passes the open entry {}", entry.seq));
                }
            }
        }
        self.onlooker.wrong.extend(wrong);
    }

    /// The daemon has died: what it said of positions is said again from its start, and what it knew
    /// of a file that Sōzu could not read to its end, or of a route that it has removed since, is gone with it.
    pub(super) fn forget_what_died(&mut self) {
        let left = self.sozu.left_behind.iter().cloned();
        self.onlooker.unprovable.extend(left);
        self.forget_what_workers_refused();
        let declared = self.keeper.desired.declared();
        let ever = self.keeper.doubts.ever.iter();
        let removed = ever.filter(|key| !matches!(declared.wanted(key), Wanted::Object(..)));
        self.onlooker.undoubted.extend(removed.cloned());
        self.onlooker.settled.clear();
    }

    /// The keeper calls these verdicts final.
    pub(super) fn hear_verdicts(&mut self, acceptance: &Acceptance) {
        let mut wrong = Vec::new();
        let mut never_folded = Vec::new();
        for verdict in &acceptance.verdicts {
            let row = self
                .disk
                .journal
                .iter()
                .find(|(entry, _)| entry.seq == verdict.seq);
            let (entry, known) = row.expect("a verdict is about an entry of the log");
            let was_folded = match verdict.verdict {
                Verdict::RemovedWithItsCluster => false,
                Verdict::Superseded => self.onlooker.folded.contains(&entry.seq),
                _ => true,
            };
            let may_wait =
                |(key, value): &(Key, String)| matches!(key, Key::Backend(_)) && value != NOTHING;
            if !was_folded && asks(entry).iter().any(may_wait) {
                never_folded.push(entry.seq);
            }
            if known
                .as_ref()
                .is_some_and(|known| *known != verdict.verdict)
            {
                wrong.push(format!("the verdict of {} changes", entry.seq));
            }
            if !matches!(verdict.verdict, Verdict::Applied | Verdict::TakenOver) {
                continue;
            }
            for (key, value) in asks(entry) {
                // It removes the old one all the same.
                let has_others = matches!(self.keeper.desired.declared().wanted(&key), Wanted::Object(_, owner) if owner != entry.source);
                let is_shadowed =
                    entry.is_replacement() && (has_others || self.others_stood(entry, &key));
                if !self.stood_since(entry, &key, &value)
                    && !is_still_used(acceptance, entry, &key)
                    && !self.onlooker.unprovable.contains(&key)
                    && !is_shadowed
                {
                    wrong.push(format!(
                        "{} is called {:?}, but never was: {key} {value}",
                        entry.seq, verdict.verdict
                    ));
                }
            }
        }
        self.onlooker.never_folded.extend(never_folded);
        self.onlooker.wrong.extend(wrong);
    }

    /// Whether the value has stood under the key since the entry was taken; of a removal, whether nothing of its
    /// source's has.
    fn stood_since(&self, entry: &Entry, key: &Key, value: &str) -> bool {
        let seen = &self.onlooker;
        let has_others = value == NOTHING && {
            let says = self.keeper.desired.declared().all(key);
            let stands = says.iter().any(|(_, says)| says.standing().is_some());
            stands || self.others_stood(entry, key)
        };
        // Somebody else has put it there, or taken it away, since Sōzu was last read.
        let is_theirs = |held: &String| seen.strangers.contains(&(key.clone(), held.clone()));
        let stands = seen.stands.get(key);
        let is_unread = stands.is_some_and(|values| values.iter().all(is_theirs));
        // It went with a life of Sōzu, and nobody has told the keeper yet.
        let is_unheard_of = self.keeper.life.as_ref() != Some(&self.sozu_life())
            && seen.ended.contains(&(key.clone(), value.to_owned()));
        self.has_stood(entry, key, value) || is_unread || is_unheard_of || has_others
    }

    /// Whether the main process and a worker have held the value since the entry was taken.
    fn has_stood(&self, entry: &Entry, key: &Key, value: &str) -> bool {
        let seen = &self.onlooker;
        let stands = match seen.stands.get(key) {
            Some(values) => values.contains(value),
            None => value == NOTHING,
        };
        let last = seen.stood.get(&(key.clone(), value.to_owned()));
        stands || last >= seen.taken.get(&entry.seq)
    }

    /// Whether they have held what another source asked for.
    fn others_stood(&self, entry: &Entry, key: &Key) -> bool {
        let entries = self.disk.journal.iter().map(|(other, _)| other);
        let others = entries.filter(|other| other.source != entry.source);
        let mut asked = others.flat_map(|other| asks(other));
        asked
            .any(|(of, value)| of == *key && value != NOTHING && self.has_stood(entry, key, &value))
    }

    /// Verdicts about one key come in the order of the log.
    pub(super) fn look_at_the_order(&mut self) {
        let mut open: HashMap<Key, u64> = HashMap::new();
        let mut wrong = Vec::new();
        for (entry, verdict) in &self.disk.journal {
            for (key, _) in asks(entry) {
                match (verdict, open.get(&key)) {
                    // What comes while it waits for its cluster may be final before it.
                    (None, _) if self.onlooker.parked.contains(&entry.seq) => {}
                    (None, _) => {
                        open.insert(key, entry.seq);
                    }
                    (Some(verdict), Some(earlier)) => wrong.push(format!(
                        "{} is {verdict:?} before {earlier} about the same key is final",
                        entry.seq
                    )),
                    (Some(_), None) => {}
                }
            }
        }
        self.onlooker.wrong.extend(wrong);
    }
}
