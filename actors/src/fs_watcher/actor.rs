//! The shell: one life of the actor is one run of `Work`.

use actix::{Actor, ActorContext, AsyncContext, Context, WrapFuture};
use supervisors::{AskError, Ref, Reporter};
use tokio::sync::watch;

use super::{
    config::{Config, Deps, Reading},
    pki::Looker,
    word::Word,
    work::{ASK_WITHIN, Keeper, Work},
};
use crate::{
    messages::{DeclareError, Declared, Listing, NotListed},
    state_keeper::StateKeeper,
};

/// Watches one directory and declares what its files say.
pub struct FsWatcher {
    work: Option<Work<Ref<StateKeeper>>>,
    looker: Option<Looker>,
}

impl FsWatcher {
    pub(super) fn new(config: Config, deps: Deps, reporter: Reporter) -> Self {
        let say = move |word| match word {
            Word::Running(detail) => reporter.running(detail),
            Word::Degraded(detail, error) => reporter.degraded(detail, error),
        };
        let (tell, told) = watch::channel(None);
        let looker = match &config.reading {
            Reading::Routes => None,
            Reading::Pki(settings) => Some(Looker {
                source: config.source.clone(),
                pool: deps.pool,
                report: deps.report.clone(),
                told,
                board: deps.board.clone(),
                handshakes: settings.handshakes,
            }),
        };
        let mut work = Work::new(config, deps.keeper, deps.report, Box::new(say));
        work.certificates = looker.as_ref().map(|_| (tell, deps.board));
        Self {
            work: Some(work),
            looker,
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
        if let Some(looker) = self.looker.take() {
            ctx.spawn(looker.run().into_actor(self));
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
