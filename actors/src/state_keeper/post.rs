//! The keeper's shell towards dead-letter topics: what is to be sent on, and what was.

use actix::{ActorFutureExt, Context, Handler, ResponseActFuture, ResponseFuture, WrapFuture};

use super::{
    StateKeeper,
    store::{LetterFilter, LetterLine, read_letters},
};
use crate::messages::{DeclareError, ListUnsent, SentOn};

impl Handler<ListUnsent> for StateKeeper {
    type Result = ResponseFuture<Result<Vec<LetterLine>, DeclareError>>;

    fn handle(&mut self, asked: ListUnsent, _: &mut Context<Self>) -> Self::Result {
        if self.open.is_none() {
            return Box::pin(async { Err(DeclareError::Starting) });
        }
        let directory = self.state_directory();
        let filter = LetterFilter {
            source: Some(asked.source.to_string()),
            after: Some(0),
            unsent: true,
            limit: asked.limit,
            with_payload: true,
            ..LetterFilter::default()
        };
        Box::pin(async move {
            let reading = tokio::task::spawn_blocking(move || read_letters(&directory, &filter));
            match reading.await {
                Ok(Ok(letters)) => Ok(letters),
                Ok(Err(error)) => Err(DeclareError::Disk(error.to_string())),
                Err(error) => Err(DeclareError::Disk(error.to_string())),
            }
        })
    }
}

impl Handler<SentOn> for StateKeeper {
    type Result = ResponseActFuture<Self, Result<(), DeclareError>>;

    fn handle(&mut self, sent: SentOn, _: &mut Context<Self>) -> Self::Result {
        let written = self.writer(move |writer| writer.sent_on(sent.0));
        let then = written.into_actor(self).map(|result, keeper, context| {
            let result = keeper.written(result).map_err(DeclareError::Disk);
            keeper.tell_letters(context);
            result
        });
        Box::pin(then)
    }
}
