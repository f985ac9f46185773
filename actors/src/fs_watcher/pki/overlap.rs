//! Which of two certificates serves a name that both have.
//!
//! The rule: one that is valid now before one that is expired, not valid yet or self-signed; then
//! the newer one. Sōzu's own rule is the one that expires last, which a long-lived old certificate
//! wins against its short-lived successor; `expired_at` of the loser tells Sōzu ours. A wildcard
//! and a host name are two names: Sōzu serves the more exact one.

use std::collections::HashMap;

use super::pair::Facts;

/// What becomes of one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// What Sōzu is told instead of its own expiry.
    pub(super) expired_at: Option<i64>,
    /// The names that another one serves, with that one's index.
    pub(super) lost: Vec<(String, usize)>,
}

/// Judges certificates of which each has another leaf, at `now` (seconds since 1970).
pub(super) fn judge(certificates: &[&Facts], now: i64) -> Vec<Place> {
    let mut order: Vec<usize> = (0..certificates.len()).collect();
    // The best first; where nothing tells two apart, the leaf does, so that every host decides alike.
    order.sort_by(|a, b| {
        let rank = |index: &usize| {
            let it = certificates[*index];
            (is_good(it, now), it.not_before, it.not_after)
        };
        rank(b).cmp(&rank(a)).then_with(|| {
            certificates[*a]
                .fingerprint
                .cmp(&certificates[*b].fingerprint)
        })
    });
    let mut places = vec![Place::default(); certificates.len()];
    // By name: who serves it, and the least expiry of all that have it so far.
    let mut serving: HashMap<&str, (usize, i64)> = HashMap::new();
    for index in order {
        let facts = certificates[index];
        let bound = facts
            .names
            .iter()
            .filter_map(|name| serving.get(name.as_str()));
        let bound = bound.map(|(_, least)| *least).min();
        let expiry = match bound {
            Some(bound) if facts.not_after >= bound => bound - 1,
            _ => facts.not_after,
        };
        places[index].expired_at = (expiry != facts.not_after).then_some(expiry);
        for name in &facts.names {
            if let Some((winner, least)) = serving.get_mut(name.as_str()) {
                places[index].lost.push((name.clone(), *winner));
                *least = expiry.min(*least);
            } else {
                serving.insert(name, (index, expiry));
            }
        }
    }
    places
}

fn is_good(facts: &Facts, now: i64) -> bool {
    facts.not_before <= now && now < facts.not_after && !facts.self_signed
}

/// When the judgement may next be another one: the first change of a validity after `now`.
pub(super) fn next_turn<'a>(
    certificates: impl Iterator<Item = &'a Facts>,
    now: i64,
) -> Option<i64> {
    certificates
        .flat_map(|facts| [facts.not_before, facts.not_after])
        .filter(|at| *at > now)
        .min()
}

#[cfg(test)]
mod tests {
    use super::{super::pair::KeyType, *};

    fn facts(id: &str, names: &[&str], from: i64, until: i64) -> Facts {
        Facts {
            fingerprint: id.into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            unusable: Vec::new(),
            not_before: from,
            not_after: until,
            self_signed: false,
            key_type: KeyType::Ecdsa,
        }
    }

    fn winners(all: &[Facts], now: i64) -> Vec<(Option<i64>, usize)> {
        let all: Vec<&Facts> = all.iter().collect();
        let places = judge(&all, now).into_iter();
        places
            .map(|place| (place.expired_at, place.lost.len()))
            .collect()
    }

    #[test]
    fn the_newer_valid_one_wins_and_sozu_is_told_so_only_where_it_would_decide_otherwise() {
        let old_and_long = facts("a", &["x.example"], 0, 1000);
        let new_and_short = facts("b", &["x.example"], 50, 150);
        let both = [old_and_long.clone(), new_and_short.clone()];
        assert_eq!(winners(&both, 100), [(Some(149), 1), (None, 0)]);
        // The new one has expired: the old one serves, by Sōzu's own rule.
        assert_eq!(winners(&both, 200), [(None, 0), (None, 1)]);
        // The usual renewal needs no word.
        let usual = [
            facts("a", &["x.example"], 0, 100),
            facts("b", &["x.example"], 50, 150),
        ];
        assert_eq!(winners(&usual, 60), [(None, 1), (None, 0)]);
        let all: Vec<&Facts> = both.iter().collect();
        assert_eq!(next_turn(all.into_iter(), 100), Some(150));
    }

    #[test]
    fn a_self_signed_one_loses_and_a_wildcard_is_another_name() {
        let mut own = facts("a", &["x.example", "y.example"], 50, 1000);
        own.self_signed = true;
        let all = [
            own,
            facts("b", &["x.example"], 0, 500),
            facts("c", &["*.example"], 0, 500),
        ];
        assert_eq!(winners(&all, 100), [(Some(499), 1), (None, 0), (None, 0)]);
    }

    #[test]
    fn three_in_a_row_stay_in_the_order_of_the_rule() {
        let all = [
            facts("a", &["x.example"], 0, 1000),
            facts("b", &["x.example"], 10, 1000),
            facts("c", &["x.example"], 20, 900),
        ];
        assert_eq!(
            winners(&all, 100),
            [(Some(898), 1), (Some(899), 1), (None, 0)]
        );
    }
}
