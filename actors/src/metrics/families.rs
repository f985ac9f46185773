//! Every metric of our own: its name, its kind, its help.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Type {
    /// It only grows; its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Observations counted in buckets with these upper bounds, in seconds, ascending.
    Histogram(&'static [f64]),
}

/// One metric family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Its full name.
    pub name: &'static str,
    /// What it is.
    pub kind: Type,
    /// What it tells, for people.
    pub help: &'static str,
}

impl Metric {
    pub(super) const fn counter(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind: Type::Counter,
            help,
        }
    }

    pub(super) const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind: Type::Gauge,
            help,
        }
    }

    pub(super) const fn histogram(
        name: &'static str,
        buckets: &'static [f64],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind: Type::Histogram(buckets),
            help,
        }
    }
}

/// From a request on an idle machine to a worker that stalls.
const SHORT: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// From a handful of routes to hundreds of thousands.
const LONG: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];

/// `{version}`: always 1.
pub const BUILD_INFO: Metric = Metric::gauge(
    "sozu_manager_build_info",
    "Always 1; the label is the version that runs.",
);
/// `{component,state}`.
pub const COMPONENT_STATE: Metric = Metric::gauge(
    "sozu_manager_component_state",
    "1 for the state that the component is in, 0 for every other one.",
);
/// `{component,reason}`.
pub const COMPONENT_RESTARTS: Metric = Metric::counter(
    "sozu_manager_component_restarts_total",
    "Restarts of the component since this process started, by reason.",
);
/// `{condition}`.
pub const READY: Metric = Metric::gauge(
    "sozu_manager_ready",
    "1 for each condition of /readyz that holds, 0 for one that does not.",
);
/// `{source,kind}`.
pub const OBJECTS: Metric = Metric::gauge(
    "sozu_manager_objects",
    "Objects that the source owns, by kind.",
);
/// `{difference,kind}`.
pub const DRIFT_OBJECTS: Metric = Metric::gauge(
    "sozu_manager_drift_objects",
    "Objects in which Sōzu differs from what is wanted, by difference and kind.",
);
/// `{kind}`.
pub const FOREIGN_OBJECTS: Metric = Metric::gauge(
    "sozu_manager_foreign_objects",
    "Objects that Sōzu holds and no source has an opinion about, by kind; they are left alone.",
);
/// `{source}`.
pub const UNSERVABLE_OBJECTS: Metric = Metric::gauge(
    "sozu_manager_unservable_objects",
    "Objects of the source that cannot be sent just now; they are tried again.",
);
/// `{source}`.
pub const ORPHANED_OBJECTS: Metric = Metric::gauge(
    "sozu_manager_orphaned_objects",
    "Objects that are still served although their source left the configuration.",
);
/// `{source}`.
pub const HELD_REMOVALS: Metric = Metric::gauge(
    "sozu_manager_held_removals",
    "Objects whose removal, or replacement by a bus that has caught up, waits for a person.",
);
/// Without labels.
pub const LAST_PROOF: Metric = Metric::gauge(
    "sozu_manager_last_proof_timestamp_seconds",
    "When Sōzu was last read and found to hold what is wanted, in seconds since 1970.",
);
/// `{source}`.
pub const SOURCE_LAST_CHANGE: Metric = Metric::gauge(
    "sozu_manager_source_last_change_timestamp_seconds",
    "When the last change of the source became final, in seconds since 1970.",
);
/// `{source,state}`.
pub const CERTIFICATES: Metric = Metric::gauge(
    "sozu_manager_certificates",
    "Certificates of a directory by what becomes of them: whether whoever asks for their name gets them.",
);
/// `{source,certificate,copy}`.
pub const CERTIFICATE_NOT_AFTER: Metric = Metric::gauge(
    "sozu_manager_certificate_not_after_timestamp_seconds",
    "When the certificate expires, in seconds since 1970: the file's, and the one that is served for its name. The 1,000 that expire first.",
);
/// Without labels.
pub const DATABASE_SIZE: Metric =
    Metric::gauge("sozu_manager_database_size_bytes", "Size of the database.");
