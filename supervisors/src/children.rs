//! The children of a supervisor, in the order of their start. The list may change while the supervisor runs: its loop
//! follows it, starts what is new and stops what has left it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;

use actix::{Actor, Context};
use tokio::sync::watch;

use crate::{
    Health, Ref, Reporter, Spec,
    bond::Start,
    health::{Cell, Entry},
    life::ActorChild,
    reference::Slot,
};

/// The children of one supervisor: from here they are added and taken away while it runs. Cheap to clone, usable from
/// any thread. What is added here outlives a restart of its group, as every other child does.
#[derive(Clone)]
pub struct Children(Arc<List>);

struct List {
    children: watch::Sender<Vec<Listed>>,
    numbers: AtomicU64,
    health: Health,
}

#[derive(Clone)]
pub(crate) struct Listed {
    pub(crate) child: Arc<Child>,
    /// It was let go, and is here only until it is gone.
    pub(crate) leaves: bool,
    /// How often it was to begin a new life.
    pub(crate) renewals: u64,
}

pub(crate) struct Child {
    /// Never given twice, and higher than that of who was added before.
    pub(crate) number: u64,
    pub(crate) spec: Spec,
    pub(crate) entry: Entry,
    pub(crate) start: Box<dyn Start>,
    /// Lives are counted over the restarts of the group too, so that no old one is taken for a new one.
    lives: AtomicU64,
    /// A loop that looks after it holds a receiver.
    tended: watch::Sender<()>,
}

impl Children {
    pub(crate) fn new(health: Health) -> Self {
        Self(Arc::new(List {
            children: watch::Sender::default(),
            numbers: AtomicU64::new(0),
            health,
        }))
    }

    /// Adds a child, the last one in the order: it is started at once if the supervisor runs, and stopped before all others.
    /// The factory makes each life of it. A name may be given again only when whoever had it has left ([`Children::stop`]).
    pub fn start<A, F>(&self, spec: Spec, factory: F) -> Ref<A>
    where
        A: Actor<Context = Context<A>>,
        F: Fn(Reporter) -> A + Send + Sync + 'static,
    {
        let (slot, watched) = watch::channel(Slot::default());
        let cell = Arc::new(Cell::new(&spec));
        let entry = Entry::Component(Arc::clone(&cell));
        let start = ActorChild {
            spec: spec.clone(),
            cell,
            slot: Arc::new(slot),
            factory: Arc::new(factory),
        };
        self.add(spec, entry, Box::new(start));
        Ref::new(watched)
    }

    /// Stops a child for good, and waits until it is gone: it gets its time, is aborted then, and leaves the health. Others
    /// are looked after meanwhile. Whether there was one of this name.
    pub async fn stop(&self, name: &str) -> bool {
        let Some(child) = self.change(name, |listed| listed.leaves = true) else {
            return false;
        };
        child.tended.closed().await;
        self.0.health.remove(&child.entry);
        self.0
            .children
            .send_modify(|children| children.retain(|it| !Arc::ptr_eq(&it.child, &child)));
        true
    }

    /// Lets a child begin a new life, so that its factory makes it anew: the present one is asked to stop, and gets its time.
    /// Its `Ref`s stay, and what lies in its mailbox waits. It counts as no restart. Waits for the first word of the new life.
    ///
    /// # Errors
    /// If the new life ended instead, with the reason; it is restarted all the same. Or if there is no child of this name.
    pub async fn renew(&self, name: &str) -> Result<(), String> {
        let mut before = 0;
        let child = self.change(name, |listed| {
            before = listed.child.lives.load(Ordering::Relaxed);
            listed.renewals += 1;
        });
        Self::word(child, name, before).await
    }

    /// Waits for the first word of a child that was just added.
    ///
    /// # Errors
    /// If its first life ended instead, with the reason; it is restarted all the same. Or if there is no child of this name.
    pub async fn first_word(&self, name: &str) -> Result<(), String> {
        let found = self.list().into_iter().find(|listed| listed.is(name));
        Self::word(found.map(|listed| listed.child), name, 0).await
    }

    /// Of a life that begins after so many.
    async fn word(child: Option<Arc<Child>>, name: &str, after: u64) -> Result<(), String> {
        let cell = child.and_then(|child| match &child.entry {
            Entry::Component(cell) => Some(Arc::clone(cell)),
            Entry::Group(_) => None,
        });
        match cell {
            Some(cell) => cell.first_word(after).await,
            None => Err(format!("there is no child {name}")),
        }
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Listed)) -> Option<Arc<Child>> {
        let mut found = None;
        self.0.children.send_if_modified(|children| {
            let listed = children.iter_mut().find(|listed| listed.is(name));
            found = listed.map(|listed| {
                change(listed);
                Arc::clone(&listed.child)
            });
            found.is_some()
        });
        found
    }

    pub(crate) fn add(&self, spec: Spec, entry: Entry, start: Box<dyn Start>) {
        self.0.health.add(entry.clone());
        let child = Arc::new(Child {
            number: self.0.numbers.fetch_add(1, Ordering::Relaxed),
            spec,
            entry,
            start,
            lives: AtomicU64::new(0),
            tended: watch::Sender::default(),
        });
        let listed = Listed {
            child,
            leaves: false,
            renewals: 0,
        };
        self.0
            .children
            .send_modify(|children| children.push(listed));
    }

    /// All of them, also those that leave.
    pub(crate) fn list(&self) -> Vec<Listed> {
        self.0.children.borrow().clone()
    }

    /// Hears of each change of the list.
    pub(crate) fn follow(&self) -> watch::Receiver<Vec<Listed>> {
        self.0.children.subscribe()
    }
}

impl Listed {
    fn is(&self, name: &str) -> bool {
        !self.leaves && self.child.spec.name == name
    }
}

impl Child {
    pub(crate) fn next_life(&self) -> u64 {
        self.lives.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Held by the loop that looks after it.
    pub(crate) fn tended(&self) -> watch::Receiver<()> {
        self.tended.subscribe()
    }

    /// What it gets to end.
    pub(crate) fn stop_within(&self) -> Duration {
        self.start.stop_within().unwrap_or(self.spec.stop_within)
    }
}
