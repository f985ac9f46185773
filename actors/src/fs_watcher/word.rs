//! What the watcher says of itself in `/health`, and what it warns of in the log.

use super::scan::Scan;
use crate::state_keeper::report::SourceReport;

/// So many problems are shown; the others are counted.
const SHOWN: usize = 5;

/// A component's own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// All is well.
    Running(String),
    /// It works, but something needs somebody: in short, and in full.
    Degraded(String, String),
}

/// All that a watcher knows of its directory.
#[derive(Default)]
pub(super) struct Known<'a> {
    /// What the directory last said; `None` while it cannot be listed.
    pub(super) scan: Option<&'a Scan>,
    /// Why it is not listed.
    pub(super) not_listed: Option<&'a str>,
    /// Why it is not watched, but read every few seconds.
    pub(super) unwatched: Option<&'a str>,
    /// Why the keeper has not taken the last listing.
    pub(super) not_taken: Option<&'a str>,
    /// What the keeper says of the source.
    pub(super) source: Option<&'a SourceReport>,
    /// What is wrong with what is served.
    pub(super) served: Vec<String>,
}

/// Everything that is wrong, one line each, the nearest cause first.
pub(super) fn problems(known: &Known<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(
        known
            .not_listed
            .map(|why| format!("{why}; what it declared before stays")),
    );
    problems.extend(known.not_taken.map(ToOwned::to_owned));
    if let Some(scan) = known.scan {
        problems.extend(scan.problems.iter().map(ToString::to_string));
    }
    if let Some(source) = known.source {
        problems.extend(source.refused.iter().cloned());
        problems.extend(source.shadowed.iter().cloned());
        problems.extend(source.holds.iter().map(|hold| {
            let (id, objects) = (&hold.id, counted(hold.objects, "removal"));
            format!("hold {id} keeps {objects} back; put the files back, or let it go with `sozu-manager holds release {id}`")
        }));
        if source.unservable > 0 {
            let objects = counted(source.unservable, "object");
            problems.push(format!(
                "{objects} cannot be sent just now; it is tried again"
            ));
        }
    }
    problems.extend(known.served.iter().cloned());
    problems.extend(known.unwatched.map(|why| {
        format!("changes are not told by inotify ({why}), the directory is read every 5 s instead; raise fs.inotify.max_user_instances or max_user_watches")
    }));
    problems
}

/// The word for what is known.
pub(super) fn word(known: &Known<'_>) -> Word {
    let mut detail = match known.scan {
        Some(Scan {
            pki: Some(told), ..
        }) => told.summary.clone(),
        Some(scan) => format!(
            "{}, {}",
            counted(scan.files.len(), "file"),
            counted(scan.objects, "object")
        ),
        None => "not listed".to_owned(),
    };
    let problems = problems(known);
    if problems.is_empty() {
        return Word::Running(detail);
    }
    detail = format!("{detail}; {}", counted(problems.len(), "problem"));
    let mut error = problems[..problems.len().min(SHOWN)].join(" | ");
    if problems.len() > SHOWN {
        error = format!("{error} | and {} more", problems.len() - SHOWN);
    }
    Word::Degraded(detail, error)
}

fn counted(n: usize, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use super::*;
    use crate::{
        fs_watcher::problem::{Fault, Position},
        messages::{FileContent, ListedFile},
        state_keeper::report::Hold,
    };

    fn scan(problems: usize) -> Scan {
        let paths: Vec<_> = (0..problems)
            .map(|n| Arc::new(PathBuf::from(format!("/d/{n}.toml"))))
            .collect();
        let at = Position { line: 3, column: 9 };
        Scan {
            device: 1,
            files: paths
                .iter()
                .map(|path| ListedFile {
                    path: Arc::clone(path),
                    content: FileContent::Unreadable("x".to_owned()),
                })
                .collect(),
            objects: 24,
            pki: None,
            problems: paths
                .iter()
                .map(|path| Fault::at(at, "wrong; mend it").of(path))
                .collect(),
        }
    }

    #[test]
    fn all_well_is_running_with_counts() {
        let scan = Scan {
            objects: 1,
            ..scan(0)
        };
        let known = Known {
            scan: Some(&scan),
            ..Known::default()
        };
        assert_eq!(word(&known), Word::Running("0 files, 1 object".to_owned()));
    }

    #[test]
    fn problems_are_shown_up_to_five_and_then_counted() {
        let one = scan(1);
        let known = Known {
            scan: Some(&one),
            ..Known::default()
        };
        assert_eq!(
            word(&known),
            Word::Degraded(
                "1 file, 24 objects; 1 problem".to_owned(),
                "/d/0.toml:3:9: wrong; mend it".to_owned(),
            )
        );
        let seven = scan(7);
        let known = Known {
            scan: Some(&seven),
            ..Known::default()
        };
        let Word::Degraded(detail, error) = word(&known) else {
            panic!("running")
        };
        assert_eq!(detail, "7 files, 24 objects; 7 problems");
        assert_eq!(error.matches("wrong; mend it").count(), 5);
        assert!(error.ends_with(" | and 2 more"), "{error}");
    }

    #[test]
    fn the_keepers_side_is_shown_with_what_to_do() {
        let scan = scan(0);
        let source = SourceReport {
            holds: vec![Hold {
                id: "1f2e".into(),
                objects: 40,
            }],
            refused: vec!["http_frontend x: no listener".to_owned()],
            unservable: 1,
            ..SourceReport::default()
        };
        let known = Known {
            scan: Some(&scan),
            source: Some(&source),
            ..Known::default()
        };
        let Word::Degraded(detail, error) = word(&known) else {
            panic!("running")
        };
        assert_eq!(detail, "0 files, 24 objects; 3 problems");
        for part in [
            "x: no listener",
            "`sozu-manager holds release 1f2e`",
            "40 removals",
            "1 object cannot",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_directory_that_is_not_watched_or_not_listed_is_told() {
        let scan = scan(0);
        let known = Known {
            scan: Some(&scan),
            unwatched: Some("no space"),
            ..Known::default()
        };
        let Word::Degraded(_, error) = word(&known) else {
            panic!("running")
        };
        assert!(
            error.contains("(no space)") && error.contains("every 5 s"),
            "{error}"
        );
        let known = Known {
            not_listed: Some("the directory /d is not there"),
            ..Known::default()
        };
        let Word::Degraded(detail, error) = word(&known) else {
            panic!("running")
        };
        assert_eq!(detail, "not listed; 1 problem");
        assert!(error.ends_with("what it declared before stays"), "{error}");
    }
}
