//! What has to be true at every moment, and at rest: the promise, told by an onlooker who knows what every process of Sōzu
//! holds and what is on disk, and nothing of how the keeper works.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::{
    declared::{Declaration, Stance, Why},
    verdict::Verdict,
};
use super::{
    World,
    sozu::{NO_ROUTE, held_in, mark},
    text, *,
};
use crate::state_keeper::{
    events::Acceptance,
    key::{Key, key_of},
};

const NOTHING: &str = "nothing";
/// So often something goes wrong before a change is refused for want of an answer.
const UNANSWERED: usize = 3;

/// What was seen so far.
#[derive(Default)]
pub(super) struct Onlooker {
    moment: u64,
    version: u64,
    /// What the main process and at least one worker hold under a key now.
    stands: HashMap<Key, BTreeSet<String>>,
    /// When it last did.
    stood: HashMap<(Key, String), u64>,
    /// When an entry was written.
    taken: HashMap<u64, u64>,
    /// What strangers have put there, in any life.
    strangers: BTreeSet<(Key, String)>,
    /// Was parked once: then it may be acknowledged before it is final.
    parked: BTreeSet<u64>,
    /// Was not parked when it was last seen.
    folded: BTreeSet<u64>,
    /// Was parked until the end: its cluster never came.
    never_folded: BTreeSet<u64>,
    settled: HashMap<SourceName, Option<Position>>,
    acknowledged: HashMap<SourceName, Option<Position>>,
    /// What the main process kept, or has in its saved state, though no worker took it, while the daemon died: nothing
    /// tells it from other objects. (Of frontends: Sōzu cancels the task of a file that it cannot read to its end.)
    unprovable: BTreeSet<Key>,
    /// Went wrong in a life of Sōzu that nobody had seen yet, or was removed again before the daemon died: the
    /// keeper forgets its doubts about that.
    undoubted: BTreeSet<Key>,
    /// What was wrong.
    pub(super) wrong: Vec<String>,
}

