//! What was sent to Sōzu, by Sōzu's own word: the audit lines of its log name each verb and who sent it.

use testkit::{SOON, Sozu, wait_until};

/// A place in Sōzu's log.
pub struct Since(usize);

impl Since {
    /// From the log's beginning.
    pub const START: Self = Self(0);

    /// From now on.
    pub fn now(sozu: &Sozu) -> Self {
        Self(seen_to_its_end(sozu).len())
    }
}

/// The verbs by which the process `pid` changed Sōzu, in their order; asking is none.
pub fn mutations_of(pid: i32, sozu: &Sozu, since: &Since) -> Vec<String> {
    let actor = format!("actor_pid={pid},");
    seen_to_its_end(sozu)[since.0..]
        .lines()
        .filter(|line| line.contains("AUDIT") && line.contains(&actor))
        .filter_map(|line| line.split_once("verb=")?.1.split(',').next())
        .filter(|verb| *verb != "state_saved")
        .map(ToOwned::to_owned)
        .collect()
}

/// The log up to a request of our own, sent now: nothing that Sōzu did before is missing in it.
fn seen_to_its_end(sozu: &Sozu) -> String {
    let ours = format!("actor_pid={},", std::process::id());
    let count = |log: &str| {
        let lines = log.lines().filter(|line| line.contains("verb=state_saved"));
        lines.filter(|line| line.contains(&ours)).count()
    };
    let before = count(&sozu.log());
    sozu.held().unwrap();
    wait_until("our own line in Sōzu's log", SOON, || {
        let log = sozu.log();
        (count(&log) > before).then_some(log)
    })
}
