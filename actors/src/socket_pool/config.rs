//! What the socket pool needs to know.

use sozu_socket::{Builder, Sozu};
use supervisors::Reporter;
use tokio::sync::watch;

use super::SocketPool;

/// How Sōzu is reached.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pool that each life of the actor opens anew.
    pub pool: Builder,
}

impl Config {
    /// The factory of the actor's lives. `seen` outlives them: whoever watches it hears of Sōzu's
    /// lives, not of ours.
    pub fn build(
        self,
        seen: watch::Sender<Sozu>,
    ) -> impl Fn(Reporter) -> SocketPool + Send + Sync + 'static {
        move |reporter| SocketPool::new(self.pool.clone(), seen.clone(), reporter)
    }
}
