//! How to reach Sōzu, and the deadlines that follow from its settings.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    Pool,
    directory::{DirectoryLock, LockError},
    exchange_dir,
};

/// What a deadline of ours has beyond Sōzu's own, so that Sōzu speaks first.
const MARGIN: Duration = Duration::from_secs(5);
/// Sōzu 2.3.3, `requests.rs`, `bulk_replay_timeout`: per entry of a file, and how many `worker_timeout` at most.
const PER_ENTRY: Duration = Duration::from_millis(10);
const BULK_AT_MOST: u32 = 10;

/// How to reach Sōzu, and the pools that do.
///
/// Begin with [`Builder::new`] or, beside Sōzu's own configuration file, [`Builder::with_config`]; all else has a
/// default. Clones share the lock on the exchange directory, so that a pool may follow another one.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) command_socket: PathBuf,
    pub(crate) connections: usize,
    pub(crate) worker_timeout: Duration,
    pub(crate) max_request_bytes: usize,
    pub(crate) max_answer_bytes: usize,
    pub(crate) exchange_directory: Option<PathBuf>,
    pub(crate) exchange_directory_in_sozu: Option<PathBuf>,
    /// Held by all pools of this builder and its clones together, which so may follow each other.
    pub(crate) exchange_lock: Arc<DirectoryLock>,
    /// Each work on files that is under way, of any pool of this builder, has a receiver.
    pub(crate) file_work: watch::Sender<()>,
}

impl Builder {
    /// The defaults, for a Sōzu that listens on this socket: `command_socket` in its configuration.
    pub fn new(command_socket: impl Into<PathBuf>) -> Self {
        Self {
            command_socket: command_socket.into(),
            connections: 8,
            worker_timeout: Duration::from_secs(10),
            max_request_bytes: 1_900_000,
            max_answer_bytes: 64 << 20,
            exchange_directory: None,
            exchange_directory_in_sozu: None,
            exchange_lock: Arc::default(),
            file_work: watch::Sender::new(()),
        }
    }

    /// At most so many exchanges at a time, each on its own connection. 8 unless set; at least 1. One more connection
    /// watches whether Sōzu answers.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// `worker_timeout` in Sōzu's configuration: every deadline is derived from it. 10 s unless set, as Sōzu's.
    #[must_use]
    pub fn worker_timeout(mut self, worker_timeout: Duration) -> Self {
        self.worker_timeout = worker_timeout;
        self
    }

    /// The largest request, and the largest record of a bulk, in bytes. 1,900,000 unless set: Sōzu closes the connection
    /// without a word at more than its `max_command_buffer_size` (2,000,000).
    #[must_use]
    pub fn max_request_bytes(mut self, bytes: usize) -> Self {
        self.max_request_bytes = bytes;
        self
    }

    /// The largest answer that is read, and the largest sum of what comes before it, in bytes. 64 MiB unless set.
    #[must_use]
    pub fn max_answer_bytes(mut self, bytes: usize) -> Self {
        self.max_answer_bytes = bytes;
        self
    }

    /// A directory for the files of [`Pool::bulk`] and [`Pool::saved_state`], which it makes, tightens and empties of its
    /// own leftovers: when a pool begins, those of every earlier one, so its `.lock` keeps other processes out. Without
    /// one both are refused.
    #[must_use]
    pub fn exchange_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.exchange_directory = Some(directory.into());
        self
    }

    /// The path of the same directory in Sōzu's eyes, if that differs (another container).
    #[must_use]
    pub fn exchange_directory_in_sozu(mut self, directory: impl Into<PathBuf>) -> Self {
        self.exchange_directory_in_sozu = Some(directory.into());
        self
    }

    /// Locks the exchange directory now, and not with the first file, if it is there and ours: for a program that ends
    /// when another one has it. Every pool of this builder and its clones shares the lock. Blocks.
    ///
    /// # Errors
    /// As [`DirectoryLock::hold`].
    pub fn lock_exchange_directory(&self) -> Result<(), LockError> {
        match &self.exchange_directory {
            Some(path) => exchange_dir::lock_early(path, &self.exchange_lock),
            None => Ok(()),
        }
    }

    /// Waits until no pool of this builder and its clones works on a file any more, so that none is left in the exchange
    /// directory: for a program that is about to end. Work that nobody waits for, since its future was dropped, goes on in
    /// a thread of its own until it has removed its file.
    pub async fn file_work_done(&self) {
        self.file_work.closed().await;
    }

    /// Makes the pool. Nothing is opened and no file is touched yet: connections are opened when needed, and a
    /// task of the tokio runtime in which this is called (else: in which the pool is first used) watches Sōzu
    /// until the last clone of the pool is dropped.
    pub fn build(self) -> Pool {
        Pool::new(self)
    }

    /// How long a request may take, from its first byte to the end of its answer.
    pub(crate) fn request_deadline(&self) -> Duration {
        self.sozus_timeout() + MARGIN
    }

    /// How long a `LoadState` of so many entries may take.
    pub(crate) fn bulk_deadline(&self, entries: usize) -> Duration {
        let entries = u32::try_from(entries).unwrap_or(u32::MAX);
        let scaled = self
            .sozus_timeout()
            .saturating_add(PER_ENTRY.saturating_mul(entries));
        scaled.min(self.sozus_timeout() * BULK_AT_MOST) + MARGIN
    }

    /// How long a `SaveState` may take: Sōzu sets itself no deadline.
    pub(crate) fn save_deadline(&self) -> Duration {
        self.sozus_timeout() * BULK_AT_MOST + MARGIN
    }

    /// Sōzu takes a `worker_timeout` of 0 for a second in a bulk; a day is beyond any use, and keeps sums small.
    fn sozus_timeout(&self) -> Duration {
        self.worker_timeout
            .clamp(Duration::from_secs(1), Duration::from_hours(24))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_longer_than_sozus_own() {
        let builder = Builder::new("sock");
        assert_eq!(builder.request_deadline(), Duration::from_secs(15));
        assert_eq!(builder.bulk_deadline(0), Duration::from_secs(15));
        assert_eq!(builder.bulk_deadline(3_000), Duration::from_secs(45));
        assert_eq!(builder.bulk_deadline(1_000_000), Duration::from_secs(105));
        assert_eq!(builder.bulk_deadline(usize::MAX), Duration::from_secs(105));
        assert_eq!(builder.save_deadline(), Duration::from_secs(105));
    }

    #[test]
    fn no_worker_timeout_is_too_small_or_too_large() {
        let none = Builder::new("sock").worker_timeout(Duration::ZERO);
        assert_eq!(none.request_deadline(), Duration::from_secs(6));
        let endless = Builder::new("sock").worker_timeout(Duration::MAX);
        assert!(endless.bulk_deadline(usize::MAX) > Duration::from_hours(24));
    }
}
