//! (c) What a rescan costs that finds nothing new, (d) memory.

use std::time::{Duration, Instant};

use nix::{time::clock_getcpuclockid, unistd::Pid};
use testkit::Daemon;

use crate::{
    ground::{self, resident},
    table::Table,
};

/// A watched directory is looked at so often.
const RESCAN: Duration = Duration::from_secs(30);
const SAMPLE: Duration = Duration::from_millis(100);
/// A rescan takes no longer.
const BURST: usize = 5;
const GOAL: Duration = Duration::from_millis(50);

pub(crate) fn memory(daemon: &Daemon, count: usize, table: &mut Table) {
    let resident = resident(daemon.pid().unwrap());
    table.shown(
        &format!("(d) resident memory at {count} certificates"),
        format!("{:.0} MB", resident / 1e6),
        format!("{:.1} kB for each", resident / 1e3 / count as f64),
    );
}

/// CPU time so far.
fn cpu(pid: i32) -> Duration {
    let clock = clock_getcpuclockid(Pid::from_raw(pid)).unwrap();
    clock.now().unwrap().into()
}

/// The rescan is the half second of every 30 in which the daemon works most; what it does in an ordinary half second,
/// such as the looks at what is served, is taken off.
pub(crate) fn idle(daemon: &Daemon, count: usize, table: &mut Table) {
    let pid = daemon.pid().unwrap();
    // The files are older than times can be wrong, and have been read once since.
    std::thread::sleep(RESCAN + Duration::from_secs(5));
    let rounds = ground::number("RESCANS", 4);
    let (mut rescans, mut all) = (Vec::new(), Duration::ZERO);
    for _ in 0..rounds {
        let (began, mut before, mut samples) = (Instant::now(), cpu(pid), Vec::new());
        while began.elapsed() < RESCAN {
            std::thread::sleep(SAMPLE);
            let now = cpu(pid);
            samples.push(now.saturating_sub(before));
            before = now;
        }
        all += samples.iter().sum::<Duration>();
        let bursts = samples.windows(BURST).map(|burst| burst.iter().sum());
        let mut bursts: Vec<Duration> = bursts.collect();
        bursts.sort();
        rescans.push(bursts[bursts.len() - 1].saturating_sub(bursts[bursts.len() / 2]));
    }
    rescans.sort();
    let median = rescans[rescans.len() / 2];
    table.judged(
        &format!("(c) CPU of a rescan of {count} that finds nothing new, median of {rounds}"),
        format!("{median:.1?}, at most {:.1?}", rescans[rescans.len() - 1]),
        "–",
        &format!("{median:.0?}"),
        "≤ 50 ms",
        median <= GOAL,
    );
    let share = all.as_secs_f64() / (RESCAN * u32::try_from(rounds).unwrap()).as_secs_f64();
    table.shown(
        "(c) CPU while nothing happens, looks at what is served included",
        format!("{:.2} % of a core", share * 100.0),
        "–",
    );
}
