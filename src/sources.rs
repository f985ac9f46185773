//! The sources that the configuration asks for, one component each.

use std::{collections::BTreeMap, time::Duration};

use actors::{
    fs_watcher::{
        self, Reading,
        pki::{self, Layout},
    },
    messages::SourceName,
};
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
    routes.chain(pki).collect()
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

/// What a source is given.
pub type Deps = fs_watcher::Deps;

impl Source {
    /// Its bare name.
    pub fn name(&self) -> &SourceName {
        match self {
            Self::Routes(settings) | Self::Pki(settings) => &settings.source,
        }
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
        }
    }
}
