//! One life of one child: a task that owns the actor's context, catches what it panics, and tells its supervisor how it ended.

use std::{
    any::Any,
    cell::Cell,
    future::{Future, poll_fn},
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{self, Poll},
    thread,
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
    bond::{Birth, End, Obituary, Outcome, Start},
    health::Cell as HealthCell,
    mailbox::{Armed, Inbox, Letter},
    points::Points,
    reference::Slot,
};

/// As the main thread's usual one, in bytes: what needs a thread of its own may be deep, most of all in a debug build.
const STACK: usize = 8 << 20;

/// An actor as a child.
pub(crate) struct ActorChild<A: Actor, F> {
    pub(crate) spec: Spec,
    pub(crate) cell: Arc<HealthCell>,
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
            points: Points::of(self.spec.kind),
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
    let thread = thread::Builder::new()
        .name(name.replace('\0', ""))
        .stack_size(STACK);
    if let Err(error) = thread.spawn(run) {
        // the obituary fell with the closure; this says why
        error!(component = name, %error, "The component's thread could not be started.");
    }
}

/// What one life needs; on an own thread it begins there.
struct Life<A: Actor, F> {
    cell: Arc<HealthCell>,
    slot: Arc<watch::Sender<Slot<A>>>,
    factory: Arc<F>,
    mailbox: usize,
    points: Points,
    birth: Birth,
    actor: PhantomData<fn() -> A>,
}

impl<A, F> Life<A, F>
where
    A: Actor<Context = Context<A>>,
    F: Fn(Reporter) -> A,
{
    async fn live(self) -> Outcome {
        // one end is enough: the first
        let (ends, end) = mpsc::channel(1);
        let reporter = Reporter::new(
            Arc::clone(&self.cell),
            self.birth.news.clone(),
            ends.clone(),
            self.points,
        );
        let made = caught(|| {
            self.points.start();
            (self.factory)(reporter)
        });
        let actor = match made {
            Ok(actor) => actor,
            Err(panic) => return Outcome::Ended(End::new(Reason::Panic, panic)),
        };
        let (mailbox, letters) = mpsc::channel(self.mailbox);
        let mut context = Context::new();
        let Birth {
            news,
            leash,
            questions,
        } = self.birth;
        let life = news.life;
        let beats = Rc::new(Cell::new(false));
        context.spawn(Inbox {
            letters,
            questions: Armed::new(questions),
            beats: Rc::clone(&beats),
            ends,
            points: self.points,
        });
        let mut future = context.into_future(actor);
        publish(&self.slot, life, mailbox);
        let outcome = run(
            &mut future,
            Armed::new(end),
            Armed::new(leash),
            self.points,
            || {
                // only now, when the actor has let go of its thread
                if beats.take() {
                    news.beat();
                }
            },
        )
        .await;
        // no callback runs on what is dropped now: it had them all, or has panicked
        future.ctx().terminate();
        match caught(|| drop(future)) {
            Err(panic) if !matches!(outcome, Outcome::Ended(_)) => {
                Outcome::Ended(End::new(Reason::Panic, panic))
            }
            _ => outcome,
        }
    }
}

/// Lets the actor live until it ends, is asked to, or has to.
async fn run<A: Actor<Context = Context<A>>>(
    future: &mut ContextFut<A, Context<A>>,
    mut end: Armed<End>,
    mut leash: Armed<()>,
    points: Points,
    yielded: impl Fn(),
) -> Outcome {
    let mut asked = false;
    loop {
        tokio::select! {
            biased;
            over = poll_fn(|task| {
                let over = turn(future, task);
                yielded();
                over
            }) => return match (over, end.try_recv()) {
                (Err(panic), _) => Outcome::Ended(End::new(Reason::Panic, panic)),
                // cut off, an actor with nothing else to do may end before it hears that it was asked to
                (Ok(()), _) if asked || leash.try_recv().is_some() => {
                    Outcome::Stopped { survivors: Vec::new() }
                }
                (Ok(()), Some(end)) => Outcome::Ended(end),
                (Ok(()), None) => Outcome::Ended(End::new(Reason::Stopped, "it stopped itself")),
            },
            // never over while the actor has its inbox, which holds a sender
            Some(end) = poll_fn(|task| end.poll(task)) => {
                if end.reason == Reason::Error {
                    future.ctx().stop();
                    let _ = poll_fn(|task| Poll::Ready(turn(future, task))).await;
                }
                return Outcome::Ended(end);
            }
            tug = poll_fn(|task| leash.poll(task)) => match tug {
                Some(()) => {
                    if let Err(panic) = caught(|| points.stop()) {
                        return Outcome::Ended(End::new(Reason::Panic, panic));
                    }
                    asked = true;
                    future.ctx().stop();
                }
                None => return Outcome::Killed,
            },
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
