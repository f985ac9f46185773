//! The schema, its number (`PRAGMA user_version`), and the way from an older one.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use rusqlite::{Connection, Transaction};

use super::{StoreError, copies};

const SCHEMA: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- Each bus's place in its stream, whether it has caught up once, and what it is subscribed to; for a
-- directory the device (st_dev) that it lies on.
CREATE TABLE positions (
    source       TEXT PRIMARY KEY,
    position     TEXT,
    caught_up    INTEGER NOT NULL DEFAULT 0,
    device       TEXT,
    subscription TEXT,
    gap          TEXT           -- what is known to be missing of the stream, until a person accepts it
) WITHOUT ROWID;

-- The log. Times are milliseconds since 1970. A row without a verdict is not final yet.
CREATE TABLE journal (
    seq        INTEGER PRIMARY KEY,
    source     TEXT NOT NULL,
    at         INTEGER NOT NULL,
    kind       TEXT,             -- of the object
    key        TEXT,             -- of the object
    change     TEXT NOT NULL,    -- 'add' or 'remove'
    origin     ANY,              -- the file, the message's id, or the operator: 'uid 1000'
    position   TEXT,
    admission  TEXT NOT NULL,    -- 'order', 'conclusion', 'held', 'refused'; of a bus that catches up:
                                 -- 'history', 'first_look'; by an operator: 'released', 'discarded',
                                 -- 'removed', 'retried'
    hold       TEXT,
    request    BLOB NOT NULL,    -- Sōzu's protobuf Request, without a private key that a file has
    original   BLOB,             -- a bus's own bytes, where the request is not the very same
    verdict    TEXT,
    reason     TEXT,
    verdict_at INTEGER,
    message_key TEXT,            -- of a bus's message
    published  INTEGER,          -- of a bus's message, by its producer's clock
    message    TEXT,             -- the message's id, of one that is tried again: it has no position
    again      INTEGER,          -- the change that it was when it was refused first
    letter     TEXT,             -- of a bus's refused message: 'kept' is a dead letter; else what became
                                 -- of it: 'discarded by uid 1000', 'retried as 57 by uid 1000'
    overtaken  INTEGER,          -- of a dead letter: a later change of the same object
    sent_on    INTEGER           -- of a dead letter: when its topic had it
);
CREATE INDEX journal_tail ON journal (seq) WHERE verdict IS NULL;
CREATE INDEX journal_letters ON journal (seq) WHERE letter = 'kept';
CREATE INDEX journal_letter_keys ON journal (kind, key) WHERE letter = 'kept';
CREATE INDEX journal_unsent ON journal (source, seq) WHERE letter = 'kept' AND sent_on IS NULL;
CREATE INDEX journal_source ON journal (source, at);

-- The accepted declared sets: what each source says of each key.
CREATE TABLE objects (
    kind      TEXT NOT NULL,
    key       TEXT NOT NULL,
    source    TEXT NOT NULL,
    stance    TEXT NOT NULL,     -- 'present', 'absent', 'kept'
    why       TEXT,              -- of 'kept': 'hold', 'take_over', 'still_used', 'orphaned'
    hold      TEXT,
    origin    ANY,
    request   BLOB NOT NULL,     -- the request that adds the object, or that removed it
    original  BLOB,              -- the source's own bytes, where they say more than the request
    message   TEXT,              -- the message's id
    since     INTEGER NOT NULL,  -- the log entry with which the source began to want it
    at        INTEGER NOT NULL,
    unseen_in TEXT,              -- of 'absent': the life of Sōzu that was read without it
    instead   BLOB,              -- of 'take_over': the request that adds what the source wants there
    PRIMARY KEY (kind, key, source)
) WITHOUT ROWID;

CREATE VIEW dead_letters AS
    SELECT seq, source, at, kind, key, coalesce(position, message) AS message, message_key, published,
           reason, overtaken, sent_on, request, original FROM journal WHERE letter = 'kept';
CREATE VIEW holds AS
    SELECT hold AS id, source, count(*) AS objects, min(at) AS at FROM objects
    WHERE stance = 'kept' AND hold IS NOT NULL GROUP BY hold, source;
