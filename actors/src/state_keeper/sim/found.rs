//! Histories that broke the promise once, as short as they could be made. Each was found by chance.

use super::{
    ops::{Asks::*, Op, Op::*, Says},
    play::{Findings, History, REST, Scene},
    *,
};

/// It happens, and so many effects follow.
const fn then(op: Op, then: usize) -> Scene {
    Scene {
        op,
        fault: None,
        then,
    }
}

/// It happens, and all comes to rest.
const fn rest(op: Op) -> Scene {
    then(op, REST)
}

impl Scene {
    /// This goes wrong with the `nth` of the next batches.
    const fn with(self, nth: usize, fault: Fault) -> Self {
        Self {
            fault: Some((nth, fault)),
            ..self
        }
    }
}

const HISTORIES: [&[Scene]; 24] = [
    // Who asks for what workers refused, and the main process kept, while nothing is sent.
    &[
        rest(Other(CertRenewed)),
        rest(File(Says::CertRefused)),
        rest(Other(CertRenewedGone)),
        rest(Pauses),
        rest(File(Says::CertRenewed)),
        rest(File(Says::CertRefused)),
    ],
    // The owner lets go, and it is the turn of what workers refuse.
    &[
        rest(Bus(CertRenewed)),
        rest(File(Says::CertRefused)),
        rest(Bus(CertRenewedGone)),
    ],
    // One worker has the route and another is silent: Sōzu has said what became of it.
    &[
        rest(StrangerRemoves).with(2, Fault::AllStall),
        rest(Bus(CertReplacedAndRefused)),
        then(Bus(FrontB), 5),
        rest(WorkerStalls),
    ],
    // Sōzu comes back with what its workers had refused.
    &[
        rest(Other(CertReplaced)),
        then(Other(CertReplacedAndRefused), 1).with(1, Fault::KilledRestored),
        then(Bus(Backend), 1),
        rest(Other(CertReplacedAndRefused)),
    ],
    // What is undone may bring back a foreign object that our own checks refuse.
    &[
        rest(Other(Backend)),
        rest(Bus(CertReplaced)),
        rest(SozuOlderUnseen(2)).with(2, Fault::NotSent),
        then(Other(ClusterRefusedByWorkers), 4),
        then(Other(FrontRefusedByWorkers), 2),
        rest(Bus(BackendGone)),
        rest(Other(Cluster)),
    ],
    // Another source's backend of a cluster that is history, and that an empty Sōzu has not.
    &[
        rest(File(Says::Cert)),
        then(File(Says::B), 3),
        then(SozuEmpty, 6).with(0, Fault::AllStall),
        then(Bus(Cluster), 4),
        then(Other(FrontA), 8),
        then(Other(Backend), 8).with(2, Fault::KilledAfter),
        then(DiskFull, 1),
        then(Bus(Backend), 4),
        rest(Dies),
    ],
    // A file that a new life could not read to its end.
    &[
        rest(File(Says::A)),
        then(File(Says::CertRefused), 3).with(0, Fault::NotOpened),
        then(Bus(CertRenewedGone), 3).with(2, Fault::Unreadable),
        then(Bus(FrontRefusedByWorkers), 1),
        then(Other(ClusterRefusedByWorkers), 3),
        rest(SozuEmpty),
    ],
    // A cluster goes while all workers are silent, and takes a route along that they serve.
    &[
        rest(File(Says::Cert)),
        rest(Other(BackendRefusedByWorkers)),
        rest(Bus(FrontA)).with(1, Fault::KilledBefore),
        then(Bus(ClusterRefusedByWorkers), 9),
        rest(Bus(FrontGone)).with(2, Fault::AllStall),
        rest(Bus(FrontA)),
    ],
    // One worker serves a route that the main process and the others do not have: no end of trying.
    &[
        rest(File(Says::CertRenewed)),
        then(File(Says::B), 0),
        rest(Bus(CertRenewedGone)).with(0, Fault::AllStall),
        rest(Bus(CertReplacedAndRefused)).with(2, Fault::Unreadable),
        rest(Dies),
        rest(Other(ClusterTooLarge)),
        rest(Other(BackendGone)).with(1, Fault::WorkerKilled),
        rest(File(Says::A)),
    ],
    // Two declare a cluster and one lets go of it while it is used.
    &[
        rest(Pauses),
        rest(Bus(ClusterTooLarge)),
        rest(Other(ClusterTooLarge)),
        rest(Other(FrontA)),
        rest(Bus(ClusterGone)),
        rest(Bus(Cluster)),
    ],
    // The daemon dies under the restoration of a route that all workers take too late.
    &[
        rest(File(Says::Cert)),
        rest(File(Says::B)),
        rest(Dies).with(0, Fault::AllStall),
        then(BothDie, 10),
        then(Dies, 5),
        rest(File(Says::A)),
    ],
    // The daemon dies before what workers refused is gone, and the bus speaks of it while it catches up.
    &[
        rest(File(Says::A)),
        then(Bus(Backend), 2),
        then(Bus(CertReplacedAndRefused), 9).with(0, Fault::AllStall),
        then(Dies, 3),
        then(Bus(CertRenewed), 0),
        rest(Bus(CertRenewedGone)),
    ],
    // A cluster's removal reaches a life that nobody has seen, and takes a route along that workers keep.
    &[
        rest(Bus(FrontA)),
        rest(SozuOlderUnseen(0)),
        rest(Bus(ClusterGone)),
        then(Bus(ClusterRefusedByWorkers), 2),
        rest(SozuOlderUnseen(2)),
        rest(Bus(FrontA)),
    ],
    // A route comes and its cluster goes in one batch, and a worker that did not have the cluster keeps the route.
    &[
        rest(File(Says::Nothing)).with(1, Fault::OneRefuses),
        rest(File(Says::Cert)),
        then(File(Says::Refused), 3),
        then(Bus(FrontRefused), 0),
        then(Other(FrontGone), 6).with(2, Fault::KilledAfter),
        then(Bus(FrontRefused), 4).with(0, Fault::RequestLost),
        then(Bus(FrontA), 6),
        then(Bus(ClusterRefusedByWorkers), 0),
        rest(Other(ClusterGone)).with(2, Fault::OneRefuses),
    ],
    // The daemon dies after a stranger has tried to put a route where workers still serve one of ours.
    &[
        rest(Bus(FrontB)).with(0, Fault::AllStall),
        rest(Bus(FrontGone)),
        rest(StrangerAdds),
        rest(Dies),
        rest(Bus(FrontB)),
    ],
    // What overtakes a cluster that is too large for Sōzu is refused later, and has overtaken nothing.
    &[
        rest(Pauses),
        rest(Other(ClusterTooLarge)),
        rest(Bus(FrontA)),
        rest(Other(ClusterGone)),
        rest(Bus(FrontRefused)),
        rest(Bus(Backend)),
    ],
    // Nor has what comes to something else once an earlier change is refused.
    &[
        rest(Bus(ClusterTooLarge)),
        rest(Pauses),
        rest(Retries(false)),
        rest(File(Says::Refused)),
        rest(Other(FrontA)),
        rest(Bus(ClusterGone)),
        rest(Bus(Backend)),
    ],
    // While a worker is asked for the third time about what it alone refuses, something else is wanted.
    &[
        rest(File(Says::Nothing)).with(2, Fault::OneStalls),
        rest(Bus(Cert)),
        rest(Bus(Cluster)),
        then(Bus(Backend), 6),
        rest(Bus(CertRenewedGone)).with(2, Fault::KilledRestored),
        rest(StrangerAdds),
        rest(Bus(FrontRefused)).with(2, Fault::OneRefuses),
        then(Bus(ClusterRefusedByWorkers), 9),
        rest(Bus(ClusterTooLarge)),
        rest(RemovesOrphans).with(0, Fault::KilledBefore),
        rest(File(Says::CertRenewed)),
    ],
    // A cluster comes that a backend waited for since nothing was sent.
    &[
        rest(Bus(Backend)),
        rest(Observes),
        rest(Bus(ClusterTooLarge)),
        rest(Applies),
        rest(Bus(Cluster)),
    ],
    // A source leaves the configuration before its last word is sent.
    &[
        rest(File(Says::B)),
        rest(Other(FrontB)),
        then(File(Says::Refused), 4),
        rest(FileLeaves),
    ],
    // A bus catches up with what another one's refusal has left behind, while that is removed.
    &[
        rest(File(Says::Nothing)).with(2, Fault::OneStalls),
        then(BothDie, 3),
        then(Other(ClusterGone), 9),
        then(Bus(CertReplacedAndRefused), 4),
        then(Other(CertRenewed), 0),
        then(Other(CertRenewedGone), 0),
        rest(Dies),
    ],
    // What is under way when a source comes back, and is then another one's, may be in Sōzu already.
    &[
        rest(Bus(Cert)),
        rest(File(Says::Cert)),
        rest(FileLeaves),
        then(Bus(CertGone), 0),
        then(Bus(CertReplacedAndRefused), 1),
    ],
    // A backend that lacked its cluster goes once that is there, also if only a read tells so.
    &[
        rest(Observes),
        rest(Bus(Backend)),
        rest(Bus(ClusterTooLarge)),
        rest(Applies),
        then(Bus(Cluster), 1),
        rest(WorkerStalls),
    ],
    // What was dropped, and Sōzu had refused, is not applied when its file says it again.
    &[
        rest(File(Says::Cert)),
        rest(Bus(FrontA)),
        rest(File(Says::Refused)),
        rest(File(Says::Nothing)),
        rest(Other(FrontA)),
        rest(Bus(ClusterGone)),
        rest(Discards),
        rest(File(Says::Refused)),
    ],
];

