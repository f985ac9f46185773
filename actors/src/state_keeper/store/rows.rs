//! Rows and what they stand for.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prost::Message;
use rusqlite::{Connection, Row, Statement, Transaction, params, types::Value};
use sozu_command_lib::proto::command::{Request, request::RequestType};

use super::StoreError;
use crate::{
    messages::{Again, Original, SourceName},
    state_keeper::{
        declared::{Declaration, Stance, Why},
        events::{FinalVerdict, Mark},
        gate::Pause,
        key::{Key, Object, adds, key_of},
        log::{Admission, Entry, Operator, Word},
        verdict::Verdict,
    },
};

/// What the origin of a person's order begins with; the user id follows.
const UID: &str = "uid ";

/// Milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn time(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// The last moment that can be written as RFC 3339, in seconds since 1970.
const YEAR_10000: u64 = 253_402_300_800;

/// A pause as one line of text.
pub(super) fn pause_text(pause: &Pause) -> String {
    let (since, until) = (millis(pause.since), millis(pause.until));
    format!("{since} {until} {}", pause.uid)
}

/// A pause from that. What does not read as one is none: nobody is to be paused by a mistake.
pub(super) fn pause(text: &str) -> Option<Pause> {
    let mut words = text.split(' ');
    let mut moment = || {
        let moment = time(words.next()?.parse().ok()?);
        (moment < UNIX_EPOCH + Duration::from_secs(YEAR_10000)).then_some(moment)
    };
    let (since, until) = (moment()?, moment()?);
    let uid = words.next()?.parse().ok()?;
    Some(Pause { since, until, uid })
}

/// What the names of rows in `meta` begin with that tell how many objects a bus took over, and when.
const TAKEN_OVER: &str = "taken_over ";

/// The name of such a row.
pub(super) fn taken_over(source: &SourceName, at: SystemTime) -> String {
    format!("{TAKEN_OVER}{source} {}", millis(at))
}

/// All of them: who, when, how many.
pub(super) fn taken_over_ever(
    connection: &Connection,
) -> Result<Vec<(SourceName, SystemTime, usize)>, StoreError> {
    let mut statement = connection.prepare("SELECT name, value FROM meta WHERE name GLOB ?1")?;
    let rows = statement.query_map([format!("{TAKEN_OVER}*")], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut ever = Vec::new();
    for row in rows {
        let (name, objects) = row?;
        let words = name
            .strip_prefix(TAKEN_OVER)
            .and_then(|it| it.rsplit_once(' '));
        let Some((source, at)) = words else { continue };
        if let (Ok(at), Ok(objects)) = (at.parse(), objects.parse()) {
            ever.push((SourceName::new(source), time(at), objects));
        }
    }
    Ok(ever)
}

/// A path as text where it is text, so that people can read it; else its bytes.
fn path_value(path: Option<&Path>) -> Value {
    match path.map(|path| (path.to_str(), path)) {
        None => Value::Null,
        Some((Some(text), _)) => Value::Text(text.to_owned()),
        Some((None, path)) => Value::Blob(path.as_os_str().as_bytes().to_owned()),
    }
}

fn uid(origin: &Value) -> Option<u32> {
    match origin {
        Value::Text(text) => text.strip_prefix(UID)?.parse().ok(),
        _ => None,
    }
}

fn path(value: Value) -> Option<Arc<PathBuf>> {
    match value {
        Value::Text(text) => Some(Arc::new(text.into())),
        Value::Blob(bytes) => Some(Arc::new(PathBuf::from(OsStr::from_bytes(&bytes)))),
        _ => None,
    }
}

/// A request as the database may hold it: a private key is left out where a file has it.
fn stored(request: &Request, has_file: bool) -> Vec<u8> {
    match &request.request_type {
        Some(RequestType::AddCertificate(add)) if has_file => {
            let certificate = Object::Certificate(Box::new(add.clone()));
            certificate.without_private_key().add().encode_to_vec()
        }
        Some(RequestType::ReplaceCertificate(replace)) if has_file => {
            let mut replace = replace.clone();
            replace.new_certificate.key.clear();
            Request::from(RequestType::ReplaceCertificate(replace)).encode_to_vec()
        }
        _ => request.encode_to_vec(),
    }
}

pub(super) fn insert_entries<'a>(
    transaction: &Transaction<'_>,
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Result<(), StoreError> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO journal
         (seq, source, at, kind, key, change, origin, admission, hold, reason, request,
          position, original, message_key, published, message, again)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?;
    for entry in entries {
        insert_entry(&mut statement, entry)?;
    }
    Ok(())
}

