//! What follows from Sōzu's answer to a batch.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    answer::{self, Meaning, Outcome},
    declared::Wanted,
    doubts::Unanswered,
    events::Now,
    keeper::{Doing, Keeper},
    key::{Key, Object},
    plan::Step,
};

/// A bulk of at most so many steps that was partly refused is tried again one by one; a larger one
/// in halves.
const ONE_BY_ONE: usize = 1000;
/// So often Sōzu may say nothing clear about a change that is sent alone, until that is its verdict.
const UNANSWERED: u32 = 3;
/// So often Sōzu may hold something else than was just read, as a stranger puts it there, until a change is refused.
const CONTRADICTED: u32 = 3;

impl Keeper {
    pub(super) fn on_sent(&mut self, now: Now, outcome: &Outcome) {
        let Doing::Sending {
            steps,
            requests,
            life,
        } = std::mem::replace(&mut self.doing, Doing::Nothing)
        else {
            return;
        };
        self.in_flight.clear();
        let same_life = match (&life, &self.life) {
            (Some(then), Some(now)) => then == now,
            _ => false,
        };
        let meaning = match answer::meaning(requests, self.workers, outcome) {
            meaning if same_life => meaning,
            // To whichever life it went.
            Meaning::Unreadable(words) => Meaning::Unreadable(words),
            _ => Meaning::Unknown("Sōzu was started anew meanwhile".to_owned()),
        };
        self.trouble = match &meaning {
            Meaning::NotTaken(why) | Meaning::Unknown(why) => Some(why.clone()),
            _ => None,
        };
        if meaning != Meaning::Applied {
            // What comes later in the line may need what was not taken.
            self.prepared = None;
            self.queue.clear();
        }
        match meaning {
            Meaning::Applied => self.applied(&steps),
            Meaning::Skipped => self.not_as_believed(steps),
            Meaning::NotAsBelieved(reason) => {
                let mut most = 0;
                for step in &steps {
                    let times = self
                        .doubts
                        .contradicted
                        .entry(step.key.clone())
                        .or_default();
                    *times += 1;
                    most = most.max(*times);
                }
                if most >= CONTRADICTED {
                    return self.refuse_steps(&steps, &reason);
                }
                self.not_as_believed(steps);
            }
            // Nothing was sent: one record of the file is larger than the limit.
            Meaning::TooLarge(_) if steps.len() > 1 && requests > 1 => self.one_by_one(steps),
            Meaning::RefusedByMain(reason) | Meaning::TooLarge(reason) => {
                self.refuse_steps(&steps, &reason);
            }
            Meaning::RefusedByWorkers(words) => self.refused_by_workers(now, steps, &words),
            Meaning::PartlyRefused(words) => {
                // The main process takes back what no worker took: a read proves a frontend now.
                for step in steps.iter().filter(|step| step.key.kind().is_frontend()) {
                    self.doubts.unproven.remove(&step.key);
                }
                self.partly_refused(steps, &words);
            }
            Meaning::Unreadable(words) => {
                // A frontend that is held all the same is no proof then.
                let added = steps.iter().filter(|step| step.to.is_some());
                let keys = added.map(|step| step.key.clone());
                self.doubts.unproven.extend(keys);
                self.partly_refused(steps, &words);
            }
            Meaning::NotTaken(_) => {
                self.dirty.extend(steps.into_iter().map(|step| step.key));
                self.back_off(now);
            }
            Meaning::Unknown(words) => self.unknown(now, steps, requests, &words),
        }
    }

    fn applied(&mut self, steps: &[Step]) {
        self.tries = 0;
        for step in steps {
            self.doubts.unproven.remove(&step.key);
            self.doubts.suspects.remove(&step.key);
            self.doubts.unanswered.remove(&step.key);
            self.doubts.contradicted.remove(&step.key);
            // Whatever workers had left to do, they have done.
            self.doubts.ever.remove(&step.key);
            self.belief.learn(&step.key, step.to.clone());
        }
        self.forget_what_went_along(steps);
        if self.doubts.spurned.is_empty() {
            return;
        }
        let came = steps.iter().filter(|step| step.to.is_some());
        self.try_what_lacked_its_cluster(came.map(|step| &step.key));
    }