/// `{outcome}`: see [`Outcome`](super::Outcome).
pub const SOZU_REQUESTS: Metric = Metric::counter(
    "sozu_manager_sozu_requests_total",
    "Requests to Sōzu's command socket by outcome; a bulk of many is one.",
);
/// Without labels.
pub const SCRAPE_DURATION: Metric = Metric::histogram(
    "sozu_manager_scrape_duration_seconds",
    SHORT,
    "Time to answer a scrape, Sōzu's answer included.",
);
/// `{source,verdict}`.
pub const CHANGES: Metric = Metric::counter(
    "sozu_manager_changes_total",
    "Changes that became final, by source and verdict.",
);
/// `{source}`.
pub const CHANGE_APPLY_DURATION: Metric = Metric::histogram(
    "sozu_manager_change_apply_duration_seconds",
    SHORT,
    "Time from taking a change to Sōzu's OK.",
);
/// `{source}`.
pub const DEAD_LETTERS: Metric = Metric::gauge(
    "sozu_manager_dead_letters",
    "Refused messages of the source that wait for a person.",
);
/// Without labels.
pub const DEAD_LETTERS_DROPPED: Metric = Metric::counter(
    "sozu_manager_dead_letters_dropped_total",
    "Refused changes that were dropped since there were too many of them.",
);
/// `{outcome}`: `replaced`, `failed`, `unknown`.
pub const WORKER_UPGRADES: Metric = Metric::counter(
    "sozu_manager_worker_upgrades_total",
    "Workers of Sōzu that differed from its main process and were to be replaced.",
);
/// `{source}`.
pub const PUBLISH_TO_LIVE: Metric = Metric::histogram(
    "sozu_manager_publish_to_live_seconds",
    SHORT,
    "Time from a message's publication, by its producer's clock, to its verdict on disk, once the topic is caught up with.",
);
/// `{source}`.
pub const SOURCE_CAUGHT_UP: Metric = Metric::gauge(
    "sozu_manager_source_caught_up",
    "1 if the bus has come as far as its topic went when it was last subscribed, else 0.",
);
/// `{source}`.
pub const SOURCE_BACKLOG: Metric = Metric::gauge(
    "sozu_manager_source_backlog_messages",
    "About how many messages of the topic are not acknowledged, as last told by the broker, which counts batches.",
);
/// `{source}`.
pub const SOURCE_GAP: Metric = Metric::gauge(
    "sozu_manager_source_gap",
    "1 if something of the bus's stream is known to be missing and nobody has accepted that, else 0.",
);
/// `{source}`.
pub const PARKED_CHANGES: Metric = Metric::gauge(
    "sozu_manager_parked_changes",
    "Backends of the source that wait for their cluster.",
);
/// `{cause}`.
pub const RESTORATIONS: Metric = Metric::counter(
    "sozu_manager_restorations_total",
    "Times that Sōzu was given back what it should hold, by cause.",
);
/// Without labels.
pub const RESTORATION_DURATION: Metric = Metric::histogram(
    "sozu_manager_restoration_duration_seconds",
    LONG,
    "Time from noticing that Sōzu lacks what it should hold to its holding it.",
);
/// Without labels.
pub const SOZU_UP: Metric = Metric::gauge(
    "sozu_up",
    "1 if Sōzu's main process answered this scrape, else 0.",
);
/// Without labels. The start counts as a reload.
pub const CONFIG_LAST_RELOAD_SUCCESSFUL: Metric = Metric::gauge(
    "sozu_manager_config_last_reload_successful",
    "1 if the configuration that was read last is the one that runs, else 0.",
);
/// Without labels.
pub const CONFIG_LAST_RELOAD_SUCCESS: Metric = Metric::gauge(
    "sozu_manager_config_last_reload_success_timestamp_seconds",
    "When a configuration was last taken, in seconds since 1970.",
);
/// `{outcome}`: see [`ReloadOutcome`](super::ReloadOutcome).
pub const CONFIG_RELOADS: Metric = Metric::counter(
    "sozu_manager_config_reloads_total",
    "Reloads of the configuration by outcome.",
);
/// Without labels; only while Sōzu answers.
pub const SOZU_WORKERS: Metric = Metric::gauge(
    "sozu_workers",
    "Workers that run, by the word of Sōzu's main process.",
);
/// Without labels; only while Sōzu answers, as the four after it.
pub const SCRAPE_COMPLETE: Metric = Metric::gauge(
    "sozu_manager_scrape_complete",
    "1 if this scrape has all of Sōzu's metrics that [metrics] detail asks for, else 0.",
);
/// Without labels.
pub const UNASKED_CLUSTERS: Metric = Metric::gauge(
    "sozu_manager_unasked_clusters",
    "Clusters without metrics in this scrape: their names do not fit Sōzu's buffers, or there was no time.",
);
/// Without labels.
pub const CLUSTERS_IN_OTHER: Metric = Metric::gauge(
    "sozu_manager_clusters_in_other",
    "Clusters that are shown together as the cluster `other`, because of [metrics] max_series.",
);
/// Without labels.
pub const SERIES_LEFT_OUT: Metric = Metric::gauge(
    "sozu_manager_series_left_out",
    "Series that are not shown by name, because of [metrics] max_series.",
);
/// `{what}`: `name` or `kind`.
pub const UNKNOWN_METRICS: Metric = Metric::gauge(
    "sozu_manager_unknown_metrics",
    "Metrics of Sōzu that this version does not know: names, which are shown by a general rule, and kinds, which are not.",
);
/// Without labels, as the four after it: what Prometheus' own client libraries tell of a process.
pub const PROCESS_CPU: Metric = Metric::counter(
    "process_cpu_seconds_total",
    "User and system CPU time spent, in seconds.",
);
/// Without labels.
pub const PROCESS_MEMORY: Metric = Metric::gauge(
    "process_resident_memory_bytes",
    "Resident memory size in bytes.",
);
/// Without labels.
pub const PROCESS_OPEN_FDS: Metric =
    Metric::gauge("process_open_fds", "Number of open file descriptors.");
/// Without labels.
pub const PROCESS_START: Metric = Metric::gauge(
    "process_start_time_seconds",
    "When the process started, in seconds since 1970.",
);

/// What the exporter renders.
pub const RECORDED: [Metric; 10] = [
    SOZU_REQUESTS,
    SCRAPE_DURATION,
    CHANGES,
    CHANGE_APPLY_DURATION,
    DEAD_LETTERS_DROPPED,
    WORKER_UPGRADES,
    PUBLISH_TO_LIVE,
    RESTORATIONS,
    RESTORATION_DURATION,
    CONFIG_RELOADS,
];
