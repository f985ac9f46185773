//! Programs that read what `/metrics` says, and know the formats better than we do.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

/// A program that `make peers` brings. Without it what needs it is skipped, and says so.
pub fn peer(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(".peers/bin")
        .join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: there is no .peers/bin/{name} (make peers)");
    None
}

/// `promtool` has nothing to say about this text.
#[track_caller]
pub fn promtool(text: &str, state: &str) {
    if let Some(promtool) = peer("promtool") {
        let words = said(&promtool, &["check", "metrics"], text);
        assert_eq!(words, "", "{state}:\n{}", beginning(text));
    }
}

const READER: &str = "import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read
print(sum(len(family.samples) for family in read(sys.stdin.buffer.read().decode())))";

/// How many samples Python's reader of OpenMetrics finds in this text, if it is here.
#[track_caller]
pub fn openmetrics_reader(text: &str, state: &str) -> Option<usize> {
    let reader = peer("openmetrics-reader")?;
    let words = said(&reader, &["-c", READER], text);
    let samples = words.trim().parse();
    Some(samples.unwrap_or_else(|_| panic!("{state}: {words}\n{}", beginning(text))))
}

fn beginning(text: &str) -> String {
    text.chars().take(100_000).collect()
}

/// What a program says about a text that it gets.
fn said(program: &Path, arguments: &[&str], text: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = text.to_owned();
    let writing = thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    // One that has seen enough does not read on.
    let _ = writing.join().unwrap();
    let words = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&words).into_owned()
}
