//! Each source: its directory is there, can be listed, every file in it can be read, and Sōzu has
//! the listeners that they ask for.

use actors::{
    fs_watcher::{self, pki},
    state_keeper::report::Listeners,
};

use super::{Doctor, Finding};
use crate::sources::reading;

/// More problems of one source than these are counted only.
const SHOWN: usize = 20;

/// `listeners` are Sōzu's, if it told them.
pub(super) fn findings(doctor: &Doctor<'_>, listeners: Option<&Listeners>) -> Vec<Finding> {
    let max_request_bytes = doctor.config.sozu.max_request_bytes;
    let mut findings = Vec::new();
    for (name, routes) in &doctor.config.routes {
        let check = format!("routes.{name}");
        let shown = routes.directory.display();
        let directory = &routes.directory;
        let checked = match listeners {
            Some(listeners) => fs_watcher::check_against(directory, listeners, max_request_bytes),
            None => fs_watcher::check(directory),
        };
        match checked {
            Ok(problems) if problems.is_empty() => {
                let says = format!("{shown} can be listed, and every file in it can be read");
                findings.push(Finding::ok(check, says));
            }
            Ok(problems) => findings.extend(of_files(&check, &problems)),
            Err(why) => findings.push(wrong(&check, &why)),
        }
    }
    for (name, pki) in &doctor.config.pki {
        let check = format!("pki.{name}");
        match pki::check(&pki.directory, reading(pki)) {
            Ok(found) if found.problems.is_empty() => {
                let (shown, count) = (pki.directory.display(), found.loaded.len());
                let says = format!("{shown} can be read; certificates that can be loaded: {count}");
                findings.push(Finding::ok(check, says));
            }
            Ok(found) => findings.extend(of_files(&check, &found.problems)),
            Err(why) => findings.push(wrong(&check, &why)),
        }
    }
    if findings.is_empty() {
        let says = "none is configured: this daemon is a Prometheus exporter and sends nothing";
        findings.push(Finding::ok("sources", says));
    }
    findings
}

fn of_files(check: &str, problems: &[String]) -> Vec<Finding> {
    let more = problems.len().saturating_sub(SHOWN);
    let mut findings: Vec<Finding> = problems
        .iter()
        .take(SHOWN)
        .map(|problem| wrong(check, problem))
        .collect();
    if more > 0 {
        let says = format!("and {more} more");
        findings.push(Finding::wrong(
            check,
            says,
            "run `sozu-manager check`: it shows all",
        ));
    }
    findings
}

/// Such a problem is `what is wrong; what to do` already.
fn wrong(check: &str, problem: &str) -> Finding {
    match problem.rsplit_once("; ") {
        Some((says, remedy)) => Finding::wrong(check, says, remedy),
        None => Finding::wrong(
            check,
            problem,
            "mend the file; `sozu-manager check` reads it again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_problems_are_counted() {
        let problems: Vec<String> = (0..25)
            .map(|n| format!("a.toml:{n}: wrong; mend it"))
            .collect();
        let found = of_files("routes.a", &problems);
        assert_eq!(found.len(), 21);
        assert_eq!(found[0].remedy.as_deref(), Some("mend it"));
        assert_eq!(found[20].says, "and 5 more");
    }
}
