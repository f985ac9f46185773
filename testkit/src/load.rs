//! Steady requests in the background, counted, so that a test can say "n of m failed".

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::get;

/// What came back so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers by status and body.
    pub answers: BTreeMap<(u16, String), u64>,
    /// Requests without an answer, by their error.
    pub errors: BTreeMap<String, u64>,
}

impl Tally {
    /// All requests.
    pub fn total(&self) -> u64 {
        self.answers.values().sum::<u64>() + self.errors.values().sum::<u64>()
    }

    /// Answers with status 200.
    pub fn succeeded(&self) -> u64 {
        self.answers
            .iter()
            .filter(|((status, _), _)| *status == 200)
            .map(|(_, count)| count)
            .sum()
    }

    /// Everything else.
    pub fn failed(&self) -> u64 {
        self.total() - self.succeeded()
    }

    /// Answers with this status and body.
    pub fn of(&self, status: u16, body: &str) -> u64 {
        self.answers
            .get(&(status, body.to_owned()))
            .copied()
            .unwrap_or(0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} requests failed", self.failed(), self.total())
    }
}

/// Requests to one host, one after the other, each on a connection of its own, 2 ms apart.
#[derive(Debug)]
pub struct Load {
    stopping: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Begins.
    pub fn start(port: u16, host: &str, path: &str) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let thread = std::thread::spawn({
            let (stopping, tally) = (Arc::clone(&stopping), Arc::clone(&tally));
            let (host, path) = (host.to_owned(), path.to_owned());
            move || {
                while !stopping.load(Ordering::Relaxed) {
                    let outcome = get(port, &host, &path);
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    *match outcome {
                        Ok(answer) => tally
                            .answers
                            .entry((answer.status, answer.body))
                            .or_default(),
                        Err(error) => tally.errors.entry(error.to_string()).or_default(),
                    } += 1;
                    drop(tally);
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Self {
            stopping,
            tally,
            thread: Some(thread),
        }
    }

    /// What came back so far.
    pub fn tally(&self) -> Tally {
        self.tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends, and gives the final counts.
    pub fn stop(mut self) -> Tally {
        self.end();
        self.tally()
    }

    fn end(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, SOON, wait_until};

    #[test]
    fn answers_and_failures_are_counted_apart() {
        let backend = Backend::start("A").unwrap();
        let load = Load::start(backend.port(), "a.example", "/");
        wait_until("ten answers", SOON, || load.tally().of(200, "A") >= 10);
        drop(backend);
        wait_until("a failure", SOON, || load.tally().failed() > 0);
        let tally = load.stop();
        assert_eq!(tally.total(), tally.succeeded() + tally.failed());
        assert!(tally.to_string().ends_with("requests failed"), "{tally}");
    }
}
