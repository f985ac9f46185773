//! The only one that talks to Sōzu's command socket.
//!
//! A thin shell around [`sozu_socket::Pool`]: it counts how requests end, and tells the rest of
//! the program whether Sōzu answers and which life of it. It is ready while Sōzu is away.

mod actor;
mod config;

pub use actor::SocketPool;
pub use config::Config;
