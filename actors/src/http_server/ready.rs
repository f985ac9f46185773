//! `/readyz`: whether this proxy may get traffic.

use std::fmt::Write;

use sozu_socket::Sozu;

use crate::state_keeper::report::Report;

/// The condition that is ours to judge; the keeper gives the others.
const SOZU: &str = "sozu";

/// One condition: its name, and `Ok` or why it does not hold.
pub(super) type Line = (&'static str, Result<(), String>);

/// Every condition that counts, by name. Readiness fails closed: a keeper that has said nothing yet
/// is a condition that does not hold.
///
/// Unless the `keeper_counts`, only Sōzu's answer does.
pub(super) fn conditions(report: &Report, seen: &Sozu, keeper_counts: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    if keeper_counts {
        if report.conditions.is_empty() {
            lines.push(("state_keeper", Err("has not started".to_owned())));
        }
        let of_keeper = report.conditions.iter().filter(|c| c.name != SOZU);
        lines.extend(of_keeper.map(|c| (c.name, of_this_life(report, seen, &c.state))));
    }
    lines.push((
        SOZU,
        match seen {
            Sozu::Here(_) => Ok(()),
            Sozu::Away { why } => Err(why.clone()),
            Sozu::Unasked => Err("has not answered yet".to_owned()),
        },
    ));
    lines.sort_by_key(|(name, _)| *name);
    lines
}

/// What the keeper says counts for the life that it has seen: it may be a moment behind.
fn of_this_life(report: &Report, seen: &Sozu, state: &Result<(), String>) -> Result<(), String> {
    match (seen, &report.sozu) {
        (Sozu::Here(now), Some(then)) if now == then => state.clone(),
        (Sozu::Here(_), _) => state.clone().and(Err(
            "this life of Sōzu has just begun: it is looked at next".to_owned(),
        )),
        _ => state.clone(),
    }
}

/// Whether all of them hold.
pub(super) fn holds(lines: &[Line]) -> bool {
    lines.iter().all(|(_, state)| state.is_ok())
}

/// As `/readyz` shows them: one line each.
pub(super) fn show(lines: &[Line]) -> String {
    let mut text = String::new();
    for (name, state) in lines {
        // Writing into a String cannot fail.
        let _ = match state {
            Ok(()) => writeln!(text, "[+]{name} ok"),
            Err(why) => writeln!(text, "[-]{name}: {}", one_line(why)),
        };
    }
    text
}

/// Reasons come from elsewhere and may hold line breaks.
fn one_line(why: &str) -> String {
    why.replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use sozu_socket::Life;

    use super::*;
    use crate::state_keeper::report::Condition;

    fn report(conditions: &[(&'static str, Result<(), &str>)]) -> Report {
        Report {
            sozu: Some(life("1")),
            conditions: conditions
                .iter()
                .map(|(name, state)| Condition {
                    name,
                    state: state.map_err(str::to_owned),
                })
                .collect(),
            ..Report::default()
        }
    }

    fn life(text: &str) -> Life {
        Life::from(text)
    }

    fn here() -> Sozu {
        Sozu::Here(life("1"))
    }

    fn away() -> Sozu {
        Sozu::Away {
            why: "/run/sozu.sock: no such file\n(os error 2)".into(),
        }
    }

    #[test]
    fn each_condition_is_a_line_and_all_must_hold() {
        let silent = report(&[]);
        let complete = report(&[("complete", Ok(()))]);
        let incomplete = report(&[("complete", Err("3 of 40 to go"))]);
        let buses = report(&[("platform", Err("catches up")), ("complete", Ok(()))]);
        let twice = report(&[("sozu", Ok(())), ("complete", Ok(()))]);
        let table = [
            // the keeper, Sōzu, whether there is a source, ready, the lines
            (&silent, here(), false, true, "[+]sozu ok\n"),
            (&incomplete, here(), false, true, "[+]sozu ok\n"),
            (
                &complete,
                Sozu::Unasked,
                false,
                false,
                "[-]sozu: has not answered yet\n",
            ),
            (
                &silent,
                here(),
                true,
                false,
                "[+]sozu ok\n[-]state_keeper: has not started\n",
            ),
            (
                &complete,
                here(),
                true,
                true,
                "[+]complete ok\n[+]sozu ok\n",
            ),
            (
                &complete,
                away(),
                true,
                false,
                "[+]complete ok\n[-]sozu: /run/sozu.sock: no such file (os error 2)\n",
            ),
            (
                &incomplete,
                here(),
                true,
                false,
                "[-]complete: 3 of 40 to go\n[+]sozu ok\n",
            ),
            (
                &buses,
                here(),
                true,
                false,
                "[+]complete ok\n[-]platform: catches up\n[+]sozu ok\n",
            ),
            (&twice, here(), true, true, "[+]complete ok\n[+]sozu ok\n"),
            (
                &complete,
                Sozu::Here(life("2")),
                true,
                false,
                "[-]complete: this life of Sōzu has just begun: it is looked at next\n[+]sozu ok\n",
            ),
        ];
        for (report, seen, keeper_counts, ready, text) in table {
            let lines = conditions(report, &seen, keeper_counts);
            assert_eq!(show(&lines), text);
            assert_eq!(holds(&lines), ready, "{text}");
        }
    }
}