    /// A backend that Sōzu refused because its cluster could not be had is sent once that has come.
    pub(super) fn try_what_lacked_its_cluster<'a>(&mut self, came: impl Iterator<Item = &'a Key>) {
        for key in came {
            let Key::Cluster(id) = key else {
                continue;
            };
            let members = self.desired.members(id);
            for key in members.filter(|key| matches!(key, Key::Backend(_))) {
                if self.doubts.spurned.remove(key).is_some() {
                    self.unservable.remove(key);
                    self.dirty.insert(key.clone());
                }
            }
        }
    }

    /// A cluster that goes takes along all that is in it: what is still wanted of that is sent again.
    fn forget_what_went_along(&mut self, steps: &[Step]) {
        let gone: HashSet<&str> = steps
            .iter()
            .filter(|step| step.to.is_none())
            .filter_map(|step| match &step.key {
                Key::Cluster(id) => Some(id.as_ref()),
                _ => None,
            })
            .collect();
        if gone.is_empty() {
            return;
        }
        self.forget_prepared();
        // So does a frontend that came just before it.
        let comes = steps.iter().filter(|step| {
            let cluster = step.to.as_ref().and_then(|object| object.cluster());
            step.key.kind().is_frontend() && cluster.is_some_and(|id| gone.contains(id))
        });
        let comes = comes.map(|step| step.key.clone());
        self.doubts.ever.extend(comes);
        for key in self.belief.forget_clusters(&gone) {
            self.foreign.remove(&key);
            if key.kind().is_frontend() {
                // A worker that did not have the cluster has the frontend still.
                self.doubts.ever.insert(key.clone());
            }
            self.dirty.insert(key);
        }
    }

    /// Sōzu did not take steps that were worked out from what it was believed to hold. Where nothing
    /// was believed to be, the read may find what somebody else has put there.
    fn not_as_believed(&mut self, steps: Vec<Step>) {
        let added = steps.iter().filter(|step| !step.is_two());
        let added = added.filter_map(|step| Some((step.key.clone(), step.to.clone()?)));
        self.doubts.added.extend(added);
        self.read_back(steps, 1);
    }

    /// After a read: where an object was found that is not the one we sent, it is taken over.
    pub(super) fn find_taken_over(&mut self) {
        for (key, sent) in std::mem::take(&mut self.doubts.added) {
            let held = self.belief.held(&key);
            let is_theirs = held.object().is_some_and(|held| !held.same(&sent));
            if let Wanted::Object(wanted, _) = self.desired.declared().wanted(&key)
                && is_theirs
            {
                self.tail.take_over(&key, &wanted);
            }
        }
    }

    fn one_by_one(&mut self, steps: Vec<Step>) {
        for step in steps {
            self.doubts.suspects.insert(step.key.clone(), 1);
            self.dirty.insert(step.key);
        }
    }

    /// Which steps were taken is found by reading back, never by sending all again; what is still
    /// missing then goes in batches of at most `limit`.
    fn read_back(&mut self, steps: Vec<Step>, limit: usize) {
        self.must_read = true;
        self.forget_what_went_along(&steps);
        for step in steps {
            self.belief.forget(&step.key);
            self.doubts.suspects.insert(step.key.clone(), limit);
            self.dirty.insert(step.key);
        }
    }

    fn partly_refused(&mut self, steps: Vec<Step>, words: &str) {
        tracing::warn!(
            error = words,
            changes = steps.len(),
            "Sōzu took a batch only in part; it is read back."
        );
        let limit = if steps.len() <= ONE_BY_ONE {
            1
        } else {
            steps.len() / 2
        };
        for step in &steps {
            self.doubt_workers(step, words);
        }
        self.read_back(steps, limit);
    }

    /// The main process keeps clusters, backends and certificates whatever the workers said, so
    /// that only a worker's answer proves them. A read proves a frontend.
    fn doubt_workers(&mut self, step: &Step, words: &str) {
        if answer::is_vouched(words) {
            self.doubts.vouched.insert(step.key.clone());
        } else {
            self.doubts.vouched.remove(&step.key);
        }
        if !step.key.kind().is_frontend() && step.to.is_some() {
            self.doubts.unproven.insert(step.key.clone());
        }
    }

    fn refused_by_workers(&mut self, now: Now, steps: Vec<Step>, words: &str) {
        let (additions, removals): (Vec<Step>, Vec<Step>) =
            steps.into_iter().partition(|step| step.to.is_some());
        // Of one request, both are a certificate's replacement.
        let (replaced, removals) = if additions.is_empty() {
            (Vec::new(), removals)
        } else {
            (removals, Vec::new())
        };
        if !removals.is_empty() {
            return self.unknown(now, removals, 1, words);
        }
        for step in &additions {
            if !step.key.kind().is_frontend() {
                self.belief.learn(&step.key, step.to.clone());
            } else if self.doubts.ever.contains(&step.key)
                || self
                    .tail
                    .last_to_want(&step.key, step.to.as_deref())
                    .is_none()
            {
                self.belief.learn(&step.key, None);
                if self.wants(&step.key, step.to.as_deref()) {
                    let all = self.workers_known.running();
                    self.diverges(step.key.clone(), words, all);
                }
                self.doubts.ever.insert(step.key.clone());
                continue;
            } else {
                self.belief.learn(&step.key, None);
            }
            self.tries = 0;
            self.doubts.suspects.remove(&step.key);
            if step.key.kind().is_frontend() {
                self.doubts.unproven.remove(&step.key);
            } else {
                // The main process keeps it: is the same wanted again before it is gone, the workers have to answer for it.
                self.doubts.unproven.insert(step.key.clone());
            }
            self.refuse(&step.key, step.to.as_deref(), words);
        }
        for step in replaced {
            // The main process has let the old one go, and no worker has: it comes back, or goes by itself.
            if matches!(
                self.desired.declared().wanted(&step.key),
                Wanted::Object(..)
            ) {
                self.belief.learn(&step.key, None);
            }
            self.dirty.insert(step.key);
        }
    }

    fn unknown(&mut self, now: Now, steps: Vec<Step>, requests: usize, words: &str) {
        tracing::warn!(
            error = words,
            changes = steps.len(),
            "The outcome of a request is unknown; Sōzu is read back."
        );
        self.fence_ends = self.fence_ends.max(now.at + self.longest(requests));
        let alone = steps.len() == 1 || requests == 1;
        let refused_by = answer::refused_by_some(words, self.workers);
        // While one worker is silent, what another one has to say about it is no silence of Sōzu's.
        let is_counted = alone && (!refused_by.is_empty() || !answer::is_from_workers(words));
        for step in &steps {
            self.doubt_workers(step, words);
            self.doubts.ever.insert(step.key.clone());
            if let Some(object) = step.to.as_ref().filter(|_| is_counted) {
                self.count_unanswered(&step.key, object, refused_by.clone());
            }
        }
        // What is missing then is sent in bulk once more, then alone.
        let again = steps
            .iter()
            .any(|step| self.doubts.suspects.contains_key(&step.key));
        let limit = if again || alone { 1 } else { steps.len() };
        self.read_back(steps, limit);
        self.back_off(now);
    }

    fn count_unanswered(&mut self, key: &Key, object: &Arc<Object>, refused_by: Vec<u32>) {
        let unanswered = &mut self.doubts.unanswered;
        let before = unanswered.remove(key).filter(|it| it.object.same(object));
        let counted = Unanswered {
            object: object.clone(),
            times: before.map_or(1, |it| it.times + 1),
            refused_by,
        };
        unanswered.insert(key.clone(), counted);
    }

    /// After a read: what was sent alone again and again without a clear answer. What is not held although
    /// Sōzu answers in between is refused; what is held, and some workers took and others refused, is divergent.
    pub(super) fn end_unanswered(&mut self) {
        let unanswered = self.doubts.unanswered.iter();
        let keys = unanswered.filter(|(_, it)| it.times >= UNANSWERED);
        for key in keys.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            let Some(it) = self.doubts.unanswered.remove(&key) else {
                continue;
            };
            let held = self.belief.held(&key);
            let is_held = held.object().is_some_and(|held| held.same(&it.object));
            if !is_held {
                self.refuse(
                    &key,
                    Some(&it.object),
                    "no answer: Sōzu was asked three times and did not say what became of it",
                );
                // What is accepted is tried again all the same.
                self.doubts.spurned.remove(&key);
            } else if !it.refused_by.is_empty() && self.wants(&key, Some(&it.object)) {
                let which = format!("only these refuse it: {:?}", it.refused_by);
                self.diverges(key, &which, it.refused_by);
            }
        }
    }

    /// Whether this object, or nothing, is wanted still: while it was on its way a change may have come.
    fn wants(&self, key: &Key, object: Option<&Object>) -> bool {
        match (self.desired.declared().wanted(key), object) {
            (Wanted::Object(wanted, _), Some(object)) => wanted.same(object),
            (Wanted::Nothing, None) => true,
            _ => false,
        }
    }

    /// What was not taken tells nothing about what the workers made of what stands there.
    fn refuse_steps(&mut self, steps: &[Step], reason: &str) {
        self.tries = 0;
        for step in steps {
            self.doubts.suspects.remove(&step.key);
            self.refuse(&step.key, step.to.as_deref(), reason);
        }
    }

    /// Sōzu refuses this object under `key`, or that nothing be there: the change that wanted it
    /// leaves the tail, which is folded again. Where no change of the tail wanted it, it waits until
    /// something changes.
    fn refuse(&mut self, key: &Key, object: Option<&Object>, reason: &str) {
        let Some(seq) = self.tail.last_to_want(key, object) else {
            if self.wants(key, object) {
                tracing::warn!(kind = %key.kind(), %key, error = reason, "Sōzu does not take an object that it took before.");
                self.dirty.remove(key);
                let why = format!("Sōzu refuses it: {reason}");
                self.unservable.insert(key.clone(), why.clone());
                if let Some(object) = object {
                    let spurned = (Arc::new(object.clone()), why);
                    self.doubts.spurned.insert(key.clone(), spurned);
                }
            }
            return;
        };
        // The cluster that it was sent for was a stranger's, and is gone: it waits, or is refused for that.
        if matches!(key, Key::Backend(it) if !self.desired.has_cluster(&it.cluster)) {
            let keys = self.tail.reconsider(seq, &mut self.desired, &self.belief);
            return self.mark(keys);
        }
        let refused = HashMap::from([(seq, reason.to_owned())]);
        let keys = self.tail.refuse(&refused, &mut self.desired, &self.belief);
        self.mark(keys);
    }

    /// Full jitter is the pool's business; here it is enough not to ask without a pause.
    pub(super) fn back_off(&mut self, now: Now) {
        let pause = Duration::from_millis(100).saturating_mul(1 << self.tries.min(6));
        self.tries += 1;
        self.wait_until = now.at + pause;
    }
}
