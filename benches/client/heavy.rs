//! (b) How long a light request takes while eight heavy ones are always under way.

use std::time::Duration;

use sozu_command_lib::proto::command::request::RequestType;
use testkit::Sozu;
use tokio::runtime::Runtime;

use crate::{bare, ground, ours, round, rounds, table::Table, theirs};

const HEAVY: usize = 8;
/// Their frontends are about half of what fits Sōzu's default buffers.
const CLUSTERS: usize = 10_000;

pub(crate) fn light_among_heavy(sozu: &Sozu, runtime: &Runtime, table: &mut Table) {
    let all = sozu.directory().join("all.json");
    ground::write_state(&all, &ground::requests(sozu, CLUSTERS));
    let load = RequestType::LoadState(all.display().to_string());
    sozu.request(load).unwrap();
    let socket = sozu.command_socket();
    let mut figures: [Vec<Duration>; 3] = Default::default();
    for number in 0..=rounds() {
        let turn = [
            bare::light_among(&socket, HEAVY, round()),
            ours::light_among(runtime, &socket, HEAVY, round()),
            theirs::light_among(&socket, HEAVY, round()).unwrap_or_default(),
        ];
        if number > 0 {
            for (figures, figure) in figures.iter_mut().zip(turn) {
                figures.extend(figure);
            }
        }
    }
    for figures in &mut figures {
        figures.sort();
    }
    let shown = |of: &[Duration]| match of.len() {
        0 => "not there".to_owned(),
        count => format!(
            "p50 {:.1?}, p99 {:.1?} of {count}",
            of[count / 2],
            of[count * 99 / 100]
        ),
    };
    let [bare, ours, theirs] = &figures;
    let what = "(b) a light request among eight heavy ones";
    table.shown(
        &format!("{what}; against bare loops"),
        shown(ours),
        shown(bare),
    );
    table.shown(
        &format!("{what}; against sozu-client"),
        shown(ours),
        shown(theirs),
    );
}
