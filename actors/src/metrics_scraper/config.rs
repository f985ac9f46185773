//! What the metrics scraper needs to know.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use supervisors::{Ref, Reporter};

use super::{
    MetricsScraper,
    question::{self, Asking},
    store::Store,
};
use crate::{socket_pool::SocketPool, state_keeper::StateKeeper};

/// How much of Sōzu's metrics is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The proxy as a whole.
    Proxy,
    /// And each cluster.
    Cluster,
    /// And each backend, if Sōzu itself tells them apart.
    Backend,
}

/// How Sōzu's metrics are asked and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// So long one answer of Sōzu serves later scrapes.
    pub share_for: Duration,
    /// How much is asked for.
    pub detail: Detail,
    /// At most so many series of Sōzu's.
    pub max_series: usize,
}

impl Config {
    /// The factory of the actor's lives. What is known of Sōzu's metrics outlives each of them. The keeper, where there is
    /// one, knows the clusters.
    pub fn build(
        self,
        pool: Ref<SocketPool>,
        keeper: Option<Ref<StateKeeper>>,
    ) -> impl Fn(Reporter) -> MetricsScraper + Send + Sync + 'static {
        let store = Store::new(self.detail, self.max_series);
        let asking = Arc::new(Asking {
            pool,
            keeper,
            detail: self.detail,
            store: Mutex::new(store),
            reader: tokio::sync::Mutex::default(),
        });
        move |reporter| {
            let asking = asking.clone();
            MetricsScraper::new(
                self.share_for,
                move |so_far| Box::pin(question::ask(asking.clone(), so_far)),
                reporter,
            )
        }
    }
}
