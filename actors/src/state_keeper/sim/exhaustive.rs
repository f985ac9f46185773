//! Every history of up to three changes on two keys from two sources, with every trouble and a death
//! at every step, each alone and both together.
//!
//! A long run takes all of them; any other run some, always the same. How many there were is printed.

use super::{
    ops::{Asks, Op, Says},
    play::{Death, Findings, History, REST, Scene, is_long, over_all_processors},
    *,
};

/// A bus and a directory about a route and its cluster.
const BUS_AND_FILE: [Op; 11] = [
    Op::Bus(Asks::FrontA),
    Op::Bus(Asks::FrontB),
    Op::Bus(Asks::FrontRefused),
    Op::Bus(Asks::FrontRefusedByWorkers),
    Op::Bus(Asks::FrontGone),
    Op::Bus(Asks::Cluster),
    Op::Bus(Asks::ClusterRefusedByWorkers),
    Op::Bus(Asks::ClusterGone),
    Op::File(Says::A),
    Op::File(Says::B),
    Op::File(Says::Nothing),
];

/// The same about the cluster and its backend.
const BACKENDS: [Op; 9] = [
    Op::Bus(Asks::Cluster),
    Op::Bus(Asks::ClusterRefusedByWorkers),
    Op::Bus(Asks::ClusterTooLarge),
    Op::Bus(Asks::ClusterGone),
    Op::Bus(Asks::Backend),
    Op::Bus(Asks::BackendRefusedByWorkers),
    Op::Bus(Asks::BackendGone),
    Op::File(Says::A),
    Op::File(Says::Nothing),
];

/// A bus and a directory about a certificate and its renewals, the bus in one order or in two.
const CERTIFICATES: [Op; 9] = [
    Op::Bus(Asks::Cert),
    Op::Bus(Asks::CertRenewed),
    Op::Bus(Asks::CertReplaced),
    Op::Bus(Asks::CertReplacedAndRefused),
    Op::Bus(Asks::CertGone),
    Op::File(Says::Cert),
    Op::File(Says::CertRenewed),
    Op::File(Says::CertRefused),
    Op::File(Says::Nothing),
];

/// Two buses about a route and its cluster.
const TWO_BUSES: [Op; 12] = [
    Op::Bus(Asks::FrontA),
    Op::Bus(Asks::FrontB),
    Op::Bus(Asks::FrontRefused),
    Op::Bus(Asks::FrontGone),
    Op::Bus(Asks::Cluster),
    Op::Bus(Asks::ClusterGone),
    Op::Other(Asks::FrontA),
    Op::Other(Asks::FrontB),
    Op::Other(Asks::FrontRefusedByWorkers),
    Op::Other(Asks::FrontGone),
    Op::Other(Asks::ClusterRefusedByWorkers),
    Op::Other(Asks::ClusterGone),
];

/// Every history of one to `length` of these, at every pace: each after the other has come to rest,
/// all at once, and each when a few effects of the one before have happened.
fn histories(ops: &[Op], length: usize) -> Vec<History> {
    let mut all = Vec::new();
    let mut words: Vec<Vec<Op>> = vec![vec![]];
    for _ in 0..length {
        words = words
            .iter()
            .flat_map(|word| ops.iter().map(|op| [&word[..], &[*op]].concat()))
            .collect();
        for word in &words {
            let paces: &[usize] = if word.len() == 1 {
                &[REST]
            } else {
                &[REST, 0, 2]
            };
            for then in paces {
                let scene = |op: &Op| Scene {
                    op: *op,
                    fault: None,
                    then: *then,
                };
                let buses = if word.iter().any(|op| matches!(op, Op::Other(_))) {
                    2
                } else {
                    1
                };
                all.push(History {
                    buses,
                    ..History::of(word.iter().map(scene).collect())
                });
            }
        }
    }
    all
}

/// One in `share`, and other ones for another `nth`.
fn some<T>(share: usize, nth: usize, all: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    let mut place = nth;
    all.filter(move |_| {
        place += 1;
        place.is_multiple_of(share)
    })
}

/// One in how many troubles and deaths is taken alone, and one in how many of both together.
fn shares(history: &History) -> (usize, usize) {
    match history.scenes.len() {
        length if length == 1 || is_long() => (1, 1),
        2 => (7, 97),
        _ => (31, 776),
    }
}

fn every_history_of(ops: &[Op], what: &str) {
    let findings = Findings::default();
    let (short, long): (Vec<_>, Vec<_>) = histories(ops, 3)
        .into_iter()
        .partition(|history| history.scenes.len() < 3);
    let all: Vec<_> = short
        .into_iter()
        .chain(some(if is_long() { 1 } else { 11 }, 0, long.into_iter()))
        .collect();
    over_all_processors(&all, |nth, history| {
        with_every_trouble(&findings, nth, history);
    });
    findings.tell(what);
}

fn with_every_trouble(findings: &Findings, nth: usize, history: &History) {
    let Some(calm) = findings.judge(history, "") else {
        return;
    };
    let (alone, together) = shares(history);
    let deaths = |world: &World| {
        let steps = world.steps_that_matter.clone().into_iter();
        steps.flat_map(|step| [(step, Death::Alone), (step, Death::Both)])
    };
    let dying = |death| History {
        death: Some(death),
        ..history.clone()
    };
    for death in some(alone, nth, deaths(&calm)) {
        findings.judge(&dying(death), "");
    }
    let troubled = |fault| History {
        fault: Some(fault),
        ..history.clone()
    };
    let faults = |world: &World| {
        let batches = 0..world.batches;
        batches.flat_map(|batch| Fault::ALL.map(|fault| (batch, fault)))
    };
    for (place, fault) in some(alone, nth, faults(&calm)).enumerate() {
        let Some(world) = findings.judge(&troubled(fault), "") else {
            continue;
        };
        for death in some(together, nth * 7 + place, deaths(&world)) {
            let both = History {
                death: Some(death),
                ..troubled(fault)
            };
            findings.judge(&both, "");
        }
    }
    for write in some(alone, nth, 0..calm.writes) {
        let full = History {
            disk_full: Some(write),
            ..history.clone()
        };
        findings.judge(&full, "");
    }
}

#[test]
fn every_history_of_a_bus_and_a_directory() {
    every_history_of(&BUS_AND_FILE, "a bus and a directory");
}

#[test]
fn every_history_of_a_cluster_and_its_backend() {
    every_history_of(&BACKENDS, "a cluster and its backend");
}

#[test]
fn every_history_of_a_certificate_and_its_renewals() {
    every_history_of(&CERTIFICATES, "a certificate and its renewals");
}

#[test]
fn every_history_of_two_buses() {
    every_history_of(&TWO_BUSES, "two buses");
}