/// What an entry asks for: keys and values.
fn asks(entry: &Entry) -> Vec<(Key, String)> {
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

/// What a source says of a key, as far as it outlives the daemon.
fn shown(says: &Declaration) -> String {
    let object = says.object.as_deref().map(text);
    format!(
        "{:?} {object:?} {:?} {}",
        says.stance, says.origin, says.since
    )
}

impl World {
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
    }

    /// A batch goes to a life of Sōzu that nobody has seen yet: what stands there under these keys, nobody has read.
    pub(super) fn sends_unseen(&mut self, requests: &[Request], goes_wrong: bool) {
        let added = requests.iter().filter_map(|it| it.request_type.as_ref());
        let added = added.filter_map(Object::brought_by);
        let keys = added.filter_map(|object| object.key().ok());
        if goes_wrong {
            self.onlooker.undoubted.extend(keys.clone());
        }
        let kept = keys.filter(|key| !key.kind().is_frontend());
        self.onlooker.unprovable.extend(kept);
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

    fn is_parked(&self, seq: u64) -> bool {
        let mut tail = self.keeper.tail.iter();
        tail.any(|folded| folded.entry.seq == seq && folded.is_parked())
    }

    /// The daemon has died: what it said of positions is said again from its start, and what it knew
    /// of a file that Sōzu could not read to its end, or of a route that it has removed since, is gone with it.
    pub(super) fn forget_what_died(&mut self) {
        let left = self.sozu.left_behind.iter().cloned();
        self.onlooker.unprovable.extend(left);
        let workers = self.sozu.holds().split_off(1);
        let is_with_workers =
            |(key, value): &(Key, String)| workers.iter().any(|held| held.get(key) == Some(value));
        let saved = [&self.sozu.main, &self.older].into_iter().flat_map(held_in);
        let refused = saved.filter(|held| !held.0.kind().is_frontend() && !is_with_workers(held));
        self.onlooker.unprovable.extend(refused.map(|(key, _)| key));
        let declared = self.keeper.desired.declared();
        let ever = self.keeper.doubts.ever.iter();
        let removed = ever.filter(|key| declared.wanted(key) == Wanted::Nothing);
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
                let is_shadowed = entry.is_replacement()
                    && matches!(self.keeper.desired.declared().wanted(&key), Wanted::Object(_, owner) if owner != entry.source);
                if !self.stood_since(entry, &key, &value)
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
        let has_stood = |value: &str| {
            let stands = match seen.stands.get(key) {
                Some(values) => values.contains(value),
                None => value == NOTHING,
            };
            let last = seen.stood.get(&(key.clone(), value.to_owned()));
            stands || last >= seen.taken.get(&entry.seq)
        };
        let is_kept = matches!(key, Key::Cluster(_)) && value == NOTHING && {
            let says = self.keeper.desired.declared().all(key);
            says.iter()
                .any(|(_, says)| says.stance == Stance::Kept(Why::StillUsed))
        };
        // Another source stands for it, with its own value, or did meanwhile.
        let has_others = value == NOTHING && {
            let says = self.keeper.desired.declared().all(key);
            let others = self.disk.journal.iter().map(|(other, _)| other);
            let mut asked = others
                .filter(|other| other.source != entry.source)
                .flat_map(|other| asks(other));
            says.iter().any(|(_, says)| says.standing().is_some())
                || asked.any(|(of, value)| of == *key && value != NOTHING && has_stood(&value))
        };
        // Somebody else has put it there since Sōzu was last read.
        let is_unread = value == NOTHING && {
            let is_theirs = |held: &String| seen.strangers.contains(&(key.clone(), held.clone()));
            seen.stands
                .get(key)
                .is_some_and(|values| values.iter().all(is_theirs))
        };
        has_stood(value) || is_unread || is_kept || has_others
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

    /// At rest the promise holds as a whole.
    pub(super) fn judge(&mut self) -> Result<(), String> {
        let mut wrong = std::mem::take(&mut self.onlooker.wrong);
        let parked = self
            .disk
            .journal
            .iter()
            .filter(|(entry, _)| self.is_parked(entry.seq))
            .count();
        // A certificate whose file went before its private key was ever read again waits for it, shown.
        let mut unservable = self.keeper.unservable.keys();
        let lacks_its_key = unservable.any(|key| self.lacks_its_private_key(key));
        for (entry, verdict) in &self.disk.journal {
            match verdict {
                None if !self.is_parked(entry.seq) && !lacks_its_key => {
                    wrong.push(format!(
                        "{} has no verdict at rest: {:?}",
                        entry.seq,
                        asks(entry)
                    ));
                }
                Some(Verdict::Refused(reason)) => {
                    let ours = [
                        // By workers that refused its cluster, which stays while somebody routes to it.
                        "no such cluster",
                        "owns it",
                        "left it behind",
                        "is not known",
                        "did not come within",
                    ];
                    let is_phantom = reason.contains(NO_ROUTE)
                        && asks(entry)
                            .iter()
                            .any(|(key, _)| self.onlooker.undoubted.contains(key));
                    let is_ours = ours.iter().any(|words| reason.contains(words))
                        || is_phantom
                        || (reason.starts_with("no answer") && self.troubles >= UNANSWERED);
                    if mark(&entry.request).is_none() && !is_ours {
                        wrong.push(format!(
                            "{} is refused for a trouble that passed: {reason}",
                            entry.seq
                        ));
                    }
                }
                _ => {}
            }
        }
        if parked == 0 && !lacks_its_key {
            let on_disk: BTreeMap<(Key, SourceName), String> = self
                .disk
                .objects
                .iter()
                .map(|(place, says)| (place.clone(), shown(says)))
                .collect();
            let declared = self.keeper.desired.declared();
            let in_memory: BTreeMap<(Key, SourceName), String> = declared
                .keys()
                .flat_map(|key| {
                    declared
                        .all(key)
                        .iter()
                        .map(move |(source, says)| ((key.clone(), source.clone()), shown(says)))
                })
                .collect();
            if on_disk != in_memory {
                wrong.push(format!(
                    "the accepted sets on disk differ: {on_disk:#?} {in_memory:#?}"
                ));
            }
        }
        self.judge_sozu(&mut wrong);
        if !lacks_its_key {
            self.judge_verdicts(&mut wrong);
        }
        for topic in &self.topics {
            let last = self.disk.positions.get(&topic.source).copied();
            let settled = self.keeper.settled_position(&topic.source);
            if settled != last && !lacks_its_key {
                wrong.push(format!(
                    "all is settled, but {} may acknowledge only {settled:?} of {last:?}",
                    topic.source
                ));
            }
        }
        if self.carried_out >= TOO_LONG {
            wrong.push("the keeper never comes to rest".to_owned());
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let journal = self.disk.journal.iter().map(|(entry, verdict)| {
            let asks = asks(entry).into_iter();
            let asks: Vec<String> = asks
                .map(|(key, value)| format!("{key} = {value:.80}"))
                .collect();
            format!(
                "{} {}: {verdict:?}: {}",
                entry.seq,
                entry.source,
                asks.join(", ")
            )
        });
        let journal: Vec<String> = journal.collect();
        Err(format!("{wrong:#?}\nthe journal: {journal:#?}"))
    }

    fn lacks_its_private_key(&self, key: &Key) -> bool {
        let wanted = self.keeper.desired.declared().wanted(key);
        matches!(wanted, Wanted::Object(object, _) if object.is_keyless())
    }

    /// Sōzu's main process holds what is wanted, and beside it only what strangers put there.
    fn judge_sozu(&self, wrong: &mut Vec<String>) {
        let held = self.sozu.holds().remove(0);
        let declared = self.keeper.desired.declared();
        let keys: BTreeSet<&Key> = held.keys().chain(declared.keys()).collect();
        for key in keys {
            if self.keeper.doubts.divergent.contains(key) {
                continue;
            }
            let holds = held.get(key);
            let fine = match declared.wanted(key) {
                Wanted::Object(object, _) => {
                    // Nobody asked Sōzu as long as another source's object stood there; or its private key went
                    // with its file. It is shown.
                    let is_refused = mark(&object.add()).is_some() || object.is_keyless();
                    let is_shown = self.keeper.unservable.contains_key(key);
                    holds == Some(&text(&object)) || (is_refused && is_shown)
                }
                Wanted::Nothing => {
                    let is_used = self.keeper.desired.is_used(key);
                    holds.is_none() || is_used
                }
                Wanted::NoOpinion => holds.is_none_or(|value| {
                    // A cluster that workers refused stays while others use it.
                    let is_used = self.keeper.desired.is_used(key);
                    is_used
                        || self
                            .onlooker
                            .strangers
                            .contains(&(key.clone(), value.clone()))
                }),
            };
            if !fine {
                wrong.push(format!(
                    "{key}: wanted {:?}, held {holds:?}",
                    declared.wanted(key)
                ));
            }
        }
    }

    /// Whether an entry about the key waited for its cluster once.
    fn has_waited(&self, key: &Key) -> bool {
        let of_it = |entry: &Entry| asks(entry).iter().any(|(of, _)| of == key);
        let parked = &self.onlooker.parked;
        let mut journal = self.disk.journal.iter();
        journal.any(|(entry, _)| parked.contains(&entry.seq) && of_it(entry))
    }

    /// The entries that were not refused, folded in order by the simplest rule, lead to what is wanted; and each
    /// verdict says what its entry did there.
    fn judge_verdicts(&self, wrong: &mut Vec<String>) {
        type Says = BTreeMap<SourceName, (u64, String)>;
        let mut said: BTreeMap<Key, Says> = BTreeMap::new();
        // A backend that was overtaken may have stood there, or have waited for its cluster still.
        let mut uncertain: BTreeSet<Key> = BTreeSet::new();
        let wanted = |says: Option<&Says>| -> String {
            let eldest = says.and_then(|says| says.values().min());
            eldest.map_or(NOTHING.to_owned(), |(_, value)| value.clone())
        };
        // What the guard holds is wanted still.
        let mut held: BTreeSet<Key> = BTreeSet::new();
        for (entry, verdict) in &self.disk.journal {
            let Some(verdict) = verdict
                .as_ref()
                .filter(|it| !matches!(it, Verdict::Refused(_)))
            else {
                continue;
            };
            let asked = asks(entry);
            let keys = asked.iter().map(|(key, _)| key);
            if *verdict == Verdict::Held {
                held.extend(keys.cloned());
                continue;
            }
            let mut is_exempt = self.had_strangers;
            for key in keys {
                let is_overtaken =
                    *verdict == Verdict::Superseded && matches!(key, Key::Backend(_));
                is_exempt |= is_overtaken || uncertain.contains(key);
                if is_overtaken {
                    uncertain.insert(key.clone());
                } else if matches!(verdict, Verdict::Applied | Verdict::TakenOver) {
                    uncertain.remove(key);
                }
                // What waited for its cluster at that time may have lain in Sōzu all the same.
                is_exempt |= held.contains(key) || self.has_waited(key);
            }
            if self.onlooker.never_folded.contains(&entry.seq) || self.is_parked(entry.seq) {
                continue;
            }
            let all_wanted = |said: &BTreeMap<Key, Says>| -> Vec<String> {
                asked.iter().map(|(key, _)| wanted(said.get(key))).collect()
            };
            let before = all_wanted(&said);
            for (key, value) in &asked {
                let says = said.entry(key.clone()).or_default();
                if value == NOTHING {
                    says.remove(&entry.source);
                } else {
                    let since = says
                        .get(&entry.source)
                        .map_or(entry.seq, |(since, _)| *since);
                    says.insert(entry.source.clone(), (since, value.clone()));
                }
                if let (Key::Cluster(id), NOTHING, None) = (key, value.as_str(), &entry.origin) {
                    let of = format!("\"cluster_id\":\"{id}\"");
                    for says in said.values_mut() {
                        says.retain(|source, (_, value)| {
                            *source != entry.source || !value.contains(&of)
                        });
                    }
                }
                is_exempt |= matches!(key, Key::Cluster(_));
            }
            let after = all_wanted(&said);
            let changes = matches!(
                verdict,
                Verdict::Applied | Verdict::Superseded | Verdict::TakenOver | Verdict::Divergent
            );
            // A removal that was taken while nobody knew what Sōzu holds may be called applied.
            let removed = asked.iter().zip(&after);
            let mut removed = removed.filter(|((_, value), _)| value == NOTHING);
            is_exempt |= before == after && removed.any(|(_, after)| after == NOTHING);
            if changes != (before != after) && !is_exempt {
                wrong.push(format!(
                    "{} is {verdict:?}, but turned {before:?} into {after:?}",
                    entry.seq
                ));
            }
        }
        let declared = self.keeper.desired.declared();
        for (key, says) in &said {
            let kept = declared
                .all(key)
                .iter()
                .any(|(_, says)| matches!(says.stance, Stance::Kept(_)));
            let is = match declared.wanted(key) {
                Wanted::Object(object, _) => text(&object),
                _ => NOTHING.to_owned(),
            };
            let should = wanted(Some(says));
            if is != should && !kept {
                wrong.push(format!("{key}: {is} is wanted, declared is {should}"));
            }
        }
        for key in declared.keys() {
            if !said.contains_key(key) && matches!(declared.wanted(key), Wanted::Object(..)) {
                wrong.push(format!("{key} is wanted and was never declared"));
            }
        }
    }
}
