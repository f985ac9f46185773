//! Looks at Sōzu that somebody waits for. One counts if it began after it was asked for: what was seen before
//! says nothing about what has happened since.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

/// Shared by the watcher and by those who ask it to look.
#[derive(Debug)]
pub(crate) struct Looks {
    asked: AtomicU64,
    wanted: Notify,
    done: watch::Sender<u64>,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            asked: AtomicU64::new(0),
            wanted: Notify::new(),
            done: watch::channel(0).0,
        }
    }
}

impl Looks {
    /// A look begins. Returns what its end has to be told with.
    pub(crate) fn begin(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// The look that began so is over, and what it saw is told.
    pub(crate) fn end(&self, begun: u64) {
        self.done
            .send_if_modified(|done| std::mem::replace(done, begun) != begun);
    }

    /// Waits until somebody wants a look.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Asks for a look, and waits until it is over.
    pub(crate) async fn ask(&self) {
        let nth = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.done.subscribe();
        self.wanted.notify_one();
        // the sender lives as long as we do
        let _ = done.wait_for(|done| *done >= nth).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_look_that_began_before_it_was_asked_for_does_not_count() {
        let looks = Arc::new(Looks::default());
        let begun = looks.begin();
        let asking = {
            let looks = Arc::clone(&looks);
            tokio::spawn(async move { looks.ask().await })
        };
        looks.wanted().await;
        looks.end(begun);
        assert!(!asking.is_finished());
        looks.end(looks.begin());
        let soon = Duration::from_secs(10);
        timeout(soon, asking).await.unwrap().unwrap();
        let late = timeout(soon, async {
            tokio::join!(looks.ask(), async {
                looks.wanted().await;
                looks.end(looks.begin());
            })
        });
        late.await.unwrap();
    }
}