fn insert_entry(statement: &mut Statement<'_>, entry: &Entry) -> Result<(), StoreError> {
    let request = entry.request.request_type.as_ref();
    let key = request.and_then(key_of).and_then(Result::ok);
    let adds = request.is_some_and(adds);
    let (admission, hold, reason) = match &entry.admission {
        Admission::Order => ("order", None, None),
        Admission::History { anew: false } => ("history", None, None),
        Admission::History { anew: true } => ("first_look", None, None),
        Admission::Conclusion => ("conclusion", None, None),
        Admission::Held(id) => ("held", Some(id.as_ref()), None),
        Admission::Refused(reason) => ("refused", None, Some(reason.as_str())),
        Admission::Operator(operator) => match &operator.word {
            Word::Release(id) => ("released", Some(id.as_ref()), None),
            Word::Discard(id) => ("discarded", Some(id.as_ref()), None),
            Word::Remove => ("removed", None, None),
            Word::Retry(Ok(())) => ("retried", None, None),
            Word::Retry(Err(reason)) => ("retried", None, Some(reason.as_ref())),
        },
    };
    let origin = match &entry.admission {
        Admission::Operator(operator) => Value::Text(format!("{UID}{}", operator.uid)),
        _ => path_value(entry.origin.as_deref().map(PathBuf::as_path)),
    };
    let request = stored(&entry.request, entry.origin.is_some());
    let original = entry.original.as_deref();
    // The bytes are what a dead letter is; nearly always they are the request's.
    let bytes = original.map(|it| &it.bytes);
    let bytes = bytes.filter(|bytes| **bytes != request);
    let again = original.and_then(|it| it.again);
    statement.execute(params![
        entry.seq,
        entry.source.as_str(),
        millis(entry.at),
        key.as_ref().map(|key| key.kind().name()),
        key.as_ref().map(Key::to_string),
        if adds { "add" } else { "remove" },
        origin,
        admission,
        hold,
        reason,
        request,
        entry.position.map(|position| position.to_string()),
        bytes,
        original.and_then(|it| it.key.as_ref()),
        original.and_then(|it| it.published),
        again.map(|it| it.id.to_string()),
        again.map(|it| it.change),
    ])?;
    Ok(())
}

pub(super) fn set_mark(
    transaction: &Transaction<'_>,
    source: &SourceName,
    mark: Mark,
) -> Result<(), StoreError> {
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
    Ok(())
}

pub(super) fn set_verdicts(
    transaction: &Transaction<'_>,
    verdicts: &[FinalVerdict],
    now: SystemTime,
) -> Result<(), StoreError> {
    let mut statement = transaction.prepare_cached(
        "UPDATE journal SET verdict = ?3, reason = ?4, verdict_at = ?5 WHERE seq BETWEEN ?1 AND ?2",
    )?;
    // In a flood neighbours come to the same.
    let together =
        |a: &FinalVerdict, b: &FinalVerdict| a.seq + 1 == b.seq && a.verdict == b.verdict;
    for run in verdicts.chunk_by(together) {
        let [first, ..] = run else { continue };
        let reason = match &first.verdict {
            Verdict::Refused(reason) => Some(reason.as_str()),
            _ => None,
        };
        let last = first.seq + run.len() as u64 - 1;
        let name = first.verdict.name();
        statement.execute(params![first.seq, last, name, reason, millis(now)])?;
    }
    Ok(())
}

/// What a source says of a key, or that it says nothing any more.
type Said = (Key, SourceName, Option<Declaration>);

