//! How one child is supervised.

use std::time::Duration;

/// How one child is supervised.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its name in health, metrics and logs; unique in the tree.
    pub name: String,
    /// What sort of component it is, in health.
    pub kind: &'static str,
    /// Whether its crash loop escalates; otherwise it is parked.
    pub critical: bool,
    /// Whether it runs on a thread of its own.
    pub own_thread: bool,
    /// What it gets to be ready (to report for the first time) before it is replaced.
    pub ready_within: Duration,
    /// What it gets to end when it is asked to, or has to be replaced; then it is aborted.
    pub stop_within: Duration,
    /// How long it may give no sign of life before it is replaced. It is asked three times within that, in its own turn: what
    /// is not to blame is one that only has much to do, as long as it takes message after message.
    pub silent_within: Duration,
    /// How many messages may wait for it; who asks further waits for room. At least 1.
    pub mailbox: usize,
}

impl Spec {
    /// One that the others cannot live without: its crash loop escalates.
    pub fn critical(name: impl Into<String>, kind: &'static str) -> Self {
        Self {
            name: name.into(),
            kind,
            critical: true,
            own_thread: false,
            ready_within: Duration::from_secs(30),
            stop_within: Duration::from_secs(5),
            silent_within: Duration::from_secs(30),
            mailbox: 64,
        }
    }

    /// One that the others can live without: its crash loop parks it, that is, it is restarted now and then, for ever.
    pub fn parking(name: impl Into<String>, kind: &'static str) -> Self {
        Self {
            critical: false,
            ..Self::critical(name, kind)
        }
    }

    /// Runs on a thread of its own, so that what it computes, or blocks on, delays nobody. The factory is called on that
    /// thread, each life has a new one. There is a tokio runtime and a `LocalSet` on it, but no `actix::System`.
    #[must_use]
    pub fn own_thread(mut self) -> Self {
        self.own_thread = true;
        self
    }

    /// What it gets to be ready; 30 s unless said.
    #[must_use]
    pub fn ready_within(mut self, time: Duration) -> Self {
        self.ready_within = time;
        self
    }

    /// What it gets to end; 5 s unless said.
    #[must_use]
    pub fn stop_within(mut self, time: Duration) -> Self {
        self.stop_within = time;
        self
    }

    /// How long it may give no sign of life; 30 s unless said.
    #[must_use]
    pub fn silent_within(mut self, time: Duration) -> Self {
        self.silent_within = time;
        self
    }

    /// How many messages may wait for it; 64 unless said.
    #[must_use]
    pub fn mailbox(mut self, messages: usize) -> Self {
        self.mailbox = messages;
        self
    }
}
