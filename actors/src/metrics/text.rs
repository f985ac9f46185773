//! Writes metrics as text: the Prometheus format 0.0.4, or OpenMetrics 1.0.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>,
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::fmt::{Display, Write};

use super::{Metric, Type};

/// How metrics are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus text 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0: a counter's family goes without `_total`, units and created times are told,
    /// and an end mark proves that nothing is missing.
    OpenMetrics,
}

impl Format {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What is said once of a family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Header<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: Type,
    pub(crate) help: &'a str,
}

impl<'a> From<&'a Metric> for Header<'a> {
    fn from(metric: &'a Metric) -> Self {
        Self {
            name: metric.name,
            kind: metric.kind,
            help: metric.help,
        }
    }
}

/// The observations of one histogram.
#[derive(Clone, Copy)]
pub(crate) struct Observations<'a> {
    /// Per bucket, cumulative, in the order of the family's bounds; what is above the last is in `count` alone.
    pub(crate) buckets: &'a [u64],
    pub(crate) count: u64,
    pub(crate) sum: &'a dyn Display,
}

type Labels<'a> = &'a [(&'a str, &'a str)];

/// Metrics as text, family by family.
#[derive(Debug, Default)]
pub(crate) struct Text {
    out: String,
    format: Format,
}

impl Text {
    pub(crate) fn new(format: Format) -> Self {
        let out = String::new();
        Self { out, format }
    }

    pub(crate) fn with_capacity(format: Format, bytes: usize) -> Self {
        let out = String::with_capacity(bytes);
        Self { out, format }
    }

    /// How many bytes were written.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    /// Goes on with a family that an earlier piece has begun.
    pub(crate) fn resume<'a>(&'a mut self, header: impl Into<Header<'a>>) -> Family<'a> {
        Family {
            begun: true,
            ..self.family(header)
        }
    }

    /// Begins a family. It borrows the text until the last of its samples, so that all of them
    /// stand together. Without a sample nothing is written.
    pub(crate) fn family<'a>(&'a mut self, header: impl Into<Header<'a>>) -> Family<'a> {
        Family {
            text: &mut self.out,
            header: header.into(),
            format: self.format,
            begun: false,
        }
    }

    /// The end mark, where the format has one.
    pub(crate) fn end(&mut self) {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
    }

    /// What was written.
    pub(crate) fn finish(self) -> String {
        self.out
    }
}

/// One family that is being written.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    text: &'a mut String,
    header: Header<'a>,
    format: Format,
    begun: bool,
}

impl Family<'_> {
    /// Writes a sample of a counter or a gauge.
    pub(crate) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.line("", labels, None, value);
    }

    /// Writes a counter and, where the format has it, when it began (seconds since 1970).
    pub(crate) fn counter(&mut self, labels: Labels<'_>, value: impl Display, created: f64) {
        self.line("", labels, None, value);
        self.created(labels, created);
    }

    /// Writes a histogram.
    pub(crate) fn histogram(&mut self, labels: Labels<'_>, seen: Observations<'_>, created: f64) {
        let Type::Histogram(bounds) = self.header.kind else {
            return;
        };
        let mut le = String::new();
        for (bound, count) in bounds.iter().zip(seen.buckets) {
            le.clear();
            // `{:?}` is the canonical form: `1.0`, `0.005`.
            let _ = write!(le, "{bound:?}");
            self.line("_bucket", labels, Some(&le), count);
        }
        self.line("_bucket", labels, Some("+Inf"), seen.count);
        self.line("_sum", labels, None, seen.sum);
        self.line("_count", labels, None, seen.count);
        self.created(labels, created);
    }

    fn created(&mut self, labels: Labels<'_>, created: f64) {
        if self.format == Format::OpenMetrics {
            self.line("_created", labels, None, created);
        }
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, le: Option<&str>, value: impl Display) {
        if !self.begun {
            self.begin();
        }
        let whole = suffix != "_created";
        let name = self.header.name;
        self.text
            .push_str(if whole { name } else { base(self.header) });
        self.text.push_str(suffix);
        let le = le.map(|le| ("le", le));
        let mut any = false;
        for (name, value) in labels.iter().copied().chain(le) {
            self.text.push(if any { ',' } else { '{' });
            any = true;
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(self.text, value, true);
            self.text.push('"');
        }
        if any {
            self.text.push('}');
        }
        // Writing into a String cannot fail.
        let _ = writeln!(self.text, " {value}");
    }

    fn begin(&mut self) {
        self.begun = true;
        let open = self.format == Format::OpenMetrics;
        let name = if open {
            base(self.header)
        } else {
            self.header.name
        };
        let _ = write!(self.text, "# HELP {name} ");
        // OpenMetrics escapes quotes in help texts, too.
        escape(self.text, self.header.help, open);
        let kind = match self.header.kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram(_) => "histogram",
        };
        let _ = write!(self.text, "\n# TYPE {name} {kind}\n");
        if let Some(unit) = unit(name).filter(|_| open) {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
    }
}

