//! What a check found, and how it is printed.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// The daemon works, but something is not as it should be or could not be seen.
    Warning,
    /// The daemon cannot do its work.
    Wrong,
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(super) state: State,
    /// What was looked at: stable, for programs.
    pub(super) check: String,
    /// What was seen.
    pub(super) says: String,
    /// What mends it; nothing where nothing is to be mended.
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: impl Into<String>, says: impl Into<String>) -> Self {
        Self {
            state: State::Ok,
            check: check.into(),
            says: says.into(),
            remedy: None,
        }
    }

    pub(super) fn warning(
        check: impl Into<String>,
        says: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Warning,
            remedy: Some(remedy.into()),
            ..Self::ok(check, says)
        }
    }

    pub(super) fn wrong(
        check: impl Into<String>,
        says: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Wrong,
            ..Self::warning(check, says, remedy)
        }
    }
}

pub(super) fn is_wrong(findings: &[Finding]) -> bool {
    findings.iter().any(|it| it.state == State::Wrong)
}

/// One line each, and one more for what mends it.
pub(super) fn text(findings: &[Finding]) -> String {
    let line = |it: &Finding| {
        let state = match it.state {
            State::Ok => "ok     ",
            State::Warning => "warning",
            State::Wrong => "wrong  ",
        };
        let remedy = it.remedy.as_deref().map(|remedy| format!("; {remedy}"));
        let line = format!(
            "{state}  {}: {}{}",
            it.check,
            it.says,
            remedy.unwrap_or_default()
        );
        // What is quoted may hold anything.
        line.replace(char::is_control, " ") + "\n"
    };
    findings.iter().map(line).collect()
}

/// An array.
pub(super) fn json(findings: &[Finding]) -> String {
    // Strings and a word can always be written.
    serde_json::to_string_pretty(findings).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_one_line_whatever_it_quotes() {
        let findings = [
            Finding::ok("http", "free"),
            Finding::wrong("source", "a\u{1b}[2J\nb", "mend it"),
        ];
        assert_eq!(
            text(&findings),
            "ok       http: free\nwrong    source: a [2J b; mend it\n"
        );
        let read: serde_json::Value = serde_json::from_str(&json(&findings)).unwrap();
        assert_eq!(read[0]["remedy"], serde_json::Value::Null);
        assert_eq!(read[1]["state"], "wrong");
        assert!(is_wrong(&findings) && !is_wrong(&findings[..1]));
    }
}
