//! The shell: one life of the actor is one run of `Work`.

use std::sync::Arc;

use actix::{Actor, ActorContext, AsyncContext, Context, WrapFuture};
use supervisors::{AskError, Ref, Reporter};
use tokio::sync::watch;

use super::{
    config::Config,
    word::Word,
    work::{ASK_WITHIN, Keeper, Work},
};
use crate::{
    messages::{DeclareError, Declared, Listing, NotListed},
    state_keeper::{StateKeeper, report::Report},
};

/// Watches one directory and declares what its files say.
pub struct FsWatcher {
    work: Option<Work<Ref<StateKeeper>>>,
}

impl FsWatcher {
    pub(super) fn new(
        config: Config,
        keeper: Ref<StateKeeper>,
        report: watch::Receiver<Arc<Report>>,
        reporter: Reporter,
    ) -> Self {
        let say = move |word| match word {
            Word::Running(detail) => reporter.running(detail),
            Word::Degraded(detail, error) => reporter.degraded(detail, error),
        };
        Self {
            work: Some(Work::new(config, keeper, report, Box::new(say))),
        }
    }
}

impl Actor for FsWatcher {
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

impl Keeper for Ref<StateKeeper> {
    async fn declare(&self, listing: Listing) -> Result<Result<Declared, DeclareError>, AskError> {
        self.ask(listing, ASK_WITHIN).await
    }

    async fn not_listed(&self, not_listed: NotListed) -> Result<(), AskError> {
        self.ask(not_listed, ASK_WITHIN).await
    }
}
