//! (c) What an idle connection costs.

use std::{
    fs,
    time::{Duration, Instant},
};

use sozu_socket::Pool;
use testkit::Sozu;
use tokio::{
    runtime::Builder,
    task::{JoinSet, yield_now},
    time::sleep,
};

use crate::{
    ground::{LONG, resident},
    table::Table,
};

const CONNECTIONS: usize = 200;
const POOLS: usize = 3;

pub(crate) fn of_idle_connections(sozu: &Sozu, table: &mut Table) {
    // one thread, so that all memory is given back to where it is taken from
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let main = sozu.main_pid().unwrap();
    let us = std::process::id().cast_signed();
    // what so many exchanges at once need and give back stays with the allocator: the next time it is there already
    let first = runtime.block_on(with_idle_connections(sozu));
    let (ours, theirs) = (resident(us), resident(main));
    let others: Vec<_> = (0..POOLS)
        .map(|_| runtime.block_on(with_idle_connections(sozu)))
        .collect();
    let each = |now: f64, before: f64| {
        let bytes = (now - before) / (POOLS * CONNECTIONS) as f64;
        format!("{:.1} kB", bytes / 1e3)
    };
    table.shown(
        &format!(
            "(c) resident memory for each of {} idle connections",
            POOLS * CONNECTIONS
        ),
        each(resident(us), ours),
        format!("Sōzu's main process {}", each(resident(main), theirs)),
    );
    drop((first, others));
}

/// A pool that has used so many connections at once.
async fn with_idle_connections(sozu: &Sozu) -> Pool {
    let pool = sozu_socket::Builder::new(sozu.command_socket());
    let pool = pool.connections(CONNECTIONS).build();
    let descriptors = open_descriptors();
    // Sōzu answers none before all were asked, so that each has a connection of its own
    sozu.stop_main().unwrap();
    let mut asking = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let pool = pool.clone();
        asking.spawn(async move { pool.exchange(crate::light()).await.unwrap() });
    }
    let until = Instant::now() + LONG;
    while open_descriptors() < descriptors + CONNECTIONS {
        assert!(Instant::now() < until, "they are never open");
        yield_now().await;
    }
    sozu.continue_main().unwrap();
    asking.join_all().await;
    // time and occasion for the allocator to give back what the exchanges needed
    for _ in 0..100 {
        pool.exchange(crate::light()).await.unwrap();
        sleep(Duration::from_millis(10)).await;
    }
    pool
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}
