//! At rest: whether the promise held as a whole. What was seen until then is in [`super::truth`].

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    declared::{Declaration, Stance},
    log::{Admission, Word},
    verdict::Verdict,
};
use super::{
    World,
    said::Said,
    sozu::{NO_ROUTE, mark},
    text,
    truth::{NOTHING, asks},
    *,
};
use crate::state_keeper::key::Key;

/// So often something goes wrong before a change is refused for want of an answer.
const UNANSWERED: usize = 3;

/// What a source says of a key, as far as it outlives the daemon.
fn shown(says: &Declaration) -> String {
    let object = says.object.as_deref().map(text);
    format!(
        "{:?} {object:?} {:?} {}",
        says.stance, says.origin, says.since
    )
}

/// Whether a person dropped what the guard held.
fn is_discarded(entry: &Entry) -> bool {
    let Admission::Operator(operator) = &entry.admission else {
        return false;
    };
    matches!(operator.word, Word::Discard(_))
}

impl World {
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
                Some(Verdict::Refused(reason)) if !self.is_refused_rightly(entry, reason) => {
                    wrong.push(format!(
                        "{} is refused for a trouble that passed: {reason}",
                        entry.seq
                    ));
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

    /// For what it is, and not for a trouble that passed.
    fn is_refused_rightly(&self, entry: &Entry, reason: &str) -> bool {
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
        // What was accepted without having been sent, Sōzu may not take, and nothing that needs it.
        let mut verdicts = self.disk.journal.iter().map(|(_, verdict)| verdict);
        let had_observed = verdicts.any(|it| *it == Some(Verdict::Observed));
        mark(&entry.request).is_some()
            || ours.iter().any(|words| reason.contains(words))
            || is_phantom
            || (had_observed && reason.contains("names a cluster that does not exist"))
            || (reason.starts_with("no answer") && self.troubles >= UNANSWERED)
    }

    fn is_parked(&self, seq: u64) -> bool {
        let mut tail = self.keeper.tail.iter();
        tail.any(|folded| folded.entry.seq == seq && folded.is_parked())
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
                    let of = object.cluster().map(|id| Key::Cluster(id.into()));
                    let lacks = of.is_some_and(|of| self.keeper.unservable.contains_key(&of));
                    let is_refused = mark(&object.add()).is_some() || object.is_keyless() || lacks;
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
                    // It came with a saved state, and was not taken by workers or for want of its cluster.
                    is_used
                        || self.has_waited(key)
                        || self.onlooker.unprovable.contains(key)
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
        let mut said = Said::default();
        // A backend that was overtaken may have stood there, or have waited for its cluster still.
        let mut uncertain: BTreeSet<Key> = BTreeSet::new();
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
                for (key, value) in &asked {
                    said.is_held(entry, key, value);
                }
                continue;
            }
            if is_discarded(entry) {
                keys.for_each(|key| said.is_dropped(key, &entry.source));
                continue;
            }
            let is_observed = *verdict == Verdict::Observed;
            let mut is_exempt = self.had_strangers || self.had_leavers || is_observed;
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
            let before = said.all_wanted(&asked);
            for (key, value) in &asked {
                said.take(entry, key, value);
                is_exempt |= matches!(key, Key::Cluster(_));
            }
            let after = said.all_wanted(&asked);
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
        if !self.had_leavers {
            self.judge_declared(&said, wrong);
        }
    }

    fn judge_declared(&self, said: &Said, wrong: &mut Vec<String>) {
        let declared = self.keeper.desired.declared();
        for key in said.keys() {
            let kept = declared
                .all(key)
                .iter()
                .any(|(_, says)| matches!(says.stance, Stance::Kept(_)));
            let is = match declared.wanted(key) {
                Wanted::Object(object, _) => text(&object),
                _ => NOTHING.to_owned(),
            };
            let should = said.wanted(key);
            if is != should && !kept {
                wrong.push(format!("{key}: {is} is wanted, declared is {should}"));
            }
        }
        for key in declared.keys().filter(|key| !said.contains(key)) {
            // What the guard keeps in the place of what a bus wants.
            let strangers = &self.onlooker.strangers;
            let is_theirs = |object| strangers.contains(&(key.clone(), text(object)));
            let wanted = declared.wanted(key);
            if matches!(&wanted, Wanted::Object(object, _) if !is_theirs(object)) {
                wrong.push(format!("{key} is wanted and was never declared"));
            }
        }
    }
}
