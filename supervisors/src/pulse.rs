//! Whether a child still turns: it is asked now and then, and has to answer.

use std::time::Duration;

use tokio::time::Instant;

/// So many questions in a row have to stay unanswered.
const MISSES: u32 = 3;

/// The signs of life of one child. Its silence is counted in questions, not by the clock alone: a process that was stopped
/// as a whole, or starved, misses one question and not all of them.
pub(crate) struct Pulse {
    within: Duration,
    due: Instant,
    unanswered: u32,
    heard: Instant,
}

impl Pulse {
    /// Of a child that has just reported; the first question is due at once. `within`: how long it may be silent.
    pub(crate) fn new(within: Duration, now: Instant) -> Self {
        Self {
            within,
            due: now,
            unanswered: 0,
            heard: now,
        }
    }

    /// When there is something to do: to ask, or to judge.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// When it was last heard.
    pub(crate) fn heard(&self) -> Instant {
        self.heard
    }

    pub(crate) fn answered(&mut self, now: Instant) {
        self.unanswered = 0;
        self.heard = now;
    }

    /// At [`Pulse::due`]: whether it is to be asked again; if not, it was silent for too long.
    pub(crate) fn ask(&mut self, now: Instant) -> bool {
        if self.unanswered >= MISSES {
            return false;
        }
        self.unanswered += 1;
        self.due = now + self.within / MISSES;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(30);

    #[test]
    fn three_questions_without_an_answer_are_silence() {
        let begun = Instant::now();
        let mut pulse = Pulse::new(WITHIN, begun);
        for asked in 0..3 {
            assert_eq!(pulse.due(), begun + asked * WITHIN / 3);
            assert!(pulse.ask(pulse.due()));
        }
        assert_eq!(pulse.due(), begun + WITHIN);
        assert!(!pulse.ask(pulse.due()));
        assert_eq!(pulse.heard(), begun);
    }

    #[test]
    fn a_pause_of_the_whole_process_is_one_question() {
        let begun = Instant::now();
        let mut pulse = Pulse::new(WITHIN, begun);
        assert!(pulse.ask(begun));
        // nobody ran for an hour, and the answer still lies in the queue
        let later = begun + Duration::from_hours(1);
        assert!(pulse.ask(later));
        pulse.answered(later);
        assert!(pulse.ask(later + WITHIN / 3));
    }

    proptest! {
        /// Whoever answers at least every second question is never given up; whoever stops answering is, in time.
        #[test]
        fn only_silence_is_silence(answers in proptest::collection::vec(any::<bool>(), 1..50)) {
            let mut now = Instant::now();
            let mut pulse = Pulse::new(WITHIN, now);
            let mut missed = 0;
            for answers in answers {
                prop_assert_eq!(pulse.ask(now), missed < MISSES);
                if missed == MISSES {
                    prop_assert!(now - pulse.heard() >= WITHIN);
                    return Ok(());
                }
                if answers {
                    pulse.answered(now);
                    missed = 0;
                } else {
                    missed += 1;
                }
                now = pulse.due();
            }
        }
    }
}
