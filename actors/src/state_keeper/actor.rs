//! skeleton
use actix::{Actor, Context, Handler};

use crate::messages::{DeclareError, Declared, Listing, NotListed};

/// The keeper's shell.
pub struct StateKeeper;

impl Actor for StateKeeper {
    type Context = Context<Self>;
}

impl Handler<Listing> for StateKeeper {
    type Result = actix::ResponseFuture<Result<Declared, DeclareError>>;
    fn handle(&mut self, _: Listing, _: &mut Context<Self>) -> Self::Result {
        Box::pin(async { Err(DeclareError::Starting) })
    }
}
impl Handler<NotListed> for StateKeeper {
    type Result = ();
    fn handle(&mut self, _: NotListed, _: &mut Context<Self>) {}
}
