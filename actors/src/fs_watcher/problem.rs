//! What is wrong with a file, and where. Names files, positions and keys, never contents.

use std::{fmt, path::PathBuf, sync::Arc};

/// A place in a text: line and column, both from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Position {
    /// The place of a byte offset.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What is wrong within a file: the file's name is added by who read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: Option<Position>,
    pub(super) text: String,
}

impl Fault {
    pub(super) fn at(at: Position, text: impl Into<String>) -> Self {
        Self {
            at: Some(at),
            text: text.into(),
        }
    }

    /// About the file as a whole.
    pub(super) fn whole(text: impl Into<String>) -> Self {
        Self {
            at: None,
            text: text.into(),
        }
    }

    pub(super) fn of(self, path: &Arc<PathBuf>) -> Problem {
        Problem {
            path: Arc::clone(path),
            fault: self,
        }
    }
}

/// A file with its fault, shown as `FILE:LINE:COLUMN: what is wrong; what to do`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) path: Arc<PathBuf>,
    pub(super) fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        one_line(f, &self.path.to_string_lossy())?;
        if let Some(at) = self.fault.at {
            write!(f, ":{at}")?;
        }
        f.write_str(": ")?;
        one_line(f, &self.fault.text)
    }
}

/// Names of files and of clusters may hold anything; a line of a log must stay one line.
fn one_line(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        if c.is_control() {
            write!(f, "{}", c.escape_default())?;
        } else {
            write!(f, "{c}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters() {
        let text = "a\nbé c\n";
        for (offset, line, column) in [(0, 1, 1), (2, 2, 1), (5, 2, 3), (4, 2, 2), (99, 3, 1)] {
            assert_eq!(
                Position::of(text, offset),
                Position { line, column },
                "{offset}"
            );
        }
    }

    #[test]
    fn a_problem_is_one_line_whatever_the_file_is_called() {
        let path = Arc::new(PathBuf::from("/d/a\nb.toml"));
        let problem = Fault::at(Position { line: 3, column: 9 }, "x\ny; mend it").of(&path);
        assert_eq!(problem.to_string(), "/d/a\\nb.toml:3:9: x\\ny; mend it");
    }
}
