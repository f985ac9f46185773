//! `Ref`: where an actor is found, over all its lives.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use actix::{Actor, Context, Handler, Message};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::mailbox::{Letter, letter};

/// Where an actor is found, over all its lives. Cheap to clone, usable from any thread.
pub struct Ref<A: Actor>(watch::Receiver<Slot<A>>);

/// The mailbox of the present life.
pub(crate) struct Slot<A: Actor> {
    /// Who may publish here.
    pub(crate) life: Option<u64>,
    pub(crate) mailbox: Option<mpsc::Sender<Letter<A>>>,
}

impl<A: Actor> Default for Slot<A> {
    fn default() -> Self {
        Self {
            life: None,
            mailbox: None,
        }
    }
}

impl<A: Actor> Clone for Ref<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A: Actor> fmt::Debug for Ref<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Ref<{}>", std::any::type_name::<A>())
    }
}

/// Why a message got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The actor was not running all the time: nothing was delivered. Ask again later.
    #[error("not running")]
    NotRunning,
    /// The mailbox stayed full: nothing was delivered. Ask again later.
    #[error("mailbox full")]
    Full,
    /// It died with the message, or gave no answer in time: the outcome is unknown. Ask again only what may happen twice.
    #[error("no answer")]
    Unknown,
}

impl<A: Actor<Context = Context<A>>> Ref<A> {
    pub(crate) fn new(slot: watch::Receiver<Slot<A>>) -> Self {
        Self(slot)
    }

    /// Sends a message and waits for its answer, all within `deadline`. While the actor is not running it waits for its
    /// next life, while the mailbox is full for room; who waits longest gets it first. The actor is handed a message once at
    /// most: what lies in the mailbox when a life ends waits for the next one, what was handed over does not. One whose
    /// caller is gone before its turn is not handled.
    pub async fn ask<M>(&self, message: M, deadline: Duration) -> Result<M::Result, AskError>
    where
        A: Handler<M, Result: 'static>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let mut missing = AskError::NotRunning;
        let answer = {
            let mut exchange = pin!(self.exchange(message, &mut missing));
            match after_a_turn(exchange.as_mut()).await {
                Some(answer) => answer,
                None => timeout(deadline, exchange).await.unwrap_or_default(),
            }
        };
        answer.ok_or(missing)
    }

    /// Keeps in `missing` what there is still to wait for.
    async fn exchange<M>(&self, mut message: M, missing: &mut AskError) -> Option<M::Result>
    where
        A: Handler<M, Result: 'static>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        // what nearly always happens, without a clone of anything
        let sent = {
            let slot = self.0.borrow();
            match slot.mailbox.as_ref().map(mpsc::Sender::try_reserve) {
                Some(Ok(room)) => {
                    let (answer, answered) = oneshot::channel();
                    room.send(letter(message, answer));
                    Ok(answered)
                }
                _ => Err(message),
            }
        };
        message = match sent {
            Ok(answered) => {
                *missing = AskError::Unknown;
                match answered.await.ok()? {
                    Ok(answer) => return Some(answer),
                    Err(unseen) => unseen,
                }
            }
            Err(unsent) => unsent,
        };
        *missing = AskError::NotRunning;
        let mut slot = self.0.clone();
        loop {
            let mailbox = slot.borrow_and_update().mailbox.clone();
            if let Some(mailbox) = mailbox {
                *missing = AskError::Full;
                if let Ok(room) = mailbox.reserve_owned().await {
                    *missing = AskError::Unknown;
                    let (answer, answered) = oneshot::channel();
                    // not kept: a sender would keep a mailbox whose life has just ended, and our letter in it
                    drop(room.send(letter(message, answer)));
                    match answered.await.ok()? {
                        Ok(answer) => return Some(answer),
                        Err(unseen) => message = unseen,
                    }
                }
                // that life ended, and nothing was delivered to it
                *missing = AskError::NotRunning;
            }
            slot.changed().await.ok()?;
        }
    }
}

/// The result, if it is there once whoever else is ready has had a turn: on one thread nearly always, and a timer costs more
/// than all the rest of a message.
async fn after_a_turn<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    let mut turns = 0;
    poll_fn(|task| match future.as_mut().poll(task) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if turns == 1 => Poll::Ready(None),
        Poll::Pending => {
            turns += 1;
            task.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}
