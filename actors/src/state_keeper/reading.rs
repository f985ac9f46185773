//! Reading back: the fence, and what a read means.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sozu_socket::{ExchangeError, Life};

use super::{
    declared::{ABSENT_FOR, Declaration, Stance, Wanted, Why},
    doubts::Doubts,
    events::{Effect, Now},
    held::{Held, Read, What},
    keeper::{Doing, Keeper},
    key::{Key, KeyMap, Object},
    plan::{self, Need},
};
use crate::messages::SourceName;

/// How many removals are remembered: some ten megabytes.
const REMOVALS: usize = 50_000;

impl Keeper {
    /// The fence: what is read counts once every worker has answered a status that was asked after
    /// our last request, or Sōzu's longest deadline is over.
    pub(super) fn on_status(
        &mut self,
        now: Now,
        result: Result<Vec<(u32, bool)>, ExchangeError>,
        effects: &mut Vec<Effect>,
    ) {
        if !matches!(self.doing, Doing::Fencing) {
            return;
        }
        self.doing = Doing::Nothing;
        let workers = match result {
            Ok(workers) => workers,
            Err(error) => {
                self.trouble = Some(error.to_string());
                return self.back_off(now);
            }
        };
        self.workers = workers.len();
        self.hear_workers(now, &workers);
        self.silent = workers
            .iter()
            .filter(|(_, answers)| !answers)
            .map(|(id, _)| *id)
            .collect();
        if self.silent.is_empty() || now.at >= self.fence_ends {
            self.doing = Doing::Reading {
                life: self.life.clone(),
            };
            effects.push(if self.belief.is_as_read() {
                Effect::ReadAgain
            } else {
                Effect::ReadBack
            });
        } else {
            self.trouble = Some(format!(
                "waits for Sōzu's worker {:?}, which does not answer",
                self.silent
            ));
            self.back_off(now);
        }
    }

