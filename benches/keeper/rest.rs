//! (c) Everything back after Sōzu's restart, (d) memory, (e) what it costs when nothing happens.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use sozu_command_lib::{proto::command::WorkerRequest, state::ConfigState};
use testkit::{Daemon, get};

use crate::{
    bare::bare,
    ground::{self, FILES, LONG, cpu, resident},
    table::Table,
};

pub(crate) fn restoration(clusters: usize, table: &mut Table) {
    let bare = bare(clusters);
    let (mut daemon, mut sozu) = ground::full(clusters);
    sozu.kill().unwrap();
    daemon.wait_status("/readyz", 503, LONG).unwrap();
    let began = Instant::now();
    sozu.start_again().unwrap();
    let up = began.elapsed();
    // Frontends go last, in the order of their names. Nobody listens behind them: that is a 503.
    let last = (0..clusters)
        .map(|n| format!("c{n}.example"))
        .max()
        .unwrap();
    let is_routed =
        || matches!(get(sozu.http_port(), &last, "/"), Ok(answer) if answer.status != 404);
    let is_ready = || matches!(daemon.fetch("/readyz"), Ok(answer) if answer.status == 200);
    let took = ground::when(|| is_routed() && is_ready()) - began;
    assert_eq!(sozu.held().unwrap().clusters().len(), clusters);
    let ratio = took.as_secs_f64() / bare.as_secs_f64();
    table.judged(
        &format!("(c) {} objects back after Sōzu's restart", clusters * 3),
        format!("{took:.2?} from its start ({up:.2?} until it answers)"),
        format!("one bare LoadState {bare:.2?}"),
        &format!("{ratio:.2} ×"),
        "≤ 1.2",
        ratio <= 1.2,
    );
    daemon.terminate().unwrap();
}

pub(crate) const BARE_STATE: &str = "bare-state";

pub(crate) fn memory(clusters: usize, table: &mut Table) {
    let (mut daemon, sozu) = ground::full(clusters);
    // A minute of rest, and a reading with it.
    std::thread::sleep(Duration::from_secs(65));
    let ours = resident(daemon.pid().unwrap());
    let path = sozu.directory().join("held.json");
    sozu.save_state(&path).unwrap();
    let bare = Command::new(std::env::current_exe().unwrap())
        .args([BARE_STATE, &path.display().to_string()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let bare: f64 = String::from_utf8(bare.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let ratio = ours / bare;
    let mb = |bytes: f64| format!("{:.0} MB", bytes / 1e6);
    table.judged(
        &format!("(d) resident memory at {clusters} clusters"),
        mb(ours),
        format!("a bare ConfigState {}", mb(bare)),
        &format!("{ratio:.1} ×"),
        "≤ 2",
        ratio <= 2.0,
    );
    daemon.terminate().unwrap();
}

/// In a process of its own: holds the state of this file and nothing else, and says what that takes.
pub(crate) fn be_a_bare_state(path: &str) {
    let me = std::process::id().cast_signed();
    let before = resident(me);
    let mut state = ConfigState::new();
    for record in BufReader::new(File::open(path).unwrap()).split(0) {
        let record: WorkerRequest = serde_json::from_slice(&record.unwrap()).unwrap();
        state.dispatch(&record.content).unwrap();
    }
    println!("{}", resident(me) - before);
    drop(state);
}

pub(crate) fn idle(daemon: &Daemon, table: &mut Table) {
    let pid = daemon.pid().unwrap();
    let span = Duration::from_secs(ground::number("IDLE_SECONDS", 420) as u64);
    let (before, began) = (cpu(pid), Instant::now());
    std::thread::sleep(span);
    let share = (cpu(pid) - before) / began.elapsed().as_secs_f64() * 100.0;
    table.judged(
        &format!("(e) CPU while nothing happens, {FILES} files"),
        format!("{share:.2} % of a core over {span:?}"),
        "–",
        &format!("{share:.2} %"),
        "≤ 1 %",
        share <= 1.0,
    );
}
