//! The thread that writes, so that no actor ever waits for the disk.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, SystemTime},
};

use tokio::sync::oneshot;

use super::{Counts, Limits, Store, StoreError, copies};
use crate::{
    messages::SourceName,
    state_keeper::{
        events::{Acceptance, Ending, Mark},
        gate::Pause,
        log::Entry,
    },
};

const PRUNE_EVERY: Duration = Duration::from_hours(1);

enum Job {
    Append(Vec<Arc<Entry>>, Option<(SourceName, Mark)>),
    Accept(Arc<Acceptance>),
    EndLetters(Arc<Ending>),
    SentOn(Vec<u64>),
    KeepPause(Option<Pause>),
    SetLimits(Limits),
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Done {
    /// The size of the database in bytes.
    pub bytes: u64,
    /// How many dead letters have ended.
    pub ended: u64,
    /// How many dead letters there are, if that is news.
    pub letters: Option<Arc<Counts>>,
}

/// What a write came to.
pub type Written = Result<Done, StoreError>;

/// Writes in the order of asking. The thread ends, and the next life's turn comes, once the writer
/// is dropped and the last write is done.
pub struct Writer(mpsc::Sender<(Job, oneshot::Sender<Written>)>);

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(store: Store) -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel();
        thread::Builder::new()
            .name("state-writer".to_owned())
            .spawn(move || write(store, &jobs))?;
        Ok(Self(sender))
    }

    /// As [`Store::append`].
    pub fn append(
        &self,
        entries: Vec<Arc<Entry>>,
        mark: Option<(SourceName, Mark)>,
    ) -> oneshot::Receiver<Written> {
        self.ask(Job::Append(entries, mark))
    }

    /// As [`Store::accept`].
    pub fn accept(&self, acceptance: Arc<Acceptance>) -> oneshot::Receiver<Written> {
        self.ask(Job::Accept(acceptance))
    }

    /// As [`Store::end_letters`].
    pub fn end_letters(&self, ending: Arc<Ending>) -> oneshot::Receiver<Written> {
        self.ask(Job::EndLetters(ending))
    }

    /// As [`Store::sent_on`].
    pub fn sent_on(&self, letters: Vec<u64>) -> oneshot::Receiver<Written> {
        self.ask(Job::SentOn(letters))
    }

    /// As [`Store::keep_pause`].
    pub fn keep_pause(&self, pause: Option<Pause>) -> oneshot::Receiver<Written> {
        self.ask(Job::KeepPause(pause))
    }

    /// From now on so much of the past is kept.
    pub fn set_limits(&self, limits: Limits) {
        drop(self.ask(Job::SetLimits(limits)));
    }

    fn ask(&self, job: Job) -> oneshot::Receiver<Written> {
        let (answer, receiver) = oneshot::channel();
        // If the thread is gone, so is `answer`, and the receiver says so.
        let _ = self.0.send((job, answer));
        receiver
    }
}

fn write(mut store: Store, jobs: &mpsc::Receiver<(Job, oneshot::Sender<Written>)>) {
    let mut pruned = SystemTime::now();
    for (job, answer) in jobs {
        let now = SystemTime::now();
        let mut ended = 0;
        let result = store.is_there().and_then(|()| match job {
            Job::Append(entries, mark) => store.append(&entries, mark),
            Job::Accept(acceptance) => store.accept(&acceptance, now),
            Job::EndLetters(ending) => store.end_letters(&ending).map(|count| ended = count),
            Job::SentOn(letters) => store.sent_on(&letters, now),
            Job::KeepPause(pause) => store.keep_pause(pause),
            Job::SetLimits(limits) => {
                store.limits = limits;
                Ok(())
            }
        });
        let result = store.noted(result);
        let _ = answer.send(result.map(|()| Done {
            bytes: store.bytes(),
            ended,
            letters: store.letters.news(),
        }));
        if now
            .duration_since(pruned)
            .is_ok_and(|since| since > PRUNE_EVERY)
        {
            pruned = now;
            copies::expire(&store.path, now);
            let done = store.prune(now);
            if let Err(error) = store.noted(done) {
                tracing::warn!(%error, "Old rows of the database could not be dropped.");
            }
        }
    }
}
