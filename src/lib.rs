//! The daemon's shell: command line, configuration, log, signals, and the tree of components.
//! No domain logic: that lives in the crate `actors`.

#[cfg(not(panic = "unwind"))]
compile_error!(
    "sozu-manager restarts components that panic: build it with panic = \"unwind\" (the default)"
);

mod admin;
pub mod check;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod exit;
pub mod log;
pub mod output;
mod publish;
pub mod reload;
pub mod run;
pub mod settings;
pub mod signals;
pub mod sources;
pub mod systemd;
pub mod tree;
mod unsubscribe;
