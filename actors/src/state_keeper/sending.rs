//! The next batch: dirty keys in the order of the plan, as many as Sōzu loads well at once.

use std::sync::Arc;

use sozu_command_lib::proto::command::Request;

use super::{
    declared::Wanted,
    events::{Effect, Now},
    gate::Gate,
    keeper::{Doing, Keeper},
    key::{Key, KeySet},
    plan::{self, Need, Step},
    renewing,
};

/// Steps in one batch: what Sōzu loads fastest lies between 5,000 and 20,000 (measured on 2.3.3).
pub(super) const BATCH: usize = 10_000;

/// So many steps are worth preparing while another batch is under way. What comes in smaller numbers
/// waits, so that what arrives meanwhile goes along.
const WORTH_PREPARING: usize = 1_000;

/// Steps that go together.
#[derive(Debug)]
pub(super) struct Batch {
    pub steps: Vec<Step>,
    pub requests: Arc<Vec<Request>>,
    /// Certificates of it that come in another one's place.
    renewals: Vec<(Key, Key)>,
}

impl Batch {
    fn of(steps: Vec<Step>, renewals: Vec<(Key, Key)>) -> Self {
        let mut requests = Vec::with_capacity(steps.len());
        for step in &steps {
            step.write(&mut requests);
        }
        Self {
            steps,
            requests: Arc::new(requests),
            renewals,
        }
    }
}

/// The batch that goes next, worked out while another one is under way. Its keys stay dirty.
pub(super) struct Prepared {
    batch: Batch,
    keys: KeySet,
}

impl Prepared {
    fn of(batch: Batch) -> Self {
        let keys = batch.steps.iter().map(|step| step.key.clone()).collect();
        Self { batch, keys }
    }
}

impl Keeper {
    pub(super) fn send_next(&mut self, effects: &mut Vec<Effect>) {
        let Prepared { batch, keys } = match self.prepared.take() {
            Some(prepared) => prepared,
            None => Prepared::of(self.next_batch()),
        };
        if batch.steps.is_empty() {
            return;
        }
        for key in &keys {
            self.dirty.remove(key);
        }
        self.in_flight = keys;
        effects.push(Effect::Send(batch.requests.clone()));
        self.doing = Doing::Sending {
            steps: batch.steps,
            requests: batch.requests.len(),
            life: self.life.clone(),
        };
    }

    /// Works out the next batch of a flood while one is under way, as if all of that will be taken.
    pub(super) fn prepare_next(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let is_sending = matches!(self.doing, Doing::Sending { .. });
        let is_worth_it = self.prepared.is_none() && self.dirty.len() >= WORTH_PREPARING;
        if !is_sending || !is_worth_it || self.must_read || self.gate(now) != Gate::Open {
            return;
        }
        let prepared = Prepared::of(self.next_batch());
        if prepared.batch.steps.len() < WORTH_PREPARING || self.must_read {
            return self.put_back(prepared);
        }
        effects.push(Effect::Prepare(prepared.batch.requests.clone()));
        self.prepared = Some(prepared);
    }

    /// What was prepared may not be what is to be sent now: it is worked out anew.
    pub(super) fn forget_prepared(&mut self) {
        if let Some(prepared) = self.prepared.take() {
            self.put_back(prepared);
        }
    }

    fn put_back(&mut self, prepared: Prepared) {
        for step in prepared.batch.steps.into_iter().rev() {
            self.queue.push_front((step.key, step.to.is_none()));
        }
        self.renewals.extend(prepared.batch.renewals);
    }

    /// Something else may be wanted of this key.
    pub(super) fn forget_prepared_of(&mut self, key: &Key) {
        let is_in_it = |prepared: &Prepared| prepared.keys.contains(key);
        if self.prepared.as_ref().is_some_and(is_in_it) {
            self.forget_prepared();
        }
    }

