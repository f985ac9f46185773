//! The sources that the configuration asks for, one component each.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actors::{
    fs_watcher::{self, Reading},
    messages::SourceName,
    state_keeper::{StateKeeper, report::Report},
};
use supervisors::{Children, Ref, Spec};
use tokio::sync::watch;

use crate::config::Config;

/// Reading a large database takes long, and so does a directory whose names do not resolve.
pub const FIRST_READING_WITHIN: Duration = Duration::from_mins(10);

/// A source with all its settings: one that equals another needs no other component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `[routes.NAME]`
    Routes(fs_watcher::Config),
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
    routes.collect()
}

/// What a source is given.
#[derive(Clone)]
pub struct Deps {
    /// To whom it declares.
    pub keeper: Ref<StateKeeper>,
    /// What the keeper says.
    pub report: watch::Receiver<Arc<Report>>,
}

impl Source {
    /// Its bare name.
    pub fn name(&self) -> &SourceName {
        match self {
            Self::Routes(settings) => &settings.source,
        }
    }

    /// Starts its component among these.
    pub fn start(self, component: &str, children: &Children, deps: &Deps) {
        let spec = |kind| Spec::parking(component, kind).ready_within(FIRST_READING_WITHIN);
        let Deps { keeper, report } = deps.clone();
        match self {
            Self::Routes(settings) => {
                children.start(spec("routes_watcher"), settings.build(keeper, report));
            }
        }
    }
}