/// The same where the guard holds whatever is a conclusion.
const GUARDED: [&[Scene]; 4] = [
    // What a bus asked for before its daemon died is not applied if a take-over of the same key is held.
    &[
        rest(Bus(FrontB)),
        then(Bus(FrontRefused), 2),
        then(Dies, 1),
        rest(Bus(FrontRefused)),
    ],
    // Nor is what a source asked for that has left.
    &[
        rest(File(Says::A)).with(1, Fault::RequestLost),
        then(Bus(Cert), 2),
        then(File(Says::B), 1),
        then(Bus(FrontB), 1),
        rest(FileLeaves),
    ],
    // The removal of a cluster is not held for the cluster alone, while its backend goes.
    &[
        rest(Bus(Backend)),
        rest(Bus(BackendRefusedByWorkers)),
        rest(Bus(Cluster)),
        then(Bus(ClusterTooLarge), 4),
        then(Dies, 0),
        rest(Bus(ClusterGone)),
    ],
    // Nor is what a source asked for applied if the source left first and another one's turn has come, though it ended
    // a hold.
    &[
        rest(File(Says::A)),
        rest(Bus(FrontA)),
        rest(File(Says::B)),
        rest(File(Says::CertRefused)),
        then(File(Says::Refused), 4),
        rest(FileLeaves),
    ],
];

#[test]
fn what_once_broke_the_promise_keeps_it() {
    let findings = Findings::default();
    for scenes in HISTORIES {
        findings.judge(&History::of(scenes.to_vec()), "");
    }
    for scenes in GUARDED {
        let history = History {
            is_guarded: true,
            ..History::of(scenes.to_vec())
        };
        findings.judge(&history, "");
    }
    findings.tell("found by chance once");
}
