//! The durable state: one SQLite database that an operator can open with `sqlite3`.
//!
//! `journal` is the log: every change that was taken, with its verdict once it is final. `objects`
//! are the accepted declared sets. `positions` holds each source's place in its stream, or the
//! device of its directory. `dead_letters` and `holds` are views: the rows say it all.

mod copies;
mod directory;
mod error;
mod journal;
mod letters;
mod mail;
mod rows;
mod schema;
mod writer;

use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet},
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use nix::fcntl::OFlag;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use self::directory::Turn;
pub use self::{
    directory::StateDirectory,
    error::StoreError,
    journal::{Filter, Line, kept_instance, read as read_journal},
    letters::{Count, Counts, WhenFull},
    mail::{Content, LetterFilter, LetterLine, letter_of, read_letters, subscription_of},
    writer::{Done, Writer, Written},
};
use super::{
    declared::ABSENT_FOR,
    events::{Acceptance, End, Ending, Loaded, Mark},
    gate::Pause,
    log::Entry,
};
use crate::{
    messages::{Position, SourceName},
    metrics,
};

/// Conclusions of this span are added up by the guard.
const LATELY: Duration = Duration::from_hours(1);

/// How much of the past is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows of the journal that are older than this go.
    pub journal_keep: Duration,
    /// At most so many rows of the journal.
    pub journal_rows: u64,
    /// At most so many refused changes.
    pub dead_letter_rows: u64,
    /// And at most so many bytes of them.
    pub dead_letter_bytes: u64,
    /// What happens beyond that.
    pub when_full: WhenFull,
}

/// The open database. Blocks: use it through [`Writer`], or where blocking is fine.
pub struct Store {
    // Dropped first: the next life's turn comes when it is closed.
    connection: Connection,
    path: PathBuf,
    /// Its device and inode.
    file: (u64, u64),
    limits: Limits,
    letters: letters::Desk,
    directory: Arc<StateDirectory>,
    _turn: Turn,
}

impl Store {
    /// Opens or makes the database and reads what a start needs, once an earlier life's last write is done. One that
    /// is damaged is kept aside, and an empty one takes its place: the directories are listed again, and what Sōzu
    /// holds stays until a source says otherwise.
    ///
    /// # Errors
    /// If the directory is in use, cannot be written, or holds a database that this version does not know.
    pub fn open(
        directory: &Arc<StateDirectory>,
        limits: Limits,
        now: SystemTime,
    ) -> Result<(Self, Loaded), StoreError> {
        directory.lock()?;
        let turn = directory.turn();
        let damage = match directory.damage() {
            Some(damage) => damage,
            None => match Self::opened(directory, limits, now, turn.clone()) {
                Err(error) if error.is_damage() => error.to_string(),
                opened => return opened,
            },
        };
        let copy = copies::set_aside(&directory.database(), now)?;
        directory.set_damage(None);
        tracing::error!(
            error = damage,
            copy = %copy.display(),
            "The database is damaged: it is kept aside for 30 days, and an empty one takes its place. The directories \
             are listed again; what Sōzu holds and no source declares any more stays there as foreign. Look at the disk."
        );
        Self::opened(directory, limits, now, turn)
    }

