//! The loop of a supervisor: hears its children, keeps their time, restarts them.

use std::{collections::BTreeMap, future::Future, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tracing::{error, warn};

use crate::{
    Reason, State, Supervisor,
    bond::{Birth, End, Event, News, Outcome, What},
    children::{Child, Listed},
    decide::{History, Next, decide},
    health::Entry,
    pulse::Pulse,
    stop::ABORT_WITHIN,
    supervisor::Turn,
};

/// The loop turns at least this often, so that its silence means something.
const TICK: Duration = Duration::from_secs(1);

/// What a supervisor is told from above.
pub(crate) enum Order {
    Stop,
    Kill,
}

/// Starts the children and looks after them until ordered otherwise.
pub(crate) async fn tend(supervisor: &Supervisor, order: impl Future<Output = Order>) -> Outcome {
    let mut tending = Tending::new(supervisor);
    let mut children = supervisor.children.follow();
    let mut order = pin!(order);
    tending.follow(&children.borrow_and_update());
    loop {
        let due = tending.due();
        let event = tokio::select! {
            biased;
            order = &mut order => return match order {
                Order::Stop => Outcome::Stopped { survivors: tending.stop().await },
                Order::Kill => Outcome::Killed,
            },
            // the list lives as long as the supervisor
            Ok(()) = children.changed() => {
                tending.follow(&children.borrow_and_update());
                continue;
            }
            event = tending.next(due) => event,
        };
        let escalation = match event {
            Some(event) => tending.on(event),
            None => tending.on_time(),
        };
        if let Some(escalated) = escalation {
            tending.stop().await;
            return escalated;
        }
    }
}

pub(crate) struct Tending<'a> {
    supervisor: &'a Supervisor,
    /// By the child's number, which is the order of the start.
    pub(crate) watched: BTreeMap<u64, Watched>,
    pub(crate) stops: bool,
    began: Instant,
    /// Kept here too, so that `news` never ends.
    events: mpsc::UnboundedSender<Event>,
    news: mpsc::UnboundedReceiver<Event>,
}

/// What the supervisor knows of one child.
pub(crate) struct Watched {
    pub(crate) child: Arc<Child>,
    _tended: watch::Receiver<()>,
    /// As in the list.
    leaves: bool,
    renewals: u64,
    life: u64,
    pub(crate) phase: Phase,
    /// See [`Birth::leash`].
    pub(crate) leash: Option<mpsc::Sender<()>>,
    /// See [`Birth::questions`].
    questions: Option<mpsc::Sender<()>>,
    began: Instant,
    history: History,
    /// Since when it ends again and again: from there on nothing was sound.
    loop_began: Instant,
}

/// Where a child stands. Each phase has at most one time at which something is due.
pub(crate) enum Phase {
    Starting {
        ready_by: Instant,
    },
    Ready {
        since: Instant,
        pulse: Pulse,
    },
    /// Aborted, for this reason; waited for, so that no two lives of it run beside each other.
    Condemned {
        end: End,
        ready_for: Duration,
        gone_by: Instant,
    },
    Waiting {
        until: Instant,
    },
    /// It was asked to end until then, or is aborted already: for good, or to begin anew.
    Leaving {
        until: Instant,
        aborted: bool,
    },
    Over,
}

impl Phase {
    fn due(&self) -> Option<Instant> {
        match self {
            Self::Starting { ready_by } => Some(*ready_by),
            Self::Condemned { gone_by, .. } => Some(*gone_by),
            Self::Waiting { until } | Self::Leaving { until, .. } => Some(*until),
            Self::Ready { pulse, .. } => Some(pulse.due()),
            Self::Over => None,
        }
    }

    pub(crate) fn alive(&self) -> bool {
        !matches!(self, Self::Waiting { .. } | Self::Over)
    }
}

impl Watched {
    fn new(child: Arc<Child>) -> Self {
        let now = Instant::now();
        Self {
            _tended: child.tended(),
            child,
            leaves: false,
            renewals: 0,
            life: 0,
            phase: Phase::Over,
            leash: None,
            questions: None,
            began: now,
            history: History::default(),
            loop_began: now,
        }
    }

    /// Aborts a life that is not what it should be; it is waited for until it is gone.
    fn condemn(&mut self, end: End, ready_for: Duration, now: Instant) {
        self.child.start.cut_off();
        self.child
            .entry
            .each(&mut |cell| cell.between(State::Stopping, end.error.clone()));
        self.leash = None;
        self.phase = Phase::Condemned {
            end,
            ready_for,
            gone_by: now + self.child.stop_within(),
        };
    }

    /// It was aborted, and blocks its thread.
    fn leave_behind(&self) {
        let component = &self.child.spec.name;
        warn!(
            component,
            "The component blocks its thread and is left behind."
        );
        if let Entry::Component(cell) = &self.child.entry {
            cell.left_behind(self.life);
        }
    }
}

impl<'a> Tending<'a> {
    fn new(supervisor: &'a Supervisor) -> Self {
        let (events, news) = mpsc::unbounded_channel();
        Self {
            supervisor,
            watched: BTreeMap::new(),
            stops: false,
            began: Instant::now(),
            events,
            news,
        }
    }

