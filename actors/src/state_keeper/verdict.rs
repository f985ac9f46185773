//! Verdicts: what became of a change. They become final in log order among the entries that touch
//! the same key or cluster, since a refusal folds the later ones again.

use foldhash::HashSet;

use super::{
    key::Key,
    log::{Folded, Provisional, Tail},
};

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The main process and at least one worker have it.
    Applied,
    /// It changed nothing.
    Duplicate,
    /// A removal of what was not there.
    Absent,
    /// A removal of what went with its cluster.
    RemovedWithItsCluster,
    /// A later change of the same key was applied in its place.
    Superseded,
    /// Applied over another value that somebody else had put there.
    TakenOver,
    /// The guard keeps what it would remove.
    Held,
    /// Taken while nothing is sent.
    Observed,
    /// Accepted, but workers differ from their main process: an operator has to cure that.
    Divergent,
    /// Not let in, by us or by Sōzu; with the reason.
    Refused(String),
}

impl Verdict {
    /// The name in metrics and in the journal.
    pub const fn name(&self) -> &'static str {
        match self {
            Verdict::Applied => "applied",
            Verdict::Duplicate => "duplicate",
            Verdict::Absent => "absent",
            Verdict::RemovedWithItsCluster => "removed_with_its_cluster",
            Verdict::Superseded => "superseded",
            Verdict::TakenOver => "taken_over",
            Verdict::Held => "held",
            Verdict::Observed => "observed",
            Verdict::Divergent => "divergent",
            Verdict::Refused(_) => "refused",
        }
    }
}

/// What Sōzu's side of a key looks like when verdicts are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Sōzu holds what is wanted.
    Yes,
    /// Not yet, or nobody knows.
    No,
    /// Workers differ from their main process.
    Divergent,
    /// Nothing is sent: what is wanted counts as seen.
    Observed,
}

/// The entries of the tail whose verdicts are final now, by their place in it. Looks no further than
/// `patience` entries that have to wait.
pub fn settle(
    tail: &Tail,
    settled: impl Fn(&Key) -> Settled,
    patience: usize,
) -> Vec<(usize, Verdict)> {
    let mut early = HashSet::default();
    loop {
        let settling = all_but(&early, tail, &settled, patience);
        let count = early.len();
        early.extend(too_early(tail, &settling));
        if early.len() == count {
            return settling;
        }
    }
}

/// The entries that would be overtaken by one that is not final with them: it may be refused still, or be folded again
/// when an earlier one is, and so have overtaken nothing.
fn too_early(tail: &Tail, settling: &[(usize, Verdict)]) -> Vec<usize> {
    let is_final = |at: usize| settling.binary_search_by_key(&at, |it| it.0).is_ok();
    let is_early = |place: usize| {
        let folded = tail.at(place);
        let overtaken = |key: &Key| tail.overtaken_at(key, folded);
        let mut by = folded.keys.iter().filter_map(overtaken);
        by.any(|at| !is_final(at))
    };
    let superseded = settling
        .iter()
        .filter(|(_, verdict)| *verdict == Verdict::Superseded);
    let places = superseded.map(|(place, _)| *place);
    places.filter(|place| is_early(*place)).collect()
}

/// As [`settle`], but for those at the places that are too early.
fn all_but(
    early: &HashSet<usize>,
    tail: &Tail,
    settled: &impl Fn(&Key) -> Settled,
    patience: usize,
) -> Vec<(usize, Verdict)> {
    let mut waiting = 0;
    let mut waiting_keys: HashSet<&Key> = HashSet::default();
    let mut waiting_clusters: HashSet<&str> = HashSet::default();
    let mut settling = Vec::new();
    for (place, folded) in tail.iter().enumerate() {
        let blocked = folded.keys.iter().any(|key| waiting_keys.contains(key))
            || folded
                .clusters()
                .any(|cluster| waiting_clusters.contains(cluster));
        let verdict = if blocked || early.contains(&place) {
            None
        } else {
            verdict(tail, folded, settled)
        };
        if let Some(verdict) = verdict {
            settling.push((place, verdict));
            continue;
        }
        waiting += 1;
        if waiting > patience {
            break;
        }
        // What waits for its cluster holds up nothing, unless something has ended it.
        if !tail.is_waiting(folded) {
            waiting_keys.extend(&folded.keys);
            waiting_clusters.extend(folded.clusters());
        }
    }
    settling
}

fn verdict(tail: &Tail, folded: &Folded, settled: &impl Fn(&Key) -> Settled) -> Option<Verdict> {
    let taken_over = match &folded.provisional {
        Provisional::Final(verdict) => return Some(verdict.clone()),
        Provisional::Sends { taken_over } => *taken_over,
        Provisional::Parked { cluster } => {
            let (verdict, by) = tail.ended(folded, cluster)?;
            return (settled(&by) != Settled::No).then_some(verdict);
        }
    };
    let (mut is_observed, mut differs) = (false, false);
    for key in &folded.keys {
        match settled(key) {
            Settled::No => return None,
            Settled::Observed => is_observed = true,
            Settled::Divergent => differs |= !tail.is_turned_later(key, folded),
            Settled::Yes => {}
        }
    }
    Some(if is_observed {
        Verdict::Observed
    } else if tail.is_overtaken(folded) {
        Verdict::Superseded
    } else if differs {
        Verdict::Divergent
    } else if taken_over {
        Verdict::TakenOver
    } else {
        Verdict::Applied
    })
}
