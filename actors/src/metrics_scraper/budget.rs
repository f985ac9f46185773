//! Which clusters are shown by name when not all of them may be.
//!
//! The others are shown together as the cluster `other`. Whatever moves between both, no series falls and the sum of all
//! rates is right: what a cluster counted while it was in `other` stays there, and what it counted under its own name
//! never gets there.

use std::collections::BTreeMap;

use super::{names::SlotId, number::Number};

/// How the rest is called.
pub(super) const OTHER: &str = "other";
/// One that is shown stays until another has so many times its traffic: series come and go rarely.
const FAVOUR: f64 = 2.0;
/// What traffic counts for at the next reading.
const MEMORY: f64 = 0.8;
/// Kept free for `other` itself.
const RESERVE: usize = 250;

/// Numbers by slot.
pub(super) type Sums = BTreeMap<SlotId, Number>;

/// Where a cluster is counted.
#[derive(Debug)]
pub(super) struct Place {
    /// Whether it is shown by name.
    pub(super) named: bool,
    /// By name: what it has counted in `other`. In `other`: what it has counted by name.
    pub(super) elsewhere: Option<Box<Sums>>,
    /// It was not shown anywhere yet.
    new: bool,
    score: f64,
    last: i64,
}

impl Place {
    pub(super) fn new() -> Self {
        Self {
            named: true,
            new: true,
            elsewhere: None,
            score: 0.0,
            last: 0,
        }
    }

    /// How many requests and connections it has had by now.
    pub(super) fn traffic(&mut self, total: i64) {
        let more = super::object::float((total - self.last).max(0));
        self.last = total;
        self.score = self.score.mul_add(MEMORY, more);
    }

    /// Shows it here or there; `total` is all that it has counted.
    pub(super) fn put(&mut self, named: bool, total: impl FnOnce() -> Sums) {
        if std::mem::take(&mut self.new) {
            self.named = named;
        } else if self.named != named {
            self.switch(total());
        }
    }

    fn switch(&mut self, total: Sums) {
        self.named = !self.named;
        let mut elsewhere = total;
        if let Some(before) = &self.elsewhere {
            subtract(&mut elsewhere, before);
        }
        self.elsewhere = Some(Box::new(elsewhere));
    }

    /// What of its total is counted in `other`.
    pub(super) fn in_other(&self, mut total: Sums) -> Sums {
        match (&self.elsewhere, self.named) {
            (Some(elsewhere), true) => (**elsewhere).clone(),
            (None, true) => Sums::new(),
            (elsewhere, false) => {
                if let Some(elsewhere) = elsewhere {
                    subtract(&mut total, elsewhere);
                }
                total
            }
        }
    }

    fn rank(&self) -> f64 {
        if self.named {
            self.score * FAVOUR
        } else {
            self.score
        }
    }
}

/// One cluster that wants to be shown.
pub(super) struct Candidate<'a> {
    pub(super) id: &'a str,
    pub(super) place: &'a Place,
    pub(super) series: usize,
}

/// Which of them may be shown by name, in their order, with so much room.
pub(super) fn choose(candidates: &[Candidate<'_>], room: usize) -> Vec<bool> {
    let all: usize = candidates.iter().map(|candidate| candidate.series).sum();
    if all <= room {
        return vec![true; candidates.len()];
    }
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (&candidates[*a], &candidates[*b]);
        let rank = b.place.rank().total_cmp(&a.place.rank());
        rank.then(b.place.named.cmp(&a.place.named))
            .then(a.id.cmp(b.id))
    });
    let mut chosen = vec![false; candidates.len()];
    let mut room = room.saturating_sub(RESERVE);
    for at in order {
        let candidate = &candidates[at];
        // A cluster that has the name itself could not be told from the rest.
        if candidate.id == OTHER {
            continue;
        }
        match room.checked_sub(candidate.series) {
            Some(left) => room = left,
            None => break,
        }
        chosen[at] = true;
    }
    chosen
}

/// How many series one value makes.
pub(super) fn series(number: Option<&Number>) -> usize {
    match number {
        // The buckets, the count and the sum are in it, `+Inf` is not.
        Some(Number::Many(counts)) => counts.len() + 1,
        Some(Number::One(_)) | None => 1,
    }
}

pub(super) fn add(sums: &mut Sums, more: Sums) {
    for (slot, number) in more {
        match sums.get_mut(&slot) {
            Some(sum) => sum.add(&number),
            None => {
                sums.insert(slot, number);
            }
        }
    }
}

fn subtract(sums: &mut Sums, less: &Sums) {
    for (slot, number) in less {
        if let Some(sum) = sums.get_mut(slot) {
            sum.subtract(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(count: i64) -> Sums {
        Sums::from([(0, Number::One(count))])
    }

    fn one(sums: &Sums) -> i64 {
        sums.get(&0).map_or(0, Number::events)
    }

    #[test]
    fn moving_to_and_fro_no_series_falls_and_every_event_is_counted_once() {
        let mut place = Place::new();
        let own = |place: &Place, total| {
            let elsewhere = place.elsewhere.as_ref().map_or(0, |sums| one(sums));
            total - elsewhere
        };
        let mut other = 0;
        for total in [10, 25, 25, 60, 100] {
            place.switch(of(total));
            let now = one(&place.in_other(of(total)));
            assert!(now >= other, "other fell from {other} to {now}");
            other = now;
            // Five more, wherever it is counted now.
            let (mine, theirs) = (own(&place, total), other);
            let later = total + 5;
            other = one(&place.in_other(of(later)));
            let grown = if place.named {
                own(&place, later) - mine
            } else {
                other - theirs
            };
            assert_eq!(grown, 5);
        }
    }

    #[test]
    fn the_busiest_are_shown_and_the_rest_waits() {
        let places: Vec<Place> = [5, 50, 1, 500]
            .into_iter()
            .map(|traffic| {
                let mut place = Place::new();
                place.traffic(traffic);
                place
            })
            .collect();
        let ids = ["a", "b", "c", OTHER];
        let candidates: Vec<Candidate<'_>> = ids
            .iter()
            .zip(&places)
            .map(|(id, place)| Candidate {
                id,
                place,
                series: 100,
            })
            .collect();
        assert_eq!(choose(&candidates, 400), [true; 4]);
        assert_eq!(choose(&candidates, 399), [false, true, false, false]);
        assert_eq!(choose(&candidates, 0), [false; 4]);
    }

    #[test]
    fn a_little_more_traffic_moves_nothing() {
        let (mut shown, mut hidden) = (Place::new(), Place::new());
        hidden.switch(Sums::new());
        shown.traffic(100);
        hidden.traffic(150);
        let candidate = |id, place| Candidate {
            id,
            place,
            series: 300,
        };
        let candidates = [candidate("a", &shown), candidate("b", &hidden)];
        assert_eq!(choose(&candidates, 599), [true, false]);
    }
}
