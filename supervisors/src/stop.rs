//! The ordered stop: the children one after the other, the last one first, each within its own time.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    State,
    bond::{End, Event, Outcome, What},
    health::Entry,
    tend::{Phase, Tending, Watched},
};

/// What a child gets to be gone when it is aborted. One that blocks its own thread does not go, and is left behind.
pub(crate) const ABORT_WITHIN: Duration = Duration::from_secs(1);

impl Tending<'_> {
    /// Stops the children one after the other, the last one first; who did not stop in time.
    pub(crate) async fn stop(&mut self) -> Vec<String> {
        self.stops = true;
        let mut survivors = Vec::new();
        let numbers: Vec<u64> = self.watched.keys().rev().copied().collect();
        for number in numbers {
            self.stop_one(number, &mut survivors).await;
        }
        survivors
    }

    async fn stop_one(&mut self, number: u64, survivors: &mut Vec<String>) {
        let Some(watched) = self.watched.get(&number) else {
            return;
        };
        if watched.phase.alive() {
            watched.ask_to_stop();
            let within = watched.child.stop_within();
            if !self.gone(number, within, survivors).await {
                if let Some(watched) = self.watched.get_mut(&number) {
                    watched.abort();
                    survivors.push(watched.child.spec.name.clone());
                }
                self.gone(number, ABORT_WITHIN, survivors).await;
            }
        }
        if let Some(watched) = self.watched.get_mut(&number) {
            watched.phase = Phase::Over;
            watched.stopped();
        }
    }

    /// Waits until a child is gone. Others that end meanwhile are not restarted any more.
    async fn gone(&mut self, number: u64, within: Duration, survivors: &mut Vec<String>) -> bool {
        let until = Instant::now() + within;
        while self.is_alive(number) {
            if let Some(Event {
                child,
                what: What::Over(outcome),
                ..
            }) = self.next(Some(until)).await
            {
                let Some(watched) = self.watched.get_mut(&child) else {
                    continue;
                };
                watched.phase = Phase::Over;
                match outcome {
                    Outcome::Stopped { survivors: below } => survivors.extend(below),
                    Outcome::Ended(end) => watched.ended_while_stopping(&end),
                    Outcome::Escalated { .. } | Outcome::Killed => {}
                }
            } else if Instant::now() >= until {
                return false;
            }
        }
        true
    }

    fn is_alive(&self, number: u64) -> bool {
        let watched = self.watched.get(&number);
        watched.is_some_and(|watched| watched.phase.alive())
    }
}

impl Watched {
    /// Asks it to stop, and delivers nothing more to it.
    pub(crate) fn ask_to_stop(&self) {
        if let Some(leash) = &self.leash {
            // before it is cut off, which may end it
            let _ = leash.try_send(());
        }
        self.child.start.cut_off();
        if let Entry::Component(cell) = &self.child.entry {
            cell.stopping();
        }
    }

    /// It did not stop in time.
    pub(crate) fn abort(&mut self) {
        warn!(
            component = self.child.spec.name,
            within_seconds = self.child.stop_within().as_secs_f64(),
            "The component did not stop in time and is aborted."
        );
        self.leash = None;
    }

    pub(crate) fn ended_while_stopping(&self, End { reason, error }: &End) {
        warn!(
            component = self.child.spec.name,
            reason = reason.name(),
            error,
            "The component ended while it was to stop."
        );
    }

    /// It is gone for good.
    pub(crate) fn stopped(&self) {
        // one in backoff was not asked, and a message may wait for its next life
        self.child.start.cut_off();
        self.child
            .entry
            .each(&mut |cell| cell.between(State::Stopped, String::new()));
        info!(
            component = self.child.spec.name,
            "The component has stopped."
        );
    }
}
