//! Writes the Prometheus text format 0.0.4.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::{Display, Write};

use crate::metrics::{Metric, Type};

/// The content type of what is written.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics as text, family by family.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// Goes on after families that were written elsewhere.
    pub(super) fn after(text: String) -> Self {
        Self(text)
    }

    /// Begins a family. It borrows the text until the last of its samples, so that all of them
    /// stand together. Without a sample nothing is written.
    pub(super) fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        Family {
            text: &mut self.0,
            metric,
            begun: false,
        }
    }

    /// What was written.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// One family that is being written.
#[derive(Debug)]
pub(super) struct Family<'a> {
    text: &'a mut String,
    metric: &'static Metric,
    begun: bool,
}

impl Family<'_> {
    /// Writes a sample of a counter or a gauge.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        if !self.begun {
            self.begin();
        }
        self.text.push_str(self.metric.name);
        for (at, (name, value)) in labels.iter().enumerate() {
            self.text.push_str(if at == 0 { "{" } else { "," });
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(self.text, value, true);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        // Writing into a String cannot fail.
        let _ = writeln!(self.text, " {value}");
    }

    fn begin(&mut self) {
        self.begun = true;
        let name = self.metric.name;
        let _ = write!(self.text, "# HELP {name} ");
        escape(self.text, self.metric.help, false);
        let kind = match self.metric.kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram(_) => "histogram",
        };
        let _ = write!(self.text, "\n# TYPE {name} {kind}\n");
    }
}

/// Nothing else is escaped in this format: a `\t` would be read as an error.
fn escape(text: &mut String, value: &str, quote: bool) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quote => text.push_str("\\\""),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAUGE: Metric = Metric {
        name: "a_gauge",
        kind: Type::Gauge,
        help: "With \"quotes\", a \\ and a\nline break.",
    };

    #[test]
    fn labels_and_help_are_escaped_and_no_more() {
        let mut text = Text::default();
        let mut family = text.family(&GAUGE);
        family.sample(&[("id", "a\"b\\c\nd\te é")], 1);
        family.sample(&[("id", "x"), ("other", "")], 0.25);
        family.sample(&[], 7_u64);
        assert_eq!(
            text.finish(),
            "# HELP a_gauge With \"quotes\", a \\\\ and a\\nline break.\n\
             # TYPE a_gauge gauge\n\
             a_gauge{id=\"a\\\"b\\\\c\\nd\te é\"} 1\n\
             a_gauge{id=\"x\",other=\"\"} 0.25\n\
             a_gauge 7\n"
        );
    }

    #[test]
    fn a_family_without_samples_leaves_no_trace() {
        let mut text = Text::default();
        text.family(&GAUGE);
        assert_eq!(text.finish(), "");
    }
}
