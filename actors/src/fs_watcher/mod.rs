//! The directories that people write into, as sources of the keeper.
//!
//! One actor with readings. It owns what every directory needs: events as kicks (`watch`),
//! settling (`settle`), complete listings (`listing`), and what need not be read again
//! (`scan`). The readings, `routes` and `pki`, are plain functions from files to what
//! they declare.
//!
//! A listing goes to the keeper whole. A directory that cannot be listed completely declares
//! nothing; a file that cannot be understood stands for what it last gave.
//!
//! Read in this order: `actor` and `work` (the loop), `scan`, `routes`. `check` reads the same
//! files without anybody who would take them, and `declared` reads one file for who sends it on.

mod actor;
mod check;
mod config;
mod declared;
mod file;
mod listing;
mod log_once;
pub mod pki;
mod problem;
mod routes;
mod scan;
mod settle;
mod watch;
mod word;
mod work;

pub use actor::FsWatcher;
pub use check::{check, check_against};
pub use config::{Config, Deps, Reading};
pub use declared::declared_by;
