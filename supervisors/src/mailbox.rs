//! The mailbox of one life: a bounded queue of letters that the actor opens in its own context.
//!
//! It takes the place of actix's own, whose bound does not hold: every clone of an `Addr` has a guaranteed slot, and a
//! sender that met a full mailbox is never woken (`AddressSender::poll_unparked` keeps no waker), so its request hangs.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{self, Poll, ready},
};

use actix::{Actor, ActorFuture, AsyncContext, Context, Handler, Message, dev::MessageResponse};
use tokio::sync::{
    mpsc,
    oneshot::{self, error::TryRecvError},
};

use crate::{Reason, bond::End, points::Points};

/// A message and the way back for its answer, whatever their types.
pub(crate) type Letter<A> = Box<dyn Open<A> + Send>;

pub(crate) trait Open<A: Actor> {
    /// Lets the actor handle it.
    fn open(
        self: Box<Self>,
        actor: &mut A,
        context: &mut A::Context,
        ends: &mpsc::Sender<End>,
        points: Points,
    );
}

/// The answer, or the message again if nobody has seen it.
pub(crate) type Reply<M> = Result<<M as Message>::Result, M>;

struct Asked<M: Message> {
    unseen: Option<(M, oneshot::Sender<Reply<M>>)>,
}

pub(crate) fn letter<A, M>(message: M, answer: oneshot::Sender<Reply<M>>) -> Letter<A>
where
    A: Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    Box::new(Asked {
        unseen: Some((message, answer)),
    })
}

impl<A, M> Open<A> for Asked<M>
where
    A: Handler<M>,
    M: Message + 'static,
{
    fn open(
        mut self: Box<Self>,
        actor: &mut A,
        context: &mut A::Context,
        ends: &mpsc::Sender<End>,
        points: Points,
    ) {
        let Some((message, answer)) = self.unseen.take() else {
            return;
        };
        if answer.is_closed() {
            return; // nobody waits for it any more
        }
        points.message();
        let (sender, mut receiver) = oneshot::channel();
        actor.handle(message, context).handle(context, Some(sender));
        match receiver.try_recv() {
            Ok(value) => drop(answer.send(Ok(value))),
            Err(TryRecvError::Closed) => unanswered(ends),
            // a future answers later. If it panics in a task of its own, as that of a `ResponseFuture` does, tokio
            // swallows the panic: that no answer came is the only trace of it
            Err(TryRecvError::Empty) => {
                let ends = ends.clone();
                tokio::task::spawn_local(async move {
                    match receiver.await {
                        Ok(value) => drop(answer.send(Ok(value))),
                        Err(_) => unanswered(&ends),
                    }
                });
            }
        }
    }
}

/// At the end of a life its mailbox is dropped with all that lies in it.
impl<M: Message> Drop for Asked<M> {
    fn drop(&mut self) {
        if let Some((message, answer)) = self.unseen.take() {
            drop(answer.send(Err(message)));
        }
    }
}

/// If the life is over anyway, nobody listens.
fn unanswered(ends: &mpsc::Sender<End>) {
    let error = "the future of a handler ended without an answer, as after a panic";
    let _ = ends.try_send(End::new(Reason::Panic, error));
}

/// Spawned into the actor's context: hands it letter after letter, none while the actor waits (`ctx.wait`) or stops. It also
/// hears its supervisor's questions, in its turn: not while the actor waits.
pub(crate) struct Inbox<A: Actor> {
    pub(crate) letters: mpsc::Receiver<Letter<A>>,
    pub(crate) questions: mpsc::Receiver<()>,
    /// Set when a question was heard.
    pub(crate) beats: Rc<Cell<bool>>,
    pub(crate) ends: mpsc::Sender<End>,
    pub(crate) points: Points,
}

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for Inbox<A> {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut A,
        context: &mut Context<A>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        while !context.waiting() {
            while let Poll::Ready(Some(())) = self.questions.poll_recv(task) {
                self.points.message();
                self.points.tick();
                self.beats.set(true);
            }
            match ready!(self.letters.poll_recv(task)) {
                Some(letter) => letter.open(actor, context, &self.ends, self.points),
                // cut off, but not over: an actor without anything to wait for would stop by itself
                None => return Poll::Pending,
            }
        }
        Poll::Pending
    }
}
