//! skeleton
use actix::{Actor, Context, Handler, ResponseFuture};
use sozu_socket::{Answer, BulkAnswer, ExchangeError, Pool, SavedState};
use supervisors::Reporter;

use crate::messages::{Bulk, Exchange, ReadBack};

/// The socket pool's shell.
pub struct SocketPool {
    pub(super) pool: Pool,
    pub(super) reporter: Reporter,
}

impl Actor for SocketPool {
    type Context = Context<Self>;
}

impl Handler<Exchange> for SocketPool {
    type Result = ResponseFuture<Result<Answer, ExchangeError>>;
    fn handle(&mut self, Exchange(request): Exchange, _: &mut Context<Self>) -> Self::Result {
        let pool = self.pool.clone();
        Box::pin(async move { pool.exchange(request).await })
    }
}
impl Handler<Bulk> for SocketPool {
    type Result = ResponseFuture<Result<BulkAnswer, ExchangeError>>;
    fn handle(&mut self, Bulk(requests): Bulk, _: &mut Context<Self>) -> Self::Result {
        let pool = self.pool.clone();
        Box::pin(async move { pool.bulk(requests).await })
    }
}
impl Handler<ReadBack> for SocketPool {
    type Result = ResponseFuture<Result<SavedState, ExchangeError>>;
    fn handle(&mut self, _: ReadBack, _: &mut Context<Self>) -> Self::Result {
        let pool = self.pool.clone();
        Box::pin(async move { pool.saved_state().await })
    }
}
