//! What the log says of the keeper: one line per transition, one per source and minute with counts,
//! changes one by one at debug, each warning once and then at most every ten minutes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use super::{events::FinalVerdict, report::Report, verdict::Verdict};
use crate::{messages::SourceName, metrics};

const MINUTE: Duration = Duration::from_mins(1);
const TEN_MINUTES: Duration = Duration::from_mins(10);

/// Remembers what was said.
#[derive(Default)]
pub(super) struct Journalist {
    counts: BTreeMap<(SourceName, &'static str), usize>,
    counting_since: Option<Instant>,
    troubles: BTreeMap<String, (Instant, usize)>,
    ready: bool,
}

impl Journalist {
    /// A change became final and is on disk.
    pub(super) fn verdict(&mut self, verdict: &FinalVerdict) {
        let FinalVerdict {
            seq,
            source,
            verdict,
            keys,
            taken,
        } = verdict;
        metrics::change(source, verdict.name());
        if matches!(verdict, Verdict::Applied | Verdict::TakenOver) {
            let took = SystemTime::now().duration_since(*taken).unwrap_or_default();
            metrics::change_applied(source, took);
        }
        let key = keys.first();
        tracing::debug!(seq, %source, verdict = verdict.name(), kind = key.map(|key| key.kind().name()), key = key.map(ToString::to_string), "A change is final.");
        if *verdict == Verdict::TakenOver {
            tracing::info!(%source, kind = key.map(|key| key.kind().name()), key = key.map(ToString::to_string), "Another value that Sōzu held was taken over.");
        }
        *self
            .counts
            .entry((source.clone(), verdict.name()))
            .or_default() += 1;
        self.counting_since.get_or_insert_with(Instant::now);
    }

    /// Something about the database went wrong.
    pub(super) fn trouble(&mut self, error: &str) {
        let now = Instant::now();
        match self.troubles.get_mut(error) {
            Some((said, folded)) if now.duration_since(*said) < TEN_MINUTES => *folded += 1,
            Some((said, folded)) => {
                tracing::warn!(
                    error,
                    again = *folded,
                    "The database is in trouble; it is tried again."
                );
                (*said, *folded) = (now, 0);
            }
            None => {
                tracing::warn!(error, "The database is in trouble; it is tried again.");
                self.troubles.insert(error.to_owned(), (now, 0));
            }
        }
    }

    /// Looks through the snapshot for transitions, and says the counts of a minute.
    pub(super) fn report(&mut self, report: &Report) {
        if report.ready() != self.ready {
            self.ready = report.ready();
            let conditions = report.conditions.iter();
            let why: Vec<&str> = conditions
                .filter_map(|it| it.state.as_ref().err())
                .map(String::as_str)
                .collect();
            if self.ready {
                tracing::info!("Ready.");
            } else {
                tracing::info!(why = why.join("; "), "Not ready.");
            }
        }
        self.say_counts();
    }

    fn say_counts(&mut self) {
        if self
            .counting_since
            .is_none_or(|since| since.elapsed() < MINUTE)
        {
            return;
        }
        self.counting_since = None;
        let mut lines: BTreeMap<SourceName, Vec<String>> = BTreeMap::new();
        for ((source, verdict), count) in std::mem::take(&mut self.counts) {
            lines
                .entry(source)
                .or_default()
                .push(format!("{count} {verdict}"));
        }
        for (source, counts) in lines {
            tracing::info!(%source, counts = counts.join(", "), "Changes of the last minute.");
        }
    }
}
