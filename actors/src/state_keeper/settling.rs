//! Verdicts become final, and what they bring is written into the accepted sets.

use std::{sync::Arc, time::Duration};

use super::{
    declared::Wanted,
    events::{Effect, FinalVerdict, Now},
    gate::{Gate, Mode},
    held::Held,
    keeper::{Accepting, Doing, Keeper},
    key::Key,
    log::Folded,
    verdict::{self, Settled, Verdict},
};
use crate::messages::SourceName;

/// How long a disk that cannot be written is left before the next try.
const DISK_AGAIN: Duration = Duration::from_secs(1);

/// Entries that have to wait which are looked at while more is to be sent.
const PATIENCE: usize = 10_000;

impl Keeper {
    fn settled(&self, key: &Key) -> Settled {
        let open = self.dirty.contains(key)
            || self.in_flight.contains(key)
            || self.is_unproven(key)
            || self.is_awaited(key)
            || self.belief.held(key) == Held::Unknown;
        if self.settings.mode == Mode::Observe && !self.is_history(key) {
            Settled::Observed
        } else if self.doubts.divergent.contains(key) {
            Settled::Divergent
        } else if open {
            Settled::No
        } else {
            Settled::Yes
        }
    }

    /// Whether a worker has to answer for it still. (What cannot be sent is awaited, or nobody asks.)
    fn is_unproven(&self, key: &Key) -> bool {
        self.doubts.unproven.contains(key)
            && !self.unservable.contains_key(key)
            && matches!(self.desired.declared().wanted(key), Wanted::Object(..))
    }

    /// Whether a change of the tail wants what cannot be sent just now. (Another source's object that
    /// Sōzu refuses may have come in its place.)
    fn is_awaited(&self, key: &Key) -> bool {
        self.unservable.contains_key(key)
            && match self.desired.declared().wanted(key) {
                Wanted::Object(object, _) => self.tail.last_to_want(key, Some(&object)).is_some(),
                Wanted::Nothing | Wanted::NoOpinion => true,
            }
    }

    pub(super) fn settle(&mut self) {
        // In a flood the entries settle nearly in their order; at rest every one is looked at.
        let patience = if self.dirty.is_empty() {
            usize::MAX
        } else {
            PATIENCE
        };
        let settling = verdict::settle(&self.tail, |key| self.settled(key), patience);
        if settling.is_empty() {
            return;
        }
        let places: Vec<usize> = settling.iter().map(|(place, _)| *place).collect();
        let taken = self.tail.take(&places);
        self.acceptance.verdicts.reserve(taken.len());
        self.acceptance.declarations.reserve(taken.len());
        for (folded, (_, verdict)) in taken.into_iter().zip(settling) {
            self.conclude(folded, verdict);
        }
    }

    fn conclude(&mut self, folded: Folded, verdict: Verdict) {
        let Folded {
            entry,
            keys,
            turned,
            ..
        } = folded;
        if let Verdict::Refused(reason) = &verdict {
            self.remember_refusal(&entry, &keys, reason);
        } else {
            for key in &keys {
                self.refused.remove(&(entry.source.clone(), key.clone()));
            }
        }
        let accepted = turned.into_iter();
        self.acceptance
            .declarations
            .extend(accepted.map(|turned| (turned.key, turned.source, turned.after)));
        self.last_change.insert(entry.source.clone(), entry.at);
        self.acceptance.verdicts.push(FinalVerdict {
            seq: entry.seq,
            source: entry.source.clone(),
            keys,
            verdict,
            taken: entry.at,
        });
    }

    /// This life of Sōzu is complete once all that can be sent was sent and answered.
    pub(super) fn complete(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let at_rest = matches!(self.doing, Doing::Nothing)
            && !self.must_read
            && self.dirty.iter().all(|key| self.is_history(key))
            && self.appending.is_none();
        if !at_rest || self.gate(now) != Gate::Open {
            return;
        }
        if !self.complete {
            self.complete = true;
            let life: Option<Arc<str>> = self.life.as_ref().map(|life| life.as_str().into());
            let is_news = life != self.complete_life;
            if is_news {
                self.acceptance.complete_life.clone_from(&life);
                self.complete_life = life;
                effects.push(Effect::Restored {
                    took: now.at.saturating_sub(self.life_seen),
                });
            }
        }
    }

    pub(super) fn accept(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let acceptance = match &self.accepting {
            Accepting::Nothing if !self.acceptance.is_empty() => {
                Arc::new(std::mem::take(&mut self.acceptance))
            }
            Accepting::Failed { acceptance, again } if now.at >= *again => acceptance.clone(),
            _ => return,
        };
        self.accepting = Accepting::Writing(acceptance.clone());
        effects.push(Effect::Accept(acceptance));
    }

    /// The entries whose verdicts are not on disk yet, and whose they are.
    pub(super) fn unwritten(&self) -> impl Iterator<Item = (&SourceName, u64)> {
        let verdicts = self.unwritten_verdicts();
        verdicts.map(|verdict| (&verdict.source, verdict.seq))
    }

    /// The verdicts that are not on disk yet.
    pub(super) fn unwritten_verdicts(&self) -> impl Iterator<Item = &FinalVerdict> {
        let writing = match &self.accepting {
            Accepting::Nothing => None,
            Accepting::Writing(acceptance) | Accepting::Failed { acceptance, .. } => {
                Some(acceptance)
            }
        };
        let writing = writing
            .into_iter()
            .flat_map(|acceptance| &acceptance.verdicts);
        writing.chain(&self.acceptance.verdicts)
    }

    pub(super) fn on_accepted(&mut self, now: Now, result: Result<(), String>) {
        let Accepting::Writing(acceptance) =
            std::mem::replace(&mut self.accepting, Accepting::Nothing)
        else {
            return;
        };
        match result {
            Ok(()) => {
                self.disk = None;
                self.desk.hear(&acceptance);
                self.warnings.hear(&acceptance);
            }
            Err(error) => {
                self.disk = Some(error);
                let again = now.at + DISK_AGAIN;
                self.accepting = Accepting::Failed { acceptance, again };
            }
        }
    }
}
