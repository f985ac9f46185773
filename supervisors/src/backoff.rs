//! How long to wait before a child starts again.

use std::time::Duration;

/// Exponential backoff with full jitter: before the n-th restart of a crash loop anything between nothing and
/// `first * 2^(n-1)`, which never exceeds `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The most to wait before the first restart.
    pub first: Duration,
    /// The most to wait at all; what a parked child waits.
    pub longest: Duration,
}

impl Default for Backoff {
    /// 100 ms, doubling up to 30 s.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    /// The most to wait before restart number `attempt`, counted from 1.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        self.first.saturating_mul(doubled).min(self.longest)
    }

    /// What to wait before restart number `attempt`, given a random number from 0 to 1.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let ceiling = self.ceiling(attempt);
        Duration::try_from_secs_f64(ceiling.as_secs_f64() * random)
            .unwrap_or(ceiling)
            .min(ceiling)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_longest() {
        let backoff = Backoff {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(1),
        };
        let ceilings: Vec<u128> = (1..=6).map(|n| backoff.ceiling(n).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn the_jitter_is_full() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay(3, 0.0), Duration::ZERO);
        assert_eq!(backoff.delay(3, 0.5), Duration::from_millis(200));
        assert_eq!(backoff.delay(3, 1.0), Duration::from_millis(400));
    }

    proptest! {
        #[test]
        fn never_beyond_its_bounds(
            first in 0..u64::MAX, longest in 0..u64::MAX, attempt: u32, random: f64,
        ) {
            let backoff = Backoff {
                first: Duration::from_millis(first),
                longest: Duration::from_millis(longest),
            };
            let delay = backoff.delay(attempt, random);
            prop_assert!(delay <= backoff.ceiling(attempt));
            prop_assert!(backoff.ceiling(attempt) <= backoff.longest);
        }
    }
}
