//! Certificates by the thousand: how long until all are served, until a renewal is, what an idle
//! directory costs, and memory. docs/benchmarks.md says what is measured.
//!
//! `CERTIFICATES=10000` is the size. `ONLY=load,renewal,rest` measures some of it; what is left out is done all
//! the same where the rest stands on it.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation
)]

mod first;
#[allow(dead_code, reason = "the keeper's benchmark uses all of it")]
#[path = "../keeper/ground.rs"]
mod ground;
mod renewed;
mod rest;
#[path = "../keeper/table.rs"]
mod table;

use std::path::PathBuf;

use table::Table;
use tempfile::TempDir;
use testkit::{
    Sozu,
    pki::{Authority, Issued},
};

/// Certificates in one flat directory.
pub(crate) struct Directory {
    authority: Authority,
    home: TempDir,
    /// What lies in it now.
    all: Vec<Issued>,
}

impl Directory {
    fn new(count: usize) -> Self {
        let mut directory = Self {
            authority: Authority::new().unwrap(),
            home: tempfile::tempdir().unwrap(),
            all: Vec::new(),
        };
        directory.all = (0..count).map(|n| directory.write(n)).collect();
        directory
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("certificates")
    }

    /// Issues one and writes it.
    fn write(&self, n: usize) -> Issued {
        let issued = self.authority.issue(&[&name(n)]).unwrap();
        issued
            .write(&self.path(), &format!("c{n}.crt"), &format!("c{n}.key"))
            .unwrap();
        issued
    }
}

pub(crate) fn name(n: usize) -> String {
    format!("c{n}.bench.example")
}

pub(crate) fn sozu() -> Sozu {
    let sozu = Sozu::builder().http_listeners(0).https_listeners(1);
    sozu.worker_timeout(10).start().unwrap()
}

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let only = std::env::var("ONLY").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only.split(',').any(|it| it == part);
    if !["load", "renewal", "rest"].into_iter().any(wanted) {
        return;
    }
    let mut table = Table::default();
    ground::say_machine();
    let directory = Directory::new(ground::number("CERTIFICATES", 10_000));
    let sozu = sozu();
    let (mut daemon, loaded) = first::load(&sozu, &directory);
    if wanted("load") {
        loaded.judge(first::bare(&directory.all), &mut table);
    }
    if wanted("rest") {
        rest::memory(&daemon, directory.all.len(), &mut table);
        rest::idle(&daemon, directory.all.len(), &mut table);
    }
    if wanted("renewal") {
        renewed::one_of_many(&sozu, &directory, &mut table);
    }
    daemon.terminate().unwrap();
    table.print();
}
