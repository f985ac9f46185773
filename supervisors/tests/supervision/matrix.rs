//! The matrix: every failure in every phase of a child's life, with what must come of it, as a table.

use std::{
    collections::HashSet,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Message, ResponseActFuture, Running,
    System, WrapFuture, fut::ActorFutureExt,
};
use supervisors::{AskError, Backoff, Exit, Limits, Ref, Reporter, Spec, State, Supervisor};
use tokio::time::sleep;

use crate::puppet::{LONG, Lives, Puppet, SECOND, Tree, paused, until, which};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Failure {
    PanicInStarted,
    PanicInHandler,
    PanicInFuture,
    PanicInTimer,
    PanicInStopped,
    Error,
    Stop,
    NeverReady,
    /// A handler whose answer never comes, and that lets nothing else be handled meanwhile.
    NeverReturns,
    IgnoresTheStop,
    BlocksItsThread,
    FloodsItself,
}

/// What the child is doing when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// It has begun and has not reported yet.
    Starting,
    Running,
    /// Its first life has failed, the second is not there yet: what is sent to it meanwhile makes that one fail.
    BackingOff,
    /// The tree was told to stop.
    Stopping,
}

/// What must come of it. In no case does its neighbour notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It ended for these reasons, runs again, and stops in order later.
    Again(&'static [&'static str]),
    /// It stops in order, nothing is counted.
    Stops,
    /// It does not stop in time, is aborted and named.
    Survives,
    /// There is no such thing.
    Never,
}

#[test]
fn every_failure_in_every_phase() {
    check(|failure| !holds_its_thread(failure));
}

#[test]
fn a_blocked_thread_in_every_phase() {
    check(|failure| failure == Failure::BlocksItsThread);
}

#[test]
fn a_flooded_mailbox_in_every_phase() {
    check(|failure| failure == Failure::FloodsItself);
}

/// Tries those lines of the table.
fn check(these: impl Fn(Failure) -> bool) {
    use Failure as F;
    use Outcome::{Again, Never, Stops, Survives};
    use Phase as P;
    #[rustfmt::skip]
    let table = [
        // failure              starting               running                   backing off                        stopping
        (F::PanicInStarted,  Again(&["panic"]),     Never,                    Again(&["error", "panic"]),        Never),
        (F::PanicInHandler,  Again(&["panic"]),     Again(&["panic"]),        Again(&["error", "panic"]),        Stops),
        (F::PanicInFuture,   Again(&["panic"]),     Again(&["panic"]),        Again(&["error", "panic"]),        Stops),
        (F::PanicInTimer,    Again(&["panic"]),     Again(&["panic"]),        Again(&["error", "panic"]),        Stops),
        (F::PanicInStopped,  Again(&["panic"]),     Again(&["panic"]),        Again(&["error", "panic"]),        Stops),
        (F::Error,           Again(&["error"]),     Again(&["error"]),        Again(&["error", "error"]),        Stops),
        (F::Stop,            Again(&["stopped"]),   Again(&["stopped"]),      Again(&["error", "stopped"]),      Stops),
        (F::NeverReady,      Again(&["not_ready"]), Never,                    Again(&["error", "not_ready"]),    Stops),
        (F::NeverReturns,    Again(&["not_ready"]), Again(&["unresponsive"]), Again(&["error", "unresponsive"]), Survives),
        (F::IgnoresTheStop,  Survives,              Survives,                 Stops,                             Survives),
        (F::BlocksItsThread, Again(&["not_ready"]), Again(&["unresponsive"]), Again(&["error", "unresponsive"]), Survives),
        (F::FloodsItself,    Again(&["not_ready"]), Again(&["unresponsive"]), Again(&["error", "unresponsive"]), Survives),
    ];
    let mut tried = HashSet::new();
    for (failure, starting, running, backing_off, stopping) in table {
        for (phase, expected) in [
            (P::Starting, starting),
            (P::Running, running),
            (P::BackingOff, backing_off),
            (P::Stopping, stopping),
        ] {
            if expected != Never && these(failure) {
                let seen = in_its_time(failure, try_out(failure, phase));
                assert_eq!(seen, expected, "{failure:?} while {phase:?}");
            }
            tried.insert((failure, phase));
        }
    }
    assert_eq!(tried.len(), 12 * 4);
}

/// A thread that is held is held in real time; everything else happens under paused time.
fn in_its_time<T>(failure: Failure, run: impl Future<Output = T>) -> T {
    if holds_its_thread(failure) {
        System::new().block_on(run)
    } else {
        paused(run)
    }
}

fn holds_its_thread(failure: Failure) -> bool {
    matches!(failure, Failure::BlocksItsThread | Failure::FloodsItself)
}

struct Failing {
    failure: Failure,
    phase: Phase,
    life: u64,
    reporter: Reporter,
    /// The test is over: a thread that is held may go.
    over: Arc<AtomicBool>,
    stopping: bool,
}

