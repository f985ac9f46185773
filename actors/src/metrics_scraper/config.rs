//! What the metrics scraper needs to know.

use std::time::Duration;

use supervisors::{Ref, Reporter};

use super::{MetricsScraper, question};
use crate::socket_pool::SocketPool;

/// How Sōzu's metrics are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// So long one answer of Sōzu serves later scrapes.
    pub share_for: Duration,
}

impl Config {
    /// The factory of the actor's lives.
    pub fn build(
        self,
        pool: Ref<SocketPool>,
    ) -> impl Fn(Reporter) -> MetricsScraper + Send + Sync + 'static {
        move |reporter| {
            let pool = pool.clone();
            MetricsScraper::new(
                self.share_for,
                move || Box::pin(question::ask(pool.clone())),
                reporter,
            )
        }
    }
}
