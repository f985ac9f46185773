//! Workers that differ from their main process are replaced, one at a time: no request mends them, and
//! a new worker gets its state from the main process.
//!
//! What `UpgradeWorker` does (read in Sōzu 2.3.3, `src/command/upgrade.rs`): it takes the listening
//! sockets from the old worker, starts a new one, and when that has answered stops the old one
//! softly. The answer comes when the old one's last session has ended, which may be later than our deadline. A
//! worker that does not answer is never asked for its sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sozu_socket::ExchangeError;

use super::{
    events::{Effect, Now},
    gate::Gate,
    keeper::{Doing, Keeper},
    key::Key,
};
use crate::metrics;

/// Each worker is replaced at most once within this.
const BETWEEN: Duration = Duration::from_mins(10);
/// What a status said of the workers counts for so long.
const FRESH: Duration = Duration::from_secs(1);

/// What is known of the workers of this life of Sōzu.
#[derive(Default)]
pub(super) struct Workers {
    /// When Sōzu said it last.
    told: Option<Duration>,
    running: BTreeSet<u32>,
    /// When one was launched, if that was seen.
    launched: BTreeMap<u32, Duration>,
    /// When one was to be replaced.
    tried: BTreeMap<u32, Duration>,
    /// Those that may differ, and were not replaced since that was found.
    stale: BTreeSet<u32>,
}

impl Workers {
    /// Sōzu names its workers.
    fn hear(&mut self, now: Duration, running: impl Iterator<Item = u32>) {
        let running: BTreeSet<u32> = running.collect();
        if self.told.is_some() {
            for id in running.difference(&self.running) {
                self.launched.entry(*id).or_insert(now);
            }
        }
        self.stale.retain(|id| running.contains(id));
        self.running = running;
        self.told = Some(now);
    }

    pub(super) fn running(&self) -> BTreeSet<u32> {
        self.running.clone()
    }

    /// The next one to be replaced: the lowest of those that differ, unless it is younger than ten
    /// minutes or was tried within them.
    fn next(&self, now: Duration) -> Option<u32> {
        let is_due = |at: Option<&Duration>| at.is_none_or(|at| *at + BETWEEN <= now);
        let mut stale = self.stale.iter();
        stale
            .find(|id| is_due(self.launched.get(id)) && is_due(self.tried.get(id)))
            .copied()
    }
}

impl Keeper {
    pub(super) fn hear_workers(&mut self, now: Now, workers: &[(u32, bool)]) {
        let ids = workers.iter().map(|(id, _)| *id);
        self.workers_known.hear(now.at, ids);
        if self.workers_known.stale.is_empty() {
            // All that differed are gone, whoever replaced them: what is missing is sent again.
            for key in self.doubts.divergent.drain() {
                self.doubts.ever.remove(&key);
                self.dirty.insert(key);
            }
        }
    }

    /// These workers differ from their main process under this key.
    pub(super) fn diverges(
        &mut self,
        key: Key,
        words: &str,
        workers: impl IntoIterator<Item = u32>,
    ) {
        tracing::error!(kind = %key.kind(), %key, error = words, "Sōzu's workers differ from its main process; replace them one by one with `sozu upgrade --worker ID`.");
        self.doubts.divergent.insert(key);
        self.workers_known.stale.extend(workers);
    }

    /// Has the next worker replaced, if that is wanted: one at a time, and only while all of them have
    /// just answered, so that none is merely slow.
    pub(super) fn cure(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let is_idle = matches!(self.doing, Doing::Nothing) && !self.must_read;
        let is_wanted = self.settings.upgrade_workers && !self.doubts.divergent.is_empty();
        if !is_idle || !is_wanted || self.gate(now) != Gate::Open {
            return;
        }
        let Some(id) = self.workers_known.next(now.at) else {
            return;
        };
        let told = self.workers_known.told;
        if told.is_none_or(|told| told + FRESH < now.at) {
            self.must_read = true;
        } else if self.silent.is_empty() {
            tracing::warn!(
                worker = id,
                differences = self.doubts.divergent.len(),
                "A worker differs from Sōzu's main process and is replaced."
            );
            self.workers_known.tried.insert(id, now.at);
            self.doing = Doing::Upgrading(id);
            effects.push(Effect::UpgradeWorker(id));
        }
    }

    pub(super) fn on_upgraded(&mut self, now: Now, result: Result<(), ExchangeError>) {
        let Doing::Upgrading(id) = self.doing else {
            return;
        };
        self.doing = Doing::Nothing;
        self.must_read = true;
        match result {
            Ok(()) => {
                metrics::worker_upgrade("replaced");
                tracing::info!(worker = id, "The worker was replaced.");
            }
            // The old one may still have sessions; if it is the new one that is missing, the next try tells.
            Err(ExchangeError::Unknown(error)) => {
                metrics::worker_upgrade("unknown");
                tracing::warn!(
                    worker = id,
                    error,
                    "Whether the worker was replaced is not known yet."
                );
                self.fence_ends = self.fence_ends.max(now.at + self.longest(1));
            }
            Err(error) => {
                metrics::worker_upgrade("failed");
                tracing::error!(worker = id, error = %error, "The worker could not be replaced; it is tried again in ten minutes. `sozu upgrade --worker ID` does the same.");
                return;
            }
        }
        self.workers_known.stale.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn seen(running: &[u32], stale: &[u32]) -> Workers {
        let mut workers = Workers::default();
        workers.hear(Duration::ZERO, running.iter().copied());
        workers.stale = stale.iter().copied().collect();
        workers
    }

    #[test]
    fn those_that_differ_are_replaced_in_turn() {
        let mut workers = seen(&[0, 1], &[0, 1]);
        assert_eq!(workers.next(MINUTE), Some(0));
        workers.tried.insert(0, MINUTE);
        assert_eq!(workers.next(MINUTE), Some(1), "not the same one at once");
        workers.stale.remove(&1);
        assert_eq!(workers.next(10 * MINUTE), None);
        assert_eq!(workers.next(11 * MINUTE), Some(0));
        assert_eq!(seen(&[0, 1], &[]).next(MINUTE), None);
    }

    #[test]
    fn a_new_worker_is_left_alone_for_ten_minutes() {
        let mut workers = seen(&[0, 1], &[]);
        workers.hear(MINUTE, [1, 2].into_iter());
        workers.stale = BTreeSet::from([2]);
        assert_eq!(workers.next(10 * MINUTE), None);
        assert_eq!(workers.next(11 * MINUTE), Some(2));
    }

    #[test]
    fn one_that_is_gone_differs_no_more() {
        let mut workers = seen(&[0, 1], &[0, 1]);
        workers.hear(MINUTE, [1, 2].into_iter());
        assert_eq!(workers.next(MINUTE), Some(1));
    }
}
