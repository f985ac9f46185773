//! The loop: wait for a kick or the clock, look at the directory, declare what differs, say how
//! it stands.

use std::{
    collections::BTreeSet,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use supervisors::AskError;
use tokio::{
    select,
    sync::watch::{Receiver, Sender},
    task::spawn_blocking,
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

use super::{
    config::{Config, Reading},
    file::Identity,
    listing::ListError,
    log_once::{Line, LogOnce},
    pki,
    scan::{self, Scan},
    settle::Settle,
    watch::Watch,
    word::{Known, Word, problems, word},
};
use crate::{
    messages::{DeclareError, Declared, FileContent, ListedFile, Listing, NotListed},
    state_keeper::report::{Listeners, Report, SourceReport},
};

/// So long the keeper has for a listing: it writes it to disk before it answers.
pub(super) const ASK_WITHIN: Duration = Duration::from_secs(30);
/// A listing is sent again at every so many rescans, whatever was acknowledged.
const SENT_AGAIN_EVERY: u32 = 10;
/// Changes are told in the log so often at most.
const TOLD_EVERY: Duration = Duration::from_mins(1);
/// Folders may appear while others are found; what is found later is told by their own events.
const WATCHED_AT_ONCE: usize = 3;
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// What goes by the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The directory is read so often while it is watched: events can be lost, and some file
    /// systems send none.
    pub(super) watched: Duration,
    /// And so often while it is not.
    pub(super) unwatched: Duration,
    /// Sōzu's listeners may be unknown so long before that is a problem: at a start it is ordinary.
    pub(super) listeners_within: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            watched: Duration::from_secs(30),
            unwatched: Duration::from_secs(5),
            listeners_within: Duration::from_secs(5),
        }
    }
}

/// Who takes listings.
pub(super) trait Keeper {
    fn declare(
        &self,
        listing: Listing,
    ) -> impl Future<Output = Result<Result<Declared, DeclareError>, AskError>>;
    fn not_listed(&self, not_listed: NotListed) -> impl Future<Output = Result<(), AskError>>;
}

/// One life of a watcher.
pub(super) struct Work<K> {
    config: Config,
    pub(super) pace: Pace,
    keeper: K,
    /// Of a directory of certificates: to whom it tells of them, and what becomes of them.
    pub(super) certificates: Option<(Sender<Option<Arc<pki::Told>>>, pki::Board)>,
    report: Receiver<Arc<Report>>,
    /// The keeper may be gone for good; its last report goes on counting.
    report_ended: bool,
    say: Box<dyn Fn(Word)>,

    began: Instant,
    /// As last known: Sōzu's absence does not take them away.
    listeners: Option<Arc<Listeners>>,
    scan: Result<Arc<Scan>, String>,
    unwatched: Option<String>,
    /// What the keeper has on disk.
    acknowledged: Option<Arc<Scan>>,
    not_taken: Option<String>,
    retry: Option<(Instant, Duration)>,
    rescans: u32,
    last_rescan: Instant,
    /// What the keeper said of the source when it was last told.
    told: Option<SourceReport>,
    log: LogOnce,
    changes_untold: usize,
    told_at: Option<Instant>,
}

/// What blocks, and so goes to a thread and comes back.
struct Disk {
    watch: Watch,
    scanner: Scanner,
}

/// The reading, with what it remembers.
enum Scanner {
    Routes(scan::Scanner),
    Pki(Box<pki::Scanner>),
}

impl Scanner {
    fn new(directory: &Path, reading: &Reading) -> Self {
        match reading {
            Reading::Routes => Self::Routes(scan::Scanner::new(directory)),
            Reading::Pki(settings) => {
                Self::Pki(Box::new(pki::Scanner::new(directory, settings.clone())))
            }
        }
    }

    fn folders(&self) -> Vec<(PathBuf, Identity)> {
        match self {
            Self::Routes(_) => Vec::new(),
            Self::Pki(scanner) => scanner.folders(),
        }
    }

    fn scan(&mut self, listeners: &Arc<Listeners>, retry: bool) -> Result<Arc<Scan>, ListError> {
        match self {
            Self::Routes(scanner) => scanner.scan(listeners, retry),
            Self::Pki(scanner) => scanner.scan(listeners, retry),
        }
    }
}

impl Disk {
    /// Looks at the directory; where a folder is new, once more, now that it is watched. And why
    /// something is not watched.
    fn look(
        &mut self,
        listeners: &Arc<Listeners>,
        retry: bool,
    ) -> (Result<Arc<Scan>, ListError>, Option<String>) {
        let mut unwatched = self.watch.arm(self.scanner.folders()).err();
        let mut scan = self.scanner.scan(listeners, retry);
        for _ in 0..WATCHED_AT_ONCE {
            match self.watch.arm(self.scanner.folders()) {
                Ok(true) => scan = self.scanner.scan(listeners, false),
                Ok(false) => break,
                Err(why) => {
                    unwatched = Some(why);
                    break;
                }
            }
        }
        (scan, unwatched)
    }
}

