//! Every metric of our own (`families`), and how the actors count.
//!
//! Two ways lead to `/metrics`. What is counted as it happens ([`RECORDED`]) goes through the
//! `metrics` crate to the [`Registry`], by the functions below. What is a view of a moment
//! (components, conditions, objects) is written at each scrape by the HTTP server, so that what is
//! gone leaves at once.

mod families;
mod registry;
pub(crate) mod text;

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

pub use families::*;
pub use registry::Registry;

use crate::messages::SourceName;

/// How the replacement of a worker may end.
const UPGRADES: [&str; 3] = ["replaced", "failed", "unknown"];

/// How a request to Sōzu ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Sōzu said `OK`.
    Ok,
    /// Sōzu said `FAILURE`.
    Refused,
    /// Sent, and not answered.
    Unknown,
    /// Never sent.
    NotSent,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 4] = [
        Outcome::Ok,
        Outcome::Refused,
        Outcome::Unknown,
        Outcome::NotSent,
    ];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Refused => "refused",
            Outcome::Unknown => "unknown",
            Outcome::NotSent => "not_sent",
        }
    }
}

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The new configuration runs.
    Applied,
    /// It is the same as before.
    Unchanged,
    /// It is wrong, or cannot be taken while the daemon runs; nothing was changed.
    Refused,
    /// It failed in the middle, and what was before was put back.
    RolledBack,
}

impl ReloadOutcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [
        Self::Applied,
        Self::Unchanged,
        Self::Refused,
        Self::RolledBack,
    ];

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::RolledBack => "rolled_back",
        }
    }

    /// Whether the configuration that was read is the one that runs.
    pub const fn succeeded(self) -> bool {
        matches!(self, Self::Applied | Self::Unchanged)
    }
}

/// How the last reload ended. The start counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastReload {
    /// Whether the configuration that was read last is the one that runs.
    pub succeeded: bool,
    /// When one was last taken.
    pub success: SystemTime,
}

/// A reload of the configuration ended.
pub fn reloaded(outcome: ReloadOutcome) {
    ::metrics::counter!(CONFIG_RELOADS.name, "outcome" => outcome.name()).increment(1);
}

/// A request to Sōzu ended.
pub fn sozu_request(outcome: Outcome) {
    ::metrics::counter!(SOZU_REQUESTS.name, "outcome" => outcome.name()).increment(1);
}

/// A scrape was answered.
pub fn scrape(took: Duration) {
    ::metrics::histogram!(SCRAPE_DURATION.name).record(took);
}

/// A change of a source became final. Verdicts are the final ones of the keeper, by name.
pub fn change(source: &SourceName, verdict: &'static str) {
    ::metrics::counter!(
        CHANGES.name, "source" => source.as_str().to_owned(), "verdict" => verdict
    )
    .increment(1);
}

/// Changes of a bus that are in no journal: they came again and are known by their position, or they are empty.
pub fn changes(source: &SourceName, verdict: &'static str, count: usize) {
    ::metrics::counter!(
        CHANGES.name, "source" => source.as_str().to_owned(), "verdict" => verdict
    )
    .increment(count as u64);
}

/// A message of a bus was settled so long after it was published.
pub fn published_to_live(source: &SourceName, took: Duration) {
    ::metrics::histogram!(PUBLISH_TO_LIVE.name, "source" => source.as_str().to_owned())
        .record(took);
}

/// So many messages wait at the broker, by source.
static BACKLOGS: Mutex<BTreeMap<SourceName, u64>> = Mutex::new(BTreeMap::new());

/// About so many messages of a bus's topic wait at the broker; nothing: it is not known.
pub fn set_backlog(source: &SourceName, messages: Option<u64>) {
    let mut backlogs = BACKLOGS.lock().unwrap_or_else(PoisonError::into_inner);
    match messages {
        Some(messages) => backlogs.insert(source.clone(), messages),
        None => backlogs.remove(source),
    };
}