pub(super) fn set_declarations(
    transaction: &Transaction<'_>,
    declarations: &[Said],
    now: SystemTime,
) -> Result<(), StoreError> {
    let mut set = transaction.prepare_cached(
        "INSERT INTO objects
         (kind, key, source, stance, why, hold, origin, request, since, at, unseen_in, instead)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, coalesce(?8, x''), ?9, ?10, ?11, ?12)
         ON CONFLICT (kind, key, source) DO UPDATE SET stance = ?4, why = ?5, hold = ?6,
         origin = ?7, request = coalesce(?8, request), since = ?9, at = ?10, unseen_in = ?11,
         instead = ?12",
    )?;
    let mut delete = transaction
        .prepare_cached("DELETE FROM objects WHERE kind = ?1 AND key = ?2 AND source = ?3")?;
    for (key, source, declaration) in declarations {
        match declaration {
            Some(declaration) => set_declaration(&mut set, key, source, declaration, now)?,
            None => {
                delete.execute(params![key.kind().name(), key.to_string(), source.as_str()])?;
            }
        }
    }
    Ok(())
}

fn set_declaration(
    statement: &mut Statement<'_>,
    key: &Key,
    source: &SourceName,
    declaration: &Declaration,
    now: SystemTime,
) -> Result<(), StoreError> {
    let (stance, why, hold, unseen_in, at) = match &declaration.stance {
        Stance::Present => ("present", None, None, None, now),
        Stance::Absent { at, unseen_in } => ("absent", None, None, unseen_in.as_deref(), *at),
        Stance::Kept(Why::Hold(id)) => ("kept", Some("hold"), Some(id.as_ref()), None, now),
        Stance::Kept(Why::TakeOver { hold, .. }) => {
            ("kept", Some("take_over"), Some(hold.as_ref()), None, now)
        }
        Stance::Kept(Why::StillUsed) => ("kept", Some("still_used"), None, None, now),
        Stance::Kept(Why::Orphaned) => ("kept", Some("orphaned"), None, None, now),
    };
    let instead = match &declaration.stance {
        Stance::Kept(Why::TakeOver { instead, .. }) => instead.as_ref(),
        _ => None,
    };
    let instead = instead.map(|object| object.add().encode_to_vec());
    // What is gone keeps the request that once added it: it is where the key comes from.
    let request = declaration
        .object
        .as_ref()
        .map(|object| stored(&object.add(), declaration.origin.is_some()));
    statement.execute(params![
        key.kind().name(),
        key.to_string(),
        source.as_str(),
        stance,
        why,
        hold,
        path_value(declaration.origin.as_deref().map(PathBuf::as_path)),
        request,
        declaration.since,
        millis(at),
        unseen_in,
        instead,
    ])?;
    Ok(())
}

pub(super) fn declarations(
    connection: &Connection,
) -> Result<Vec<(Key, SourceName, Declaration)>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT source, stance, why, hold, origin, request, since, at, unseen_in, kind, key,
                instead
         FROM objects",
    )?;
    let mut rows = statement.query([])?;
    let mut declarations = Vec::new();
    while let Some(row) = rows.next()? {
        declarations.extend(declaration(row)?);
    }
    Ok(declarations)
}

