//! What supervision costs: a message through a `Ref` beside one through a bare actix `Addr`, in turns within one run; a crash
//! until the next life answers; a thousand children that crash at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss
)]

use std::time::{Duration, Instant};

use actix::{Actor, Addr, Context, Handler, Message, System};
use futures_util::future::join_all;
use supervisors::{Backoff, Limits, Ref, Reporter, Spec, Supervisor};
use tokio::task::spawn_local;

const PATIENCE: Duration = Duration::from_mins(1);
const MESSAGES: u32 = 1_000;
const ROUNDS: usize = 1_001;
const CRASHES: usize = 2_000;
const CHILDREN: usize = 1_000;
const MASSACRES: usize = 21;

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    std::panic::set_hook(Box::new(|_| {}));
    System::new().block_on(async {
        // a task among others, as every component is
        let all = spawn_local(async {
            message().await;
            crash().await;
            a_thousand().await;
        });
        all.await.unwrap();
    });
}

struct Echo;

impl Actor for Echo {
    type Context = Context<Self>;
}

impl Echo {
    fn new(reporter: &Reporter) -> Self {
        reporter.running("");
        Self
    }
}

struct Ping(u64);

impl Message for Ping {
    type Result = u64;
}

impl Handler<Ping> for Echo {
    type Result = u64;

    fn handle(&mut self, Ping(number): Ping, _: &mut Context<Self>) -> u64 {
        number
    }
}

struct Crash;

impl Message for Crash {
    type Result = ();
}

impl Handler<Crash> for Echo {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("on demand");
    }
}

/// Restarts without any backoff, as often as the benchmark likes.
fn children(count: usize) -> Vec<Ref<Echo>> {
    let mut root = Supervisor::new("root").limits(Limits {
        intensity: u32::MAX,
        period: Duration::from_secs(1),
        backoff: Backoff {
            first: Duration::ZERO,
            longest: Duration::ZERO,
        },
    });
    let child = |n: usize| Spec::critical(format!("echo {n}"), "echo");
    let children = (0..count)
        .map(|n| root.child(child(n), |reporter| Echo::new(&reporter)))
        .collect();
    spawn_local(root.run(std::future::pending()));
    children
}

/// The same message three ways, in turns, so that whatever else the machine does meets all of them.
async fn message() {
    let address: Addr<Echo> = Echo.start();
    let echo = children(1).remove(0);
    echo.ask(Ping(0), PATIENCE).await.unwrap();
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for number in 0..MESSAGES {
            address.send(Ping(number.into())).await.unwrap();
        }
        times[0].push(begun.elapsed());
        let begun = Instant::now();
        for number in 0..MESSAGES {
            let asked = address.send(Ping(number.into()));
            tokio::time::timeout(PATIENCE, asked)
                .await
                .unwrap()
                .unwrap();
        }
        times[1].push(begun.elapsed());
        let begun = Instant::now();
        for number in 0..MESSAGES {
            echo.ask(Ping(number.into()), PATIENCE).await.unwrap();
        }
        times[2].push(begun.elapsed());
    }
    let [bare, deadline, reference] =
        times.map(|times| share(times, 0).as_nanos() as f64 / f64::from(MESSAGES));
    println!(
        "a message: bare Addr {bare:.0} ns, Addr with a deadline {deadline:.0} ns, Ref {reference:.0} ns: {:.2} of a bare \
         Addr, {:.2} of one with a deadline (the best of {ROUNDS} rounds: the rest of the machine can only add)",
        reference / bare,
        reference / deadline
    );
}

/// From the message that kills it until the next life answers.
async fn crash() {
    let echo = children(1).remove(0);
    let mut times = Vec::with_capacity(CRASHES);
    for _ in 0..CRASHES {
        let begun = Instant::now();
        echo.ask(Crash, PATIENCE).await.unwrap_err();
        assert_eq!(echo.ask(Ping(1), PATIENCE).await, Ok(1));
        times.push(begun.elapsed());
    }
    println!(
        "a crash until it answers again, without backoff: p50 {:.1?}, p99 {:.1?} of {CRASHES}",
        share(times.clone(), 50),
        share(times, 99)
    );
}

async fn a_thousand() {
    let children = children(CHILDREN);
    let mut times = Vec::with_capacity(MASSACRES);
    for _ in 0..MASSACRES {
        let begun = Instant::now();
        let crashes = join_all(children.iter().map(|child| child.ask(Crash, PATIENCE)));
        // behind the one that kills it: none of these may be lost
        let behind = join_all(children.iter().map(|child| child.ask(Ping(7), PATIENCE)));
        let (crashes, behind) = tokio::join!(crashes, behind);
        times.push(begun.elapsed());
        assert!(crashes.iter().all(Result::is_err));
        assert!(behind.iter().all(|answer| *answer == Ok(7)));
    }
    println!(
        "{CHILDREN} children crash at once, until all answer: p50 {:.1?}, the worst of {MASSACRES} {:.1?}; no message behind \
         a crash was lost",
        share(times.clone(), 50),
        share(times, 100)
    );
}

/// The value that so many of a hundred do not exceed.
fn share(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent).div_ceil(100).saturating_sub(1)]
}
