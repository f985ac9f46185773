//! A puppet that fails on demand, and a tree of them under paused time.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Message, MessageResult, Running, System,
    WrapFuture,
    dev::{MessageResponse, OneshotSender},
    fut::ActorFutureExt,
};
use supervisors::{Component, Exit, Health, Ref, Reporter, State, Supervisor};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep},
};

pub const SECOND: Duration = Duration::from_secs(1);
/// Long enough for everything that is awaited; under paused time it costs nothing.
pub const LONG: Duration = Duration::from_mins(10);

/// Runs a test with a clock that jumps to the next timer whenever everybody waits.
pub fn paused<T>(test: impl Future<Output = T>) -> T {
    System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    })
    .block_on(test)
}

/// What a puppet does when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    Ready,
    Panic,
    Stop,
    Fail,
    Silence,
    /// Panics after it has reported.
    ReadyThenPanic,
}

/// What a puppet does when it is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    Stop,
    /// Ends only after this time.
    After(Duration),
    Never,
    PanicInStopping,
    PanicInStopped,
}

pub struct Puppet {
    pub name: &'static str,
    pub life: u64,
    pub reporter: Reporter,
    pub opening: Opening,
    pub closing: Closing,
    pub diary: Diary,
    pub finished: bool,
}

/// What happened, in order.
#[derive(Clone, Default)]
pub struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    pub fn note(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().push(entry.into());
    }

    pub fn entries(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Counts lives.
#[derive(Clone, Default)]
pub struct Lives(Arc<AtomicU64>);

impl Lives {
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Puppet {
    pub fn new(reporter: Reporter, life: u64) -> Self {
        Self {
            name: "puppet",
            life,
            reporter,
            opening: Opening::Ready,
            closing: Closing::Stop,
            diary: Diary::default(),
            finished: false,
        }
    }

    pub fn opening(mut self, opening: Opening) -> Self {
        self.opening = opening;
        self
    }

    pub fn closing(mut self, closing: Closing) -> Self {
        self.closing = closing;
        self
    }

    pub fn diary(mut self, name: &'static str, diary: &Diary) -> Self {
        self.name = name;
        self.diary = diary.clone();
        self
    }
}

impl Actor for Puppet {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.diary.note(format!("{} started", self.name));
        match self.opening {
            Opening::Ready => self.reporter.running(format!("life {}", self.life)),
            Opening::Panic => panic!("in started"),
            Opening::Stop => context.stop(),
            Opening::Fail => self.reporter.failed("no luck"),
            Opening::Silence => {}
            Opening::ReadyThenPanic => {
                self.reporter.running("for a moment");
                panic!("in started");
            }
        }
    }

    fn stopping(&mut self, context: &mut Self::Context) -> Running {
        self.diary.note(format!("{} stopping", self.name));
        match self.closing {
            Closing::After(time) if !self.finished => {
                context.run_later(time, |puppet, context| {
                    puppet.finished = true;
                    context.stop();
                });
                Running::Continue
            }
            Closing::Never => Running::Continue,
            Closing::PanicInStopping => panic!("in stopping"),
            _ => Running::Stop,
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.diary.note(format!("{} stopped", self.name));
        assert!(self.closing != Closing::PanicInStopped, "in stopped");
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.diary.note(format!("{} dropped", self.name));
    }
}

/// Which life is it?
#[derive(Clone, Copy)]
pub struct Which;

impl Message for Which {
    type Result = u64;
}

impl Handler<Which> for Puppet {
    type Result = MessageResult<Which>;

    fn handle(&mut self, _: Which, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.life)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    Panic,
    PanicInActorFuture,
    PanicInFuture,
    PanicInTimer,
    PanicInSpawned,
    Fail,
    FailAndStop,
    Stop,
    Degrade,
    /// Answers after this time; other messages are handled meanwhile.
    Answer(Duration),
    /// Handles nothing else for this time.
    Wait(Duration),
    /// Blocks its thread.
    Block(Duration),
}

impl Message for Do {
    type Result = u64;
}

/// Any of actix's ways to answer.
pub enum Way {
    Now(u64),
    Future(actix::ResponseFuture<u64>),
    ActorFuture(actix::ResponseActFuture<Puppet, u64>),
    Atomic(actix::AtomicResponse<Puppet, u64>),
}

impl MessageResponse<Puppet, Do> for Way {
    fn handle(self, context: &mut Context<Puppet>, answer: Option<OneshotSender<u64>>) {
        match self {
            Way::Now(value) => drop(answer.map(|answer| answer.send(value))),
            Way::Future(future) => MessageResponse::<Puppet, Do>::handle(future, context, answer),
            Way::ActorFuture(future) => {
                MessageResponse::<Puppet, Do>::handle(future, context, answer);
            }
            Way::Atomic(atomic) => MessageResponse::<Puppet, Do>::handle(atomic, context, answer),
        }
    }
}

impl Handler<Do> for Puppet {
    type Result = Way;

    fn handle(&mut self, what: Do, context: &mut Context<Self>) -> Way {
        self.diary.note(format!("{} handles {what:?}", self.name));
        match what {
            Do::Panic => panic!("in a handler"),
            Do::PanicInActorFuture => {
                let later = sleep(SECOND).into_actor(self);
                return Way::ActorFuture(Box::pin(later.map(|(), _, _| panic!("in a future"))));
            }
            Do::PanicInFuture => {
                return Way::Future(Box::pin(async {
                    sleep(SECOND).await;
                    panic!("in a task of its own")
                }));
            }
            Do::PanicInTimer => {
                let _ = context.run_later(SECOND, |_, _| panic!("in a timer"));
            }
            Do::PanicInSpawned => {
                let _ = context.spawn(async { panic!("in a spawned future") }.into_actor(self));
            }
            Do::Fail => self.reporter.failed("no luck"),
            Do::FailAndStop => {
                self.reporter.failed("no luck");
                context.stop();
            }
            Do::Stop => context.stop(),
            Do::Degrade => self.reporter.degraded("waits", "nobody there"),
            Do::Answer(time) => {
                let life = self.life;
                return Way::Future(Box::pin(async move {
                    sleep(time).await;
                    life
                }));
            }
            Do::Wait(time) => {
                let later = sleep(time).into_actor(self);
                let later = later.map(|(), puppet: &mut Puppet, _| puppet.life);
                return Way::Atomic(actix::AtomicResponse::new(Box::pin(later)));
            }
            Do::Block(time) => std::thread::sleep(time),
        }
        Way::Now(self.life)
    }
}

/// A tree that runs.
pub struct Tree {
    pub health: Health,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Exit>,
}

impl Tree {
    pub fn run(supervisor: Supervisor) -> Self {
        let (stop, stopped) = oneshot::channel();
        let health = supervisor.health();
        let shutdown = async {
            // a dropped tree runs on
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let run = tokio::task::spawn_local(supervisor.run(shutdown));
        Self { health, stop, run }
    }

    pub async fn stop(self) -> Exit {
        let _ = self.stop.send(());
        self.run.await.unwrap()
    }

    /// Waits for an end that nobody asked for.
    pub async fn end(self) -> Exit {
        tokio::time::timeout(10 * LONG, self.run)
            .await
            .unwrap()
            .unwrap()
    }

    pub fn component(&self, name: &str) -> Component {
        let components = self.health.components();
        let found = components
            .into_iter()
            .find(|component| component.name == name);
        found.unwrap()
    }

    pub fn state(&self, name: &str) -> State {
        self.component(name).state
    }

    pub async fn until_state(&self, name: &str, state: State) {
        until(|| self.state(name) == state).await;
    }

    /// The restarts of a component by reason, as words.
    pub fn restarts(&self, name: &str) -> Vec<(&'static str, u64)> {
        let restarts = self.component(name).restarts;
        restarts
            .iter()
            .map(|(reason, count)| (reason.name(), *count))
            .collect()
    }
}

/// Waits for a condition, with a deadline.
pub async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "it never came");
        sleep(Duration::from_millis(1)).await;
    }
}

pub async fn which(puppet: &Ref<Puppet>) -> u64 {
    puppet.ask(Which, LONG).await.unwrap()
}
