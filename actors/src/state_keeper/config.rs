//! What the keeper is told.

use std::{path::PathBuf, sync::Arc};

use sozu_socket::Sozu;
use supervisors::{Ref, Reporter};
use tokio::sync::watch;

use super::{StateKeeper, events::Settings, report::Report, store::Limits};
use crate::socket_pool::SocketPool;

/// The keeper's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the database lies.
    pub state_directory: PathBuf,
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
