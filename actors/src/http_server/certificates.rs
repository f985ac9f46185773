//! What becomes of certificates, as metrics: how many are in which state, and when they expire.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    fs_watcher::pki::{Rows, State},
    messages::SourceName,
    metrics::{CERTIFICATE_NOT_AFTER, CERTIFICATES, text::Text},
};

/// At most so many certificates have an expiry of their own; all are counted.
const SHOWN: usize = 1000;

/// Nothing where no directory of certificates is read.
pub(super) fn write(text: &mut Text, all: &BTreeMap<SourceName, Rows>, now: SystemTime) {
    let mut family = text.family(&CERTIFICATES);
    for (source, rows) in all {
        for state in State::ALL {
            let count = match state {
                State::Unusable => rows.unusable,
                _ => rows.rows.iter().filter(|row| row.state == state).count(),
            };
            family.sample(
                &[("source", source.as_str()), ("state", state.name())],
                count,
            );
        }
    }
    let mut family = text.family(&CERTIFICATE_NOT_AFTER);
    for ((source, certificate), [file, served]) in soonest(all, now) {
        for (copy, at) in [("file", file), ("served", served)] {
            if let Some(at) = at {
                let labels = [
                    ("source", source.as_str()),
                    ("certificate", certificate),
                    ("copy", copy),
                ];
                family.sample(&labels, at);
            }
        }
    }
}

type Name<'a> = (&'a SourceName, &'a str);
type Expiries = [Option<i64>; 2];

/// By name, the earliest where two meet: the soonest to expire first, those that have expired last.
fn soonest(all: &BTreeMap<SourceName, Rows>, now: SystemTime) -> BTreeMap<Name<'_>, Expiries> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let mut named: BTreeMap<Name<'_>, Expiries> = BTreeMap::new();
    for (source, rows) in all {
        for row in &rows.rows {
            let known = named.entry((source, &row.certificate)).or_default();
            for (known, at) in known
                .iter_mut()
                .zip([Some(row.file_not_after), row.served_not_after])
            {
                *known = match (*known, at) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        }
    }
    let mut order: Vec<(bool, i64, Name<'_>)> = named
        .iter()
        .map(|(name, expiries)| {
            let soonest = expiries.iter().flatten().min().copied().unwrap_or(i64::MAX);
            (soonest <= now, soonest, *name)
        })
        .collect();
    order.sort_unstable();
    for (.., name) in order.into_iter().skip(SHOWN) {
        named.remove(&name);
    }
    named
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fs_watcher::pki::Row;

    fn row(certificate: &str, file: i64, served: Option<i64>) -> Row {
        Row {
            certificate: certificate.to_owned(),
            state: State::Served,
            file_not_after: file,
            served_not_after: served,
            problem: None,
        }
    }

    #[test]
    fn the_earliest_counts_where_two_meet_and_the_number_is_bounded() {
        let mut rows = vec![row("a ecdsa", 300, Some(300)), row("a ecdsa", 250, None)];
        rows.push(row("gone ecdsa", 10, None));
        rows.extend((0..SHOWN).map(|n| row(&format!("n{n} rsa"), 400, None)));
        let all = BTreeMap::from([(SourceName::new("s"), Rows { rows, unusable: 2 })]);
        let source = SourceName::new("s");
        let shown = soonest(&all, UNIX_EPOCH + Duration::from_secs(100));
        assert_eq!(shown.len(), SHOWN);
        assert_eq!(shown[&(&source, "a ecdsa")], [Some(250), Some(300)]);
        assert!(
            !shown.contains_key(&(&source, "gone ecdsa")),
            "expired ones go first"
        );
    }
}
