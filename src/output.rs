//! How a list is printed: for people or for programs.

use clap::{Args, ValueEnum};

/// How it is printed.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

/// The form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people
    Text,
    /// For programs
    Json,
}
