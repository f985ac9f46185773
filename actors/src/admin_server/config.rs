//! What the admin server needs.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use actix_web::web;
use supervisors::{Ref, Reporter};
use tokio::sync::{mpsc, watch};

use super::{AdminServer, access::Access, routes::Site};
use crate::{
    http_server::Truth,
    messages::{ReloadNow, SourceName},
    state_keeper::StateKeeper,
};

/// The topic of each bus that is configured.
pub type Topics = BTreeMap<SourceName, String>;

/// The settings of the admin server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The socket file.
    pub socket: PathBuf,
    /// Whose members may read; empty: nobody's.
    pub group: String,
    /// Whether they may write, too.
    pub group_may_write: bool,
}

/// Whom the admin server asks.
pub struct Deps {
    /// What is live, ready and healthy.
    pub truth: Truth,
    /// The keeper and its state directory; none as long as there was no source.
    pub keeper: watch::Receiver<Option<(Ref<StateKeeper>, PathBuf)>>,
    /// Which topics are read.
    pub topics: watch::Receiver<Topics>,
    /// Who reads the configuration again.
    pub reload: mpsc::Sender<ReloadNow>,
}

impl Config {
    /// The factory of the actor's lives. Opens nothing.
    pub fn build(self, deps: Deps) -> impl Fn(Reporter) -> AdminServer + Send + Sync + 'static {
        let site = web::Data::new(Site {
            access: Access::new(!self.group.is_empty(), self.group_may_write),
            truth: deps.truth,
            keeper: deps.keeper,
            topics: deps.topics,
            reload: deps.reload,
        });
        let bound = Arc::new(Mutex::new(None));
        move |reporter| AdminServer::new(self.clone(), site.clone(), bound.clone(), reporter)
    }
}