    /// Starts who is new in the list, and stops who leaves it or is to begin anew.
    fn follow(&mut self, children: &[Listed]) {
        for listed in children {
            let number = listed.child.number;
            match self.watched.get_mut(&number) {
                Some(watched) => {
                    let renewed = watched.renewals != listed.renewals;
                    let dismissed = listed.leaves && !watched.leaves;
                    watched.renewals = listed.renewals;
                    watched.leaves = listed.leaves;
                    if dismissed || renewed {
                        self.dismiss(number);
                    }
                }
                None if listed.leaves => {}
                None => {
                    let mut watched = Watched::new(Arc::clone(&listed.child));
                    watched.renewals = listed.renewals;
                    self.watched.insert(number, watched);
                    self.start(number);
                }
            }
        }
    }

    fn start(&mut self, number: u64) {
        let Some(watched) = self.watched.get_mut(&number) else {
            return;
        };
        let child = &watched.child;
        let (leash, held) = mpsc::channel(1);
        watched.life = child.next_life();
        watched.leash = Some(leash);
        let (questions, asked) = mpsc::channel(1);
        watched.questions = Some(questions);
        watched.began = Instant::now();
        watched.phase = Phase::Starting {
            ready_by: watched.began + child.spec.ready_within,
        };
        child.start.start(Birth {
            news: News {
                child: number,
                life: watched.life,
                events: self.events.clone(),
            },
            leash: held,
            questions: asked,
        });
    }

    /// The next event of a present life, or nothing when it is `due`; by then the loop turns at every tick.
    pub(crate) async fn next(&mut self, due: Option<Instant>) -> Option<Event> {
        self.supervisor.health.turned();
        if let Some(on_turn) = &self.supervisor.on_turn {
            on_turn(if self.stops { Turn::Stops } else { Turn::Tends });
        }
        let tick = Instant::now() + TICK;
        let wake = due.map_or(tick, |due| due.min(tick));
        let event = tokio::select! {
            // first what was told in time, then who is late
            biased;
            event = self.news.recv() => event,
            () = sleep_until(wake) => None,
        };
        let event = event?;
        let watched = self.watched.get(&event.child)?;
        if event.life == watched.life {
            return Some(event);
        }
        // of a life that was given up
        if let (What::Over(_), Entry::Component(cell)) = (event.what, &watched.child.entry) {
            cell.gone(event.life);
        }
        None
    }

    /// When the first child's time is over.
    fn due(&self) -> Option<Instant> {
        self.watched
            .values()
            .filter_map(|watched| watched.phase.due())
            .min()
    }

    fn on(&mut self, event: Event) -> Option<Outcome> {
        let number = event.child;
        let now = Instant::now();
        let watched = self.watched.get_mut(&number)?;
        let child = &watched.child;
        match (event.what, &mut watched.phase) {
            (What::Ready, Phase::Starting { .. }) => {
                watched.phase = Phase::Ready {
                    since: now,
                    pulse: Pulse::new(child.spec.silent_within, now),
                };
                None
            }
            (What::Beat, Phase::Ready { pulse, .. }) => {
                pulse.answered(now);
                if let Entry::Component(cell) = &child.entry {
                    cell.beat();
                }
                None
            }
            (What::Over(_), Phase::Condemned { end, ready_for, .. }) => {
                let (end, ready_for) = (end.clone(), *ready_for);
                self.ended(number, end, None, ready_for)
            }
            (What::Over(outcome), Phase::Starting { .. }) => {
                self.over(number, outcome, Duration::ZERO)
            }
            (What::Over(outcome), Phase::Ready { since, .. }) => {
                let ready_for = now - *since;
                self.over(number, outcome, ready_for)
            }
            (What::Over(outcome), Phase::Leaving { .. }) => {
                self.left(number, Some(outcome));
                None
            }
            (What::Ready | What::Beat, _)
            | (What::Over(_), Phase::Waiting { .. } | Phase::Over) => None,
        }
    }

    fn over(&mut self, number: u64, outcome: Outcome, ready_for: Duration) -> Option<Outcome> {
        match outcome {
            Outcome::Ended(end) => self.ended(number, end, None, ready_for),
            // a group was sound until its crash loop began, so that loops of loops are seen as one
            Outcome::Escalated {
                component,
                error,
                sound,
            } => self.ended(
                number,
                End::new(Reason::Error, error),
                Some(component),
                sound,
            ),
            Outcome::Stopped { .. } | Outcome::Killed => {
                let end = End::new(Reason::Stopped, "it stopped without being asked");
                self.ended(number, end, None, ready_for)
            }
        }
    }

    /// Does what is due.
    fn on_time(&mut self) -> Option<Outcome> {
        let now = Instant::now();
        let is_due = |watched: &Watched| watched.phase.due().is_some_and(|due| now >= due);
        let due = self.watched.iter().filter(|(_, watched)| is_due(watched));
        let due: Vec<u64> = due.map(|(number, _)| *number).collect();
        due.into_iter()
            .find_map(|number| self.on_time_of(number, now))
    }

