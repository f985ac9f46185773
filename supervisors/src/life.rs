//! One life of one child: a task that owns the actor's context, catches what it panics, and tells its supervisor how it ended.

use std::{
    any::Any,
    future::{Future, poll_fn},
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    thread,
    time::Duration,
};

use actix::{Actor, ActorContext, AsyncContext, Context, dev::ContextFut};
use tokio::{
    runtime,
    sync::{mpsc, watch},
    task::LocalSet,
};
use tracing::error;

use crate::{
    Reason, Reporter, Spec,
    health::Cell,
    mailbox::{Inbox, Letter},
    reference::Slot,
};

/// What a supervisor starts, over and over: an actor, or a group of them.
pub(crate) trait Start: Send + Sync {
    /// Begins a life, which reports to `birth.news` and obeys `birth.leash`.
    fn start(&self, birth: Birth);
    /// Nothing more is delivered until the next life.
    fn cut_off(&self);
}

/// What a life is given.
pub(crate) struct Birth {
    pub(crate) news: News,
    /// A tug asks to stop; when it is let go, the life ends at once.
    pub(crate) leash: mpsc::Receiver<()>,
}

/// What a supervisor hears of its children.
pub(crate) struct Event {
    pub(crate) child: usize,
    pub(crate) life: u64,
    pub(crate) what: What,
}

pub(crate) enum What {
    Ready,
    Over(Outcome),
}

/// How a life ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// As asked; who below it did not stop in time.
    Stopped { survivors: Vec<String> },
    /// Without having been asked to.
    Ended(End),
    /// A group, after a crash loop of this component, which began when the group had run for `sound`.
    Escalated {
        component: String,
        error: String,
        sound: Duration,
    },
    /// The leash was let go.
    Killed,
}

/// Why a life ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) reason: Reason,
    pub(crate) error: String,
}

impl End {
    pub(crate) fn new(reason: Reason, error: impl Into<String>) -> Self {
        Self {
            reason,
            error: error.into(),
        }
    }
}

/// The way from a life to its supervisor.
#[derive(Clone)]
pub(crate) struct News {
    pub(crate) child: usize,
    pub(crate) life: u64,
    pub(crate) events: mpsc::UnboundedSender<Event>,
}

impl News {
    pub(crate) fn ready(&self) {
        self.tell(What::Ready);
    }

    fn tell(&self, what: What) {
        // nobody there: the supervisor is gone, and with it the leash
        let _ = self.events.send(Event {
            child: self.child,
            life: self.life,
            what,
        });
    }
}

/// Tells the supervisor how a life ended, even if the task that lived it is dropped.
pub(crate) struct Obituary {
    news: News,
    outcome: Option<Outcome>,
}

impl Obituary {
    pub(crate) fn new(news: News) -> Self {
        Self {
            news,
            outcome: None,
        }
    }

    pub(crate) fn tell(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Obituary {
    fn drop(&mut self) {
        let lost = || Outcome::Ended(End::new(Reason::Error, "its task was dropped"));
        let outcome = self.outcome.take().unwrap_or_else(lost);
        self.news.tell(What::Over(outcome));
    }
}

/// An actor as a child.
pub(crate) struct ActorChild<A: Actor, F> {
    pub(crate) spec: Spec,
    pub(crate) cell: Arc<Cell>,
    pub(crate) slot: Arc<watch::Sender<Slot<A>>>,
    pub(crate) factory: Arc<F>,
}

impl<A, F> Start for ActorChild<A, F>
where
    A: Actor<Context = Context<A>>,
    F: Fn(Reporter) -> A + Send + Sync + 'static,
{
    fn start(&self, birth: Birth) {
        self.cell.begin(birth.news.life);
        self.slot.send_replace(Slot {
            life: Some(birth.news.life),
            mailbox: None,
        });
        let obituary = Obituary::new(birth.news.clone());
        let life = Life {
            cell: Arc::clone(&self.cell),
            slot: Arc::clone(&self.slot),
            factory: Arc::clone(&self.factory),
            mailbox: self.spec.mailbox.max(1),
            birth,
            actor: PhantomData,
        };
        if self.spec.own_thread {
            on_its_own_thread(&self.spec.name, life, obituary);
        } else {
            tokio::task::spawn_local(async move { obituary.tell(life.live().await) });
        }
    }

    fn cut_off(&self) {
        self.slot.send_replace(Slot::default());
    }
}

fn on_its_own_thread<A, F>(name: &str, life: Life<A, F>, obituary: Obituary)
where
    A: Actor<Context = Context<A>>,
    F: Fn(Reporter) -> A + Send + Sync + 'static,
{
    let run = move || {
        let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                let error = format!("its thread got no runtime: {error}");
                return obituary.tell(Outcome::Ended(End::new(Reason::Error, error)));
            }
        };
        let outcome = LocalSet::new().block_on(&runtime, life.live());
        obituary.tell(outcome);
        // blocking work that it left behind holds up nobody
        runtime.shutdown_background();
    };
    let thread = thread::Builder::new().name(name.replace('\0', ""));
    if let Err(error) = thread.spawn(run) {
        // the obituary fell with the closure; this says why
        error!(component = name, %error, "The component's thread could not be started.");
    }
}

