//! The shell: one life of the actor is one run of `Work`.

use std::sync::Arc;

use actix::{Actor, ActorContext, AsyncContext, Context, WrapFuture};
use supervisors::{Ref, Reporter};
use tokio::sync::watch;

use super::{config::Config, outbox::Outbox, work::Work};
use crate::state_keeper::{StateKeeper, report::Report};

/// Reads one topic and hands over what it says.
pub struct PulsarConsumer {
    work: Option<Work>,
    outbox: Option<Outbox>,
}

impl PulsarConsumer {
    pub(super) fn new(
        config: Config,
        keeper: Ref<StateKeeper>,
        report: watch::Receiver<Arc<Report>>,
        reporter: Reporter,
    ) -> Self {
        let (outbox, says) = Outbox::new(&config, &keeper, &report).unzip();
        Self {
            work: Some(Work::new(config, keeper, report, reporter, says)),
            outbox,
        }
    }
}

impl Actor for PulsarConsumer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(outbox) = self.outbox.take() {
            ctx.spawn(outbox.run().into_actor(self));
        }
        match self.work.take() {
            // Spawned on the context: a panic in it ends this life, and the supervisor sees it.
            Some(work) => {
                ctx.spawn(work.run().into_actor(self));
            }
            None => ctx.stop(),
        }
    }
}
