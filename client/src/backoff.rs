//! Full-jitter backoff: a random pause below a ceiling that doubles with every failure.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LAST: Duration = Duration::from_secs(1);

/// The ceiling of the next pause.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(FIRST)
    }

    /// The next pause: anything from nothing to the ceiling, so that many who wait do not return together.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.0.mul_f64(rand::random::<f64>());
        self.0 = (self.0 * 2).min(LAST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_below_a_ceiling_that_doubles_up_to_a_second() {
        for _ in 0..100 {
            let mut backoff = Backoff::new();
            for ceiling in [50, 100, 200, 400, 800, 1000, 1000] {
                assert!(backoff.pause() <= Duration::from_millis(ceiling));
            }
        }
    }
}