/// What one life needs; on an own thread it begins there.
struct Life<A: Actor, F> {
    cell: Arc<Cell>,
    slot: Arc<watch::Sender<Slot<A>>>,
    factory: Arc<F>,
    mailbox: usize,
    birth: Birth,
    actor: PhantomData<fn() -> A>,
}

impl<A, F> Life<A, F>
where
    A: Actor<Context = Context<A>>,
    F: Fn(Reporter) -> A,
{
    async fn live(mut self) -> Outcome {
        // one end is enough: the first
        let (ends, mut end) = mpsc::channel(1);
        let reporter = Reporter::new(
            Arc::clone(&self.cell),
            self.birth.news.clone(),
            ends.clone(),
        );
        let actor = match caught(|| (self.factory)(reporter)) {
            Ok(actor) => actor,
            Err(panic) => return Outcome::Ended(End::new(Reason::Panic, panic)),
        };
        let (mailbox, letters) = mpsc::channel(self.mailbox);
        let mut context = Context::new();
        context.spawn(Inbox { letters, ends });
        let mut future = context.into_future(actor);
        publish(&self.slot, self.birth.news.life, mailbox);
        let outcome = self.run(&mut future, &mut end).await;
        // no callback runs on what is dropped now: it had them all, or has panicked
        future.ctx().terminate();
        match caught(|| drop(future)) {
            Err(panic) if !matches!(outcome, Outcome::Ended(_)) => {
                Outcome::Ended(End::new(Reason::Panic, panic))
            }
            _ => outcome,
        }
    }

    async fn run(
        &mut self,
        future: &mut ContextFut<A, Context<A>>,
        end: &mut mpsc::Receiver<End>,
    ) -> Outcome {
        let mut asked = false;
        loop {
            tokio::select! {
                biased;
                over = poll_fn(|task| turn(future, task)) => return match (over, end.try_recv()) {
                    (Err(panic), _) => Outcome::Ended(End::new(Reason::Panic, panic)),
                    (Ok(()), _) if asked => Outcome::Stopped { survivors: Vec::new() },
                    (Ok(()), Ok(end)) => Outcome::Ended(end),
                    (Ok(()), Err(_)) => Outcome::Ended(End::new(Reason::Stopped, "it stopped itself")),
                },
                // never over while the actor has its inbox, which holds a sender
                Some(end) = end.recv() => {
                    if end.reason == Reason::Error {
                        future.ctx().stop();
                        let _ = poll_fn(|task| Poll::Ready(turn(future, task))).await;
                    }
                    return Outcome::Ended(end);
                }
                tug = self.birth.leash.recv() => match tug {
                    Some(()) => {
                        asked = true;
                        future.ctx().stop();
                    }
                    None => return Outcome::Killed,
                },
            }
        }
    }
}

/// Not if another life has taken over meanwhile: this one was given up.
fn publish<A: Actor>(slot: &watch::Sender<Slot<A>>, life: u64, mailbox: mpsc::Sender<Letter<A>>) {
    slot.send_if_modified(|slot| {
        let mine = slot.life == Some(life);
        if mine {
            slot.mailbox = Some(mailbox);
        }
        mine
    });
}

/// Lets the actor run until it waits for something.
fn turn<A: Actor<Context = Context<A>>>(
    future: &mut ContextFut<A, Context<A>>,
    task: &mut task::Context<'_>,
) -> Poll<Result<(), String>> {
    match caught(|| Pin::new(future).poll(task)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    }
}

/// The result, or the text of the panic. What panicked must not be used again, only dropped: that makes it unwind safe.
fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| text(payload.as_ref()))
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a text").to_owned()
}
