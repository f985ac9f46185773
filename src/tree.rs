//! The tree of components, one line per child, and how the configuration becomes their settings.

use std::net::TcpListener;

use supervisors::Supervisor;

use crate::config::Config;

/// The tree that the configuration asks for. Starts nothing.
pub fn build(_config: &Config, _listener: TcpListener) -> Supervisor {
    Supervisor::new("root")
}
