//! What the client library costs beside a bare loop on Sōzu's socket, and beside the published `sozu-client`.
//! docs/benchmarks.md says what is measured.
//!
//! `ROUNDS=5` is how often each is measured, in turns, after a round that does not count; a round takes
//! `ROUND_SECONDS=2`. `ONLY=rate,heavy,memory` measures some of it. `$SOZU_CLIENT_PEER` is the program that does the
//! same with `sozu-client` (`benches/peers`), which `make bench` builds; without it that is left out.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss
)]

mod bare;
#[allow(dead_code, reason = "the keeper's benchmark uses all of it")]
#[path = "../keeper/ground.rs"]
mod ground;
mod heavy;
mod memory;
mod ours;
mod rate;
#[path = "../keeper/table.rs"]
mod table;
mod theirs;

use std::time::Duration;

use sozu_command_lib::proto::command::{
    Cluster, FrontendFilters, ListWorkers, Request, request::RequestType,
};
use table::Table;
use tokio::runtime::Runtime;

/// As in the daemon.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let only = std::env::var("ONLY").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only.split(',').any(|it| it == part);
    if !["rate", "heavy", "memory"].into_iter().any(wanted) {
        return;
    }
    let mut table = Table::default();
    ground::say_machine();
    let runtime = Runtime::new().unwrap();
    let sozu = ground::sozu();
    if wanted("memory") {
        memory::of_idle_connections(&sozu, &mut table);
    }
    if wanted("rate") {
        rate::of_single_exchanges(&sozu, &runtime, &mut table);
    }
    if wanted("heavy") {
        heavy::light_among_heavy(&sozu, &runtime, &mut table);
    }
    table.print();
}

/// The main process answers it alone, and with little: nothing weighs less beside what is measured.
fn light() -> Request {
    RequestType::ListWorkers(ListWorkers {}).into()
}

/// What connectors send: the main process and every worker apply it. It replaces itself, so that Sōzu does not grow.
fn change() -> Request {
    RequestType::AddCluster(Cluster {
        cluster_id: "changed".to_owned(),
        ..Cluster::default()
    })
    .into()
}

/// A long list, which the main process answers alone as well.
fn heavy() -> Request {
    RequestType::ListFrontends(FrontendFilters::default()).into()
}

fn rounds() -> usize {
    ground::number("ROUNDS", 5)
}

fn round() -> Duration {
    Duration::from_secs_f64(
        std::env::var("ROUND_SECONDS").map_or(2.0, |seconds| seconds.parse().unwrap()),
    )
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
