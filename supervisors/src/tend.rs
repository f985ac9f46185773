//! The loop of a supervisor: hears its children, keeps their time, restarts them.

use std::{future::Future, pin::pin, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::{error, warn};

use crate::{
    Reason, State, Supervisor,
    bond::{Birth, End, Event, News, Outcome, What},
    decide::{History, Next, decide},
    health::Entry,
    pulse::Pulse,
    supervisor::{Child, Turn},
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
    let mut order = pin!(order);
    for index in 0..supervisor.children.len() {
        tending.start(index);
    }
    loop {
        let due = tending.due();
        let event = tokio::select! {
            biased;
            order = &mut order => return match order {
                Order::Stop => Outcome::Stopped { survivors: tending.stop().await },
                Order::Kill => Outcome::Killed,
            },
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
    pub(crate) watched: Vec<Watched>,
    pub(crate) stops: bool,
    began: Instant,
    /// Kept here too, so that `news` never ends.
    events: mpsc::UnboundedSender<Event>,
    news: mpsc::UnboundedReceiver<Event>,
}

/// What the supervisor knows of one child.
pub(crate) struct Watched {
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
    Over,
}

impl Phase {
    fn due(&self) -> Option<Instant> {
        match self {
            Self::Starting { ready_by } => Some(*ready_by),
            Self::Condemned { gone_by, .. } => Some(*gone_by),
            Self::Waiting { until } => Some(*until),
            Self::Ready { pulse, .. } => Some(pulse.due()),
            Self::Over => None,
        }
    }

    pub(crate) fn alive(&self) -> bool {
        !matches!(self, Self::Waiting { .. } | Self::Over)
    }
}

impl<'a> Tending<'a> {
    fn new(supervisor: &'a Supervisor) -> Self {
        let (events, news) = mpsc::unbounded_channel();
        let began = Instant::now();
        let watched = supervisor.children.iter().map(|_| Watched {
            life: 0,
            phase: Phase::Over,
            leash: None,
            questions: None,
            began,
            history: History::default(),
            loop_began: began,
        });
        Self {
            supervisor,
            watched: watched.collect(),
            stops: false,
            began,
            events,
            news,
        }
    }

    pub(crate) fn child(&self, index: usize) -> &'a Child {
        &self.supervisor.children[index]
    }

    fn start(&mut self, index: usize) {
        let child = self.child(index);
        let watched = &mut self.watched[index];
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
                child: index,
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
        if event.life == self.watched[event.child].life {
            return Some(event);
        }
        // of a life that was given up
        if let (What::Over(_), Entry::Component(cell)) =
            (event.what, &self.child(event.child).entry)
        {
            cell.gone(event.life);
        }
        None
    }

    /// When the first child's time is over.
    fn due(&self) -> Option<Instant> {
        self.watched
            .iter()
            .filter_map(|watched| watched.phase.due())
            .min()
    }

    fn on(&mut self, event: Event) -> Option<Outcome> {
        let index = event.child;
        let now = Instant::now();
        let child = self.child(index);
        let watched = &mut self.watched[index];
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
                self.ended(index, end, None, ready_for)
            }
            (What::Over(outcome), Phase::Starting { .. }) => {
                self.over(index, outcome, Duration::ZERO)
            }
            (What::Over(outcome), Phase::Ready { since, .. }) => {
                let ready_for = now - *since;
                self.over(index, outcome, ready_for)
            }
            (What::Ready | What::Beat, _)
            | (What::Over(_), Phase::Waiting { .. } | Phase::Over) => None,
        }
    }

    fn over(&mut self, index: usize, outcome: Outcome, ready_for: Duration) -> Option<Outcome> {
        match outcome {
            Outcome::Ended(end) => self.ended(index, end, None, ready_for),
            // a group was sound until its crash loop began, so that loops of loops are seen as one
            Outcome::Escalated {
                component,
                error,
                sound,
            } => self.ended(
                index,
                End::new(Reason::Error, error),
                Some(component),
                sound,
            ),
            Outcome::Stopped { .. } | Outcome::Killed => {
                let end = End::new(Reason::Stopped, "it stopped without being asked");
                self.ended(index, end, None, ready_for)
            }
        }
    }

    /// Does what is due.
    fn on_time(&mut self) -> Option<Outcome> {
        let now = Instant::now();
        for index in 0..self.watched.len() {
            let watched = &mut self.watched[index];
            if watched.phase.due().is_none_or(|due| now < due) {
                continue;
            }
            let spec = &self.supervisor.children[index].spec;
            let escalation = match &mut watched.phase {
                Phase::Starting { .. } => {
                    let error = format!("it was not ready within {:?}", spec.ready_within);
                    let gone_by = now + spec.stop_within;
                    let end = End::new(Reason::NotReady, error);
                    self.condemn(index, end, Duration::ZERO, gone_by);
                    None
                }
                Phase::Condemned { end, ready_for, .. } => {
                    let (end, ready_for, component) = (end.clone(), *ready_for, &spec.name);
                    warn!(
                        component,
                        "The component blocks its thread and is left behind."
                    );
                    if let Entry::Component(cell) = &self.supervisor.children[index].entry {
                        cell.left_behind(watched.life);
                    }
                    self.ended(index, end, None, ready_for)
                }
                Phase::Waiting { .. } => {
                    self.start(index);
                    None
                }
                Phase::Ready { since, pulse } => {
                    if pulse.ask(now) {
                        if let Some(questions) = &watched.questions {
                            // full: it has not even heard the last one
                            let _ = questions.try_send(());
                        }
                    } else {
                        // sound until it was last heard, or one that hangs at once would never be seen as a loop
                        let ready_for = pulse.heard() - *since;
                        let error = format!("it gave no sign of life for {:?}", spec.silent_within);
                        let gone_by = now + spec.stop_within;
                        let end = End::new(Reason::Unresponsive, error);
                        self.condemn(index, end, ready_for, gone_by);
                    }
                    None
                }
                Phase::Over => None,
            };
            if escalation.is_some() {
                return escalation;
            }
        }
        None
    }

    /// Aborts a life that is not what it should be, and waits until it is gone.
    fn condemn(&mut self, index: usize, end: End, ready_for: Duration, gone_by: Instant) {
        let child = self.child(index);
        child.start.cut_off();
        child
            .entry
            .each(&mut |cell| cell.between(State::Stopping, end.error.clone()));
        let watched = &mut self.watched[index];
        watched.leash = None;
        watched.phase = Phase::Condemned {
            end,
            ready_for,
            gone_by,
        };
    }

    /// After the end of a life. `component` is who brought it about, if it was not the child itself.
    fn ended(
        &mut self,
        index: usize,
        end: End,
        component: Option<String>,
        ready_for: Duration,
    ) -> Option<Outcome> {
        let now = Instant::now();
        let child = self.child(index);
        child.start.cut_off();
        if let Entry::Component(cell) = &child.entry {
            cell.count(end.reason, end.error.clone());
        }
        let watched = &mut self.watched[index];
        watched.leash = None;
        let history = std::mem::take(&mut watched.history);
        let limits = &self.supervisor.limits;
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