    /// Does what is due of this child.
    fn on_time_of(&mut self, number: u64, now: Instant) -> Option<Outcome> {
        let watched = self.watched.get_mut(&number)?;
        let child = &watched.child;
        match &mut watched.phase {
            Phase::Starting { .. } => {
                let error = format!("it was not ready within {:?}", child.spec.ready_within);
                let end = End::new(Reason::NotReady, error);
                watched.condemn(end, Duration::ZERO, now);
            }
            Phase::Condemned { end, ready_for, .. } => {
                let (end, ready_for) = (end.clone(), *ready_for);
                watched.leave_behind();
                return self.ended(number, end, None, ready_for);
            }
            Phase::Waiting { .. } => self.start(number),
            Phase::Ready { since, pulse } => {
                if pulse.ask(now) {
                    if let Some(questions) = &watched.questions {
                        // full: it has not even heard the last one
                        let _ = questions.try_send(());
                    }
                } else {
                    // sound until it was last heard, or one that hangs at once would never be seen as a loop
                    let ready_for = pulse.heard() - *since;
                    let silent = child.spec.silent_within;
                    let error = format!("it gave no sign of life for {silent:?}");
                    watched.condemn(End::new(Reason::Unresponsive, error), ready_for, now);
                }
            }
            Phase::Leaving { aborted: false, .. } => {
                watched.abort();
                watched.phase = Phase::Leaving {
                    until: now + ABORT_WITHIN,
                    aborted: true,
                };
            }
            Phase::Leaving { aborted: true, .. } => {
                watched.leave_behind();
                self.left(number, None);
            }
            Phase::Over => {}
        }
        None
    }

    /// Lets a life of a child go: for good, if the child leaves.
    fn dismiss(&mut self, number: u64) {
        let Some(watched) = self.watched.get_mut(&number) else {
            return;
        };
        match watched.phase {
            Phase::Leaving { .. } => {}
            Phase::Waiting { .. } | Phase::Over => self.left(number, None),
            Phase::Condemned { gone_by, .. } => {
                watched.phase = Phase::Leaving {
                    until: gone_by,
                    aborted: true,
                };
            }
            Phase::Starting { .. } | Phase::Ready { .. } => {
                watched.ask_to_stop();
                watched.phase = Phase::Leaving {
                    until: Instant::now() + watched.child.stop_within(),
                    aborted: false,
                };
            }
        }
    }

    /// A life that was let go is gone.
    fn left(&mut self, number: u64, outcome: Option<Outcome>) {
        let Some(watched) = self.watched.get_mut(&number) else {
            return;
        };
        watched.leash = None;
        if let Some(Outcome::Ended(end)) = outcome {
            watched.ended_while_stopping(&end);
        }
        if watched.leaves {
            watched.stopped();
            self.watched.remove(&number);
        } else {
            self.start(number);
        }
    }

    /// After the end of a life. `component` is who brought it about, if it was not the child itself.
    fn ended(
        &mut self,
        number: u64,
        end: End,
        component: Option<String>,
        ready_for: Duration,
    ) -> Option<Outcome> {
        let now = Instant::now();
        let limits = &self.supervisor.limits;
        let watched = self.watched.get_mut(&number)?;
        let child = &watched.child;
        child.start.cut_off();
        if let Entry::Component(cell) = &child.entry {
            cell.count(end.reason, end.error.clone());
        }
        watched.leash = None;
        let history = std::mem::take(&mut watched.history);
        let (history, next) = decide(
            limits,
            child.spec.critical,
            history,
            ready_for,
            rand::random(),
        );
        if history.ends() == 1 {
            watched.loop_began = watched.began + ready_for;
        }
        watched.history = history;
        let (name, reason, error) = (&child.spec.name, end.reason.name(), &end.error);
        let (state, wait, what) = match next {
            Next::Restart(wait) => (
                State::Backoff,
                wait,
                "The component ended and is restarted.",
            ),
            Next::Park(wait) => (
                State::Parked,
                wait,
                "The component ended too often and is parked.",
            ),
            Next::Escalate => {
                let supervisor = self.supervisor.name;
                error!(
                    supervisor,
                    component = name,
                    reason,
                    error,
                    "The component ended too often: its supervisor gives up."
                );
                watched.phase = Phase::Over;
                child
                    .entry
                    .each(&mut |cell| cell.between(State::Stopped, "ended too often".to_owned()));
                return Some(Outcome::Escalated {
                    component: component.unwrap_or_else(|| name.clone()),
                    error: end.error,
                    sound: watched.loop_began - self.began,
                });
            }
        };
        let backoff_seconds = wait.as_secs_f64();
        warn!(component = name, reason, error, backoff_seconds, "{what}");
        watched.phase = Phase::Waiting { until: now + wait };
        child
            .entry
            .each(&mut |cell| cell.between(state, format!("starts again in {wait:.1?}")));
        None
    }
}
