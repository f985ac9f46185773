//! What the journal says: each change that was taken, with its verdict.

use std::{collections::BTreeMap, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};
use testkit::wait_until;

/// One change.
#[derive(Clone, Debug)]
pub struct Row {
    pub seq: i64,
    pub source: String,
    pub position: Option<String>,
    pub change: String,
    pub kind: Option<String>,
    pub key: Option<String>,
    pub verdict: Option<String>,
    pub reason: Option<String>,
}

impl Row {
    pub fn verdict(&self) -> &str {
        self.verdict.as_deref().unwrap_or("open")
    }

    pub fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }

    /// Whether it is about an object whose key has this in it.
    pub fn is_about(&self, word: &str) -> bool {
        self.key.as_ref().is_some_and(|key| key.contains(word))
    }
}

/// All of it, eldest first.
pub fn journal(state_directory: &Path) -> Vec<Row> {
    let path = state_directory.join("state.db");
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    let mut rows = connection
        .prepare(
            "SELECT seq, source, position, change, kind, key, verdict, reason FROM journal ORDER BY seq",
        )
        .unwrap();
    let rows = rows.query_map([], |row| {
        Ok(Row {
            seq: row.get(0)?,
            source: row.get(1)?,
            position: row.get(2)?,
            change: row.get(3)?,
            kind: row.get(4)?,
            key: row.get(5)?,
            verdict: row.get(6)?,
            reason: row.get(7)?,
        })
    });
    rows.unwrap().map(|row| row.unwrap()).collect()
}

/// Waits until so many changes were taken and each has its verdict.
#[track_caller]
pub fn at_rest(state_directory: &Path, changes: usize, deadline: Duration) -> Vec<Row> {
    wait_until("a verdict for every change", deadline, || {
        let rows = journal(state_directory);
        let open: Vec<_> = rows.iter().filter(|row| row.verdict.is_none()).collect();
        if rows.len() >= changes && open.is_empty() {
            Ok(rows)
        } else {
            Err(format!(
                "{} of {changes} changes taken, {} open, the first: {:?}",
                rows.len(),
                open.len(),
                open.first()
            ))
        }
    })
}

/// How many changes have each verdict.
pub fn verdicts(rows: &[Row]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(row.verdict()).or_default() += 1;
    }
    counts
}
