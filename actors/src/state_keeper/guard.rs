//! The guard: an order is obeyed, a conclusion is questioned.
//!
//! What only absence suggests (objects missing from a listing) passes below either bound, and is
//! held above both, until a person releases it or the objects return.

use std::{collections::VecDeque, fmt::Write as _, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};

use super::key::{Key, Kind};

/// Conclusions of this span are added up: a slow `rm -r` is one conclusion.
const SPAN: Duration = Duration::from_hours(1);

/// The bounds; a conclusion has to be beyond both to be held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Share of the most that the source owned within the last hour.
    pub removal_share: f64,
    /// Number of removals.
    pub removal_minimum: usize,
}

/// What a source owned and lost within the last hour. Times are since an arbitrary start.
#[derive(Clone, Debug, Default)]
pub struct History {
    owned: VecDeque<(Duration, usize)>,
    removed: VecDeque<(Duration, usize)>,
}

impl History {
    /// The source owned so many objects just before a listing was judged.
    pub fn owned(&mut self, now: Duration, count: usize) {
        self.owned.push_back((now, count));
        while self.owned.len() > 1 && self.owned[1].0 + SPAN <= now {
            self.owned.pop_front();
        }
    }

    /// So many removals by conclusion passed.
    pub fn removed(&mut self, now: Duration, count: usize) {
        if count > 0 {
            self.removed.push_back((now, count));
        }
        while self
            .removed
            .front()
            .is_some_and(|(at, _)| *at + SPAN <= now)
        {
            self.removed.pop_front();
        }
    }

    /// Within the hour before `now`: the most that was owned, and all that was removed.
    fn within(&self, now: Duration) -> (usize, usize) {
        let removed = self.removed.iter().filter(|(at, _)| *at + SPAN > now);
        (
            self.owned
                .iter()
                .map(|(_, count)| *count)
                .max()
                .unwrap_or(0),
            removed.map(|(_, count)| *count).sum(),
        )
    }
}

/// What the guard says of a conclusion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass.
    Pass,
    /// The whole of it is kept under this id.
    Hold(Arc<str>),
}

/// Judges the removals that a listing suggests; `certificates` is how many the source owns.
pub fn judge(
    gone: &[Key],
    certificates: usize,
    history: &History,
    bounds: Bounds,
    now: Duration,
) -> Verdict {
    let (most, before) = history.within(now);
    let total = gone.len() + before;
    let gone_certificates = gone
        .iter()
        .filter(|key| key.kind() == Kind::Certificate)
        .count();
    let none_left = gone_certificates > 0 && gone_certificates >= certificates;
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of objects are far below 2^52"
    )]
    let share = total as f64 > bounds.removal_share * most as f64;
    if !gone.is_empty() && (none_left || (share && total > bounds.removal_minimum)) {
        Verdict::Hold(hold_id(gone))
    } else {
        Verdict::Pass
    }
}

/// A hash of what is held: the same on every host that holds the same.
fn hold_id(gone: &[Key]) -> Arc<str> {
    let mut keys: Vec<&Key> = gone.iter().collect();
    keys.sort();
    let mut hash = Sha256::new();
    for key in keys {
        hash.update(key.kind().name());
        hash.update([0]);
        hash.update(key.to_string());
        hash.update([0]);
    }
    let mut id = String::with_capacity(12);
    for byte in &hash.finalize()[..6] {
        // writing to a String cannot fail
        let _ = write!(id, "{byte:02x}");
    }
    id.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: usize) -> Vec<Key> {
        (0..count)
            .map(|n| Key::Cluster(format!("c{n}").into()))
            .collect()
    }

    const BOUNDS: Bounds = Bounds {
        removal_share: 0.25,
        removal_minimum: 50,
    };

    fn judged(owned: usize, gone: usize) -> bool {
        let mut history = History::default();
        history.owned(Duration::ZERO, owned);
        judge(&keys(gone), 0, &history, BOUNDS, Duration::ZERO) != Verdict::Pass
    }

    #[test]
    fn a_conclusion_is_held_beyond_both_bounds_only() {
        // (owned, gone, held)
        for (owned, gone, held) in [
            (120, 120, true),
            (9, 9, false),
            (50, 50, false),
            (51, 51, true),
            (1000, 250, false),
            (1000, 251, true),
            (1000, 0, false),
        ] {
            assert_eq!(judged(owned, gone), held, "{gone} of {owned}");
        }
    }

    #[test]
    fn a_slow_removal_is_one_conclusion_for_an_hour() {
        let mut history = History::default();
        let minute = Duration::from_mins(1);
        history.owned(Duration::ZERO, 100);
        history.removed(Duration::ZERO, 40);
        history.owned(minute, 60);
        let gone = keys(20);
        let held = |history: &History, now| judge(&gone, 0, history, BOUNDS, now);
        assert_ne!(held(&history, minute), Verdict::Pass);
        history.owned(SPAN + minute, 60);
        history.removed(SPAN + minute, 0);
        assert_eq!(held(&history, SPAN + minute), Verdict::Pass);
    }

    #[test]
    fn the_last_certificates_are_always_held() {
        let certificate = Key::Certificate {
            address: "127.0.0.1:443".parse().unwrap(),
            fingerprint: "00".into(),
        };
        let verdict = |certificates| {
            judge(
                std::slice::from_ref(&certificate),
                certificates,
                &History::default(),
                BOUNDS,
                Duration::ZERO,
            )
        };
        assert_ne!(verdict(1), Verdict::Pass);
        assert_eq!(verdict(2), Verdict::Pass);
    }

    #[test]
    fn the_id_depends_on_what_is_held_and_not_on_its_order() {
        let mut turned = keys(3);
        turned.reverse();
        assert_eq!(hold_id(&keys(3)), hold_id(&turned));
        assert_ne!(hold_id(&keys(3)), hold_id(&keys(2)));
    }
}
