//! The binary `sozu-manager`: parses the arguments and hands over.

use std::process::ExitCode;

use clap::Parser;
use sozu_manager::cli::{self, Arguments};

fn main() -> ExitCode {
    cli::run(&Arguments::parse()).into()
}