/// One declaration. Nothing for what was removed without ever having been seen: there is no key.
fn declaration(row: &Row<'_>) -> Result<Option<(Key, SourceName, Declaration)>, StoreError> {
    let bad = |what: &str| {
        let (kind, key) = (row.get(9), row.get(10));
        let (kind, key): (String, String) = (kind.unwrap_or_default(), key.unwrap_or_default());
        StoreError::Row {
            seq: 0,
            what: format!("{kind} {key}: {what}"),
        }
    };
    let source: String = row.get(0)?;
    let stance: String = row.get(1)?;
    let (why, hold): (Option<String>, Option<String>) = (row.get(2)?, row.get(3)?);
    let bytes: Vec<u8> = row.get(5)?;
    if bytes.is_empty() && stance == "absent" {
        return Ok(None);
    }
    let request = decode(&bytes).ok_or_else(|| bad("its request is not one of Sōzu's"))?;
    let key = key_of(&request)
        .and_then(Result::ok)
        .ok_or_else(|| bad("it has no key"))?;
    let unseen_in: Option<String> = row.get(8)?;
    let stance = match (stance.as_str(), why.as_deref(), hold) {
        ("present", ..) => Stance::Present,
        ("absent", ..) => Stance::Absent {
            at: time(row.get(7)?),
            unseen_in: unseen_in.map(Into::into),
        },
        ("kept", Some("hold"), Some(id)) => Stance::Kept(Why::Hold(id.into())),
        ("kept", Some("take_over"), Some(hold)) => Stance::Kept(Why::TakeOver {
            hold: hold.into(),
            instead: match row.get::<_, Option<Vec<u8>>>(11)? {
                None => None,
                Some(bytes) => {
                    let instead = decode(&bytes).as_ref().and_then(Object::added_by);
                    let instead =
                        instead.ok_or_else(|| bad("what it is held against is no object"))?;
                    Some(Arc::new(instead))
                }
            },
        }),
        ("kept", Some("still_used"), _) => Stance::Kept(Why::StillUsed),
        ("kept", Some("orphaned"), _) => Stance::Kept(Why::Orphaned),
        _ => return Err(bad("its stance is unknown")),
    };
    let object = match stance {
        Stance::Absent { .. } => None,
        _ => Some(Arc::new(
            Object::added_by(&request).ok_or_else(|| bad("it is no object"))?,
        )),
    };
    let declaration = Declaration {
        stance,
        object,
        origin: path(row.get(4)?),
        since: row.get(6)?,
    };
    Ok(Some((key, SourceName::new(&source), declaration)))
}

fn decode(bytes: &[u8]) -> Option<RequestType> {
    Request::decode(bytes).ok()?.request_type
}

pub(super) fn tail(connection: &Connection) -> Result<Vec<Entry>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT seq, source, at, origin, admission, hold, reason, request, position, original,
                message_key, published, message, again
         FROM journal
         WHERE verdict IS NULL ORDER BY seq",
    )?;
    let mut rows = statement.query([])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let seq: u64 = row.get(0)?;
        let bad = |what: &str| StoreError::Row {
            seq,
            what: what.to_owned(),
        };
        let source: String = row.get(1)?;
        let admission: String = row.get(4)?;
        let (hold, reason): (Option<String>, Option<String>) = (row.get(5)?, row.get(6)?);
        let bytes: Vec<u8> = row.get(7)?;
        let origin: Value = row.get(3)?;
        let uid = uid(&origin);
        let place = |text: Option<String>| match text {
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| bad("its position is no position")),
            None => Ok(None),
        };
        let (position, id) = (place(row.get(8)?)?, place(row.get(12)?)?);
        let change: Option<u64> = row.get(13)?;
        let again = id.zip(change).map(|(id, change)| Again { id, change });
        let request = Request::decode(bytes.as_slice())
            .map_err(|_| bad("its request is not one of Sōzu's"))?;
        let original = Original {
            bytes: row.get::<_, Option<Vec<u8>>>(9)?.unwrap_or(bytes),
            key: row.get(10)?,
            published: row.get(11)?,
            again,
        };
        let operator = |word| {
            uid.map(|uid| Admission::Operator(Operator { uid, word }))
                .ok_or_else(|| bad("its origin names no user"))
        };
        entries.push(Entry {
            seq,
            source: SourceName::new(&source),
            at: time(row.get(2)?),
            request: Arc::new(request),
            position,
            original: (position.is_some() || again.is_some()).then(|| Arc::new(original)),
            admission: match (admission.as_str(), hold) {
                ("order", _) => Admission::Order,
                ("history", _) => Admission::History { anew: false },
                ("first_look", _) => Admission::History { anew: true },
                ("conclusion", _) => Admission::Conclusion,
                ("held", Some(id)) => Admission::Held(id.into()),
                ("released", Some(id)) => operator(Word::Release(id.into()))?,
                ("discarded", Some(id)) => operator(Word::Discard(id.into()))?,
                ("removed", _) => operator(Word::Remove)?,
                ("retried", _) => operator(Word::Retry(match reason {
                    Some(reason) => Err(reason.into()),
                    None => Ok(()),
                }))?,
                ("refused", _) => Admission::Refused(reason.unwrap_or_default()),
                _ => return Err(bad("its admission is unknown")),
            },
            origin: if uid.is_some() { None } else { path(origin) },
        });
    }
    Ok(entries)
}
