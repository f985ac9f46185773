//! What the keeper is told.

use std::sync::Arc;

use sozu_socket::Sozu;
use supervisors::{Ref, Reporter};
use tokio::sync::watch;

use super::{
    StateKeeper,
    events::Settings,
    report::Report,
    store::{Limits, StateDirectory},
};
use crate::socket_pool::SocketPool;

/// The keeper's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the database lies. It outlives the actor's lives.
    pub state_directory: Arc<StateDirectory>,
    /// What this host calls itself; empty: as before, at the first start the host's name.
    pub instance: String,
    /// How much of the past is kept.
    pub limits: Limits,
    /// The rules' settings.
    pub settings: Settings,
}

impl Config {
    /// Makes the factory of the actor's lives. Opens nothing.
    pub fn build(
        self,
        pool: Ref<SocketPool>,
        seen: watch::Receiver<Sozu>,
        report: watch::Sender<Arc<Report>>,
    ) -> impl Fn(Reporter) -> StateKeeper + Send + Sync + 'static {
        move |reporter| {
            StateKeeper::new(
                self.clone(),
                pool.clone(),
                seen.clone(),
                report.clone(),
                reporter,
            )
        }
    }
}
