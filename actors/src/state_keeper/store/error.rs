//! Why the database cannot be used, and whether it is damaged.

use std::path::PathBuf;

use rusqlite::ErrorCode;
use sozu_socket::directory::LockError;

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
    /// The directory is not ours alone.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It was removed or replaced while it was in use.
    #[error("{} was removed or replaced while it was in use; it is opened again", .0.display())]
    Gone(PathBuf),
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
    /// It was found damaged while it was in use.
    #[error("the database is damaged ({0}); it is kept aside, and an empty one takes its place")]
    Damaged(String),
    /// The thread that writes has ended.
    #[error("the database is closed; it is opened again")]
    Closed,
    /// SQLite refuses.
    #[error("the database: {_0}{}", remedy(_0))]
    Sqlite(#[from] rusqlite::Error),
    /// The position of a source that this version cannot read.
    #[error("the position of the source {0} cannot be read")]
    Position(String),
    /// There is no such dead letter, or no longer.
    #[error("there is no dead letter {0}")]
    NoSuchLetter(u64),
    /// A later change of the same object was taken.
    #[error("the dead letter {letter} was overtaken by the change {by}")]
    Overtaken {
        /// The letter.
        letter: u64,
        /// The later change.
        by: u64,
    },
    /// A row that this version cannot read.
    #[error("row {seq} of the journal, or an object, cannot be read: {what}")]
    Row {
        /// Its number, 0 for an object.
        seq: u64,
        /// What is wrong.
        what: String,
    },
}

impl StoreError {
    /// Whether the file is no database of ours any more, by SQLite's own word or because a row of a schema that we
    /// know cannot be read. What a disk, a permission or another version makes of it is none of that.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            ),
            Self::Damaged(_) | Self::Position(_) | Self::Row { .. } => true,
            _ => false,
        }
    }

    /// Whether only opening it again can help.
    pub(in crate::state_keeper) fn ends_this_life(&self) -> bool {
        self.is_damage() || matches!(self, Self::Gone(_) | Self::Closed)
    }
}

fn remedy(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            "; free space where the state directory lies: it goes on by itself"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "; the state directory and all in it must be writable for the user that runs the daemon"
        }
        Some(ErrorCode::SystemIoFailure) => "; look at the disk where the state directory lies",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "; another program holds it open for writing: end that one"
        }
        _ => "",
    }
}
