//! The results, each against its goal.

use std::fmt;

/// One line.
struct Row {
    what: String,
    ours: String,
    against: String,
    result: String,
}

/// All of them, in the order of measuring.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// A figure with a goal that is met or not.
    pub(crate) fn judged(
        &mut self,
        what: &str,
        ours: impl fmt::Display,
        against: impl fmt::Display,
        figure: &str,
        goal: &str,
        met: bool,
    ) {
        let word = if met { "met" } else { "not met" };
        self.add(
            what,
            ours,
            against,
            format!("{figure}; goal {goal}: {word}"),
        );
    }

    /// A figure beside another.
    pub(crate) fn shown(
        &mut self,
        what: &str,
        ours: impl fmt::Display,
        against: impl fmt::Display,
    ) {
        self.add(what, ours, against, String::new());
    }

    /// A figure beside another, and what comes of the two.
    #[allow(dead_code, reason = "the client's benchmark uses it")]
    pub(crate) fn compared(
        &mut self,
        what: &str,
        ours: impl fmt::Display,
        against: impl fmt::Display,
        result: String,
    ) {
        self.add(what, ours, against, result);
    }

    fn add(
        &mut self,
        what: &str,
        ours: impl fmt::Display,
        against: impl fmt::Display,
        result: String,
    ) {
        let row = Row {
            what: what.to_owned(),
            ours: ours.to_string(),
            against: against.to_string(),
            result,
        };
        // Each as soon as it is known: a run takes minutes.
        println!("{row}");
        self.0.push(row);
    }

    pub(crate) fn print(&self) {
        println!("\n| measured | ours | against | result |\n|---|---|---|---|");
        for row in &self.0 {
            println!("{row}");
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "| {} | {} | {} | {} |",
            self.what, self.ours, self.against, self.result
        )
    }
}
