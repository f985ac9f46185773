//! The gate: what may be sent now.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// Whether the daemon sends what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Sōzu is made to hold what is wanted.
    #[default]
    Apply,
    /// Nothing is sent; what would be sent is shown.
    Observe,
}

/// A person's word that nothing is to be sent for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it was ordered.
    pub since: SystemTime,
    /// When it ends by itself.
    pub until: SystemTime,
    /// The user id of the person's process.
    pub uid: u32,
}

impl Pause {
    /// How much of it is left. Never more than was ordered, even if the clock was put back.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        let left = self.until.duration_since(now).ok()?;
        let ordered = self.until.duration_since(self.since).unwrap_or_default();
        Some(left.min(ordered)).filter(|left| !left.is_zero())
    }

    /// Why nothing is sent, where nothing else is said of it (systemd's line of status).
    pub fn why(&self) -> String {
        format!("{self}: nothing is sent to Sōzu; `sozu-manager resume` ends it")
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = humantime::format_rfc3339_seconds(self.until);
        write!(f, "paused until {until} by uid {}", self.uid)
    }
}

/// What may be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing, and why.
    Closed(&'static str),
    /// Nothing, since a person said so.
    Paused(Pause),
    /// Nothing, and what is wanted becomes final as observed.
    Observing,
    /// Everything.
    Open,
}

/// Derives the gate: Sōzu has to be there, nobody must have paused, Sōzu has to have been read in
/// this life, and each directory has to have spoken once, so that a start sends no more than the
/// truth.
pub fn gate(
    mode: Mode,
    pause: Option<Pause>,
    is_here: bool,
    is_read: bool,
    all_have_spoken: bool,
) -> Gate {
    match (mode, pause) {
        _ if !is_here => Gate::Closed("Sōzu is away"),
        (_, Some(pause)) => Gate::Paused(pause),
        _ if !is_read => Gate::Closed("Sōzu is being read"),
        (Mode::Observe, None) => Gate::Observing,
        (Mode::Apply, None) if !all_have_spoken => Gate::Closed("the directories are being listed"),
        (Mode::Apply, None) => Gate::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn pause() -> Pause {
        Pause {
            since: at(1000),
            until: at(1600),
            uid: 7,
        }
    }

    #[test]
    fn it_opens_only_when_everything_is_known_and_nobody_has_paused() {
        for bits in 0..16 {
            let [here, read, spoken, paused] = [1, 2, 4, 8].map(|bit| bits & bit > 0);
            let pause = paused.then(pause);
            let open = gate(Mode::Apply, pause, here, read, spoken) == Gate::Open;
            assert_eq!(open, here && read && spoken && !paused);
            let observing = gate(Mode::Observe, pause, here, read, spoken) == Gate::Observing;
            assert_eq!(observing, here && read && !paused);
        }
    }

    #[test]
    fn a_pause_ends_and_never_lasts_longer_than_ordered() {
        // (the clock, seconds left)
        for (clock, left) in [
            (1000, Some(600)),
            (1599, Some(1)),
            (1600, None),
            (9999, None),
            (10, Some(600)),
        ] {
            let left = left.map(Duration::from_secs);
            assert_eq!(pause().left(at(clock)), left, "{clock}");
        }
        assert_eq!(
            pause().to_string(),
            "paused until 1970-01-01T00:26:40Z by uid 7"
        );
    }
}