/// OpenMetrics' name of a family.
fn base(header: Header<'_>) -> &str {
    match header.kind {
        Type::Counter => header.name.strip_suffix("_total").unwrap_or(header.name),
        Type::Gauge | Type::Histogram(_) => header.name,
    }
}

fn unit(family: &str) -> Option<&'static str> {
    let units = ["seconds", "bytes", "ratio"];
    let ends = |unit: &&str| {
        family
            .strip_suffix(*unit)
            .is_some_and(|rest| rest.ends_with('_'))
    };
    units.into_iter().find(|unit| ends(unit))
}

/// Nothing else is escaped in these formats: a `\t` would be read as an error.
fn escape(text: &mut String, value: &str, quote: bool) {
    let mut rest = value;
    while let Some(at) = rest.find(['\\', '\n', '"']) {
        text.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            _ if quote => text.push_str("\\\""),
            _ => text.push('"'),
        }
        rest = &rest[at + 1..];
    }
    text.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAUGE: Metric = Metric::gauge("a_gauge", "With \"quotes\", a \\ and a\nline break.");
    const COUNTER: Metric = Metric::counter("a_seconds_total", "Counts.");
    const HISTOGRAM: Metric = Metric::histogram("a_histogram", &[0.5, 1.0], "Sorts.");

    #[test]
    fn labels_and_help_are_escaped_and_no_more() {
        let mut text = Text::default();
        let mut family = text.family(&GAUGE);
        family.sample(&[("id", "a\"b\\c\nd\te é")], 1);
        family.sample(&[("id", "x"), ("other", "")], 0.25);
        family.sample(&[], 7_u64);
        text.end();
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

    #[test]
    fn open_metrics_has_its_own_names_units_times_and_an_end() {
        let mut text = Text::new(Format::OpenMetrics);
        text.family(&COUNTER).counter(&[("a", "b")], 3, 12.5);
        let seen = Observations {
            buckets: &[1, 2],
            count: 3,
            sum: &4.5,
        };
        text.family(&HISTOGRAM).histogram(&[], seen, 12.5);
        text.end();
        assert_eq!(
            text.finish(),
            "# HELP a_seconds Counts.\n\
             # TYPE a_seconds counter\n\
             # UNIT a_seconds seconds\n\
             a_seconds_total{a=\"b\"} 3\n\
             a_seconds_created{a=\"b\"} 12.5\n\
             # HELP a_histogram Sorts.\n\
             # TYPE a_histogram histogram\n\
             a_histogram_bucket{le=\"0.5\"} 1\n\
             a_histogram_bucket{le=\"1.0\"} 2\n\
             a_histogram_bucket{le=\"+Inf\"} 3\n\
             a_histogram_sum 4.5\n\
             a_histogram_count 3\n\
             a_histogram_created 12.5\n\
             # EOF\n"
        );
    }
}