impl Failing {
    /// Whether this is the life that is to fail.
    fn armed(&self) -> bool {
        self.life
            == if self.phase == Phase::BackingOff {
                2
            } else {
                1
            }
    }
}

impl Actor for Failing {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        match (self.armed(), self.failure, self.phase) {
            (false, _, Phase::BackingOff) if self.life == 1 => self.reporter.failed("no luck"),
            (true, Failure::PanicInStarted, _) => panic!("in started"),
            (true, Failure::NeverReady, _) | (true, _, Phase::Starting) => {}
            _ => self.reporter.running("fine"),
        }
    }

    fn stopping(&mut self, context: &mut Context<Self>) -> Running {
        if !self.armed() || self.stopping {
            return Running::Stop;
        }
        if self.failure == Failure::IgnoresTheStop {
            return Running::Continue;
        }
        if self.phase == Phase::Stopping && self.failure != Failure::Stop {
            // busy with its end, until the failure comes, or for a second
            self.stopping = true;
            match self.failure {
                Failure::Error => self.reporter.failed("no luck"),
                Failure::PanicInFuture => {
                    context.spawn(async { panic!("in a future") }.into_actor(self));
                }
                Failure::PanicInTimer => {
                    context.run_later(SECOND / 2, |_, _| panic!("in a timer"));
                }
                _ => {}
            }
            context.run_later(SECOND, |_, context| context.stop());
            return Running::Continue;
        }
        Running::Stop
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        let panics = self.armed() && self.failure == Failure::PanicInStopped;
        assert!(!panics, "in stopped");
    }
}

/// Fail now, those whose time it is.
struct Now;

impl Message for Now {
    type Result = ();
}

impl Handler<Now> for Failing {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Now, context: &mut Context<Self>) -> Self::Result {
        match self.failure {
            Failure::PanicInHandler => panic!("in a handler"),
            Failure::PanicInFuture => {
                let later = sleep(SECOND).into_actor(self);
                return Box::pin(later.map(|(), _, _| panic!("in a future")));
            }
            Failure::PanicInTimer => {
                context.run_later(SECOND, |_, _| panic!("in a timer"));
            }
            Failure::Error => self.reporter.failed("no luck"),
            Failure::Stop | Failure::PanicInStopped => context.stop(),
            Failure::NeverReturns => context.wait(std::future::pending::<()>().into_actor(self)),
            Failure::BlocksItsThread => {
                while !self.over.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Failure::FloodsItself => context.notify(Flood),
            Failure::PanicInStarted | Failure::NeverReady | Failure::IgnoresTheStop => {}
        }
        Box::pin(actix::fut::ready(()))
    }
}

struct Flood;

impl Message for Flood {
    type Result = ();
}

impl Handler<Flood> for Failing {
    type Result = ();

    fn handle(&mut self, _: Flood, context: &mut Context<Self>) {
        if !self.over.load(Ordering::SeqCst) {
            context.notify(Flood);
        }
    }
}

/// Makes it fail, and sees what comes of it.
async fn try_out(failure: Failure, phase: Phase) -> Outcome {
    let over = Arc::new(AtomicBool::new(false));
    let mut root = Supervisor::new("root").limits(Limits {
        backoff: Backoff {
            first: SECOND / 10,
            longest: SECOND,
        },
        ..Limits::default()
    });
    let neighbour_lives = Lives::default();
    let neighbour = {
        let lives = neighbour_lives.clone();
        root.child(Spec::critical("neighbour", "puppet"), move |reporter| {
            Puppet::new(reporter, lives.next())
        })
    };
    let (lives, until_over) = (Lives::default(), over.clone());
    let failing = root.child(spec(failure), move |reporter| Failing {
        failure,
        phase,
        life: lives.next(),
        reporter,
        over: until_over.clone(),
        stopping: false,
    });
    let tree = Tree::run(root);
    let lives = if phase == Phase::BackingOff { 2 } else { 1 };
    let reached = || match phase {
        // some fail by themselves, and may already have
        Phase::Starting => tree.state("failing") == State::Starting || by_itself(failure),
        Phase::Running | Phase::Stopping => {
            tree.state("failing") == State::Running || by_itself(failure)
        }
        Phase::BackingOff => ends(&tree) >= 1,
    };
    until(reached).await;

    let stops_now = phase == Phase::Stopping || failure == Failure::IgnoresTheStop;
    if !stops_now || failure == Failure::NeverReturns || holds_its_thread(failure) {
        let asked = ask(&failing);
        if stops_now {
            tokio::task::yield_now().await;
            wait_until_taken(failure).await;
        } else {
            until(|| ends(&tree) >= lives && tree.state("failing") == State::Running).await;
            asked.abort();
        }
    }
    assert_eq!(which(&neighbour).await, 1);
    let reasons = reasons(&tree);
    let asked_too_late = failing.clone();
    let exit = tree.stop().await;
    if phase == Phase::Stopping {
        let late = asked_too_late.ask(Now, SECOND).await;
        assert_eq!(late, Err(AskError::NotRunning));
    }
    over.store(true, Ordering::SeqCst);
    assert_eq!(neighbour_lives.count(), 1);
    match exit {
        Exit::Stopped { survivors } if survivors == ["failing"] => Outcome::Survives,
        Exit::Stopped { survivors } if survivors.is_empty() && stops_now => Outcome::Stops,
        Exit::Stopped { survivors } if survivors.is_empty() => Outcome::Again(reasons),
        other => panic!("{other:?}"),
    }
}

