//! What a bus has told of itself that a person has to know and accept: it would be subscribed by another name than before, or
//! something of its stream is gone for good.

use std::{collections::HashMap, sync::Arc};

use super::{events::Acceptance, keeper::Keeper};
use crate::messages::{DeclareError, Declared, Missing, OrderError, SourceName, Subscribes};

/// Of all buses.
#[derive(Default)]
pub(super) struct Warnings {
    /// The name by which each is subscribed.
    subscriptions: HashMap<SourceName, Arc<str>>,
    /// The name by which one would be, and is not.
    others: HashMap<SourceName, Arc<str>>,
    gaps: HashMap<SourceName, Arc<str>>,
    /// Persons who wait until it is on disk that they have accepted it.
    waiting: Vec<(u64, SourceName)>,
    /// Whose it is.
    done: Vec<u64>,
}

impl Warnings {
    pub(super) fn new(
        subscriptions: HashMap<SourceName, Arc<str>>,
        gaps: HashMap<SourceName, Arc<str>>,
    ) -> Self {
        Self {
            subscriptions,
            gaps,
            ..Self::default()
        }
    }

    /// What is known to be missing of the source's stream.
    pub(super) fn gap(&self, source: &SourceName) -> Option<&Arc<str>> {
        self.gaps.get(source)
    }

    /// This is on disk.
    pub(super) fn hear(&mut self, acceptance: &Acceptance) {
        let is_written = |source: &SourceName| acceptance.accepted.contains(source);
        let (done, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, source)| is_written(source));
        self.waiting = waiting;
        let done: Vec<(u64, SourceName)> = done;
        self.done.extend(done.into_iter().map(|(reply, _)| reply));
    }

    /// The persons who can be answered now.
    pub(super) fn done(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.done)
    }
}

impl Keeper {
    /// A bus may subscribe by the name by which it did before, or by its first one.
    pub(super) fn on_subscribes(
        &mut self,
        subscribes: &Subscribes,
    ) -> Result<Declared, DeclareError> {
        let Subscribes {
            source,
            subscription,
        } = subscribes;
        let warnings = &mut self.warnings;
        match warnings.subscriptions.get(source) {
            Some(stored) if stored != subscription => {
                warnings.others.insert(source.clone(), subscription.clone());
                return Err(DeclareError::OtherSubscription {
                    source_name: source.clone(),
                    stored: stored.clone(),
                    configured: subscription.clone(),
                });
            }
            Some(_) => {}
            None => {
                let named = (source.clone(), subscription.clone());
                warnings
                    .subscriptions
                    .insert(named.0.clone(), named.1.clone());
                self.acceptance.subscriptions.push(named);
            }
        }
        warnings.others.remove(source);
        Ok(Declared { changes: 0 })
    }

    pub(super) fn on_missing(&mut self, missing: Missing) {
        let Missing { source, what } = missing;
        if self.warnings.gaps.get(&source) != Some(&what) {
            let gap = (source.clone(), Some(what.clone()));
            self.acceptance.gaps.push(gap);
            self.warnings.gaps.insert(source, what);
        }
    }

    /// A person lets the source go on as it is. The answer waits for the disk.
    pub(super) fn accept_warnings(
        &mut self,
        source: &SourceName,
        reply: u64,
    ) -> Result<(), OrderError> {
        let warnings = &mut self.warnings;
        let other = warnings.others.remove(source);
        let gap = warnings.gaps.remove(source);
        if other.is_none() && gap.is_none() {
            return Err(OrderError::NothingToAccept(source.clone()));
        }
        if let Some(subscription) = other {
            let named = (source.clone(), subscription);
            warnings
                .subscriptions
                .insert(named.0.clone(), named.1.clone());
            self.acceptance.subscriptions.push(named);
        }
        if gap.is_some() {
            self.acceptance.gaps.push((source.clone(), None));
        }
        self.acceptance.accepted.push(source.clone());
        warnings.waiting.push((reply, source.clone()));
        Ok(())
    }
}
