//! The ordered stop: the children one after the other, the last one first, each within its own time.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    State,
    bond::{End, Event, Outcome, What},
    health::Entry,
    tend::{Phase, Tending},
};

/// What a child gets to be gone when it is aborted. One that blocks its own thread does not go, and is left behind.
pub(crate) const ABORT_WITHIN: Duration = Duration::from_secs(1);

impl Tending<'_> {
    /// Stops the children one after the other, the last one first; who did not stop in time.
    pub(crate) async fn stop(&mut self) -> Vec<String> {
        self.stops = true;
        let mut survivors = Vec::new();
        for index in (0..self.watched.len()).rev() {
            self.stop_one(index, &mut survivors).await;
        }
        survivors
    }

    async fn stop_one(&mut self, index: usize, survivors: &mut Vec<String>) {
        let child = self.child(index);
        let name = &child.spec.name;
        let alive = self.watched[index].phase.alive();
        if alive && let Some(leash) = &self.watched[index].leash {
            // before it is cut off, which may end it
            let _ = leash.try_send(());
        }
        child.start.cut_off();
        if alive {
            if let Entry::Component(cell) = &child.entry {
                cell.stopping();
            }
            if !self.gone(index, child.spec.stop_within, survivors).await {
                warn!(
                    component = name,
                    within_seconds = child.spec.stop_within.as_secs_f64(),
                    "The component did not stop in time and is aborted."
                );
                survivors.push(name.clone());
                self.watched[index].leash = None;
                self.gone(index, ABORT_WITHIN, survivors).await;
            }
        }
        self.watched[index].phase = Phase::Over;
        child
            .entry
            .each(&mut |cell| cell.between(State::Stopped, String::new()));
        info!(component = name, "The component has stopped.");
    }

    /// Waits until a child is gone. Others that end meanwhile are not restarted any more.
    async fn gone(&mut self, index: usize, within: Duration, survivors: &mut Vec<String>) -> bool {
        let until = Instant::now() + within;
        while self.watched[index].phase.alive() {
            if let Some(Event {
                child,
                what: What::Over(outcome),
                ..
            }) = self.next(Some(until)).await
            {
                self.watched[child].phase = Phase::Over;
                match outcome {
                    Outcome::Stopped { survivors: below } => survivors.extend(below),
                    Outcome::Ended(End { reason, error }) => {
                        let component = &self.child(child).spec.name;
                        warn!(
                            component,
                            reason = reason.name(),
                            error,
                            "The component ended while the tree stops."
                        );
                    }
                    Outcome::Escalated { .. } | Outcome::Killed => {}
                }
            } else if Instant::now() >= until {
                return false;
            }
        }
        true
    }
}
