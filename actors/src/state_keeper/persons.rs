//! The keeper's shell towards persons: what the admin socket passes on, and the answers' way back.

use std::collections::HashMap;

use actix::{Context, Handler, MessageResult, ResponseFuture};
use tokio::sync::oneshot;

use super::{StateKeeper, events::Event, keeper::Keeper, operator::Answer};
use crate::messages::{
    Compare, DiffError, Differing, Kept, ListHolds, ListOrphans, Order, OrderError, Ordered, Pause,
    Paused, Reconfigure,
};

/// Who waits for an answer.
#[derive(Default)]
pub(super) struct Persons {
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    next: u64,
}

impl Persons {
    fn enter(&mut self) -> (u64, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, sender);
        (number, receiver)
    }

    pub(super) fn answer(&mut self, to: u64, answer: Answer) {
        if let Some(person) = self.waiting.remove(&to) {
            // One who went away asks again, or not.
            let _ = person.send(answer);
        }
    }
}

impl Handler<Order> for StateKeeper {
    type Result = ResponseFuture<Result<Ordered, OrderError>>;

    fn handle(&mut self, order: Order, context: &mut Context<Self>) -> Self::Result {
        if self.open.is_none() {
            return Box::pin(async { Err(OrderError::Starting) });
        }
        tracing::info!(uid = order.uid, order = %order.what, "A person ordered.");
        let (reply, answer) = self.persons.enter();
        self.on(Event::Order { order, reply }, context);
        Box::pin(async move {
            match answer.await {
                Ok(Answer::Order(result)) => result,
                _ => Err(OrderError::Starting),
            }
        })
    }
}

impl Handler<Pause> for StateKeeper {
    type Result = ResponseFuture<Result<Paused, OrderError>>;

    fn handle(&mut self, pause: Pause, context: &mut Context<Self>) -> Self::Result {
        if self.open.is_none() {
            return Box::pin(async { Err(OrderError::Starting) });
        }
        let Pause { uid, lasts } = pause;
        if let Some(lasts) = lasts {
            let seconds = lasts.as_secs();
            tracing::warn!(
                uid,
                seconds,
                "A person paused: nothing is sent to Sōzu meanwhile."
            );
        } else {
            tracing::info!(uid, "A person ended the pause, if there was one.");
        }
        let (reply, answer) = self.persons.enter();
        self.on(Event::Pause { uid, lasts, reply }, context);
        Box::pin(async move {
            match answer.await {
                Ok(Answer::Paused(paused)) => Ok(paused),
                _ => Err(OrderError::Starting),
            }
        })
    }
}

impl Handler<Compare> for StateKeeper {
    type Result = ResponseFuture<Result<Vec<Differing>, DiffError>>;

    fn handle(&mut self, _: Compare, context: &mut Context<Self>) -> Self::Result {
        if self.open.is_none() {
            return Box::pin(async { Err(DiffError::Starting) });
        }
        let (reply, answer) = self.persons.enter();
        self.on(Event::Compare { reply }, context);
        Box::pin(async move {
            match answer.await {
                Ok(Answer::Compare(result)) => result,
                _ => Err(DiffError::Starting),
            }
        })
    }
}

impl Handler<Reconfigure> for StateKeeper {
    type Result = ();

    fn handle(&mut self, message: Reconfigure, context: &mut Context<Self>) {
        self.reconfigure(message.0, context);
    }
}

impl Handler<ListHolds> for StateKeeper {
    type Result = MessageResult<ListHolds>;

    fn handle(&mut self, _: ListHolds, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.list(Keeper::holds))
    }
}

impl Handler<ListOrphans> for StateKeeper {
    type Result = MessageResult<ListOrphans>;

    fn handle(&mut self, _: ListOrphans, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.list(Keeper::orphans))
    }
}

impl StateKeeper {
    fn list(&self, list: impl FnOnce(&Keeper) -> Vec<Kept>) -> Result<Vec<Kept>, OrderError> {
        let (rules, _) = self.open.as_ref().ok_or(OrderError::Starting)?;
        Ok(list(rules))
    }
}
