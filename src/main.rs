//! The binary `sozu-manager`: parses the arguments and hands over.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use sozu_manager::cli::{self, Arguments};

/// A flood of changes takes hundreds of megabytes for a moment: this allocator gives them back.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::run(&Arguments::parse()).into()
}
