//! The next batch: dirty keys in the order of the plan, as many as Sōzu loads well at once.

use sozu_command_lib::proto::command::Request;

use super::{
    declared::Wanted,
    events::Effect,
    keeper::{Doing, Keeper},
    key::Key,
    plan::{self, Need, Step},
};

/// Steps in one batch: what Sōzu loads fastest lies between 5,000 and 20,000 (measured on 2.3.3).
pub(super) const BATCH: usize = 10_000;

impl Keeper {
    pub(super) fn send_next(&mut self, effects: &mut Vec<Effect>) {
        let steps = self.next_batch();
        if steps.is_empty() {
            return;
        }
        for step in &steps {
            self.dirty.remove(&step.key);
            self.in_flight.insert(step.key.clone());
        }
        let requests: Vec<Request> = steps
            .iter()
            .flat_map(|step| step.requests.clone())
            .collect();
        self.doing = Doing::Sending {
            steps,
            requests: requests.len(),
            life: self.life.clone(),
        };
        effects.push(Effect::Send(requests));
    }

    /// The first steps of the queue, in batches as small as the suspects among them ask for.
    fn next_batch(&mut self) -> Vec<Step> {
        let mut lined_up = false;
        let mut batch = Vec::new();
        let mut limit = BATCH;
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
            if !batch.is_empty() && batch.len() >= limit {
                self.queue.push_front((key, goes));
                break;
            }
            let step = self.step_for(&key);
            // What was to come and goes now, or the other way round, has another place in the line.
            batch.extend(step.filter(|step| step.to.is_none() == goes));
        }
        batch
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
        self.queue = keys.into();
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
