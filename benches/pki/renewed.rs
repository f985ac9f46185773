//! (b) One certificate renewed among many: from the end of the write to the handshake that shows it.

use std::time::{Duration, Instant};

use testkit::{Sozu, tls::shake};

use crate::{
    Directory,
    ground::{self, LONG},
    name,
    table::Table,
};

const GOAL: Duration = Duration::from_secs(1);

pub(crate) fn one_of_many(sozu: &Sozu, directory: &Directory, table: &mut Table) {
    let count = directory.all.len();
    let rounds = ground::number("RENEWALS", 100);
    let mut times: Vec<Duration> = (0..rounds)
        .map(|round| {
            let n = (round * 97) % count;
            let issued = directory.write(n);
            let began = Instant::now();
            while shake(sozu.https_addresses()[0], &name(n)).unwrap().leaf != issued.der {
                assert!(began.elapsed() < LONG);
                std::thread::sleep(Duration::from_millis(2));
            }
            began.elapsed()
        })
        .collect();
    times.sort();
    let at = |percent: usize| times[(rounds * percent / 100).min(rounds - 1)];
    table.judged(
        &format!("(b) one renewed among {count}: end of the write → served, {rounds} times"),
        format!("p50 {:.0?}, p99 {:.0?}", at(50), at(99)),
        "300 ms of it are settling",
        &format!("{:.0?}", at(99)),
        "p99 ≤ 1 s",
        at(99) <= GOAL,
    );
}
