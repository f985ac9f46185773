//! The tables of the file with their defaults, one struct each. What its values mean for a
//! component is told by that component's own `Config`; `tree.rs` maps one to the other.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Size;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Holds the database.
    pub state_directory: PathBuf,
    /// This host's name among others; empty: the host's name at the first start.
    pub instance: String,
    /// The log.
    pub log: Log,
    /// How to reach Sōzu.
    pub sozu: Sozu,
    /// The listener for probes and scrapes.
    pub http: Http,
    /// The listener for the local commands.
    pub admin: Admin,
    /// Sōzu's metrics.
    pub metrics: Metrics,
    /// When a removal waits for a person.
    pub guard: Guard,
    /// When what Sōzu holds is compared.
    pub reconcile: Reconcile,
    /// How long the log of changes is kept.
    pub journal: Journal,
    /// How many refused messages of buses are kept.
    pub dead_letters: DeadLetters,
    /// Directories of routes, by the source's name.
    pub routes: BTreeMap<String, Routes>,
    /// Directories of certificates, by the source's name.
    pub pki: BTreeMap<String, Pki>,
    /// Topics of Apache Pulsar, by the source's name.
    pub pulsar: BTreeMap<String, Pulsar>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_directory: "/var/lib/sozu-manager".into(),
            instance: String::new(),
            log: Log::default(),
            sozu: Sozu::default(),
            http: Http::default(),
            admin: Admin::default(),
            metrics: Metrics::default(),
            guard: Guard::default(),
            reconcile: Reconcile::default(),
            journal: Journal::default(),
            dead_letters: DeadLetters::default(),
            routes: BTreeMap::new(),
            pki: BTreeMap::new(),
            pulsar: BTreeMap::new(),
        }
    }
}

impl Config {
    /// How many sources there are.
    pub fn sources(&self) -> usize {
        self.routes.len() + self.pki.len() + self.pulsar.len()
    }
}

/// `[log]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least important line that is written.
    pub level: Level,
    /// How a line is written.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: Level::Info,
            format: LogFormat::Auto,
        }
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What fails for good.
    Error,
    /// And what is wrong.
    Warn,
    /// And each transition, and counts.
    Info,
    /// And each change.
    Debug,
    /// And all else.
    Trace,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// For programs: one object per line.
    Json,
}

/// `[sozu]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sozu {
    /// The `command_socket` of Sōzu's own configuration.
    pub command_socket: PathBuf,
    /// At most so many connections to it.
    pub connections: usize,
    /// The `worker_timeout` of Sōzu's own configuration: every deadline is derived from it.
    #[serde(with = "humantime_serde")]
    pub worker_timeout: Duration,
    /// A larger request is refused, in bytes: Sōzu would close the connection.
    pub max_request_bytes: usize,
    /// Holds the files that pass between Sōzu and this program.
    pub exchange_directory: PathBuf,
    /// The same directory as Sōzu sees it; empty: as we do.
    pub exchange_directory_in_sozu: PathBuf,
}

impl Default for Sozu {
    fn default() -> Self {
        Self {
            command_socket: "/run/sozu/command.sock".into(),
            connections: 8,
            worker_timeout: Duration::from_secs(10),
            max_request_bytes: 1_900_000,
            exchange_directory: "/run/sozu-manager/exchange".into(),
            exchange_directory_in_sozu: PathBuf::new(),
        }
    }
}

/// `[http]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where `/metrics`, `/health`, `/livez` and `/readyz` are served.
    pub address: SocketAddr,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 7380).into(),
        }
    }
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// The socket of the local commands.
    pub socket: PathBuf,
    /// Whose members may read; empty: nobody's.
    pub group: String,
    /// Whether they may write, too.
    pub group_may_write: bool,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            socket: "/run/sozu-manager/admin.sock".into(),
            group: String::new(),
            group_may_write: false,
        }
    }
}

/// `[routes.NAME]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Routes {
    /// Holds the route files. It has no default: an empty one is refused.
    pub directory: PathBuf,
}

/// `[pki.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pki {
    /// Holds the certificates. It has no default: an empty one is refused.
    pub directory: PathBuf,
    /// No link leads out of it; empty: the directory, for certbot's `live` its parent.
    pub root: PathBuf,
    /// The listeners that get the certificates; empty: every HTTPS listener that Sōzu has.
    pub listeners: Vec<SocketAddr>,
    /// How the files are laid out.
    pub layout: Layout,
    /// What its certificates may be for, such as `*.example.com`; empty: any name.
    pub allow_names: Vec<String>,
    /// Whether listeners are shaken hands with, to see which certificate each serves.
    pub handshakes: bool,
}

impl Default for Pki {
    fn default() -> Self {
        Self {
            directory: PathBuf::new(),
            root: PathBuf::new(),
            listeners: Vec::new(),
            layout: Layout::Auto,
            allow_names: Vec::new(),
            handshakes: true,
        }
    }
}

impl Pki {
    /// What no link leads out of.
    pub fn root(&self) -> PathBuf {
        let parent = || {
            let is_live = self
                .directory
                .file_name()
                .is_some_and(|name| name == "live");
            is_live.then(|| self.directory.parent()).flatten()
        };
        if self.root.as_os_str().is_empty() {
            parent().unwrap_or(&self.directory).to_owned()
        } else {
            self.root.clone()
        }
    }
}

