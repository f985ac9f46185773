//! Supervision of actix actors.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix::{Actor, Context, Handler, Message};

/// What a component says of itself; given to each life of a child by its factory.
#[derive(Clone, Debug)]
pub struct Reporter;

impl Reporter {
    /// Initialised, and what it talks to is there. The first call of either makes the child ready.
    pub fn running(&self, _detail: impl Into<String>) {}
    /// Initialised, but what it talks to is away or wrong.
    pub fn degraded(&self, _detail: impl Into<String>, _error: impl Into<String>) {}
    /// A reporter that nobody reads: for tests of actors without a supervisor.
    pub fn detached() -> Self {
        Self
    }
}

/// Where an actor is found, over all its lives.
pub struct Ref<A: Actor>(std::marker::PhantomData<fn() -> A>);

impl<A: Actor> Clone for Ref<A> {
    fn clone(&self) -> Self {
        Self(std::marker::PhantomData)
    }
}

/// Why a message got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The actor is not running: nothing was delivered. Ask again later.
    #[error("not running")]
    NotRunning,
    /// The mailbox stayed full: nothing was delivered. Ask again later.
    #[error("mailbox full")]
    Full,
    /// It died with the message, or gave no answer in time: the outcome is unknown.
    #[error("no answer")]
    Unknown,
}

impl<A: Actor<Context = Context<A>>> Ref<A> {
    /// Sends a message and waits for its answer, both within `deadline`.
    pub async fn ask<M>(&self, _message: M, _deadline: Duration) -> Result<M::Result, AskError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        Err(AskError::NotRunning)
    }
}

/// How a child is supervised.
#[derive(Clone, Debug)]
pub struct Spec {
    /** Name in health. */
    pub name: String,
    /** Kind in health. */
    pub kind: &'static str,
    /** Whether its crash loop escalates. */
    pub critical: bool,
    /** On a thread of its own. */
    pub own_thread: bool,
    /** Time it gets to stop. */
    pub stop_within: Duration,
}

impl Spec {
    /// A crash loop of it escalates.
    pub fn critical(name: impl Into<String>, kind: &'static str) -> Self {
        Self {
            name: name.into(),
            kind,
            critical: true,
            own_thread: false,
            stop_within: Duration::from_secs(5),
        }
    }
    /// A crash loop parks it: restarted now and then, for ever.
    pub fn parking(name: impl Into<String>, kind: &'static str) -> Self {
        Self {
            name: name.into(),
            kind,
            critical: false,
            own_thread: false,
            stop_within: Duration::from_secs(5),
        }
    }
    /// Runs on a thread of its own, so that what it computes delays nobody.
    pub fn own_thread(mut self) -> Self {
        self.own_thread = true;
        self
    }
}

/// What a component is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /** starting */
    Starting,
    /** running */
    Running,
    /** degraded */
    Degraded,
    /** backoff */
    Backoff,
    /** parked */
    Parked,
    /** stopping */
    Stopping,
    /** stopped */
    Stopped,
}

/// Why a child was restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /** panic */
    Panic,
    /** error */
    Error,
    /** stopped */
    Stopped,
    /** not ready */
    NotReady,
    /** hangs */
    Unresponsive,
}

/// Health of one component.
#[derive(Clone, Debug)]
pub struct Component {
    /** name */
    pub name: String,
    /** kind */
    pub kind: &'static str,
    /** state */
    pub state: State,
    /** critical */
    pub critical: bool,
    /** restarts by reason */
    pub restarts: BTreeMap<Reason, u64>,
    /** since when in this state */
    pub since: SystemTime,
    /** its own word */
    pub detail: String,
    /** what is wrong */
    pub error: Option<String>,
}

/// Reads the health of a whole tree from any thread.
#[derive(Clone, Default)]
pub struct Health(Arc<()>);

impl Health {
    /// Every component, in the order of the tree.
    pub fn components(&self) -> Vec<Component> {
        Vec::new()
    }
    /// How long ago the root supervisor's loop last turned.
    pub fn last_turn(&self) -> Duration {
        Duration::ZERO
    }
}

/// Starts, watches and restarts children.
pub struct Supervisor {
    /** name */
    pub name: &'static str,
}

impl Supervisor {
    /// One with no children yet.
    pub fn new(name: &'static str) -> Self {
        Self { name }
    }
    /// Adds a child; started in this order, stopped in the reverse one.
    pub fn child<A, F>(&mut self, _spec: Spec, _factory: F) -> Ref<A>
    where
        A: Actor<Context = Context<A>>,
        F: Fn(Reporter) -> A + Send + Sync + 'static,
    {
        Ref(std::marker::PhantomData)
    }
    /// Adds a group.
    pub fn group(&mut self, _group: Supervisor) {}
    /// The health of everything below.
    pub fn health(&self) -> Health {
        Health::default()
    }
    /// Runs until `shutdown` completes or a critical crash loop escalates.
    pub async fn run(self, _shutdown: impl Future<Output = ()>) -> Exit {
        Exit::Stopped {
            survivors: Vec::new(),
        }
    }
}

/// How a tree ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /** As asked; who did not stop in time. */
    Stopped {
        /** by name */
        survivors: Vec<String>,
    },
    /** A critical child crashed too often. */
    Escalated {
        /** which */
        component: String,
        /** its last error */
        error: String,
    },
}
