//! The durable state: one SQLite database that an operator can open with `sqlite3`.
//!
//! `journal` is the log: every change that was taken, with its verdict once it is final. `objects`
//! are the accepted declared sets. `positions` holds each source's place in its stream, or the
//! device of its directory. `dead_letters` and `holds` are views: the rows say it all.

mod journal;
mod lock;
mod rows;
mod schema;
mod writer;

use std::{
    collections::{HashMap, HashSet},
    fs::{self, DirBuilder, OpenOptions},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rusqlite::{Connection, OptionalExtension, params};

use self::lock::Lock;
pub use self::{
    journal::{Filter, Line, read as read_journal},
    writer::Writer,
};
use super::{
    events::{Acceptance, Loaded, Mark},
    log::Entry,
};
use crate::messages::{Position, SourceName};

/// What a source removed is remembered this long.
const ABSENT_FOR: Duration = Duration::from_hours(720);
/// Conclusions of this span are added up by the guard.
const LATELY: Duration = Duration::from_hours(1);

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory or the file cannot be made, opened or written.
    #[error("{}: {source}; the directory must be writable for the user that runs the daemon, with free space", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process, or an earlier life of this component, uses it.
    #[error("{} is in use by {holder}; stop that one, or give this one its own state_directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process, as far as its lock tells.
        holder: String,
    },
    /// It was written by a newer version.
    #[error("{} has schema {found}, this version knows {known}; run a version that knows it, or start with an empty state_directory", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema's number.
        found: i64,
        /// The number of this version.
        known: i64,
    },
    /// SQLite refuses.
    #[error("the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The position of a source that this version cannot read.
    #[error(
        "the position of the source {0} cannot be read; restore a copy of the state directory, or move it away to start anew"
    )]
    Position(String),
    /// A row that this version cannot read.
    #[error(
        "row {seq} of the journal, or an object, cannot be read: {what}; restore a copy of the state directory, or move it away to start anew"
    )]
    Row {
        /// Its number, 0 for an object.
        seq: u64,
        /// What is wrong.
        what: String,
    },
}

/// How much of the past is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows of the journal that are older than this go.
    pub journal_keep: Duration,
    /// At most so many rows of the journal.
    pub journal_rows: u64,
    /// At most so many refused changes.
    pub dead_letter_rows: u64,
}

/// The open database. Blocks: use it through [`Writer`], or where blocking is fine.
pub struct Store {
    connection: Connection,
    path: PathBuf,
    limits: Limits,
    _lock: Lock,
}

impl Store {
    /// Opens or makes the database in `directory`, which is made 0700 where it is missing.
    ///
    /// # Errors
    /// If the directory is in use, cannot be written, or holds a database that this version does
    /// not know.
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, StoreError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(0o700)))
            .map_err(io(directory))?;
        let lock = Lock::take(directory)?;
        let path = directory.join("state.db");
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o600)))
            .map_err(io(&path))?;
        let mut connection = Connection::open(&path)?;
        schema::prepare(&mut connection, &path)?;
        Ok(Self {
            connection,
            path,
            limits,
            _lock: lock,
        })
    }

    /// Reads what a start needs; drops what has expired.
    ///
    /// # Errors
    /// If a row cannot be read.
    pub fn load(&mut self, now: SystemTime) -> Result<Loaded, StoreError> {
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
            removed_lately: self.removed_lately(now)?,
        })
    }

    /// Writes entries to the log, and the source's place, in one transaction.
    ///
    /// # Errors
    /// If SQLite cannot write; nothing is written then.
    pub fn append(
        &mut self,
        entries: &[Entry],
        source: &SourceName,
        mark: Mark,
    ) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        for entry in entries {
            rows::insert_entry(&transaction, entry)?;
        }
        let (sql, place) = match mark {
            Mark::Device(device) => (
                "INSERT INTO positions (source, device) VALUES (?1, ?2)
                 ON CONFLICT (source) DO UPDATE SET device = ?2",
                device.to_string(),
            ),
            Mark::Position(position) => (
                "INSERT INTO positions (source, position) VALUES (?1, ?2)
                 ON CONFLICT (source) DO UPDATE SET position = ?2",
                position.to_string(),
            ),
        };
        transaction
            .prepare_cached(sql)?
            .execute(params![source.as_str(), place])?;
        transaction.commit()?;
        Ok(())
    }

    /// Writes a person's order to the log, in one transaction.
    ///
    /// # Errors
    /// If SQLite cannot write; nothing is written then.
    pub fn append_order(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        for entry in entries {
            rows::insert_entry(&transaction, entry)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Writes what became final, in one transaction.
    ///
    /// # Errors
    /// If SQLite cannot write; nothing is written then.
    pub fn accept(&mut self, acceptance: &Acceptance, now: SystemTime) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        for verdict in &acceptance.verdicts {
            rows::set_verdict(&transaction, verdict, now)?;
        }
        for (key, source, declaration) in &acceptance.declarations {
            rows::set_declaration(&transaction, key, source, declaration.as_ref(), now)?;
        }
        if let Some(life) = &acceptance.complete_life {
            transaction.execute(
                "INSERT OR REPLACE INTO meta (name, value) VALUES ('complete_life', ?1)",
                [life.as_ref()],
            )?;
        }
        for source in &acceptance.caught_up {
            transaction.execute(
                "INSERT INTO positions (source, caught_up) VALUES (?1, 1)
                 ON CONFLICT (source) DO UPDATE SET caught_up = 1",
                [source.as_str()],
            )?;
        }
        transaction.commit()?;
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
        transaction.execute(
            "DELETE FROM journal WHERE verdict NOT IN ('refused') AND verdict IS NOT NULL
             AND (at < ?1 OR seq <= (SELECT max(seq) FROM journal) - ?2)",
            params![before(self.limits.journal_keep), self.limits.journal_rows],
        )?;
        transaction.execute(
            "DELETE FROM journal WHERE seq IN (SELECT seq FROM journal WHERE verdict = 'refused'
             ORDER BY seq DESC LIMIT -1 OFFSET ?1)",
            [self.limits.dead_letter_rows],
        )?;
        transaction.commit()?;
        Ok(())
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

    fn caught_up(&self) -> Result<HashSet<SourceName>, StoreError> {
        let mut statement = self
            .connection
            .prepare("SELECT source FROM positions WHERE caught_up = 1")?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        let names = rows.map(|name| name.map(|name| SourceName::new(&name)));
        Ok(names.collect::<Result<_, _>>()?)
    }

    fn removed_lately(&self, now: SystemTime) -> Result<HashMap<SourceName, usize>, StoreError> {
        let since = rows::millis(now.checked_sub(LATELY).unwrap_or(SystemTime::UNIX_EPOCH));
        let mut statement = self.connection.prepare(
            "SELECT source, count(*) FROM journal
             WHERE admission = 'conclusion' AND at >= ?1 GROUP BY source",
        )?;
        let rows = statement.query_map([since], |row| {
            let source: String = row.get(0)?;
            Ok((SourceName::new(&source), row.get(1)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests;
