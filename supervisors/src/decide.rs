//! What to do when a life has ended: a pure function, no actor, no clock.

use std::{collections::VecDeque, time::Duration};

use crate::Backoff;

/// When ends of one child are a crash loop, and how long to wait between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many ends within `period` are answered with a restart; one more is a crash loop.
    pub intensity: u32,
    /// Counted while the child is ready: neither backoff nor a slow start stretches a crash loop out of it.
    pub period: Duration,
    /// What to wait before a restart.
    pub backoff: Backoff,
}

impl Default for Limits {
    /// 5 within 60 s of being ready.
    fn default() -> Self {
        Self {
            intensity: 5,
            period: Duration::from_mins(1),
            backoff: Backoff::default(),
        }
    }
}

/// The ends of one child that lie within the period: for each, how long the life was ready. The newest is the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History(VecDeque<Duration>);

impl History {
    /// With one more end, after a life that was `ready_for` so long; without those that have left the period.
    fn with(mut self, ready_for: Duration, period: Duration) -> Self {
        self.0.push_back(ready_for);
        // from the oldest end to the newest passed the ready time of all lives but the oldest
        while self.span() > period {
            self.0.pop_front();
        }
        self
    }

    fn span(&self) -> Duration {
        self.0
            .iter()
            .skip(1)
            .fold(Duration::ZERO, |sum, ready_for| {
                sum.saturating_add(*ready_for)
            })
    }

    pub(crate) fn ends(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
}

/// What to do after an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Start again after this time.
    Restart(Duration),
    /// A crash loop that others can live with: try again after this time, for ever.
    Park(Duration),
    /// A crash loop that others cannot live with.
    Escalate,
}

/// Decides after the end of a life that was `ready_for` so long; `random` is from 0 to 1.
pub(crate) fn decide(
    limits: &Limits,
    critical: bool,
    history: History,
    ready_for: Duration,
    random: f64,
) -> (History, Next) {
    let history = history.with(ready_for, limits.period);
    let ends = history.ends();
    let next = if ends <= limits.intensity {
        Next::Restart(limits.backoff.delay(ends, random))
    } else if critical {
        Next::Escalate
    } else {
        Next::Park(limits.backoff.longest)
    };
    (history, next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        intensity: 2,
        period: Duration::from_mins(1),
        backoff: Backoff {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(10),
        },
    };

    /// Feeds lives that were ready for so many seconds; the decisions, without jitter.
    fn decisions(critical: bool, lives: &[u64]) -> Vec<Next> {
        let mut history = History::default();
        lives
            .iter()
            .map(|seconds| {
                let ready_for = Duration::from_secs(*seconds);
                let (after, next) = decide(
                    &LIMITS,
                    critical,
                    std::mem::take(&mut history),
                    ready_for,
                    1.0,
                );
                history = after;
                next
            })
            .collect()
    }

    #[test]
    fn the_table() {
        let restart = |seconds| Next::Restart(Duration::from_secs(seconds));
        let park = Next::Park(LIMITS.backoff.longest);
        for (what, critical, lives, expected) in [
            ("one end", true, vec![0], vec![restart(1)]),
            (
                "a long life before it changes nothing",
                true,
                vec![9_999],
                vec![restart(1)],
            ),
            (
                "a loop of a critical child",
                true,
                vec![0, 0, 0],
                vec![restart(1), restart(2), Next::Escalate],
            ),
            (
                "a loop of a parking child",
                false,
                vec![0, 0, 0],
                vec![restart(1), restart(2), park],
            ),
            (
                "it stays parked while it fails",
                false,
                vec![0, 0, 0, 0, 9],
                vec![restart(1), restart(2), park, park, park],
            ),
            (
                "and is forgiven after a whole period",
                false,
                vec![0, 0, 0, 61],
                vec![restart(1), restart(2), park, restart(1)],
            ),
            (
                "exactly a period is within it",
                true,
                vec![0, 30, 30],
                vec![restart(1), restart(2), Next::Escalate],
            ),
            (
                "beyond it the oldest is forgotten",
                true,
                vec![0, 30, 31],
                vec![restart(1), restart(2), restart(2)],
            ),
            (
                "an end now and then is no loop",
                true,
                vec![61, 61, 61, 61],
                vec![restart(1); 4],
            ),
        ] {
            assert_eq!(decisions(critical, &lives), expected, "{what}");
        }
    }

    #[test]
    fn without_any_intensity_the_first_end_escalates() {
        let limits = Limits {
            intensity: 0,
            ..LIMITS
        };
        let (_, next) = decide(&limits, true, History::default(), Duration::MAX, 0.5);
        assert_eq!(next, Next::Escalate);
    }

    proptest! {
        /// Whatever the random numbers and the backoff: lives that are never ready are a crash loop at the first chance.
        #[test]
        fn no_backoff_hides_a_crash_loop(
            intensity in 0_u32..50, first in 0_u64..100_000, longest in 0_u64..1_000_000,
            critical: bool, randoms in proptest::collection::vec(0.0..1.0, 51),
        ) {
            let limits = Limits {
                intensity,
                period: Duration::from_secs(1),
                backoff: Backoff {
                    first: Duration::from_millis(first),
                    longest: Duration::from_millis(longest),
                },
            };
            let mut history = History::default();
            for (end, random) in (1..).zip(randoms).take(intensity as usize + 1) {
                let (after, next) = decide(&limits, critical, history, Duration::ZERO, random);
                history = after;
                match next {
                    Next::Restart(delay) => {
                        prop_assert!(end <= intensity);
                        prop_assert!(delay <= limits.backoff.ceiling(end));
                    }
                    Next::Park(delay) => {
                        prop_assert!(end > intensity && !critical);
                        prop_assert_eq!(delay, limits.backoff.longest);
                    }
                    Next::Escalate => prop_assert!(end > intensity && critical),
                }
            }
        }

        /// Against a plain count over absolute times of being ready.
        #[test]
        fn the_window_counts_what_it_says(lives in proptest::collection::vec(0_u64..40_000, 1..60)) {
            let mut history = History::default();
            let mut ends: Vec<u64> = Vec::new();
            let mut ready = 0;
            for life in lives {
                ready += life;
                ends.push(ready);
                let expected = ends.iter().filter(|end| ready - **end <= 60_000).count();
                let (after, next) =
                    decide(&LIMITS, true, history, Duration::from_millis(life), 0.0);
                history = after;
                prop_assert_eq!(history.ends() as usize, expected);
                prop_assert_eq!(next == Next::Escalate, expected > 2);
            }
        }
    }
}
