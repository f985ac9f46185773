//! What is known of each certificate of each directory, for whoever shows it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::messages::SourceName;

/// What becomes of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Whoever asks for its name gets it.
    Served,
    /// Another one serves its names.
    Shadowed,
    /// Nobody gets it: another one without its name, or none, is shown.
    NotLoaded,
    /// An older one for its name is shown.
    ServedOlder,
    /// Its files are no pair as they are.
    Unusable,
    /// Nobody has looked yet, or nobody could.
    Unverified,
}

impl State {
    /// Every state.
    pub const ALL: [State; 6] = [
        State::Served,
        State::Shadowed,
        State::NotLoaded,
        State::ServedOlder,
        State::Unusable,
        State::Unverified,
    ];

    /// As metrics and texts name it.
    pub const fn name(self) -> &'static str {
        match self {
            State::Served => "served",
            State::Shadowed => "shadowed",
            State::NotLoaded => "not_loaded",
            State::ServedOlder => "served_older",
            State::Unusable => "unusable",
            State::Unverified => "unverified",
        }
    }
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its first name and its key's type.
    pub certificate: String,
    /// What becomes of it.
    pub state: State,
    /// The end of its validity, in seconds since 1970.
    pub file_not_after: i64,
    /// The same of what is shown to whoever asks for its name.
    pub served_not_after: Option<i64>,
    /// What is wrong, once it has been wrong for some time.
    pub problem: Option<String>,
}

/// The certificates of one directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Those that may be loaded.
    pub rows: Vec<Row>,
    /// How many pairs may not.
    pub unusable: usize,
}

/// All of them, shared between those who look and those who show.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<SourceName, Rows>>>);

impl Board {
    /// What is known now.
    pub fn all(&self) -> BTreeMap<SourceName, Rows> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What is wrong with what one directory's certificates come to.
    pub(in crate::fs_watcher) fn problems(&self, source: &SourceName) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = all.get(source).into_iter().flat_map(|rows| &rows.rows);
        rows.filter_map(|row| row.problem.clone()).collect()
    }

    /// The directory is no source any more.
    pub fn remove(&self, source: &SourceName) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(source);
    }

    pub(super) fn write(&self, source: &SourceName, change: impl FnOnce(&mut Rows)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(source.clone()).or_default());
    }
}
