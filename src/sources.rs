//! The sources that the configuration asks for, one component each.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use actors::{
    fs_watcher::{
        self, Reading,
        pki::{self, Layout},
    },
    messages::SourceName,
    pulsar_consumer::{self, Address, address},
    state_keeper::policy::Policy,
};
use sha2::{Digest as _, Sha256};
use supervisors::{Children, Spec};

use crate::config::{Config, tables};

/// Reading a large database takes long, and so does a directory whose names do not resolve.
pub const FIRST_READING_WITHIN: Duration = Duration::from_mins(10);

/// A source with all its settings: one that equals another needs no other component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `[routes.NAME]`
    Routes(fs_watcher::Config),
    /// `[pki.NAME]`
    Pki(fs_watcher::Config),
    /// `[pulsar.NAME]`
    Pulsar(pulsar_consumer::Config),
}

/// By the component's name, which is the table's and the source's: `routes.local`.
pub type Sources = BTreeMap<String, Source>;

/// Every source of the configuration.
pub fn of(config: &Config) -> Sources {
    let routes = config.routes.iter().map(|(name, table)| {
        let settings = fs_watcher::Config {
            source: SourceName::new(name),
            directory: table.directory.clone(),
            reading: Reading::Routes,
        };
        (format!("routes.{name}"), Source::Routes(settings))
    });
    let pki = config.pki.iter().map(|(name, table)| {
        let settings = fs_watcher::Config {
            source: SourceName::new(name),
            directory: table.directory.clone(),
            reading: Reading::Pki(reading(table)),
        };
        (format!("pki.{name}"), Source::Pki(settings))
    });
    let pulsar = config.pulsar.iter().map(|(name, table)| {
        let settings = pulsar_consumer::Config {
            source: SourceName::new(name),
            address: broker(table),
            topic: table.topic.clone(),
            subscription: table.subscription.clone(),
            dead_letter_topic: table.dead_letter_topic.clone(),
        };
        (format!("pulsar.{name}"), Source::Pulsar(settings))
    });
    routes.chain(pki).chain(pulsar).collect()
}

/// How a certificate directory is read.
pub fn reading(table: &tables::Pki) -> pki::Settings {
    use tables::Layout as Named;
    let layout = match table.layout {
        Named::Auto => None,
        Named::Connector => Some(Layout::Connector),
        Named::Certbot => Some(Layout::Certbot),
        Named::Dehydrated => Some(Layout::Dehydrated),
        Named::Caddy => Some(Layout::Caddy),
        Named::AcmeSh => Some(Layout::AcmeSh),
        Named::Kubernetes => Some(Layout::Kubernetes),
        Named::Haproxy => Some(Layout::Haproxy),
        Named::Flat => Some(Layout::Flat),
    };
    let allow_names = table.allow_names.iter();
    pki::Settings {
        root: table.root(),
        listeners: table.listeners.clone(),
        layout,
        allow_names: allow_names.map(|name| name.to_ascii_lowercase()).collect(),
        handshakes: table.handshakes,
    }
}

/// What each bus may do.
pub fn policies(config: &Config) -> HashMap<SourceName, Policy> {
    let policy = |table: &tables::Pulsar| Policy {
        verbs: table.verbs.clone(),
        allow_hostnames: table.allow_hostnames.clone(),
        allow_backends: table.allow_backends.clone(),
        max_objects: table.max_objects,
    };
    let buses = config.pulsar.iter();
    buses
        .map(|(name, table)| (SourceName::new(name), policy(table)))
        .collect()
}

/// Where the broker of a topic is.
pub fn broker(table: &tables::Pulsar) -> Address {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let file = |named: &Path| {
        let is_set = !named.as_os_str().is_empty();
        // Without credentials a bare name is no path at all: who reads it says that it is not there.
        is_set.then(|| {
            address::secret_file(named, credentials.as_deref()).unwrap_or_else(|| named.to_owned())
        })
    };
    Address {
        url: table.url.clone(),
        token_file: file(&table.token_file),
        ca_file: file(&table.ca_file),
    }
}

/// What a source is given.
pub type Deps = fs_watcher::Deps;

/// What a secret file holds, as far as a change of it is concerned.
pub type Digest = [u8; 32];

/// The secret files of the sources, each with a digest of what it holds.
pub type Secrets = BTreeMap<PathBuf, Result<Digest, String>>;

/// Reads every secret file of these sources. Blocks.
pub fn secrets(sources: &Sources) -> Secrets {
    let files = sources.values().flat_map(Source::secrets);
    files
        .map(|file| {
            let digest = fs::read(file).map(|bytes| Sha256::digest(bytes).into());
            (file.to_owned(), digest.map_err(|error| error.to_string()))
        })
        .collect()
}

impl Source {
    /// The files whose content counts as much as their names: a source begins anew when it changes.
    pub fn secrets(&self) -> Vec<&Path> {
        match self {
            Self::Routes(_) | Self::Pki(_) => Vec::new(),
            Self::Pulsar(settings) => {
                let Address {
                    token_file,
                    ca_file,
                    ..
                } = &settings.address;
                [token_file, ca_file]
                    .into_iter()
                    .flatten()
                    .map(PathBuf::as_path)
                    .collect()
            }
        }
    }

    /// Its bare name.
    pub fn name(&self) -> &SourceName {
        match self {
            Self::Routes(settings) | Self::Pki(settings) => &settings.source,
            Self::Pulsar(settings) => &settings.source,
        }
    }

    /// The topic that it reads, if it reads one.
    pub fn topic(&self) -> Option<&str> {
        match self {
            Self::Routes(_) | Self::Pki(_) => None,
            Self::Pulsar(settings) => Some(&settings.topic),
        }
    }

    /// Whether it sends orders, and declares no whole set.
    pub fn is_bus(&self) -> bool {
        matches!(self, Self::Pulsar(_))
    }

    /// Starts its component among these.
    pub fn start(self, component: &str, children: &Children, deps: &Deps) {
        let spec = |kind| Spec::parking(component, kind).ready_within(FIRST_READING_WITHIN);
        match self {
            Self::Routes(settings) => {
                children.start(spec("routes_watcher"), settings.build(deps.clone()));
            }
            Self::Pki(settings) => {
                children.start(spec("pki_watcher"), settings.build(deps.clone()));
            }
            Self::Pulsar(settings) => {
                // A flood is taken apart and decoded there.
                let spec = spec("pulsar_consumer").own_thread();
                children.start(
                    spec,
                    settings.build(deps.keeper.clone(), deps.report.clone()),
                );
            }
        }
    }
}
