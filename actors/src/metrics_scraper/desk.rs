//! Who waits for Sōzu's answer, and how long one is good: no actor, no clock, no socket.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::messages::Scrape;

/// Where askers queue for one answer.
#[derive(Debug)]
pub(super) struct Desk {
    share_for: Duration,
    last: Option<(Instant, Scrape)>,
    waiting: Vec<oneshot::Sender<Scrape>>,
    in_flight: bool,
}

/// What an asker is told.
#[derive(Debug)]
pub(super) enum Told {
    /// This, at once.
    Answer(Scrape),
    /// The answer comes.
    Wait {
        /// Here.
        answer: oneshot::Receiver<Scrape>,
        /// Whether a query must be started for it: none is in flight.
        start: bool,
    },
}

impl Desk {
    pub(super) fn new(share_for: Duration) -> Self {
        Self {
            share_for,
            last: None,
            waiting: Vec::new(),
            in_flight: false,
        }
    }

    /// Somebody asks.
    pub(super) fn asked(&mut self, now: Instant) -> Told {
        if let Some((at, scrape)) = &self.last
            && now.saturating_duration_since(*at) < self.share_for
        {
            return Told::Answer(scrape.clone());
        }
        let (sender, answer) = oneshot::channel();
        // Those whose caller has given up need no answer.
        self.waiting.retain(|waiter| !waiter.is_closed());
        self.waiting.push(sender);
        let start = !self.in_flight;
        self.in_flight = true;
        Told::Wait { answer, start }
    }

    /// The query in flight ended.
    pub(super) fn answered(&mut self, now: Instant, scrape: &Scrape) {
        self.in_flight = false;
        self.last = Some((now, scrape.clone()));
        for waiter in self.waiting.drain(..) {
            // An asker that has given up in the meantime misses nothing.
            let _ = waiter.send(scrape.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn up(workers: usize) -> Scrape {
        Scrape {
            up: true,
            workers,
            ..Scrape::default()
        }
    }

    fn wait(told: Told) -> (oneshot::Receiver<Scrape>, bool) {
        match told {
            Told::Wait { answer, start } => (answer, start),
            Told::Answer(scrape) => panic!("told {scrape:?} at once"),
        }
    }

    #[test]
    fn one_query_answers_everybody_who_waits() {
        let now = Instant::now();
        let mut desk = Desk::new(SECOND);
        let (mut first, start) = wait(desk.asked(now));
        assert!(start);
        let (mut second, start) = wait(desk.asked(now + 30 * SECOND));
        assert!(!start, "a second query while one is in flight");
        desk.answered(now + 31 * SECOND, &up(2));
        assert_eq!(first.try_recv(), Ok(up(2)));
        assert_eq!(second.try_recv(), Ok(up(2)));
    }

    #[test]
    fn an_answer_is_shared_as_long_as_it_is_young() {
        let now = Instant::now();
        let mut desk = Desk::new(SECOND);
        let (_answer, _) = wait(desk.asked(now));
        desk.answered(now, &up(2));
        match desk.asked(now + SECOND / 2) {
            Told::Answer(scrape) => assert_eq!(scrape, up(2)),
            told @ Told::Wait { .. } => panic!("{told:?}"),
        }
        let (_answer, start) = wait(desk.asked(now + SECOND));
        assert!(start, "an old answer given as a new one");
    }

    #[test]
    fn nothing_is_shared_for_no_time() {
        let now = Instant::now();
        let mut desk = Desk::new(Duration::ZERO);
        let (_answer, _) = wait(desk.asked(now));
        desk.answered(now, &up(2));
        let (_answer, start) = wait(desk.asked(now));
        assert!(start);
    }

    #[test]
    fn whoever_gave_up_is_forgotten() {
        let now = Instant::now();
        let mut desk = Desk::new(SECOND);
        for _ in 0..1_000 {
            drop(wait(desk.asked(now)));
        }
        assert!(desk.waiting.len() <= 2, "{} wait", desk.waiting.len());
    }
}
