//! When a burst of events is over: 300 ms after its last event, 2 s after its first at most.

use std::time::Duration;

use tokio::time::Instant;

/// So long nothing may happen for a burst to be over.
const QUIET: Duration = Duration::from_millis(300);
/// So long a burst is waited for at most: a directory that never rests is read all the same.
const AT_MOST: Duration = Duration::from_secs(2);

/// A burst of events that is going on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settle {
    first: Instant,
    last: Instant,
}

impl Settle {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            first: now,
            last: now,
        }
    }

    pub(super) fn kick(&mut self, now: Instant) {
        self.last = self.last.max(now);
    }

    /// When the burst counts as over, if no other event comes.
    pub(super) fn due(&self) -> Instant {
        (self.last + QUIET).min(self.first + AT_MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_postpones_it_but_never_beyond_the_limit() {
        let start = Instant::now();
        let mut settle = Settle::new(start);
        assert_eq!(settle.due(), start + QUIET);
        for ms in (100..5000).step_by(100) {
            let now = start + Duration::from_millis(ms);
            settle.kick(now);
            assert_eq!(settle.due(), (now + QUIET).min(start + AT_MOST));
        }
        assert_eq!(settle.due(), start + AT_MOST);
    }
}
