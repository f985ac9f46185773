//! A web server as a part of an actor: it ends when the actor does, whatever way that is.

use std::io;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Running, WrapFuture};
use actix_web::dev::{Server, ServerHandle};

/// A web server that stops in order when this is dropped.
pub(crate) struct Life {
    handle: ServerHandle,
    /// Which one of its actor.
    number: u64,
}

impl Drop for Life {
    fn drop(&mut self) {
        // The order is given by the call; the future only waits for its end.
        drop(self.handle.stop(true));
    }
}

/// An actor that has one.
pub(crate) trait Serves: Actor<Context = Context<Self>> {
    /// The one that serves now.
    fn life(&mut self) -> &mut Option<Life>;

    /// It ended by itself.
    fn ended(&mut self, error: String);

    /// From now on this one serves. One before it answers what it was asked, and ends.
    fn tend(&mut self, server: Server, context: &mut Context<Self>) {
        let number = self.life().as_ref().map_or(0, |life| life.number + 1);
        *self.life() = Some(Life {
            handle: server.handle(),
            number,
        });
        // A task of its own: it ends in order even when the actor does not.
        let ended = actix::spawn(server);
        context.spawn(ended.into_actor(self).map(move |ended, actor, context| {
            let life = actor.life();
            if life.as_ref().is_some_and(|life| life.number != number) {
                return; // another one has taken its place
            }
            if life.take().is_some() {
                actor.ended(why(ended));
            }
            context.stop();
        }));
    }

    /// Stops the web server first, and then, when that has answered what it was asked, the actor.
    fn close(&mut self) -> Running {
        match self.life().take() {
            Some(_) => Running::Continue,
            None => Running::Stop,
        }
    }
}

fn why<E: std::fmt::Display>(ended: Result<io::Result<()>, E>) -> String {
    match ended {
        Ok(Ok(())) => "it was stopped by somebody else".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    }
}