/// How the files of a certificate directory are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// As each folder looks.
    #[default]
    Auto,
    /// sozu-pki-connector's.
    Connector,
    /// certbot's `live`.
    Certbot,
    /// dehydrated's.
    Dehydrated,
    /// Caddy's.
    Caddy,
    /// acme.sh's.
    #[serde(rename = "acme.sh")]
    AcmeSh,
    /// Kubernetes' secrets.
    Kubernetes,
    /// Certificate, chain and key in one file.
    Haproxy,
    /// Files of one name, with two endings.
    Flat,
}

/// `[pulsar.NAME]`
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pulsar {
    /// `pulsar://HOST:PORT`, or `pulsar+ssl://…`. It has no default.
    pub url: String,
    /// `persistent://TENANT/NAMESPACE/TOPIC`, without partitions. It has no default.
    pub topic: String,
    /// This host's own subscription; `{instance}` stands for what the host calls itself.
    pub subscription: String,
    /// Holds the token: an absolute path, or the bare name of a systemd credential. Empty: none is needed.
    pub token_file: PathBuf,
    /// Authorities (PEM) that are trusted beside the well-known ones. Empty: none.
    pub ca_file: PathBuf,
    /// What the source may send: `routing`, `certificates`, or a verb's own name.
    pub verbs: Vec<String>,
    /// Host names that it may route. Empty: any.
    pub allow_hostnames: Vec<String>,
    /// Networks in which its backends may be. Empty: anywhere.
    pub allow_backends: Vec<IpNet>,
    /// At most so many objects; 0: no limit.
    pub max_objects: usize,
    /// Where refused messages are sent on to. Empty: nowhere.
    pub dead_letter_topic: String,
}

impl Default for Pulsar {
    fn default() -> Self {
        Self {
            url: String::new(),
            topic: String::new(),
            subscription: "sozu-manager-{instance}".to_owned(),
            token_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            verbs: vec!["routing".to_owned()],
            allow_hostnames: Vec::new(),
            allow_backends: Vec::new(),
            max_objects: 0,
            dead_letter_topic: String::new(),
        }
    }
}

impl Pulsar {
    /// Each key with a value that shows how it is written.
    pub(super) fn example() -> Self {
        Self {
            url: "pulsar+ssl://pulsar.example:6651".to_owned(),
            topic: "persistent://public/default/sozu".to_owned(),
            token_file: "/etc/sozu-manager/pulsar.token".into(),
            ca_file: "/etc/sozu-manager/pulsar-ca.pem".into(),
            allow_hostnames: vec!["*.shop.example".to_owned()],
            allow_backends: "10.0.0.0/8".parse().into_iter().collect(),
            dead_letter_topic: "persistent://public/default/sozu-refused".to_owned(),
            ..Self::default()
        }
    }
}

/// The URL may hold a secret.
impl fmt::Debug for Pulsar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulsar")
            .field("topic", &self.topic)
            .field("subscription", &self.subscription)
            .finish_non_exhaustive()
    }
}

/// `[metrics]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// How much of Sōzu's metrics is shown.
    pub detail: Detail,
    /// At most so many series.
    pub max_series: usize,
    /// Scrapes within it share one answer of Sōzu.
    #[serde(with = "humantime_serde")]
    pub share_for: Duration,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            detail: Detail::Cluster,
            max_series: 500_000,
            share_for: Duration::from_secs(1),
        }
    }
}

/// How much of Sōzu's metrics is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Detail {
    /// The proxy as a whole.
    Proxy,
    /// And each cluster.
    Cluster,
    /// And each backend.
    Backend,
}

/// `[guard]`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// A share of what the source owned, 0 to 1.
    pub removal_share: f64,
    /// A number of removals.
    pub removal_minimum: usize,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            removal_share: 0.25,
            removal_minimum: 50,
        }
    }
}

/// `[reconcile]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reconcile {
    /// How often what Sōzu holds is read again.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Whether anything is sent.
    pub mode: Mode,
    /// Whether a worker that differs from its main process is replaced.
    pub upgrade_workers: bool,
}

impl Default for Reconcile {
    fn default() -> Self {
        Self {
            interval: Duration::from_mins(1),
            mode: Mode::Apply,
            upgrade_workers: false,
        }
    }
}

/// Whether anything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What should be is made so.
    Apply,
    /// Nothing is sent; what would be is shown.
    Observe,
}

/// `[journal]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// How long.
    #[serde(with = "humantime_serde")]
    pub keep: Duration,
    /// At most so many rows.
    pub max_rows: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            keep: Duration::from_hours(30 * 24),
            max_rows: 5_000_000,
        }
    }
}

/// `[dead_letters]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadLetters {
    /// At most so many rows.
    pub max_rows: u64,
    /// At most so many bytes.
    pub max_bytes: Size,
    /// What happens then.
    pub when_full: WhenFull,
}

impl Default for DeadLetters {
    fn default() -> Self {
        Self {
            max_rows: 100_000,
            max_bytes: Size(1_000_000_000),
            when_full: WhenFull::DropOldest,
        }
    }
}

/// What happens when there is no room for another dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The oldest one goes; counted and told.
    DropOldest,
    /// Buses wait.
    Stop,
}
