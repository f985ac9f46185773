//! How long Sōzu may stay silent before it counts as away: it does one thing at a time, and large files take long.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// What an idle Sōzu gets. With the pause between two questions it stays below the 10 s in which an outage is told.
const IDLE: Duration = Duration::from_secs(7);
/// What it gets besides per entry of a file of ours, in microseconds. Sōzu 2.3.3 loads 28,000 to 43,000 entries a
/// second and saves more: three times what that needs.
const PER_ENTRY: u64 = 100;

/// Shared by the watcher and by those who load and save.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patience {
    extra_micros: Arc<AtomicU64>,
    last_saved: Arc<AtomicUsize>,
}

/// Gives back, when dropped, what was granted.
#[derive(Debug)]
pub(crate) struct Granted {
    extra_micros: Arc<AtomicU64>,
    micros: u64,
}

impl Patience {
    /// What Sōzu gets now.
    pub(crate) fn now(&self) -> Duration {
        IDLE + Duration::from_micros(self.extra_micros.load(Ordering::Relaxed))
    }

    /// More of it while Sōzu has a file with so many entries to load.
    pub(crate) fn while_busy_with(&self, entries: usize) -> Granted {
        // a day is beyond any use, and keeps the sum far from its end
        let micros = (entries as u64)
            .saturating_mul(PER_ENTRY)
            .min(86_400_000_000);
        self.extra_micros.fetch_add(micros, Ordering::Relaxed);
        Granted {
            extra_micros: Arc::clone(&self.extra_micros),
            micros,
        }
    }

    /// More of it while Sōzu saves what it holds: as much as the last time.
    pub(crate) fn while_saving(&self) -> Granted {
        self.while_busy_with(self.last_saved.load(Ordering::Relaxed))
    }

    /// How much Sōzu saved.
    pub(crate) fn remember(&self, entries: usize) {
        self.last_saved.store(entries, Ordering::Relaxed);
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        self.extra_micros.fetch_sub(self.micros, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_with_the_work_and_is_given_back() {
        let patience = Patience::default();
        let idle = patience.now();
        let first = patience.while_busy_with(100_000);
        let _second = patience.while_busy_with(10_000);
        assert_eq!(patience.now(), idle + Duration::from_secs(11));
        drop(first);
        assert_eq!(patience.now(), idle + Duration::from_secs(1));
        patience.remember(30_000);
        let _saving = patience.while_saving();
        assert_eq!(patience.now(), idle + Duration::from_secs(4));
    }
}
