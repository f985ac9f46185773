//! The only one that talks to Sōzu's socket.

mod actor;
pub use actor::SocketPool;
