//! For tests: reads the Prometheus text format strictly, and says what a good client would not
//! have written.

use std::{
    collections::HashSet,
    io::Write,
    process::{Command, Stdio},
};

/// `Ok`, or the first line that is wrong and why.
pub(super) fn check(text: &str) -> Result<(), String> {
    if !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let mut checker = Checker::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        checker
            .line(line)
            .map_err(|wrong| format!("{wrong}: {line}"))?;
    }
    checker.end_of_family()
}

/// What `promtool check metrics` says, if there is one.
pub(super) fn promtool(text: &str) -> Option<String> {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    // Dropped when written: the end of the input.
    child.stdin.take()?.write_all(text.as_bytes()).ok()?;
    let said = child.wait_with_output().ok()?;
    let words = [said.stdout, said.stderr].concat();
    Some(String::from_utf8_lossy(&words).into_owned())
}

#[derive(Default)]
struct Checker {
    family: String,
    kind: String,
    families: HashSet<String>,
    series: HashSet<String>,
    helped: HashSet<String>,
    samples: usize,
    infinite: usize,
    counts: usize,
}

impl Checker {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or("no help")?;
            if help.trim().is_empty() {
                return Err("empty help".to_owned());
            }
            return if self.helped.insert(name.to_owned()) {
                Ok(())
            } else {
                Err("a second HELP".to_owned())
            };
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("no type")?;
            return self.begin(name, kind);
        }
        if line.starts_with('#') {
            return Err("a comment".to_owned());
        }
        self.sample(line)
    }

    fn begin(&mut self, name: &str, kind: &str) -> Result<(), String> {
        self.end_of_family()?;
        if !self.helped.contains(name) {
            return Err("TYPE before HELP".to_owned());
        }
        if !self.families.insert(name.to_owned()) {
            return Err("a second TYPE, or a family in two places".to_owned());
        }
        if !["counter", "gauge", "histogram"].contains(&kind) {
            return Err("an unknown type".to_owned());
        }
        if (kind == "counter") != name.ends_with("_total") {
            return Err("counters end in _total, and nothing else does".to_owned());
        }
        for suffix in ["_count", "_sum", "_bucket"] {
            if name.ends_with(suffix) {
                return Err("a family is named as a part of a histogram".to_owned());
            }
        }
        name.clone_into(&mut self.family);
        kind.clone_into(&mut self.kind);
        (self.samples, self.infinite, self.counts) = (0, 0, 0);
        Ok(())
    }

    fn end_of_family(&self) -> Result<(), String> {
        if !self.family.is_empty() && self.samples == 0 {
            return Err(format!("{} has no samples", self.family));
        }
        if self.kind == "histogram" && self.infinite != self.counts {
            return Err(format!("{} lacks a +Inf bucket", self.family));
        }
        Ok(())
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let (series, value) = line.rsplit_once(' ').ok_or("no value")?;
        let value: f64 = value.parse().map_err(|_| "the value is no number")?;
        let name = series.split('{').next().unwrap_or_default();
        let labels = parse_labels(&series[name.len()..])?;
        if !self.series.insert(series.to_owned()) {
            return Err("the same series twice".to_owned());
        }
        let suffix = name
            .strip_prefix(self.family.as_str())
            .ok_or("outside of its family")?;
        match (self.kind.as_str(), suffix) {
            ("histogram", "_bucket") => match labels.iter().find(|(name, _)| name == "le") {
                Some((_, le)) if le == "+Inf" => self.infinite += 1,
                Some((_, le)) => {
                    le.parse::<f64>().map_err(|_| "le is no number")?;
                }
                None => return Err("a bucket without le".to_owned()),
            },
            ("histogram", "_count") => self.counts += 1,
            ("histogram", "_sum") | ("counter" | "gauge", "") => {}
            _ => return Err("outside of its family".to_owned()),
        }
        if self.kind == "counter" && value < 0.0 {
            return Err("a counter below zero".to_owned());
        }
        self.samples += 1;
        Ok(())
    }
}

fn parse_labels(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut labels = Vec::new();
    if text.is_empty() {
        return Ok(labels);
    }
    let inner = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
        .ok_or("labels without brackets")?;
    let mut rest = inner;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        if !name.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            return Err(format!("label {name:?}"));
        }
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().ok_or("a label's value without an end")? {
                (at, '"') => break at,
                (_, '\\') => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c @ ('\\' | '"'))) => value.push(c),
                    _ => return Err("an unknown escape".to_owned()),
                },
                (_, c) => value.push(c),
            }
        };
        if labels.iter().any(|(other, _)| other == name) {
            return Err(format!("label {name:?} twice"));
        }
        labels.push((name.to_owned(), value));
        rest = &after[end + 1..];
        if !rest.is_empty() {
            rest = rest.strip_prefix(',').ok_or("labels without a comma")?;
        }
    }
    Ok(labels)
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{b=\"c\\\"\\n\"} 1\na_total 2\n";
    assert_eq!(check(good), Ok(()));
    for bad in [
        "a 1\n",
        "# TYPE a gauge\na 1\n",
        "# HELP a \n# TYPE a gauge\na 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1",
        "# HELP a A.\n# TYPE a gauge\n",
        "# HELP a A.\n# TYPE a gauge\na x\n",
        "# HELP a A.\n# TYPE a gauge\na 1\na 2\n",
        "# HELP a A.\n# TYPE a counter\na 1\n",
        "# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n",
        "# HELP a A.\n# TYPE a gauge\na{b=\"\\t\"} 1\n",
        "# HELP a A.\n# TYPE a gauge\na{b=\"c} 1\n",
        "# HELP a A.\n# HELP a A.\n# TYPE a gauge\na 1\n",
        "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1\n# HELP b B.\n# TYPE b gauge\nb 1\na{c=\"d\"} 1\n",
    ] {
        assert!(check(bad).is_err(), "{bad}");
    }
}