/// Needs nobody to make it fail.
fn by_itself(failure: Failure) -> bool {
    matches!(failure, Failure::PanicInStarted | Failure::NeverReady)
}

fn spec(failure: Failure) -> Spec {
    let spec = Spec::critical("failing", "puppet");
    if holds_its_thread(failure) {
        // real time passes here
        spec.own_thread()
            .ready_within(2 * SECOND)
            .silent_within(2 * SECOND)
            .stop_within(SECOND / 2)
    } else {
        spec
    }
}

fn ask(failing: &Ref<Failing>) -> tokio::task::JoinHandle<Result<(), AskError>> {
    let failing = failing.clone();
    tokio::task::spawn_local(async move { failing.ask(Now, LONG).await })
}

/// One that holds its thread has to get hold of it first.
async fn wait_until_taken(failure: Failure) {
    if holds_its_thread(failure) {
        sleep(SECOND / 10).await;
    }
}

fn ends(tree: &Tree) -> u64 {
    tree.restarts("failing")
        .iter()
        .map(|(_, count)| count)
        .sum()
}

/// The reasons as the table writes them: each as often as it was counted, in order, the first life's `error` first.
fn reasons(tree: &Tree) -> &'static [&'static str] {
    let mut all: Vec<&'static str> = Vec::new();
    for (reason, count) in tree.restarts("failing") {
        for _ in 0..count {
            all.push(reason);
        }
    }
    all.sort_by_key(|reason| *reason != "error");
    all.leak()
}

/// A child that answers is left in peace, however busy it is, and one that hangs only for a while, too.
#[test]
fn a_short_hang_is_forgiven() {
    paused(async {
        let mut root = Supervisor::new("root");
        let puppet = root.child(Spec::critical("puppet", "puppet"), |reporter| {
            Puppet::new(reporter, 1)
        });
        let tree = Tree::run(root);
        for _ in 0..20 {
            let busy = puppet.ask(crate::puppet::Do::Wait(25 * SECOND), LONG).await;
            assert_eq!(busy, Ok(1));
        }
        assert!(tree.restarts("puppet").is_empty());
        assert!(tree.component("puppet").silent_for < 30 * SECOND);
        tree.stop().await;
    });
}

/// Each life is sound for no time at all, so that a loop of hangs is seen as one, however long each of them takes.
#[test]
fn one_that_hangs_at_once_again_and_again_is_a_crash_loop() {
    struct Hangs(Reporter);
    impl Actor for Hangs {
        type Context = Context<Self>;
        fn started(&mut self, context: &mut Context<Self>) {
            self.0.running("not for long");
            context.wait(std::future::pending::<()>().into_actor(self));
        }
    }
    paused(async {
        let mut root = Supervisor::new("root");
        root.child(Spec::critical("hangs", "puppet"), Hangs);
        let tree = Tree::run(root);
        let health = tree.health.clone();
        let Exit::Escalated { component, error } = tree.end().await else {
            panic!("it goes on for ever");
        };
        assert_eq!(component, "hangs");
        assert_eq!(error, "it gave no sign of life for 30s");
        let restarts = &health.components()[0].restarts;
        assert_eq!(restarts[&supervisors::Reason::Unresponsive], 6);
    });
}

/// What its supervisor is told at every turn of its loop, and when it stops.
#[test]
fn a_turn_comes_every_second_and_says_when_the_tree_stops() {
    use supervisors::Turn;
    paused(async {
        let turns = Arc::new(std::sync::Mutex::new(Vec::new()));
        let told = turns.clone();
        let mut root = Supervisor::new("root");
        root.child(Spec::critical("puppet", "puppet"), |reporter| {
            Puppet::new(reporter, 1)
        });
        root.on_turn(move |turn| told.lock().unwrap().push(turn));
        let tree = Tree::run(root);
        sleep(60 * SECOND).await;
        tree.stop().await;
        let turns = turns.lock().unwrap();
        let stops = turns.iter().position(|turn| *turn == Turn::Stops).unwrap();
        assert!(stops >= 60, "{stops} turns in 60 s");
        assert!(turns[stops..].iter().all(|turn| *turn == Turn::Stops));
    });
}