/// Why the directory is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Something may have changed.
    Kick,
    /// It is time.
    Rescan,
}

impl<K: Keeper> Work<K> {
    pub(super) fn new(
        config: Config,
        keeper: K,
        report: Receiver<Arc<Report>>,
        say: Box<dyn Fn(Word)>,
    ) -> Self {
        Self {
            config,
            pace: Pace::default(),
            keeper,
            certificates: None,
            report,
            report_ended: false,
            say,
            began: Instant::now(),
            listeners: None,
            scan: Err("the directory was not read yet".to_owned()),
            unwatched: None,
            acknowledged: None,
            not_taken: None,
            retry: None,
            rescans: 0,
            last_rescan: Instant::now(),
            told: None,
            log: LogOnce::default(),
            changes_untold: 0,
            told_at: None,
        }
    }

    /// Never ends by itself.
    pub(super) async fn run(mut self) {
        let directory = std::path::absolute(&self.config.directory)
            .unwrap_or_else(|_| self.config.directory.clone());
        let reading = self.config.reading.clone();
        let mut disk = blocking(move || Disk {
            watch: Watch::new(&directory),
            scanner: Scanner::new(&directory, &reading),
        })
        .await;
        let mut cause = Cause::Rescan;
        loop {
            if cause == Cause::Rescan {
                self.last_rescan = Instant::now();
            }
            disk = self.look(disk, cause).await;
            self.tell();
            cause = self.wait(&disk.watch).await;
        }
    }

    fn interval(&self) -> Duration {
        // A directory that is not there may come back where no watch tells it.
        if self.unwatched.is_some() || self.scan.is_err() {
            self.pace.unwatched
        } else {
            self.pace.watched
        }
    }

    /// Looks at the directory once and declares it, if it says something else than before.
    async fn look(&mut self, mut disk: Disk, cause: Cause) -> Disk {
        let listeners = self.report.borrow_and_update().listeners.clone();
        if listeners.is_some() {
            self.listeners = listeners;
        }
        let Some(listeners) = self.listeners.clone() else {
            return disk;
        };
        let retry = cause == Cause::Rescan;
        let (disk_again, unwatched, scan) = blocking(move || {
            let (scan, unwatched) = disk.look(&listeners, retry);
            (disk, unwatched, scan)
        })
        .await;
        self.unwatched = unwatched;
        if retry {
            self.rescans = self.rescans.wrapping_add(1);
        }
        match scan {
            Ok(scan) => self.declare(scan, retry).await,
            Err(error) => self.not_listed(&error).await,
        }
        disk_again
    }

    async fn declare(&mut self, scan: Arc<Scan>, rescan: bool) {
        let acknowledged = self.acknowledged.as_ref();
        let known = acknowledged.is_some_and(|before| declares_the_same(before, &scan));
        let again = rescan && (self.rescans.is_multiple_of(SENT_AGAIN_EVERY) || self.wanting());
        if let (Some((tell, _)), Some(told)) = (&self.certificates, &scan.pki) {
            tell.send_if_modified(|known| {
                let differs = known.as_ref() != Some(told);
                if differs {
                    *known = Some(Arc::clone(told));
                }
                differs
            });
        }
        self.scan = Ok(Arc::clone(&scan));
        if known && !again {
            self.taken();
            return;
        }
        let listing = Listing {
            source: self.config.source.clone(),
            device: scan.device,
            files: scan.files.clone(),
        };
        match self.keeper.declare(listing).await {
            Ok(Ok(declared)) => {
                debug!(source = %self.config.source, changes = declared.changes, "The keeper took the listing.");
                self.acknowledged = Some(scan);
                self.changes_untold += declared.changes;
                self.taken();
            }
            Ok(Err(error)) => self.refused(error.to_string()),
            Err(error) => self.refused(format!(
                "the keeper did not take the listing ({error}); it is tried again"
            )),
        }
    }

    async fn not_listed(&mut self, error: &ListError) {
        let why = error.to_string();
        self.scan = Err(why.clone());
        self.acknowledged = None;
        let not_listed = NotListed {
            source: self.config.source.clone(),
            why,
        };
        match self.keeper.not_listed(not_listed).await {
            Ok(()) => self.taken(),
            Err(error) => self.refused(format!(
                "the keeper was not told that the directory is not listed ({error}); it is tried again"
            )),
        }
    }

    fn taken(&mut self) {
        self.not_taken = None;
        self.retry = None;
    }

    fn refused(&mut self, why: String) {
        let delay = match self.retry {
            Some((_, delay)) => (delay * 2).min(LAST_RETRY),
            None => FIRST_RETRY,
        };
        self.not_taken = Some(why);
        self.acknowledged = None;
        self.retry = Some((Instant::now() + delay, delay));
    }

