//! The guard: an order is obeyed, a conclusion is questioned.
//!
//! What only absence suggests (objects missing from a listing), or a first look (what a bus that has
//! caught up would put in the place of what Sōzu holds), passes below either bound, and is held
//! above both, until a person releases it or what it is about changes.

use std::{collections::VecDeque, fmt::Write as _, sync::Arc, time::Duration};

use prost::Message;
use sha2::{Digest, Sha256};

use super::key::{Key, Kind, Object};

/// Conclusions of this span are added up: a slow `rm -r` is one conclusion.
const SPAN: Duration = Duration::from_hours(1);

/// The bounds; a conclusion has to be beyond both to be held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Share of the most that the source owned within the last hour; for take-overs, of the most that
    /// Sōzu held when they were judged.
    pub removal_share: f64,
    /// Number of removals or take-overs.
    pub removal_minimum: usize,
}

/// What a source owned and lost within the last hour. Times are since an arbitrary start.
#[derive(Clone, Debug, Default)]
pub struct History {
    owned: VecDeque<(Duration, usize)>,
    removed: VecDeque<(Duration, usize)>,
}

impl History {
    /// The source owned so many objects just before a listing was judged; for a bus: Sōzu held.
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
    let gone_certificates = certificates_in(gone.iter());
    if is_beyond(gone.len(), history, bounds, now) || is_all(gone_certificates, certificates) {
        Verdict::Hold(hold_id(gone.iter().map(|key| (key, None))))
    } else {
        Verdict::Pass
    }
}

/// What a bus would put in the place of what Sōzu holds.
#[derive(Clone, Debug)]
pub struct TakeOver {
    /// Under this key.
    pub key: Key,
    /// This; nothing: what Sōzu holds goes.
    pub instead: Option<Arc<Object>>,
}

/// Judges what a bus that has caught up would take over; `certificates` is how many Sōzu holds.
pub fn judge_take_overs(
    take_overs: &[&TakeOver],
    certificates: usize,
    history: &History,
    bounds: Bounds,
    now: Duration,
) -> Verdict {
    let removed = take_overs.iter().filter(|it| it.instead.is_none());
    let gone_certificates = certificates_in(removed.map(|it| &it.key));
    if is_beyond(take_overs.len(), history, bounds, now) || is_all(gone_certificates, certificates)
    {
        let all = take_overs.iter();
        Verdict::Hold(hold_id(all.map(|it| (&it.key, it.instead.as_deref()))))
    } else {
        Verdict::Pass
    }
}

fn certificates_in<'a>(keys: impl Iterator<Item = &'a Key>) -> usize {
    keys.filter(|key| key.kind() == Kind::Certificate).count()
}

fn is_all(gone: usize, of: usize) -> bool {
    gone > 0 && gone >= of
}

/// Whether so many more within the hour are beyond both bounds.
fn is_beyond(count: usize, history: &History, bounds: Bounds, now: Duration) -> bool {
    let (most, before) = history.within(now);
    let total = count + before;
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of objects are far below 2^52"
    )]
    let share = total as f64 > bounds.removal_share * most as f64;
    count > 0 && share && total > bounds.removal_minimum
}

/// A hash of what is held, and of what is held against it: the same on every host that holds the same.
fn hold_id<'a>(held: impl Iterator<Item = (&'a Key, Option<&'a Object>)>) -> Arc<str> {
    let mut held: Vec<_> = held.collect();
    held.sort_by_key(|(key, _)| *key);
    let mut hash = Sha256::new();
    for (key, instead) in held {
        hash.update(key.kind().name());
        hash.update([0]);
        hash.update(key.to_string());
        hash.update([0]);
        if let Some(instead) = instead {
            hash.update(instead.add().encode_to_vec());
        }
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
        let certificate = Key::certificate("127.0.0.1:443".parse().unwrap(), "00");
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
        let id = |keys: &[Key]| hold_id(keys.iter().map(|key| (key, None)));
        let mut turned = keys(3);
        turned.reverse();
        assert_eq!(id(&keys(3)), id(&turned));
        assert_ne!(id(&keys(3)), id(&keys(2)));
    }

    fn take_over(n: usize, instead: Option<&str>) -> TakeOver {
        TakeOver {
            key: Key::Cluster(format!("c{n}").into()),
            instead: instead.map(|id| Arc::new(crate::state_keeper::examples::cluster(id))),
        }
    }

    fn judged_take_overs(take_overs: &[TakeOver], sozu_holds: usize, before: usize) -> Verdict {
        let mut history = History::default();
        history.owned(Duration::ZERO, sozu_holds);
        history.removed(Duration::ZERO, before);
        let take_overs: Vec<_> = take_overs.iter().collect();
        judge_take_overs(&take_overs, 0, &history, BOUNDS, Duration::ZERO)
    }

    #[test]
    fn take_overs_are_held_beyond_both_bounds_of_what_sozu_holds() {
        // (Sōzu holds, would be taken over, was taken over within the hour, held)
        for (sozu_holds, count, before, held) in [
            (1000, 300, 0, true),
            (1000, 251, 0, true),
            (1000, 250, 0, false),
            (1000, 200, 100, true),
            (1000, 0, 300, false),
            (60, 50, 0, false),
            (60, 51, 0, true),
        ] {
            let take_overs: Vec<_> = (0..count).map(|n| take_over(n, None)).collect();
            let verdict = judged_take_overs(&take_overs, sozu_holds, before);
            let is_held = verdict != Verdict::Pass;
            assert_eq!(is_held, held, "{count} of {sozu_holds}, {before} before");
        }
    }

    #[test]
    fn the_id_of_a_take_over_depends_on_what_would_come() {
        let all = |instead| (0..60).map(|n| take_over(n, instead)).collect::<Vec<_>>();
        let (a, b) = (all(Some("a")), all(Some("b")));
        assert_eq!(judged_take_overs(&a, 60, 0), judged_take_overs(&a, 70, 0));
        assert_ne!(judged_take_overs(&a, 60, 0), judged_take_overs(&b, 60, 0));
        assert_ne!(
            judged_take_overs(&a, 60, 0),
            judged_take_overs(&all(None), 60, 0)
        );
    }
}