";

/// How long a write waits for whoever else has the database.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// After so many pages of 4 kB the log of SQLite is written into the database. A flood writes the same pages again and
/// again.
const CHECKPOINT: u32 = 4_000;

/// Leads from one schema to the next.
pub(super) type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// A schema and the way to it.
#[derive(Clone, Copy)]
pub(super) struct Schema {
    /// What an empty database becomes.
    pub(super) text: &'static str,
    /// The steps from schema 1 to 2, from 2 to 3, …: there is one less than the schema's number.
    pub(super) steps: &'static [Step],
}

/// This version's. A new column, view or word in a column is a new schema, with a step to it.
pub(super) const CURRENT: Schema = Schema {
    text: SCHEMA,
    steps: &[holds_of_take_overs, letters_of_messages],
};

/// 2 → 3: a dead letter is a bus's refused message, with all that its producer said of it, until a person has decided; what
/// a bus is subscribed to is known.
fn letters_of_messages(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "ALTER TABLE positions ADD COLUMN subscription TEXT;
         ALTER TABLE positions ADD COLUMN gap TEXT;
         ALTER TABLE journal ADD COLUMN message_key TEXT;
         ALTER TABLE journal ADD COLUMN published INTEGER;
         ALTER TABLE journal ADD COLUMN message TEXT;
         ALTER TABLE journal ADD COLUMN again INTEGER;
         ALTER TABLE journal ADD COLUMN letter TEXT;
         ALTER TABLE journal ADD COLUMN overtaken INTEGER;
         ALTER TABLE journal ADD COLUMN sent_on INTEGER;
         UPDATE journal SET letter = 'kept' WHERE verdict = 'refused' AND position IS NOT NULL;
         DROP INDEX journal_refused;
         CREATE INDEX journal_letters ON journal (seq) WHERE letter = 'kept';
         CREATE INDEX journal_letter_keys ON journal (kind, key) WHERE letter = 'kept';
         CREATE INDEX journal_unsent ON journal (source, seq) WHERE letter = 'kept' AND sent_on IS NULL;
         DROP VIEW dead_letters;
         CREATE VIEW dead_letters AS
             SELECT seq, source, at, kind, key, coalesce(position, message) AS message, message_key, published,
                    reason, overtaken, sent_on, request, original FROM journal WHERE letter = 'kept';",
    )
}

/// 1 → 2: what a bus would take over while it catches up may be held.
fn holds_of_take_overs(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "ALTER TABLE objects ADD COLUMN instead BLOB;
         DROP VIEW holds;
         CREATE VIEW holds AS
             SELECT hold AS id, source, count(*) AS objects, min(at) AS at FROM objects
             WHERE stance = 'kept' AND hold IS NOT NULL GROUP BY hold, source;",
    )
}

impl Schema {
    fn number(&self) -> i64 {
        1 + i64::try_from(self.steps.len()).unwrap_or(i64::MAX - 1)
    }

    /// Sets the connection up and brings the database to this schema, an older one step by step in one transaction,
    /// after a copy of it.
    pub(super) fn prepare(
        &self,
        connection: &mut Connection,
        path: &Path,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        connection.busy_timeout(BUSY)?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let known = self.number();
        if found > known {
            let path = path.to_owned();
            return Err(StoreError::Newer { path, found, known });
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "secure_delete", "ON")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
        if found == known {
            return Ok(());
        }
        if found > 0 {
            let copy = copies::before_migration(connection, path, found, now)?;
            tracing::info!(from = found, to = known, copy = %copy.display(), "The database gets another schema; a copy of it is kept for 30 days.");
        }
        let transaction = connection.transaction()?;
        match usize::try_from(found) {
            Ok(found @ 1..) => {
                for step in self.steps.iter().skip(found - 1) {
                    step(&transaction)?;
                }
            }
            _ => transaction.execute_batch(self.text)?,
        }
        transaction.pragma_update(None, "user_version", known)?;
        transaction.commit()?;
        Ok(())
    }
}
