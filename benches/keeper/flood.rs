//! (a) Many changes at once, from a directory and from a bus, against one bare `LoadState`.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use sozu_command_lib::proto::command::request::RequestType;
use testkit::{Fate, Sozu, Tap};

use crate::{
    bus::{Host, Topic},
    ground::{self, LONG, cpu, cpu_of_workers},
    table::Table,
};

/// Notes when the first and the last file were given to Sōzu.
struct Loads {
    tap: Tap,
    seen: Arc<Mutex<Option<(Instant, Instant)>>>,
}

impl Loads {
    fn before(sozu: &Sozu) -> Self {
        let tap = Tap::before(sozu).unwrap();
        let seen: Arc<Mutex<Option<(Instant, Instant)>>> = Arc::default();
        let noted = seen.clone();
        tap.rule(move |request| {
            if let Some(RequestType::LoadState(_)) = request.request_type {
                let now = Instant::now();
                let mut noted = noted.lock().unwrap();
                *noted = Some((noted.map_or(now, |(first, _)| first), now));
            }
            Fate::Pass
        });
        Self { tap, seen }
    }

    fn first(&self) -> Instant {
        self.seen.lock().unwrap().unwrap().0
    }
}

pub(crate) fn directory(clusters: usize, bare: &Duration, table: &mut Table) {
    let sozu = ground::sozu();
    let loads = Loads::before(&sozu);
    let mut daemon = ground::prepared(&sozu, &loads.tap.socket(), clusters);
    let began = Instant::now();
    daemon.start().unwrap();
    let end = ground::when(ground::final_on_disk(
        &daemon.state_directory(),
        clusters * 3,
    ));
    let first = loads.first();
    let ours = cpu(daemon.pid().unwrap());
    judge("directory", clusters, end - first, *bare, table);
    let files = ground::FILES;
    say_cpu("directory, preparation included", ours, &sozu, table);
    table.shown(
        &format!("(a) its preparation: {files} files read, compared, in the log"),
        format!("{:.2?}", first - began),
        "–",
    );
    daemon.terminate().unwrap();
}

pub(crate) fn bus(clusters: usize, bare: &Duration, table: &mut Table) {
    let sozu = ground::sozu();
    let loads = Loads::before(&sozu);
    let mut topic = Topic::new("platform");
    let mut host = Host::prepare(&sozu, loads.tap.socket(), &["platform"]);
    host.start_again();
    host.subscribe(&topic);
    topic.publish(ground::requests(&sozu, clusters));
    let before = cpu(std::process::id().cast_signed());
    let began = Instant::now();
    host.consume(&topic);
    let end = ground::when(ground::final_on_disk(&host.state_directory(), clusters * 3));
    host.settled(&mut topic, LONG);
    let first = loads.first();
    let ours = cpu(std::process::id().cast_signed()) - before;
    judge("bus", clusters, end - first, *bare, table);
    say_cpu("bus, its script included", ours, &sozu, table);
    table.shown(
        "(a) the bus's first changes",
        format!("{:.2?} until the first request", first - began),
        "–",
    );
    host.kill();
}

/// What tells more than time where others use the machine too.
fn say_cpu(of: &str, ours: f64, sozu: &Sozu, table: &mut Table) {
    let (main, workers) = (cpu(sozu.main_pid().unwrap()), cpu_of_workers(sozu));
    table.shown(
        &format!("(a) CPU time of the flood from a {of}"),
        format!("{ours:.1} s"),
        format!("Sōzu: main process {main:.1} s, workers {workers:.1} s"),
    );
}

fn judge(from: &str, clusters: usize, took: Duration, bare: Duration, table: &mut Table) {
    let share = bare.as_secs_f64() / took.as_secs_f64();
    let rate = |took: Duration| clusters as f64 * 3.0 / took.as_secs_f64();
    table.judged(
        &format!(
            "(a) {} requests from a {from}: first request → OK, verdicts on disk",
            clusters * 3
        ),
        format!("{took:.2?}, {:.0}/s", rate(took)),
        format!("one bare LoadState {bare:.2?}, {:.0}/s", rate(bare)),
        &format!("{share:.2} of its rate"),
        "≥ 0.93",
        share >= 0.93,
    );
}
