//! What the tests share: a real Sōzu under test, the daemon under test, small backends, steady load, wait-until.
//!
//! Everything that is started here ends with the value that stands for it, and also when the test process is
//! killed: see [`process`]. Two tests, or two test runs, never share a port or a directory.
//!
//! Functions return [`Result`]; its error prints as a sentence, so `unwrap()` in a test reads well. Only
//! [`wait_until`] panics by itself.

pub mod backend;
pub mod client;
pub mod daemon;
mod error;
pub mod load;
mod metrics_text;
pub mod pki;
pub mod ports;
pub mod process;
pub mod pulsar;
pub mod routes;
pub mod sozu;
pub mod tap;
pub mod tls;
mod wait;

pub use backend::Backend;
pub use client::{Answer, get};
pub use daemon::Daemon;
pub use error::{Error, Result};
pub use load::{Load, Tally};
pub use ports::Port;
pub use pulsar::Pulsar;
pub use sozu::Sozu;
pub use tap::{Fate, Tap};
pub use wait::{Probe, SOON, until, wait_for, wait_until};
