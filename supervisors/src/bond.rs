//! What passes between a supervisor and a life of its child: birth and leash downwards, readiness and end upwards.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::Reason;

/// What a supervisor starts, over and over: an actor, or a group of them.
pub(crate) trait Start: Send + Sync {
    /// Begins a life, which reports to `birth.news` and obeys `birth.leash`.
    fn start(&self, birth: Birth);
    /// Nothing more is delivered until the next life.
    fn cut_off(&self);
    /// What it gets to end, where that is not its [`Spec`](crate::Spec)'s to say.
    fn stop_within(&self) -> Option<Duration> {
        None
    }
}

/// What a life is given.
pub(crate) struct Birth {
    pub(crate) news: News,
    /// A tug asks to stop; when it is let go, the life ends at once.
    pub(crate) leash: mpsc::Receiver<()>,
    /// Questions whether it still turns, one at a time; answered by [`News::beat`].
    pub(crate) questions: mpsc::Receiver<()>,
}

/// What a supervisor hears of its children.
pub(crate) struct Event {
    pub(crate) child: u64,
    pub(crate) life: u64,
    pub(crate) what: What,
}

pub(crate) enum What {
    Ready,
    /// It still turns.
    Beat,
    Over(Outcome),
}

/// How a life ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// As asked; who below it did not stop in time.
    Stopped { survivors: Vec<String> },
    /// Without having been asked to.
    Ended(End),
    /// A group, after a crash loop of this component, which began when the group had run for `sound`.
    Escalated {
        component: String,
        error: String,
        sound: Duration,
    },
    /// The leash was let go.
    Killed,
}

/// Why a life ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) reason: Reason,
    pub(crate) error: String,
}

impl End {
    pub(crate) fn new(reason: Reason, error: impl Into<String>) -> Self {
        Self {
            reason,
            error: error.into(),
        }
    }
}

/// The way from a life to its supervisor.
#[derive(Clone)]
pub(crate) struct News {
    pub(crate) child: u64,
    pub(crate) life: u64,
    pub(crate) events: mpsc::UnboundedSender<Event>,
}

impl News {
    pub(crate) fn ready(&self) {
        self.tell(What::Ready);
    }

    pub(crate) fn beat(&self) {
        self.tell(What::Beat);
    }

    fn tell(&self, what: What) {
        // nobody there: the supervisor is gone, and with it the leash
        let _ = self.events.send(Event {
            child: self.child,
            life: self.life,
            what,
        });
    }
}

/// Tells the supervisor how a life ended, even if the task that lived it is dropped.
pub(crate) struct Obituary {
    news: News,
    outcome: Option<Outcome>,
}

impl Obituary {
    pub(crate) fn new(news: News) -> Self {
        Self {
            news,
            outcome: None,
        }
    }

    pub(crate) fn tell(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Obituary {
    fn drop(&mut self) {
        let lost = || Outcome::Ended(End::new(Reason::Error, "its task was dropped"));
        let outcome = self.outcome.take().unwrap_or_else(lost);
        self.news.tell(What::Over(outcome));
    }
}
