//! The mailbox of one life: a bounded queue of letters that the actor opens in its own context.
//!
//! It takes the place of actix's own, whose bound does not hold: every clone of an `Addr` has a guaranteed slot, and a
//! sender that met a full mailbox is never woken (`AddressSender::poll_unparked` keeps no waker), so its request hangs.

use std::{
    any::Any,
    cell::Cell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{self, Poll, ready},
};

use actix::{Actor, ActorFuture, AsyncContext, Context, Handler, Message, dev::MessageResponse};
use tokio::{
    sync::{
        mpsc,
        oneshot::{self, error::TryRecvError},
    },
    task::unconstrained,
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
    A: Handler<M, Result: 'static>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    Box::new(Asked {
        unseen: Some((message, answer)),
    })
}

impl<A, M> Open<A> for Asked<M>
where
    A: Handler<M, Result: 'static>,
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
        let mut handled = Some(actor.handle(message, context));
        // a handler that gives the answer itself, and no future of it: nothing to wait for
        let value = (&mut handled as &mut dyn Any).downcast_mut::<Option<M::Result>>();
        if let Some(value) = value.and_then(Option::take) {
            return drop(answer.send(Ok(value)));
        }
        let (sender, mut receiver) = oneshot::channel();
        if let Some(later) = handled {
            later.handle(context, Some(sender));
        }
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

/// A receiver that is polled only when there is something to be heard: who has polled it once is woken by the next thing that
/// comes. For what comes seldom, beside what comes all the time, in one task and always the same.
pub(crate) struct Armed<T> {
    receiver: mpsc::Receiver<T>,
    polled: bool,
}

impl<T> Armed<T> {
    pub(crate) fn new(receiver: mpsc::Receiver<T>) -> Self {
        let polled = false;
        Self { receiver, polled }
    }

    pub(crate) fn poll(&mut self, task: &mut task::Context<'_>) -> Poll<Option<T>> {
        let quiet = self.polled && self.receiver.is_empty() && !self.receiver.is_closed();
        if quiet {
            return Poll::Pending;
        }
        // out of its budget a task is told "pending" by a receiver that keeps no waker
        let heard = poll_fn(|task| self.receiver.poll_recv(task));
        let polled = pin!(unconstrained(heard)).poll(task);
        self.polled = polled.is_pending();
        polled
    }

    pub(crate) fn try_recv(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

/// Spawned into the actor's context: hands it letter after letter, none while the actor waits (`ctx.wait`) or stops. It also
/// hears its supervisor's questions, in its turn: not while the actor waits.
pub(crate) struct Inbox<A: Actor> {
    pub(crate) letters: mpsc::Receiver<Letter<A>>,
    pub(crate) questions: Armed<()>,
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
            while let Poll::Ready(Some(())) = self.questions.poll(task) {
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