    fn opened(
        directory: &Arc<StateDirectory>,
        limits: Limits,
        now: SystemTime,
        turn: Turn,
    ) -> Result<(Self, Loaded), StoreError> {
        let path = directory.database();
        let io = |source| StoreError::Io {
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&path)
            .map_err(io)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))
            .map_err(io)?;
        let found = file.metadata().map_err(io)?;
        copies::expire(&path, now);
        let mut connection = Connection::open(&path)?;
        schema::CURRENT.prepare(&mut connection, &path, now)?;
        let letters = letters::Desk::load(&connection)?;
        let mut store = Self {
            connection,
            letters,
            path,
            file: (found.dev(), found.ino()),
            limits,
            directory: Arc::clone(directory),
            _turn: turn,
        };
        let loaded = store.load(now)?;
        Ok((store, loaded))
    }

    /// Whether what is written now would be found by the next start.
    fn is_there(&self) -> Result<(), StoreError> {
        if let Some(damage) = self.directory.damage() {
            return Err(StoreError::Damaged(damage));
        }
        match fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == self.file => Ok(()),
            Ok(_) => Err(StoreError::Gone(self.path.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::Gone(self.path.clone()))
            }
            Err(source) => Err(StoreError::Io {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// Remembers damage for the next opening.
    fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result
            && error.is_damage()
        {
            self.directory.set_damage(Some(error.to_string()));
        }
        result
    }

    /// Reads what a start needs; drops what has expired.
    ///
    /// # Errors
    /// If a row cannot be read.
    fn load(&mut self, now: SystemTime) -> Result<Loaded, StoreError> {
        self.prune(now)?;
        let connection = &self.connection;
        let last_seq: Option<u64> =
            connection.query_row("SELECT max(seq) FROM journal", [], |row| row.get(0))?;
        let stored: Option<u64> = self.meta("last_seq")?.and_then(|text| text.parse().ok());
        Ok(Loaded {
            declarations: rows::declarations(connection)?,
            tail: rows::tail(connection)?,
            last_seq: last_seq.max(stored).unwrap_or(0),
            devices: self.devices()?,
            positions: self.positions()?,
            caught_up: self.caught_up()?,
            complete_life: self.meta("complete_life")?.map(Arc::from),
            pause: self.meta("pause")?.and_then(|text| rows::pause(&text)),
            letters: Arc::new(self.letters.counts().clone()),
            subscriptions: self.words("subscription")?,
            gaps: self.words("gap")?,
            removed_lately: self.removed_lately(now)?,
        })
    }

    /// Writes entries to the log, and the place that a source has come to with them, in one transaction.
    ///
    /// # Errors
    /// If SQLite cannot write; nothing is written then.
    pub fn append(
        &mut self,
        entries: &[impl Borrow<Entry>],
        mark: Option<(SourceName, Mark)>,
    ) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        rows::insert_entries(&transaction, entries.iter().map(Borrow::borrow))?;
        if let Some((source, mark)) = mark {
            rows::set_mark(&transaction, &source, mark)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Writes that dead letters end, and the change as which one is tried again, in one transaction. Returns how many ended.
    ///
    /// # Errors
    /// If there is no such letter, a later change stands against its retry, or SQLite cannot write; nothing is written then.
    pub fn end_letters(&mut self, ending: &Ending) -> Result<u64, StoreError> {
        let ended = self.with_letters(|transaction, letters, _| match &ending.how {
            End::Discarded(which) => letters.discard(transaction, which, ending.uid),
            End::Retried { seq, again, force } => {
                letters.retry(transaction, *seq, again, ending.uid, *force)?;
                Ok(1)
            }
        })?;
        self.empty_log();
        Ok(ended)
    }

    /// What was deleted is not to be read in SQLite's own log either: it is written into the database and emptied, unless
    /// somebody reads just now. Then the next time will do.
    fn empty_log(&self) {
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let emptied = self
            .connection
            .busy_timeout(Duration::ZERO)
            .and_then(|()| self.connection.query_row(checkpoint, [], |_| Ok(())))
            .and(self.connection.busy_timeout(schema::BUSY));
        if let Err(error) = emptied {
            tracing::debug!(%error, "The log of the database is not emptied.");
        }
    }

    /// Writes that the dead-letter topic has these letters, by their changes' places in the log.
    ///
    /// # Errors
    /// If SQLite cannot write; nothing is written then.
    pub fn sent_on(&mut self, sent: &[u64], now: SystemTime) -> Result<(), StoreError> {
        self.with_letters(|transaction, letters, _| letters.sent_on(transaction, sent, now))
    }

    /// One transaction about dead letters. What is known of them in memory is read again if it fails.
    fn with_letters<T>(
        &mut self,
        write: impl FnOnce(&Transaction<'_>, &mut letters::Desk, &Limits) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction = self.connection.transaction()?;
        let done = write(&transaction, &mut self.letters, &self.limits)
            .and_then(|done| Ok((transaction.commit()?, done)));
        match done {
            Ok(((), done)) => Ok(done),
            Err(error) => {
                self.letters = letters::Desk::load(&self.connection)?;
                Err(error)
            }
        }
    }

    /// Writes that a person paused, or that there is no pause.
    ///
    /// # Errors
    /// If SQLite cannot write; what was there stays then.
    pub fn keep_pause(&mut self, pause: Option<Pause>) -> Result<(), StoreError> {
        match pause {
            Some(pause) => self.connection.execute(
                "INSERT OR REPLACE INTO meta (name, value) VALUES ('pause', ?1)",
                [rows::pause_text(&pause)],
            )?,
            None => self
                .connection
                .execute("DELETE FROM meta WHERE name = 'pause'", [])?,
        };
        Ok(())
    }

    /// Writes what became final, in one transaction.
    ///
    /// # Errors
    /// If SQLite cannot write; nothing is written then.
    pub fn accept(&mut self, acceptance: &Acceptance, now: SystemTime) -> Result<(), StoreError> {
        let dropped = self.with_letters(|transaction, letters, limits| {
            Self::write_acceptance(transaction, letters, acceptance, now)?;
            letters.fit(transaction, limits)
        })?;
        tell_dropped(dropped);
        Ok(())
    }

    fn write_acceptance(
        transaction: &Transaction<'_>,
        letters: &mut letters::Desk,
        acceptance: &Acceptance,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        rows::set_verdicts(transaction, &acceptance.verdicts, now)?;
        for verdict in &acceptance.verdicts {
            letters.judged(transaction, verdict)?;
        }
        rows::set_declarations(transaction, &acceptance.declarations, now)?;
        if let Some(life) = &acceptance.complete_life {
            transaction.execute(
                "INSERT OR REPLACE INTO meta (name, value) VALUES ('complete_life', ?1)",
                [life.as_ref()],
            )?;
        }
        for (source, at, objects) in &acceptance.taken_over {
            transaction.execute(
                "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)",
                params![rows::taken_over(source, *at), objects.to_string()],
            )?;
        }
        for (source, subscription) in &acceptance.subscriptions {
            transaction.execute(
                "INSERT INTO positions (source, subscription) VALUES (?1, ?2)
                 ON CONFLICT (source) DO UPDATE SET subscription = ?2",
                [source.as_str(), subscription],
            )?;
        }
        for (source, gap) in &acceptance.gaps {
            transaction.execute(
                "INSERT INTO positions (source, gap) VALUES (?1, ?2)
                 ON CONFLICT (source) DO UPDATE SET gap = ?2",
                params![source.as_str(), gap.as_deref()],
            )?;
        }
        for source in &acceptance.caught_up {
            transaction.execute(
                "INSERT INTO positions (source, caught_up) VALUES (?1, 1)
                 ON CONFLICT (source) DO UPDATE SET caught_up = 1",
                [source.as_str()],
            )?;
        }
        Ok(())
    }

    /// Drops what has expired, and what is beyond the limits. What is not final stays.
    ///
    /// # Errors
    /// If SQLite cannot write.
    pub fn prune(&mut self, now: SystemTime) -> Result<(), StoreError> {
        let before =
            |span: Duration| rows::millis(now.checked_sub(span).unwrap_or(SystemTime::UNIX_EPOCH));
        let transaction = self.connection.transaction()?;
        // The numbers of the log go on where it ends, even if all of it has expired.
        transaction.execute(
            "INSERT OR REPLACE INTO meta (name, value)
             SELECT 'last_seq', max(coalesce((SELECT max(seq) FROM journal), 0),
             coalesce((SELECT cast(value AS INTEGER) FROM meta WHERE name = 'last_seq'), 0))",
            [],
        )?;
        transaction.execute(
            "DELETE FROM objects WHERE stance = 'absent' AND at < ?1",
            [before(ABSENT_FOR)],
        )?;
        let lately = now.checked_sub(LATELY).unwrap_or(SystemTime::UNIX_EPOCH);
        for (source, at, _) in rows::taken_over_ever(&transaction)? {
            if at < lately {
                let name = rows::taken_over(&source, at);
                transaction.execute("DELETE FROM meta WHERE name = ?1", [name])?;
            }
        }
        // Written in this form it looks at no more rows than go, and those that are kept among them: a start waits for it.
        transaction.execute(
            "DELETE FROM journal WHERE verdict IS NOT NULL AND letter IS NOT 'kept' AND seq < max(
             (SELECT max(seq) FROM journal) - ?2 + 1,
             coalesce((SELECT seq FROM journal WHERE at >= ?1 ORDER BY seq LIMIT 1),
             (SELECT max(seq) FROM journal) + 1))",
            params![before(self.limits.journal_keep), self.limits.journal_rows],
        )?;
        transaction.commit()?;
        let dropped =
            self.with_letters(|transaction, letters, limits| letters.fit(transaction, limits))?;
        tell_dropped(dropped);
        self.empty_log();
        Ok(())
    }

    /// What this host calls itself: `configured` unless that is empty, else what it was called before, else the host's
    /// name. Kept from then on, so that a host that gets another name stays who it is for a broker.
    ///
    /// # Errors
    /// If SQLite cannot read or write.
    pub fn instance(&mut self, configured: &str) -> Result<String, StoreError> {
        let kept = self.meta("instance")?;
        let name = match (configured, &kept) {
            ("", Some(kept)) => return Ok(kept.clone()),
            ("", None) => host_name(),
            (configured, _) => configured.to_owned(),
        };
        if kept.as_ref() != Some(&name) {
            self.connection.execute(
                "INSERT OR REPLACE INTO meta (name, value) VALUES ('instance', ?1)",
                [&name],
            )?;
        }
        Ok(name)
    }

    /// Size of the database on disk in bytes, with what SQLite has still beside it.
    pub fn bytes(&self) -> u64 {
        let size = |name: &str| {
            fs::metadata(self.path.with_file_name(name)).map_or(0, |metadata| metadata.len())
        };
        size("state.db") + size("state.db-wal")
    }

    fn meta(&self, name: &str) -> Result<Option<String>, StoreError> {
        let value = self
            .connection
            .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| {
                row.get(0)
            })
            .optional()?;
        Ok(value)
    }

    fn devices(&self) -> Result<HashMap<SourceName, u64>, StoreError> {
        let mut statement = self
            .connection
            .prepare("SELECT source, device FROM positions WHERE device IS NOT NULL")?;
        let rows = statement.query_map([], |row| {
            let (source, device): (String, String) = (row.get(0)?, row.get(1)?);
            Ok((SourceName::new(&source), device.parse().unwrap_or(0)))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn positions(&self) -> Result<HashMap<SourceName, Position>, StoreError> {
        let mut statement = self
            .connection
            .prepare("SELECT source, position FROM positions WHERE position IS NOT NULL")?;
        let mut rows = statement.query([])?;
        let mut positions = HashMap::new();
        while let Some(row) = rows.next()? {
            let (source, position): (String, String) = (row.get(0)?, row.get(1)?);
            let position = position
                .parse()
                .map_err(|_| StoreError::Position(source.clone()))?;
            positions.insert(SourceName::new(&source), position);
        }
        Ok(positions)
    }

    /// What a column of `positions` says of each source of which it says something.
    fn words(&self, column: &str) -> Result<HashMap<SourceName, Arc<str>>, StoreError> {
        let sql = format!("SELECT source, {column} FROM positions WHERE {column} IS NOT NULL");
        let mut statement = self.connection.prepare(&sql)?;
        let rows = statement.query_map([], |row| {
            let (source, word): (String, String) = (row.get(0)?, row.get(1)?);
            Ok((SourceName::new(&source), word.into()))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn caught_up(&self) -> Result<HashSet<SourceName>, StoreError> {
        let mut statement = self
            .connection
            .prepare("SELECT source FROM positions WHERE caught_up = 1")?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        let names = rows.map(|name| name.map(|name| SourceName::new(&name)));
        Ok(names.collect::<Result<_, _>>()?)
    }

    fn removed_lately(&self, now: SystemTime) -> Result<HashMap<SourceName, usize>, StoreError> {
        let since = now.checked_sub(LATELY).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut statement = self.connection.prepare(
            "SELECT source, (SELECT count(*) FROM journal WHERE journal.source = positions.source
             AND at >= ?1 AND admission = 'conclusion') AS removed FROM positions WHERE removed > 0",
        )?;
        let rows = statement.query_map([rows::millis(since)], |row| {
            let source: String = row.get(0)?;
            Ok((SourceName::new(&source), row.get(1)?))
        })?;
        let mut removed: HashMap<SourceName, usize> = rows.collect::<Result<_, _>>()?;
        for (source, at, objects) in rows::taken_over_ever(&self.connection)? {
            if at >= since {
                *removed.entry(source).or_default() += objects;
            }
        }
        Ok(removed)
    }
}

fn tell_dropped(dropped: usize) {
    if dropped > 0 {
        metrics::dead_letters_dropped(dropped);
        tracing::warn!(
            dropped,
            "The oldest dead letters were dropped: there are more than `[dead_letters]` lets be kept."
        );
    }
}

/// The host's name, in the characters that the configuration allows.
fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let plain = |c: char| match c {
        '.' | '_' | '-' => c,
        c if c.is_ascii_alphanumeric() => c,
        _ => '-',
    };
    let name: String = name.to_string_lossy().chars().map(plain).take(64).collect();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod mishaps;
#[cfg(test)]
mod tests;
