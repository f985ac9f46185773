//! Reading the journal, and the host's name, beside the daemon's own work: on a connection of its own that cannot write.
//! What a change carries (its bytes) is never read here: it may hold secrets.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, ToSql, types::Value};
use serde::Serialize;

use super::{StoreError, rows};

/// Which lines are read: the latest `limit` of those that match.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Of this source only.
    pub source: Option<String>,
    /// About this key only, as [`Line::key`] shows it.
    pub key: Option<String>,
    /// With this verdict only; `open` for those that have none yet.
    pub verdict: Option<String>,
    /// Taken at this time or later.
    pub since: Option<SystemTime>,
    /// At most so many.
    pub limit: u32,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its place in the log.
    pub seq: u64,
    /// When it was taken, in RFC 3339.
    pub at: String,
    /// Whose it was.
    pub source: String,
    /// `add` or `remove`.
    pub change: String,
    /// The kind of the object.
    pub kind: Option<String>,
    /// The key of the object.
    pub key: Option<String>,
    /// How it was judged when it was taken.
    pub admission: String,
    /// The hold that it belongs to.
    pub hold: Option<String>,
    /// The file or the operator that said so.
    pub origin: Option<String>,
    /// The message's place in its bus.
    pub position: Option<String>,
    /// What became of it; nothing while it is open.
    pub verdict: Option<String>,
    /// Why it was refused.
    pub reason: Option<String>,
    /// When that became final, in RFC 3339.
    pub verdict_at: Option<String>,
    /// Of a bus's refused message: `kept` is a dead letter; else what a person made of it.
    pub letter: Option<String>,
}

/// Reads the journal of the database in `directory`, eldest line first. Blocks.
///
/// # Errors
/// If there is no database, or it cannot be read.
pub fn read(directory: &Path, filter: &Filter) -> Result<Vec<Line>, StoreError> {
    let connection = open(directory)?;
    let mut conditions = vec!["1".to_owned()];
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut add = |condition: &str, value: Box<dyn ToSql>| {
        values.push(value);
        conditions.push(format!("{condition} ?{}", values.len()));
    };
    if let Some(source) = &filter.source {
        add("source =", Box::new(source.clone()));
    }
    if let Some(key) = &filter.key {
        add("key =", Box::new(key.clone()));
    }
    if let Some(verdict) = &filter.verdict {
        add("coalesce(verdict, 'open') =", Box::new(verdict.clone()));
    }
    if let Some(since) = filter.since {
        add("at >=", Box::new(rows::millis(since)));
    }
    let mut statement = connection.prepare(&format!(
        "SELECT seq, at, source, change, kind, key, admission, hold, coalesce(origin, message), verdict, reason,
         verdict_at, position, letter FROM journal WHERE {} ORDER BY seq DESC LIMIT {}",
        conditions.join(" AND "),
        filter.limit
    ))?;
    let values: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).collect();
    let lines = statement.query_map(values.as_slice(), |row| {
        let verdict_at: Option<i64> = row.get(11)?;
        Ok(Line {
            seq: row.get(0)?,
            at: rfc3339(row.get(1)?),
            source: row.get(2)?,
            change: row.get(3)?,
            kind: row.get(4)?,
            key: row.get(5)?,
            admission: row.get(6)?,
            hold: row.get(7)?,
            origin: text(row.get(8)?),
            verdict: row.get(9)?,
            reason: row.get(10)?,
            verdict_at: verdict_at.map(rfc3339),
            position: row.get(12)?,
            letter: row.get(13)?,
        })
    })?;
    let mut lines = lines.collect::<Result<Vec<Line>, _>>()?;
    lines.reverse();
    Ok(lines)
}

/// What this host calls itself, by the database in `directory`; nothing, if it was never told. Blocks.
///
/// # Errors
/// As [`read`].
pub fn kept_instance(directory: &Path) -> Result<Option<String>, StoreError> {
    let sql = "SELECT value FROM meta WHERE name = 'instance'";
    let kept = open(directory)?.query_row(sql, [], |row| row.get(0));
    Ok(kept.optional()?)
}

pub(super) fn open(directory: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(
        directory.join("state.db"),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}

/// The writer of times panics on what it cannot write: what lies beyond the year 9999.
pub(super) fn rfc3339(millis: i64) -> String {
    const LAST: i64 = 253_402_300_799_999;
    humantime::format_rfc3339_millis(rows::time(millis.min(LAST))).to_string()
}

/// A path that is no text is shown as well as can be.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text),
        Value::Blob(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}
