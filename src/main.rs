//! The binary `sozu-manager`: parses the arguments and hands over.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use nix::sys::prctl::set_thp_disable;
use sozu_manager::cli::{self, Arguments};

/// A flood of changes takes hundreds of megabytes for a moment: this allocator gives them back.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Each new huge page is cleared whole, though the allocator needs a part of it: that took a tenth of our CPU time
    // in a flood, and memory. A kernel that knows no such thing has no huge pages either.
    let _ = set_thp_disable(true);
    cli::run(&Arguments::parse()).into()
}