    /// What was read counts if one life of Sōzu was there before it and after it. Whatever was read of
    /// another one, nobody knows what stood in the one that we believe in.
    pub(super) fn on_read(&mut self, now: Now, result: Result<Read, ExchangeError>) {
        let before = match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Reading { life } => life,
            other => {
                self.doing = other;
                return;
            }
        };
        let read = match result {
            Ok(read) => read,
            Err(error) => {
                self.trouble = Some(error.to_string());
                return self.back_off(now);
            }
        };
        let (after, present) = (Some(&read.life), self.life.as_ref());
        if !same_life(before.as_ref(), after) || !same_life(after, present) {
            return self.back_off(now);
        }
        match read.what {
            What::State(state) => {
                if self.listeners.as_deref() != Some(&state.listeners) {
                    self.doubts.spurned.clear();
                    self.listeners = Some(Arc::new(state.listeners));
                }
                self.believe(state.held);
                self.draw_conclusions(now, state.took);
            }
            What::Same { took } if self.belief.is_as_read() => {
                self.tell_foreign_apart();
                self.draw_conclusions(now, took);
            }
            // Something was learnt meanwhile: all of it is read.
            What::Same { .. } => {}
        }
    }

    /// Sōzu holds what it held when it was last read.
    fn tell_foreign_apart(&mut self) {
        let declared = self.desired.declared();
        let foreign = self
            .belief
            .keys()
            .filter(|key| declared.all(key).is_empty());
        self.foreign = foreign.cloned().collect();
    }

    fn draw_conclusions(&mut self, now: Now, took: Duration) {
        self.must_read = false;
        self.tries = 0;
        self.trouble = None;
        // Reading takes at most one hundredth of the main process's time.
        self.next_read = now.at + self.settings.interval.max(took * 100);
        self.note_live_clusters();
        if !self.silent.is_empty() {
            // The main process holds it and a worker took it: a silent one holds up nothing.
            let Doubts {
                unproven, vouched, ..
            } = &mut self.doubts;
            unproven.retain(|key| !vouched.contains(key));
        }
        self.unservable.clear();
        self.judge_absent_keys();
        self.forget_old_removals(now);
        self.release_unused_clusters(now);
        self.compare();
        self.find_taken_over();
        self.end_unanswered();
        if self.dirty.is_empty() {
            self.last_proof = Some(now.wall);
            self.give_back();
        }
    }

    /// The room that a flood took, and that nothing is in now.
    fn give_back(&mut self) {
        self.tail.give_back();
        self.dirty.shrink_to_fit();
        self.in_flight.shrink_to_fit();
        self.queue.shrink_to_fit();
        self.renewals.shrink_to_fit();
        self.foreign.shrink_to_fit();
        self.doubts.give_back();
    }

    /// Takes what was read for what is held, and tells foreign objects apart. What is as wanted
    /// shares its key and its object with the wish.
    fn believe(&mut self, held: KeyMap<Arc<Object>>) {
        let declared = self.desired.declared();
        let shared = held
            .into_iter()
            .map(|(key, held)| match declared.known(&key) {
                Some((key, Wanted::Object(wanted, _))) if wanted.same(&held) => {
                    (key.clone(), wanted)
                }
                Some((key, _)) => (key.clone(), held),
                None => (key, held),
            });
        let held = shared.collect();
        let before = self.belief.replace(held);
        if !self.doubts.spurned.is_empty() {
            let came = self.belief.keys().filter(|key| !before.contains_key(*key));
            let came: Vec<Key> = came.cloned().collect();
            self.try_what_lacked_its_cluster(came.iter());
        }
        let declared = self.desired.declared();
        let mut keys: Vec<Key> = before
            .keys()
            .chain(self.belief.keys())
            .filter(|key| declared.all(key).is_empty())
            .cloned()
            .collect();
        keys.sort_by(|a, b| a.kind().cmp(&b.kind()).then_with(|| a.cmp(b)));
        keys.dedup();
        self.foreign.clear();
        for key in keys {
            let (from, to) = (before.get(&key), self.belief.held(&key));
            let to = to.object();
            if to.is_some() {
                self.foreign.insert(key.clone());
            }
            let is_same = match (from, to) {
                (Some(from), Some(to)) => from.same(to),
                (None, None) => true,
                _ => false,
            };
            if !is_same {
                self.desired
                    .observe(&key, from.map(Arc::as_ref), to.map(Arc::as_ref));
            }
        }
    }

    /// Whatever differs from what is wanted is dirty.
    fn compare(&mut self) {
        let differs = |key: &&Key| {
            let wanted = self.desired.declared().wanted(key);
            let unproven = self.doubts.unproven.contains(*key);
            plan::need(key, &wanted, &self.belief.held(key), unproven) != Need::Nothing
        };
        let differing: Vec<Key> = self
            .desired
            .declared()
            .keys()
            .filter(differs)
            .cloned()
            .collect();
        self.doubt_what_is_missing(&differing);
        self.dirty = differing.into_iter().collect();
        self.queue.clear();
        // Of what needs nothing more, nothing is in doubt.
        let dirty = &self.dirty;
        self.doubts.unproven.retain(|key| dirty.contains(key));
        self.doubts.suspects.retain(|key, _| dirty.contains(key));
        self.doubts.unanswered.retain(|key, _| dirty.contains(key));
        self.doubts
            .contradicted
            .retain(|key, _| dirty.contains(key));
    }

    /// An accepted frontend that this life of Sōzu held once, and holds no longer, or that an earlier life of the daemon
    /// may have sent it: workers may have it still.
    fn doubt_what_is_missing(&mut self, differing: &[Key]) {
        let is_complete = self.life.as_ref().map(Life::as_str) == self.complete_life.as_deref();
        if !self.doubts.is_inherited && !is_complete {
            return;
        }
        let missing = differing.iter().filter(|key| {
            let is_wanted = matches!(self.desired.declared().wanted(key), Wanted::Object(..));
            let is_accepted = is_wanted && !self.tail.turns(key);
            key.kind().is_frontend() && is_accepted && self.belief.held(key) == Held::Nothing
        });
        self.doubts.ever.extend(missing.cloned());
    }

    /// Settles the keys that were removed once: read without the object, this is noted with the
    /// life of Sōzu; held again in that very life, somebody put it there on purpose and it is
    /// foreign; otherwise it came back with an older saved state and is removed again.
    fn judge_absent_keys(&mut self) {
        let Some(life) = self.life.as_ref().map(|life| Arc::from(life.as_str())) else {
            return;
        };
        let pending: HashSet<&Key> = self.tail.iter().flat_map(|folded| &folded.keys).collect();
        let mut absent: Vec<Key> = self
            .desired
            .declared()
            .keys()
            .filter(|key| self.desired.declared().wanted(key) == Wanted::Nothing)
            .filter(|key| !pending.contains(key))
            .cloned()
            .collect();
        absent.sort_by_key(Key::kind);
        for key in absent {
            let held = self.belief.held(&key);
            for (source, declaration) in self.desired.declared().all(&key).to_vec() {
                match judge_absent(&declaration, &held, &life) {
                    Absence::Stays => {}
                    Absence::Noted(after) => self.say(&key, &source, Some(after)),
                    Absence::Ends => self.say(&key, &source, None),
                }
            }
        }
    }

    /// A removal is remembered for 30 days, and no more than so many of them: beyond that, what comes
    /// back with an older saved state is foreign.
    fn forget_old_removals(&mut self, now: Now) {
        let declared = self.desired.declared();
        let pending: HashSet<&Key> = self.tail.iter().flat_map(|folded| &folded.keys).collect();
        let is_over =
            |key: &&Key| !pending.contains(*key) && self.belief.held(key) == Held::Nothing;
        let says = declared.keys().filter(is_over).flat_map(|key| {
            let says = declared.all(key).iter();
            says.map(move |(source, says)| (key, source, says))
        });
        let removals = says.filter_map(|(key, source, says)| match says.stance {
            Stance::Absent { at, .. } => Some((at, key.clone(), source.clone())),
            _ => None,
        });
        for (key, source) in too_old(removals.collect(), now.wall, REMOVALS) {
            self.say(&key, &source, None);
        }
    }

    /// A cluster that was kept for foreign frontends or backends goes with the last of them.
    fn release_unused_clusters(&mut self, now: Now) {
        let unused: Vec<(Key, SourceName, Declaration)> = self
            .desired
            .declared()
            .keys()
            .filter(|key| matches!(key, Key::Cluster(id) if self.desired.users(id) == 0))
            .flat_map(|key| {
                let says = self.desired.declared().all(key).iter();
                says.map(move |(source, says)| (key.clone(), source.clone(), says.clone()))
            })
            .filter(|(.., says)| says.stance == Stance::Kept(Why::StillUsed))
            .collect();
        for (key, source, before) in unused {
            let stance = Stance::Absent {
                at: now.wall,
                unseen_in: None,
            };
            let after = Declaration {
                stance,
                object: None,
                ..before
            };
            self.say(&key, &source, Some(after));
        }
    }

    fn say(&mut self, key: &Key, source: &SourceName, after: Option<Declaration>) {
        if self
            .desired
            .declare(key, source, after.clone(), &self.belief)
            .is_err()
        {
            return;
        }
        if self.desired.declared().wanted(key) == Wanted::NoOpinion {
            self.foreign.insert(key.clone());
        }
        self.acceptance
            .declarations
            .push((key.clone(), source.clone(), after));
    }
}

