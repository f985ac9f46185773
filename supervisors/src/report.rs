//! What a component says of itself.

use std::{fmt, sync::Arc};

use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::{
    Reason, State,
    bond::{End, News},
    health::Cell,
    points::Points,
};

/// What a component says of itself; given to each life of a child by its factory. The word of a life that is over
/// changes nothing.
#[derive(Clone)]
pub struct Reporter(Option<Arc<Desk>>);

struct Desk {
    cell: Arc<Cell>,
    news: News,
    ends: mpsc::Sender<End>,
    points: Points,
}

impl fmt::Debug for Reporter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.as_ref().map(|desk| desk.cell.name());
        formatter.debug_tuple("Reporter").field(&name).finish()
    }
}

impl Reporter {
    pub(crate) fn new(
        cell: Arc<Cell>,
        news: News,
        ends: mpsc::Sender<End>,
        points: Points,
    ) -> Self {
        Self(Some(Arc::new(Desk {
            cell,
            news,
            ends,
            points,
        })))
    }

    /// A reporter that nobody reads: for tests of actors without a supervisor.
    pub fn detached() -> Self {
        Self(None)
    }

    /// Initialised, and what it talks to is there. The first call of either makes the child ready.
    pub fn running(&self, detail: impl Into<String>) {
        self.word(State::Running, &detail.into(), None);
    }

    /// Initialised, but what it talks to is away or wrong.
    pub fn degraded(&self, detail: impl Into<String>, error: impl Into<String>) {
        self.word(State::Degraded, &detail.into(), Some(error.into()));
    }

    /// Initialised, and waits until a person has decided something.
    pub fn parked(&self, detail: impl Into<String>, error: impl Into<String>) {
        self.word(State::Parked, &detail.into(), Some(error.into()));
    }

    /// It cannot go on: this life ends as soon as the actor yields, and a new one begins. `stopping` and `stopped` run
    /// once, without time for anything asynchronous.
    pub fn failed(&self, error: impl Into<String>) {
        if let Some(desk) = &self.0 {
            // full: it has already failed, and the first error is the one to tell
            let _ = desk.ends.try_send(End::new(Reason::Error, error));
        }
    }

    /// One of the component's own timers has come. For tests only: it is where `KIND::tick` makes it fail.
    pub fn tick(&self) {
        if let Some(desk) = &self.0 {
            desk.points.tick();
        }
    }

    fn word(&self, state: State, detail: &str, error: Option<String>) {
        let Some(desk) = &self.0 else { return };
        let Some(heard) = desk
            .cell
            .word(desk.news.life, state, detail.to_owned(), error.clone())
        else {
            return;
        };
        if heard.first {
            desk.news.ready();
        }
        if heard.changed {
            let component = desk.cell.name();
            match error {
                None => info!(component, detail, "The component is running."),
                Some(error) if state == State::Parked => {
                    warn!(
                        component,
                        detail, error, "The component waits for a person."
                    );
                }
                Some(error) => warn!(component, detail, error, "The component is degraded."),
            }
        }
    }
}
