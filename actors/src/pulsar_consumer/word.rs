//! What the consumer says of itself in `/health`.

use crate::state_keeper::report::SourceReport;

/// How it stands with the topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// Sōzu was not read yet, so that it is not known what may be sent.
    #[default]
    WaitsForSozu,
    /// There is no session.
    NoSession,
    /// A session runs.
    Reads {
        /// Messages that came in this session.
        taken: u64,
        /// About so many messages are left of what was there when the session began, while it catches up.
        to_go: Option<u64>,
    },
}

/// A component's own word: in short, and what is wrong, if anything.
pub(super) type Word = (String, Option<String>);

/// The word for what is known. `trouble`: what keeps it from its work; `outbox`: what keeps dead letters from their topic.
pub(super) fn word(
    standing: &Standing,
    trouble: Option<&str>,
    source: Option<&SourceReport>,
    outbox: Option<&str>,
) -> Word {
    let detail = match standing {
        Standing::WaitsForSozu => "waits for Sōzu".to_owned(),
        Standing::NoSession => "not connected".to_owned(),
        Standing::Reads { taken, to_go: None } => format!("caught up, {taken} taken"),
        Standing::Reads {
            taken,
            to_go: Some(to_go),
        } => {
            format!("catching up, about {to_go} to go, {taken} taken")
        }
    };
    let mut problems: Vec<String> = trouble.map(ToOwned::to_owned).into_iter().collect();
    if let Some(source) = source {
        problems.extend(source.gap.iter().map(ToString::to_string));
        let letters = source.letters.rows;
        if letters > 0 {
            problems.push(format!(
                "{letters} dead letters: messages that were refused; `sozu-manager dead-letters list` tells why, then retry or discard them"
            ));
        }
        if source.unservable > 0 {
            let objects = source.unservable;
            problems.push(format!(
                "{objects} objects cannot be sent just now; it is tried again"
            ));
        }
        if source.parked > 0 {
            let parked = source.parked;
            problems.push(format!(
                "{parked} backends wait for their cluster, at most ten minutes"
            ));
        }
    }
    problems.extend(outbox.map(ToOwned::to_owned));
    if problems.is_empty() {
        return (detail, None);
    }
    (detail, Some(problems.join(" | ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_keeper::store::Count;

    #[test]
    fn what_is_wrong_is_told_the_nearest_cause_first() {
        let reads = Standing::Reads {
            taken: 12,
            to_go: None,
        };
        assert_eq!(
            word(&reads, None, None, None),
            ("caught up, 12 taken".to_owned(), None)
        );
        let source = SourceReport {
            letters: Count {
                rows: 3,
                ..Count::default()
            },
            unservable: 1,
            parked: 2,
            ..SourceReport::default()
        };
        let (detail, error) = word(
            &Standing::Reads {
                taken: 1,
                to_go: Some(7),
            },
            Some("away"),
            Some(&source),
            Some("no topic"),
        );
        assert_eq!(detail, "catching up, about 7 to go, 1 taken");
        let error = error.unwrap();
        let problems: Vec<&str> = error.split(" | ").collect();
        assert_eq!(problems.len(), 5, "{error}");
        assert_eq!((problems[0], problems[4]), ("away", "no topic"));
        assert!(problems[1].starts_with("3 dead letters"), "{error}");
    }
}
