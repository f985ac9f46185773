//! (a) Single exchanges per second.

use sozu_command_lib::proto::command::Request;
use testkit::Sozu;
use tokio::runtime::Runtime;

use crate::{bare, median, ours, round, rounds, table::Table, theirs};

const GOAL: f64 = 0.95;

pub(crate) fn of_single_exchanges(sozu: &Sozu, runtime: &Runtime, table: &mut Table) {
    for connections in [1, 8] {
        let mut measured = |kind: &str, request| {
            let figures = Figures::of(sozu, runtime, kind, request, connections);
            let what = format!("(a) {kind} on {connections} connection(s)");
            figures.judge(&what, table);
        };
        measured("changes", crate::change);
        measured("questions", crate::light);
    }
}

/// What each round brought, by who asked.
#[derive(Default)]
struct Figures {
    ours: Vec<f64>,
    bare: Vec<f64>,
    tokio: Vec<f64>,
    theirs: Vec<f64>,
}

impl Figures {
    fn of(
        sozu: &Sozu,
        runtime: &Runtime,
        kind: &str,
        request: fn() -> Request,
        connections: usize,
    ) -> Self {
        let (socket, round) = (sozu.command_socket(), round());
        let mut all = Self::default();
        for number in 0..=rounds() {
            let bare = bare::rate(&socket, request, connections, round);
            let ours = ours::rate(runtime, &socket, request, connections, round);
            let tokio = ours::bare_rate(runtime, &socket, request, connections, round);
            let theirs = theirs::rate(kind, &socket, connections, round);
            if number > 0 {
                all.bare.push(bare);
                all.ours.push(ours);
                all.tokio.push(tokio);
                all.theirs.extend(theirs);
            }
        }
        all
    }

    /// The median of the rounds' ratios: what else the machine did is on both sides of each.
    fn ratio(&self, to: &[f64]) -> f64 {
        let ratios = self.ours.iter().zip(to).map(|(ours, to)| ours / to);
        median(ratios.collect())
    }

    fn judge(self, what: &str, table: &mut Table) {
        let shown = |of: &[f64]| format!("{:.0}/s", median(of.to_vec()));
        let ours = shown(&self.ours);
        let share = self.ratio(&self.bare);
        table.judged(
            &format!("{what}, against a bare loop"),
            &ours,
            shown(&self.bare),
            &format!("{share:.2}"),
            "≥ 0.95",
            share >= GOAL,
        );
        for (whose, figures) in [
            ("a bare loop on tokio", &self.tokio),
            ("sozu-client", &self.theirs),
        ] {
            if !figures.is_empty() {
                table.compared(
                    &format!("{what}, against {whose}"),
                    &ours,
                    shown(figures),
                    format!("{:.2}", self.ratio(figures)),
                );
            }
        }
    }
}
