//! What a consumer is told.

use std::sync::Arc;

use supervisors::{Ref, Reporter};
use tokio::sync::watch;

use super::{Address, PulsarConsumer};
use crate::{
    messages::SourceName,
    state_keeper::{StateKeeper, report::Report},
};

/// One topic as a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The source's name, bare.
    pub source: SourceName,
    /// Where the broker is.
    pub address: Address,
    /// The topic, without partitions.
    pub topic: String,
    /// The subscription; `{instance}` in it stands for what this host calls itself.
    pub subscription: String,
    /// Where refused messages are sent on to; empty: nowhere.
    pub dead_letter_topic: String,
}

impl Config {
    /// Makes the factory of the actor's lives. Opens nothing.
    pub fn build(
        self,
        keeper: Ref<StateKeeper>,
        report: watch::Receiver<Arc<Report>>,
    ) -> impl Fn(Reporter) -> PulsarConsumer + Send + Sync + 'static {
        move |reporter| PulsarConsumer::new(self.clone(), keeper.clone(), report.clone(), reporter)
    }

    /// The subscription of this host.
    pub fn subscription_of(&self, instance: &str) -> String {
        self.subscription.replace("{instance}", instance)
    }
}
