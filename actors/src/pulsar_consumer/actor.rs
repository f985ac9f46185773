//! The shell: one life of the actor is one run of `Work`.

use std::sync::Arc;

use actix::{Actor, ActorContext, AsyncContext, Context, WrapFuture};
use supervisors::{Ref, Reporter};
use tokio::sync::watch;

use super::{config::Config, work::Work};
use crate::state_keeper::{StateKeeper, report::Report};

/// Reads one topic and hands over what it says.
pub struct PulsarConsumer {
    work: Option<Work>,
}

impl PulsarConsumer {
    pub(super) fn new(
        config: Config,
        keeper: Ref<StateKeeper>,
        report: watch::Receiver<Arc<Report>>,
        reporter: Reporter,
    ) -> Self {
        Self {
            work: Some(Work::new(config, keeper, report, reporter)),
        }
    }
}

impl Actor for PulsarConsumer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        match self.work.take() {
            // Spawned on the context: a panic in it ends this life, and the supervisor sees it.
            Some(work) => {
                ctx.spawn(work.run().into_actor(self));
            }
            None => ctx.stop(),
        }
    }
}