/// What [`set_backlog`] was last told of each source.
pub fn backlogs() -> BTreeMap<SourceName, u64> {
    BACKLOGS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// Sōzu said OK to a change of a source, so long after it was taken.
pub fn change_applied(source: &SourceName, took: Duration) {
    ::metrics::histogram!(CHANGE_APPLY_DURATION.name, "source" => source.as_str().to_owned())
        .record(took);
}

/// So many refused changes were dropped.
pub fn dead_letters_dropped(count: usize) {
    ::metrics::counter!(DEAD_LETTERS_DROPPED.name).increment(count as u64);
}

/// A worker that differed from its main process was replaced, or not.
pub fn worker_upgrade(outcome: &'static str) {
    ::metrics::counter!(WORKER_UPGRADES.name, "outcome" => outcome).increment(1);
}

/// Sōzu holds again what it should, so long after the cause was noticed.
pub fn restoration(cause: &'static str, took: Duration) {
    ::metrics::counter!(RESTORATIONS.name, "cause" => cause).increment(1);
    ::metrics::histogram!(RESTORATION_DURATION.name).record(took);
}

/// Makes the registry the recorder of this process, once; later calls return the same one.
pub fn install() -> Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY
        .get_or_init(|| {
            let registry = Registry::default();
            if ::metrics::set_global_recorder(registry.clone()).is_err() {
                tracing::error!("Another metrics recorder is installed; ours stay at zero.");
            }
            begin();
            registry
        })
        .clone()
}

/// Begins those at zero whose labels are known beforehand: an increase from nothing is seen by no
/// alert.
pub(crate) fn begin() {
    for outcome in Outcome::ALL {
        ::metrics::counter!(SOZU_REQUESTS.name, "outcome" => outcome.name()).increment(0);
    }
    for outcome in ReloadOutcome::ALL {
        ::metrics::counter!(CONFIG_RELOADS.name, "outcome" => outcome.name()).increment(0);
    }
    ::metrics::counter!(DEAD_LETTERS_DROPPED.name).increment(0);
    for outcome in UPGRADES {
        ::metrics::counter!(WORKER_UPGRADES.name, "outcome" => outcome).increment(0);
    }
}

/// A moment as Prometheus counts it.
pub(crate) fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::{text::Text, *};

    fn written(registry: &Registry, lives: impl Fn(&str) -> bool) -> String {
        let mut text = Text::default();
        registry.write(&mut text, lives);
        text.finish()
    }

    #[test]
    fn every_recorded_metric_comes_out_with_its_help_and_its_buckets() {
        let registry = Registry::default();
        ::metrics::with_local_recorder(&registry, || {
            begin();
            let source = SourceName::new("local");
            sozu_request(Outcome::Refused);
            scrape(Duration::from_millis(3));
            change(&source, "applied");
            change(&source, "applied");
            change_applied(&source, Duration::from_millis(20));
            dead_letters_dropped(3);
            worker_upgrade("replaced");
            published_to_live(&source, Duration::from_millis(20));
            restoration("new_life", Duration::from_secs(700));
        });
        let text = written(&registry, |_| true);
        for metric in RECORDED {
            assert!(
                text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)),
                "{} has no help:\n{text}",
                metric.name
            );
        }
        for line in [
            "sozu_manager_sozu_requests_total{outcome=\"refused\"} 1",
            "sozu_manager_sozu_requests_total{outcome=\"not_sent\"} 0",
            "sozu_manager_changes_total{source=\"local\",verdict=\"applied\"} 2",
            "sozu_manager_restorations_total{cause=\"new_life\"} 1",
            "sozu_manager_scrape_duration_seconds_bucket{le=\"0.0025\"} 0",
            "sozu_manager_scrape_duration_seconds_bucket{le=\"0.005\"} 1",
            "sozu_manager_change_apply_duration_seconds_bucket{source=\"local\",le=\"0.025\"} 1",
            "sozu_manager_restoration_duration_seconds_bucket{le=\"600.0\"} 0",
            "sozu_manager_restoration_duration_seconds_bucket{le=\"+Inf\"} 1",
            "sozu_manager_restoration_duration_seconds_sum 700",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn what_belongs_to_a_source_that_is_gone_is_left_out_and_goes_on_when_it_returns() {
        let registry = Registry::default();
        let count = || {
            ::metrics::with_local_recorder(&registry, || {
                change(&SourceName::new("gone"), "applied");
                change(&SourceName::new("here"), "applied");
                change_applied(&SourceName::new("gone"), Duration::ZERO);
            });
        };
        count();
        let text = written(&registry, |source| source == "here");
        assert!(text.contains("source=\"here\""), "{text}");
        assert!(!text.contains("source=\"gone\""), "{text}");
        count();
        let text = written(&registry, |_| true);
        let line = "sozu_manager_changes_total{source=\"gone\",verdict=\"applied\"} 2";
        assert!(text.lines().any(|l| l == line), "{text}");
    }

    #[test]
    fn installing_twice_gives_the_same_registry() {
        let first = install();
        let second = install();
        change(&SourceName::new("twice"), "skipped");
        for registry in [first, second] {
            let text = written(&registry, |_| true);
            assert!(text.contains("source=\"twice\""), "{text}");
        }
    }
}
