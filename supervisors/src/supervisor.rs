//! A supervisor as it is put together: children in their order, groups among them.

use std::{future::Future, sync::Arc, time::Duration};

use actix::{Actor, Context};

use crate::{
    Children, Health, Limits, Ref, Reporter, Spec,
    bond::{Birth, Obituary, Outcome, Start},
    children::Listed,
    health::Entry,
    stop,
    tend::{self, Order},
};

/// Starts, watches and restarts children, each alone (`one_for_one`).
pub struct Supervisor {
    pub(crate) name: &'static str,
    pub(crate) limits: Limits,
    pub(crate) children: Children,
    pub(crate) health: Health,
    pub(crate) on_turn: Option<OnTurn>,
}

type OnTurn = Box<dyn Fn(Turn) + Send + Sync>;

/// What a supervisor does in a turn of its loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It looks after its children.
    Tends,
    /// It stops them: it was asked to, or one of them ended too often.
    Stops,
}

/// How a tree ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Stopped {
        /// Who did not stop in time and was aborted, in the order of the stop.
        survivors: Vec<String>,
    },
    /// A critical child crashed too often. Everything else was stopped in order.
    Escalated {
        /// Which one.
        component: String,
        /// Its last error.
        error: String,
    },
}

impl Supervisor {
    /// One with no children yet.
    pub fn new(name: &'static str) -> Self {
        let health = Health::default();
        Self {
            name,
            limits: Limits::default(),
            children: Children::new(health.clone()),
            health,
            on_turn: None,
        }
    }

    /// With other limits than the default; they hold for each of its children by itself.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds a child; started in this order, stopped in the reverse one. The factory makes each life of it. The `Ref` may be
    /// given to others, and asked, long before the child runs.
    pub fn child<A, F>(&mut self, spec: Spec, factory: F) -> Ref<A>
    where
        A: Actor<Context = Context<A>>,
        F: Fn(Reporter) -> A + Send + Sync + 'static,
    {
        self.children.start(spec, factory)
    }

    /// Adds a group: a supervisor as a critical child. When it escalates, it is restarted as a whole.
    pub fn group(&mut self, group: Supervisor) {
        let spec = Spec::critical(group.name, "group");
        let entry = Entry::Group(group.health.clone());
        self.children
            .add(spec, entry, Box::new(Group(Arc::new(group))));
    }

    /// Its children, to be changed while it runs. They cannot be groups.
    pub fn children(&self) -> Children {
        self.children.clone()
    }

    /// The health of everything below, also of what is added later.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Calls this at every turn of its loop: after whatever happened to a child, and at least every second. It runs on
    /// the loop's own thread, so its silence means that the loop stands still; it must not block.
    pub fn on_turn(&mut self, call: impl Fn(Turn) + Send + Sync + 'static) {
        self.on_turn = Some(Box::new(call));
    }

    /// Runs until `shutdown` completes or a critical crash loop escalates; either way everything is stopped in order.
    /// When the future is dropped, so is every child.
    ///
    /// # Panics
    /// Outside of a [`tokio::task::LocalSet`] (an `actix::System` is one), unless every child has its own thread.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Exit {
        let order = async {
            shutdown.await;
            Order::Stop
        };
        match tend::tend(&self, order).await {
            Outcome::Escalated {
                component, error, ..
            } => Exit::Escalated { component, error },
            Outcome::Stopped { survivors } => Exit::Stopped { survivors },
            // nobody holds a leash of the root
            Outcome::Killed | Outcome::Ended(_) => Exit::Stopped {
                survivors: Vec::new(),
            },
        }
    }
}

/// A supervisor as a child of another one.
struct Group(Arc<Supervisor>);

impl Start for Group {
    fn start(&self, mut birth: Birth) {
        let obituary = Obituary::new(birth.news.clone());
        let group = Arc::clone(&self.0);
        tokio::task::spawn_local(async move {
            birth.news.ready();
            let order = async {
                loop {
                    tokio::select! {
                        tug = birth.leash.recv() => return match tug {
                            Some(()) => Order::Stop,
                            None => Order::Kill,
                        },
                        Some(()) = birth.questions.recv() => birth.news.beat(),
                    }
                }
            };
            obituary.tell(tend::tend(&group, order).await);
        });
    }

    fn cut_off(&self) {
        for Listed { child, .. } in self.0.children.list() {
            child.start.cut_off();
        }
    }

    /// It bounds its stop by itself: one child after the other, each within its own time.
    fn stop_within(&self) -> Option<Duration> {
        let children = self.0.children.list();
        let within = children
            .iter()
            .map(|listed| listed.child.stop_within() + stop::ABORT_WITHIN);
        Some(within.sum::<Duration>() + stop::ABORT_WITHIN)
    }
}