    /// The first steps of the queue, in batches as small as the suspects among them ask for.
    fn next_batch(&mut self) -> Batch {
        let mut lined_up = false;
        let mut batch = Vec::with_capacity(self.dirty.len().min(BATCH));
        let mut limit = BATCH;
        let mut renewals: Vec<(Key, Key)> = Vec::new();
        let mut replaced = KeySet::default();
        loop {
            let Some((key, goes)) = self.queue.pop_front() else {
                if lined_up || !batch.is_empty() {
                    break;
                }
                self.line_up();
                lined_up = true;
                continue;
            };
            let suspect = self.doubts.suspects.get(&key).copied();
            limit = limit.min(suspect.unwrap_or(BATCH));
            // What is under way under the key decides what it needs then.
            let waits = self.in_flight.contains(&key);
            if waits || (!batch.is_empty() && batch.len() >= limit) {
                self.queue.push_front((key, goes));
                break;
            }
            if replaced.contains(&key) {
                continue;
            }
            let step = self.step_for(&key);
            // What was to come and goes now, or the other way round, has another place in the line.
            let Some(step) = step.filter(|step| step.to.is_none() == goes) else {
                continue;
            };
            match self.replaced_by(&key) {
                Some(old) => {
                    replaced.insert(old.key.clone());
                    renewals.push((key, old.key.clone()));
                    batch.extend(renewing::together(step, old));
                }
                None => batch.push(step),
            }
        }
        Batch::of(batch, renewals)
    }

    /// The removal of the certificate in whose place this one comes.
    fn replaced_by(&mut self, key: &Key) -> Option<Step> {
        let old = self.renewals.remove(key)?;
        let is_free = !self.in_flight.contains(&old);
        self.step_for(&old)
            .filter(|step| is_free && step.to.is_none())
    }

    /// Lines the dirty keys up anew.
    fn line_up(&mut self) {
        let declared = self.desired.declared();
        let goes = |key: &Key| declared.wanted(key) == Wanted::Nothing;
        let mut keys: Vec<(Key, bool)> = self
            .dirty
            .iter()
            .map(|key| (key.clone(), goes(key)))
            .collect();
        plan::order(&mut keys);
        self.renewals = renewing::pairs(&keys, &self.tail, &self.belief);
        self.queue = keys.into();
    }

    /// Whether Sōzu has refused it before, and nobody asks for it anew.
    fn is_spurned(&self, step: &Step) -> bool {
        let (Some(object), Some((spurned, _))) = (&step.to, self.doubts.spurned.get(&step.key))
        else {
            return false;
        };
        object.same(spurned) && self.tail.last_to_want(&step.key, Some(object)).is_none()
    }

    /// Whether Sōzu holds a cluster that nobody wants, refused by its workers or resurrected, while
    /// somebody uses it.
    fn is_used_leftover(&self, key: &Key) -> bool {
        self.desired.is_used(key) && self.tail.last_to_want(key, None).is_none()
    }

    /// What a dirty key needs now. One that needs nothing is clean.
    fn step_for(&mut self, key: &Key) -> Option<Step> {
        if !self.dirty.contains(key) {
            return None;
        }
        let wanted = self.desired.declared().wanted(key);
        let unproven = self.doubts.unproven.contains(key);
        match plan::need(key, &wanted, &self.belief.held(key), unproven) {
            Need::Nothing => {
                self.dirty.remove(key);
                self.doubts.unproven.remove(key);
                self.doubts.suspects.remove(key);
                self.doubts.unanswered.remove(key);
                self.unservable.remove(key);
            }
            Need::Read => self.must_read = true,
            Need::Unservable(why) => {
                self.dirty.remove(key);
                self.unservable.insert(key.clone(), why.to_owned());
            }
            Need::Send(_) if self.doubts.divergent.contains(key) => {
                self.dirty.remove(key);
            }
            Need::Send(_) if self.is_history(key) => {}
            Need::Send(step) if self.is_spurned(&step) => {
                let (_, why) = &self.doubts.spurned[key];
                self.unservable.insert(key.clone(), why.clone());
                self.dirty.remove(key);
            }
            // It would take along what is wanted in it; no order asks for that.
            Need::Send(step) if step.to.is_none() && self.is_used_leftover(key) => {
                self.dirty.remove(key);
            }
            Need::Send(step) => {
                self.unservable.remove(key);
                return Some(step);
            }
        }
        None
    }
}
