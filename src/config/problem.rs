//! What is wrong with the configuration, and where it was set.

use std::{collections::BTreeMap, fmt};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file, at a line and a column, both counted from 1; a column is a character.
    Place {
        /// The file, as the user named it.
        file: String,
        /// Its line.
        line: usize,
        /// The character in it.
        column: usize,
    },
    /// A file as a whole.
    File(String),
    /// An environment variable, without `$`.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Place { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Origin::File(file) => f.write_str(file),
            Origin::Variable(name) => write!(f, "${name}"),
        }
    }
}

/// One thing that is wrong: `FILE:LINE:COLUMN: what is wrong; what to do`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What is wrong, and what to do.
    pub what: String,
}

impl Problem {
    /// A problem.
    pub fn new(origin: Origin, what: impl Into<String>) -> Self {
        Self {
            origin,
            what: what.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.what)
    }
}

/// One problem per line.
pub(super) fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

/// Where each value was set, by its path (`["http", "address"]`).
#[derive(Clone, Debug)]
pub struct Origins {
    file: String,
    by_path: BTreeMap<Vec<String>, Origin>,
}

impl Origins {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.into(),
            by_path: BTreeMap::new(),
        }
    }

    pub(super) fn set(&mut self, path: &[String], origin: Origin) {
        self.by_path.insert(path.to_vec(), origin);
    }

    pub(super) fn is_set(&self, path: &[String]) -> bool {
        self.by_path.contains_key(path)
    }

    /// Where the value was set, else the table around it, else the file as a whole.
    pub fn of<S: AsRef<str>>(&self, path: &[S]) -> Origin {
        let path: Vec<String> = path.iter().map(|part| part.as_ref().to_owned()).collect();
        (1..=path.len())
            .rev()
            .find_map(|length| self.by_path.get(&path[..length]))
            .cloned()
            .unwrap_or_else(|| Origin::File(self.file.clone()))
    }
}
