//! (a) Many changes that wait in a batched topic, against one bare `LoadState` of the same.

use std::time::{Instant, SystemTime};

use testkit::{Daemon, Pulsar, Sozu};

use crate::{
    bare::bare,
    ground::{self, cpu, cpu_of_workers},
    table::Table,
    topic::{Topic, read_from},
};

/// The daemon that has taken all of it, its Sōzu, and the topic.
pub(crate) fn measured(
    broker: &Pulsar,
    clusters: usize,
    table: &mut Table,
) -> (Daemon, Sozu, Topic) {
    let bare = bare(clusters);
    let sozu = ground::sozu();
    let mut topic = Topic::new(broker, "waiting");
    let messages = clusters * 3;
    let began = Instant::now();
    topic.publish_batched(&ground::requests(&sozu, clusters));
    let published = began.elapsed();
    let mut daemon = topic.daemon(&sozu);
    let broker_before = cpu(broker.pid().unwrap());
    daemon.start().unwrap();
    ground::when(ground::final_on_disk(&daemon.state_directory(), messages));
    let end = SystemTime::now();
    let took = end.duration_since(read_from(&daemon)).unwrap();
    let share = bare.as_secs_f64() / took.as_secs_f64();
    table.judged(
        &format!("(a) {messages} messages of a batched topic: first read → OK, verdicts on disk"),
        format!("{took:.2?}, {:.0}/s", messages as f64 / took.as_secs_f64()),
        format!("one bare LoadState {bare:.2?}"),
        &format!("{share:.2} of its rate"),
        "≥ 0.93",
        share >= 0.93,
    );
    let ours = cpu(daemon.pid().unwrap());
    let (main, workers) = (cpu(sozu.main_pid().unwrap()), cpu_of_workers(&sozu));
    let theirs = cpu(broker.pid().unwrap()) - broker_before;
    let whole = ours + main + workers + theirs;
    let part = |time: f64| format!("{time:.1} s ({:.0} %)", time / whole * 100.0);
    table.shown(
        "(a) CPU time of it, the start included",
        part(ours),
        format!(
            "Sōzu: main process {}, workers {}; broker {}",
            part(main),
            part(workers),
            part(theirs)
        ),
    );
    table.shown(
        "(a) publishing it, in entries of 1,000",
        format!("{published:.2?}"),
        "–",
    );
    assert_eq!(sozu.held().unwrap().clusters().len(), clusters);
    daemon.wait_ready(ground::LONG).unwrap();
    (daemon, sozu, topic)
}
