//! What the daemon makes of the real Sōzu's speed: each figure beside Sōzu's own, or a bare
//! `ConfigState`'s, of the same run, against its goal. docs/benchmarks.md says what is measured.
//!
//! `CLUSTERS=50000` is the size of the flood; each cluster has a frontend and a backend, so that it
//! is three requests. `ONLY=flood,bus,change,restoration,memory,idle` measures some of it.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod bare;
mod change;
mod flood;
mod ground;
mod rest;
mod table;

#[path = "../../tests/support/bus.rs"]
mod bus;

use table::Table;

/// As in the daemon, with what its `main` does first: the same allocator on both sides of a comparison.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, path] = &arguments[..]
        && word == rest::BARE_STATE
    {
        return rest::be_a_bare_state(path);
    }
    // `cargo test --benches` only wants to know that it builds.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let only = std::env::var("ONLY").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only.split(',').any(|it| it == part);
    let clusters = ground::number("CLUSTERS", 50_000);
    let mut table = Table::default();
    nix::sys::prctl::set_thp_disable(true).unwrap();
    ground::say_machine();
    if wanted("flood") || wanted("bus") {
        let bare = bare::bare(clusters);
        if wanted("flood") {
            flood::directory(clusters, &bare, &mut table);
        }
        if wanted("bus") {
            flood::bus(clusters, &bare, &mut table);
        }
    }
    if wanted("change") {
        change::on_an_empty_sozu(&mut table);
    }
    if wanted("change") || wanted("idle") {
        let (daemon, sozu) = ground::full(clusters);
        if wanted("change") {
            change::on(&daemon, &sozu, "holding all", &mut table);
        }
        if wanted("idle") {
            rest::idle(&daemon, &mut table);
        }
    }
    if wanted("restoration") {
        rest::restoration(clusters * 2 / 3, &mut table);
    }
    if wanted("memory") {
        rest::memory(clusters * 2, &mut table);
    }
    table.print();
}
