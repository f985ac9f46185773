//! What supervision costs: a message through a `Ref` beside one through a bare actix `Addr`, a crash until the next life,
//! and a thousand children that crash at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message, System};
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::future::join_all;
use supervisors::{Backoff, Limits, Ref, Reporter, Spec, Supervisor};
use tokio::task::{LocalSet, spawn_local};

const PATIENCE: Duration = Duration::from_mins(1);

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
fn root() -> Supervisor {
    Supervisor::new("root").limits(Limits {
        intensity: u32::MAX,
        period: Duration::from_secs(1),
        backoff: Backoff {
            first: Duration::ZERO,
            longest: Duration::ZERO,
        },
    })
}

fn runs(root: Supervisor) {
    spawn_local(root.run(std::future::pending()));
}

/// The same message, alternately measured in one run: through a bare address, with a deadline as a `Ref` has, through a `Ref`.
fn message(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    let system = System::new();
    let address: Addr<Echo> = system.block_on(async { Echo.start() });
    group.bench_function("addr", |bencher| {
        bencher.iter(|| system.block_on(async { address.send(Ping(1)).await.unwrap() }));
    });
    group.bench_function("addr_with_deadline", |bencher| {
        bencher.iter(|| {
            system.block_on(async {
                let answer = tokio::time::timeout(PATIENCE, address.send(Ping(1))).await;
                answer.unwrap().unwrap()
            })
        });
    });
    let echo: Ref<Echo> = system.block_on(async {
        let mut root = root();
        let echo = root.child(Spec::critical("echo", "echo"), |reporter| {
            Echo::new(&reporter)
        });
        runs(root);
        echo
    });
    group.bench_function("ref", |bencher| {
        bencher.iter(|| system.block_on(async { echo.ask(Ping(1), PATIENCE).await.unwrap() }));
    });
    group.finish();
}

fn crash(criterion: &mut Criterion) {
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = LocalSet::new();
    let children: Vec<Ref<Echo>> = local.block_on(&runtime, async {
        let mut root = root();
        let child = |n: usize| Spec::critical(format!("echo {n}"), "echo");
        let children = (0..1000)
            .map(|n| root.child(child(n), |reporter| Echo::new(&reporter)))
            .collect();
        runs(root);
        children
    });
    criterion.bench_function("crash_to_running", |bencher| {
        bencher.iter(|| {
            local.block_on(&runtime, async {
                children[0].ask(Crash, PATIENCE).await.unwrap_err();
                assert_eq!(children[0].ask(Ping(1), PATIENCE).await, Ok(1));
            });
        });
    });
    let mut group = criterion.benchmark_group("a_thousand");
    group.sample_size(10);
    group.bench_function("crash_to_all_running", |bencher| {
        bencher.iter(|| {
            local.block_on(&runtime, async {
                let crashes = join_all(children.iter().map(|child| child.ask(Crash, PATIENCE)));
                // behind the one that kills it: none of these may be lost
                let behind = join_all(children.iter().map(|child| child.ask(Ping(7), PATIENCE)));
                let (crashes, behind) = tokio::join!(crashes, behind);
                assert!(crashes.iter().all(Result::is_err));
                assert!(behind.iter().all(|answer| *answer == Ok(7)));
            });
        });
    });
    group.finish();
}

criterion_group!(benches, message, crash);
criterion_main!(benches);
