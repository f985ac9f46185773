//! What the daemon makes of a real Pulsar broker's and the real Sōzu's speed: each figure beside theirs, of the same run,
//! against its goal. docs/benchmarks.md says what is measured.
//!
//! `CLUSTERS=50000` is the size of what waits in the topic; each cluster has a frontend and a backend, so that it is three
//! messages. `TIMES=200` changes one after the other, `SECONDS_STEADY=60` at `RATE=1000` changes a second.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    dead_code,
    reason = "what it shares with benches/keeper is used there"
)]

#[path = "../keeper/bare.rs"]
mod bare;
#[path = "../keeper/ground.rs"]
mod ground;
mod one;
mod steady;
#[path = "../keeper/table.rs"]
mod table;
mod topic;
mod waiting;

use table::Table;
use testkit::Pulsar;

/// As in the daemon: the same allocator on both sides of a comparison.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let broker = match Pulsar::start() {
        Ok(broker) => broker,
        Err(error) => return println!("not measured: {error}"),
    };
    let clusters = ground::number("CLUSTERS", 50_000);
    let mut table = Table::default();
    ground::say_machine();
    one::on_an_empty_sozu(&broker, &mut table);
    let (daemon, sozu, mut topic) = waiting::measured(&broker, clusters, &mut table);
    let holding = format!("holding {} requests", clusters * 3);
    one::on(&broker, &daemon, &sozu, &mut topic, &holding, &mut table);
    steady::on(&daemon, &mut topic, &mut table);
    table.print();
}