    /// Whether the keeper lacks something that a listing gives it: the source, or a private key
    /// that it does not store.
    fn wanting(&self) -> bool {
        self.source().is_none_or(|source| source.unservable > 0)
    }

    /// Waits until the directory is to be looked at again. Meanwhile what the keeper says of
    /// the source is passed on.
    async fn wait(&mut self, watch: &Watch) -> Cause {
        // Kicks do not postpone it: what is wrong is tried again however busy the directory is.
        let rescan_at = self.last_rescan + self.interval();
        let overdue_at = self.began + self.pace.listeners_within;
        loop {
            let retry_at = self.retry.map_or(rescan_at, |(at, _)| at);
            select! {
                () = watch.kicked() => return settled(watch).await,
                () = sleep_until(rescan_at) => return Cause::Rescan,
                () = sleep_until(retry_at), if self.retry.is_some() => return Cause::Kick,
                () = sleep_until(overdue_at), if self.listeners.is_none() && Instant::now() < overdue_at => self.tell(),
                changed = self.report.changed(), if !self.report_ended => {
                    self.report_ended = changed.is_err();
                    let listeners = self.report.borrow_and_update().listeners.clone();
                    if listeners.is_some() && listeners != self.listeners {
                        return Cause::Kick;
                    }
                    let source = self.source();
                    if source.is_none() && self.told.is_some() {
                        // The keeper has begun another life and may lack what it had in memory.
                        self.told = None;
                        self.acknowledged = None;
                        return Cause::Kick;
                    }
                    if source != self.told {
                        self.tell();
                    }
                }
            }
        }
    }

    fn source(&self) -> Option<SourceReport> {
        self.report
            .borrow()
            .sources
            .get(&self.config.source)
            .cloned()
    }

    /// Says how it stands, in `/health` and in the log.
    fn tell(&mut self) {
        let now = Instant::now();
        let source = self.source();
        self.told.clone_from(&source);
        if self.listeners.is_none() {
            if now < self.began + self.pace.listeners_within {
                return;
            }
            let detail = "waits for Sōzu".to_owned();
            let error = "its listeners are not known yet; the files are read once it has answered, see socket_pool".to_owned();
            self.warn(now, [format!("{detail}: {error}")].into());
            (self.say)(Word::Degraded(detail, error));
            return;
        }
        let known = Known {
            scan: self.scan.as_deref().ok(),
            not_listed: self.scan.as_ref().err().map(String::as_str),
            unwatched: self.unwatched.as_deref(),
            not_taken: self.not_taken.as_deref(),
            source: source.as_ref(),
            served: self
                .certificates
                .as_ref()
                .map(|(_, board)| board.problems(&self.config.source))
                .unwrap_or_default(),
        };
        (self.say)(word(&known));
        let texts = problems(&known).into_iter().collect();
        self.warn(now, texts);
        let due = self.told_at.is_none_or(|at| now >= at + TOLD_EVERY);
        if let (Ok(scan), true, true) = (&self.scan, due, self.changes_untold > 0) {
            info!(
                source = %self.config.source,
                files = scan.files.len(),
                objects = scan.objects,
                changes = self.changes_untold,
                "The directory was declared."
            );
            self.changes_untold = 0;
            self.told_at = Some(now);
        }
    }

    fn warn(&mut self, now: Instant, texts: BTreeSet<String>) {
        let name = &self.config.source;
        for line in self.log.stand(now, texts) {
            match line {
                Line::Warning { text, folded: 0 } => {
                    warn!(source = %name, error = text, "The source has a problem.");
                }
                Line::Warning { text, folded } => {
                    warn!(source = %name, error = text, folded, "The source still has a problem.");
                }
                Line::Over { text } => {
                    info!(source = %name, was = text, "A problem of the source is over.");
                }
            }
        }
    }
}

/// Waits for the end of a burst of kicks.
async fn settled(watch: &Watch) -> Cause {
    let mut settle = Settle::new(Instant::now());
    loop {
        select! {
            () = watch.kicked() => settle.kick(Instant::now()),
            () = sleep_until(settle.due()) => return Cause::Kick,
        }
    }
}

/// Whether two scans declare the same.
fn declares_the_same(a: &Arc<Scan>, b: &Arc<Scan>) -> bool {
    Arc::ptr_eq(a, b)
        || a.device == b.device
            && a.files.len() == b.files.len()
            && a.files.iter().zip(&b.files).all(|(a, b)| same(a, b))
}

/// Whether two files say the same. Unchanged ones share their objects.
fn same(a: &ListedFile, b: &ListedFile) -> bool {
    a.path == b.path
        && match (&a.content, &b.content) {
            (FileContent::Objects(a), FileContent::Objects(b)) => Arc::ptr_eq(a, b) || a == b,
            (FileContent::Unreadable(a), FileContent::Unreadable(b)) => a == b,
            _ => false,
        }
}

/// Runs what blocks on a thread for it. Its panic is ours: the supervisor starts another life.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // The runtime is shutting down, and nothing runs on.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
