//! Copies of the database that are kept for a person: what was found damaged, and what a migration began with. They may
//! hold private keys: 0600, and gone after 30 days.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rusqlite::Connection;

use super::StoreError;

const KEPT_FOR: Duration = Duration::from_hours(720);
/// A disk that damages every database must not be filled with them.
const DAMAGED_AT_MOST: usize = 3;

/// What belongs to a database beside its file.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];

/// Moves a damaged database aside: `state.db.corrupt.TIMESTAMP`, with its log.
///
/// # Errors
/// If the directory cannot be written.
pub(super) fn set_aside(database: &Path, now: SystemTime) -> Result<PathBuf, StoreError> {
    let copy = unused(database, "corrupt", now);
    for part in PARTS {
        let (from, to) = (with(database, part), with(&copy, part));
        let moved = fs::rename(&from, &to).and_then(|()| {
            let file = File::open(&to)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.set_modified(now)
        });
        match moved {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Io { path: from, source });
            }
            _ => {}
        }
    }
    Ok(copy)
}

/// Copies the database as it is, before its schema changes: `state.db.schema-N.TIMESTAMP`.
///
/// # Errors
/// If it cannot be read, or the copy not be written; none is left then.
pub(super) fn before_migration(
    connection: &Connection,
    database: &Path,
    schema: i64,
    now: SystemTime,
) -> Result<PathBuf, StoreError> {
    let copy = unused(database, &format!("schema-{schema}"), now);
    // SQLite itself would make it readable for others; into an empty file it writes, too
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&copy);
    let io = |source| StoreError::Io {
        path: copy.clone(),
        source,
    };
    let file = file.map_err(io)?;
    let name = copy.to_string_lossy();
    let written = connection.execute("VACUUM INTO ?1", [name.as_ref()]);
    let written = written.map_err(StoreError::from);
    let kept = written.and_then(|_| {
        file.set_modified(now)
            .and_then(|()| file.sync_all())
            .map_err(io)
    });
    if let Err(error) = kept {
        let _ = fs::remove_file(&copy);
        return Err(error);
    }
    Ok(copy)
}

/// Removes the copies that have been kept long enough, and damaged ones beyond the newest few.
pub(super) fn expire(database: &Path, now: SystemTime) {
    let mut damaged = copies(database, "corrupt");
    damaged.sort_by_key(|(changed, _)| std::cmp::Reverse(*changed));
    let too_many = damaged.iter().skip(DAMAGED_AT_MOST);
    let mut all = copies(database, "schema-");
    all.extend_from_slice(&damaged);
    let too_old = all
        .iter()
        .filter(|(changed, _)| now.duration_since(*changed).is_ok_and(|age| age > KEPT_FOR));
    for (_, copy) in too_many.chain(too_old) {
        for part in PARTS {
            match fs::remove_file(with(copy, part)) {
                Ok(()) => {
                    tracing::info!(copy = %with(copy, part).display(), "A copy of the database has expired.");
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(copy = %copy.display(), %error, "A copy of the database cannot be removed.");
                }
            }
        }
    }
}

/// The copies of a kind, with when they were made.
fn copies(database: &Path, kind: &str) -> Vec<(SystemTime, PathBuf)> {
    let (Some(directory), Some(name)) = (database.parent(), database.file_name()) else {
        return Vec::new();
    };
    let prefix = format!("{}.{kind}", name.to_string_lossy());
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(&prefix) && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect()
}

/// `DATABASE.KIND.TIMESTAMP`, a name that nothing has yet. The time is UTC, as in `20261124T130000Z`.
fn unused(database: &Path, kind: &str, now: SystemTime) -> PathBuf {
    let mut at = now;
    loop {
        let time = humantime::format_rfc3339_seconds(at).to_string();
        let time = time.replace(['-', ':'], "");
        let path = with(database, &format!(".{kind}.{time}"));
        if fs::symlink_metadata(&path).is_err() {
            return path;
        }
        at += Duration::from_secs(1);
    }
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
