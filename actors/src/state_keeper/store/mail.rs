//! Reading dead letters beside the daemon's own work, for whoever shows them or sends them on: on a connection of its own that
//! cannot write, and without the secrets in them.

use std::{path::Path, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use rusqlite::{OptionalExtension, Row, params, types::Value};
use serde::Serialize;
use sozu_command_lib::proto::command::Request;

use super::{
    StoreError,
    journal::{open, rfc3339},
};
use crate::{
    messages::{Again, Letter, Original, SourceName},
    state_keeper::redact,
};

/// No more bytes of letters are read at once than these and one letter.
const AT_ONCE: usize = 16_000_000;

/// Which letters are read.
#[derive(Clone, Debug, Default)]
pub struct LetterFilter {
    /// Of this source only.
    pub source: Option<String>,
    /// This one only.
    pub id: Option<u64>,
    /// The first ones after this one; nothing: the latest.
    pub after: Option<u64>,
    /// Only what no dead-letter topic had yet.
    pub unsent: bool,
    /// At most so many.
    pub limit: u32,
    /// Whether their bytes are read.
    pub with_payload: bool,
}

/// A dead letter as people and programs see it.
#[derive(Clone, Debug, Serialize)]
pub struct LetterLine {
    /// Its change's place in the log.
    pub id: u64,
    /// Whose it was.
    pub source: String,
    /// When it was taken, in RFC 3339.
    pub at: String,
    /// The message's id: ledger, entry, place in the batch.
    pub message: String,
    /// The message's key.
    pub message_key: Option<String>,
    /// When it was published, by its producer's clock, in RFC 3339.
    pub published: Option<String>,
    /// The kind of the object that it is about.
    pub kind: Option<String>,
    /// The key of the object.
    pub key: Option<String>,
    /// Why it was refused.
    pub reason: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// A later change of the same object.
    pub overtaken_by: Option<u64>,
    /// When the dead-letter topic had it, in RFC 3339.
    pub sent_on: Option<String>,
    /// What it holds, if that was asked for.
    #[serde(flatten)]
    pub content: Option<Content>,
}

/// What a letter holds, as far as it is given out.
#[derive(Clone, Debug, Serialize)]
pub struct Content {
    /// Its bytes; in base64 as JSON.
    #[serde(serialize_with = "base64")]
    pub payload: Option<Vec<u8>>,
    /// `original`, `without_secrets`, or `withheld`.
    pub payload_is: &'static str,
    /// Why it is not all of it.
    pub payload_lacks: Option<&'static str>,
    /// The request, if it can be decoded.
    pub request: Option<Request>,
}

#[allow(clippy::ref_option, reason = "serde gives a field like this")]
fn base64<S: serde::Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
        None => serializer.serialize_none(),
    }
}

/// The name by which the source was last subscribed, by the database in `directory`. Blocks.
///
/// # Errors
/// If there is no database, or it cannot be read.
pub fn subscription_of(directory: &Path, source: &str) -> Result<Option<String>, StoreError> {
    let connection = open(directory)?;
    let sql = "SELECT subscription FROM positions WHERE source = ?1";
    let found = connection.query_row(sql, [source], |row| row.get(0));
    Ok(found.optional()?.flatten())
}

/// Reads letters of the database in `directory`, eldest first. Blocks.
///
/// # Errors
/// If there is no database, or it cannot be read.
pub fn read_letters(
    directory: &Path,
    filter: &LetterFilter,
) -> Result<Vec<LetterLine>, StoreError> {
    let connection = open(directory)?;
    let unsent = if filter.unsent {
        "AND sent_on IS NULL"
    } else {
        ""
    };
    let order = match filter.after {
        Some(_) => "ASC",
        None => "DESC",
    };
    let mut statement = connection.prepare(&format!(
        "SELECT seq, source, at, coalesce(position, message), message_key, published, kind, key, reason,
                length(coalesce(original, request)), overtaken, sent_on,
                CASE WHEN ?4 THEN coalesce(original, request) END
         FROM journal WHERE letter = 'kept' {unsent} AND (?1 IS NULL OR source = ?1) AND (?2 IS NULL OR seq = ?2)
         AND seq > ?3 ORDER BY seq {order} LIMIT {}",
        filter.limit
    ))?;
    let mut rows = statement.query(params![
        filter.source,
        filter.id,
        filter.after.unwrap_or(0),
        filter.with_payload
    ])?;
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while bytes < AT_ONCE
        && let Some(row) = rows.next()?
    {
        let line = line(row)?;
        bytes += usize::try_from(line.bytes).unwrap_or(AT_ONCE) * usize::from(filter.with_payload);
        lines.push(line);
    }
    if filter.after.is_none() {
        lines.reverse();
    }
    Ok(lines)
}

fn line(row: &Row<'_>) -> Result<LetterLine, StoreError> {
    let published: Option<i64> = row.get(5)?;
    let sent_on: Option<i64> = row.get(11)?;
    let bytes: Option<Vec<u8>> = row.get(12)?;
    Ok(LetterLine {
        id: row.get(0)?,
        source: row.get(1)?,
        at: rfc3339(row.get(2)?),
        message: row.get(3)?,
        message_key: row.get(4)?,
        published: published.map(rfc3339),
        kind: row.get(6)?,
        key: row.get(7)?,
        reason: row.get::<_, Option<String>>(8)?.unwrap_or_default(),
        bytes: row.get(9)?,
        overtaken_by: row.get(10)?,
        sent_on: sent_on.map(rfc3339),
        content: bytes.map(|bytes| content(&bytes)),
    })
}

fn content(bytes: &[u8]) -> Content {
    let given = redact::payload(bytes);
    Content {
        payload: given.bytes,
        payload_is: given.is.name(),
        payload_lacks: given.is.why(),
        request: given.request,
    }
}

/// The letter with all its bytes, as it is tried again. Blocks.
///
/// # Errors
/// If there is no database, or it cannot be read.
pub fn letter_of(directory: &Path, id: u64) -> Result<Option<Letter>, StoreError> {
    let connection = open(directory)?;
    let sql = "SELECT source, coalesce(original, request), message_key, published, coalesce(position, message),
               coalesce(again, seq) FROM journal WHERE seq = ?1 AND letter = 'kept'";
    let row = connection.query_row(sql, [id], |row| {
        let (source, place): (String, Value) = (row.get(0)?, row.get(4)?);
        let original = Original {
            bytes: row.get(1)?,
            key: row.get(2)?,
            published: row.get(3)?,
            again: None,
        };
        Ok((source, original, place, row.get(5)?))
    });
    let Some((source, original, place, change)) = row.optional()? else {
        return Ok(None);
    };
    let place = match place {
        Value::Text(text) => text.parse().ok(),
        _ => None,
    };
    let place = place.ok_or_else(|| StoreError::Row {
        seq: id,
        what: "its position is no position".to_owned(),
    })?;
    Ok(Some(Letter {
        seq: id,
        source: SourceName::new(&source),
        original: Arc::new(Original {
            again: Some(Again { id: place, change }),
            ..original
        }),
    }))
}