/// What a source's `Absent` becomes by a read.
#[derive(Clone, Debug, PartialEq)]
enum Absence {
    /// It stays as it is.
    Stays,
    /// It is noted that this life of Sōzu was read without the object.
    Noted(Declaration),
    /// It ends: somebody put the object there on purpose.
    Ends,
}

fn judge_absent(declaration: &Declaration, held: &Held, life: &Arc<str>) -> Absence {
    let Stance::Absent { at, unseen_in } = &declaration.stance else {
        return Absence::Stays;
    };
    let seen_gone = unseen_in.as_ref() == Some(life);
    match held {
        Held::Nothing if !seen_gone => Absence::Noted(Declaration {
            stance: Stance::Absent {
                at: *at,
                unseen_in: Some(life.clone()),
            },
            ..declaration.clone()
        }),
        Held::Object(_) if seen_gone => Absence::Ends,
        _ => Absence::Stays,
    }
}

/// Of removals, each with its time, those that are remembered no longer.
fn too_old(
    mut removals: Vec<(SystemTime, Key, SourceName)>,
    now: SystemTime,
    at_most: usize,
) -> Vec<(Key, SourceName)> {
    let first = now
        .checked_sub(ABSENT_FOR)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let beyond = removals.len().saturating_sub(at_most);
    if beyond > 0 {
        removals.select_nth_unstable_by_key(beyond - 1, |(at, ..)| *at);
    }
    let removals = removals.into_iter().enumerate();
    let old = removals.filter(|(nth, (at, ..))| *nth < beyond || *at < first);
    old.map(|(_, (_, key, source))| (key, source)).collect()
}

fn same_life(a: Option<&Life>, b: Option<&Life>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_keeper::examples::cluster;

    #[test]
    fn a_removal_is_remembered_for_thirty_days_and_only_the_last_ones() {
        let day = |day| SystemTime::UNIX_EPOCH + Duration::from_hours(24 * day);
        let removal = |at: u64| {
            let key = Key::Cluster(format!("{at}").into());
            (day(at), key, SourceName::new("s"))
        };
        let old = |at_most| {
            let removals = [7, 31, 3, 20].map(removal).into();
            let mut days: Vec<String> = too_old(removals, day(35), at_most)
                .into_iter()
                .map(|(key, _)| key.to_string())
                .collect();
            days.sort();
            days
        };
        assert_eq!(old(10), ["3"]);
        assert_eq!(old(2), ["3", "7"]);
        assert_eq!(old(0).len(), 4);
    }

    #[test]
    fn what_was_removed_is_resurrected_unless_this_life_was_seen_without_it() {
        let absent = |unseen_in: Option<&str>| Declaration {
            stance: Stance::Absent {
                at: SystemTime::UNIX_EPOCH,
                unseen_in: unseen_in.map(Into::into),
            },
            object: None,
            origin: None,
            since: 1,
        };
        let held = Held::Object(Arc::new(cluster("a")));
        let this: Arc<str> = "this".into();
        let noted = Absence::Noted(absent(Some("this")));
        // (seen gone in, held, what becomes of it)
        let table = [
            (None, Held::Nothing, noted.clone()),
            (Some("before"), Held::Nothing, noted),
            (Some("this"), Held::Nothing, Absence::Stays),
            (None, held.clone(), Absence::Stays),
            (Some("before"), held.clone(), Absence::Stays),
            (Some("this"), held, Absence::Ends),
            (Some("this"), Held::Unknown, Absence::Stays),
        ];
        for (row, (unseen_in, held, expected)) in table.into_iter().enumerate() {
            assert_eq!(
                judge_absent(&absent(unseen_in), &held, &this),
                expected,
                "row {row}"
            );
        }
    }
}
