//! What a watcher is told.

use std::{path::PathBuf, sync::Arc};

use supervisors::{Ref, Reporter};
use tokio::sync::watch;

use super::{FsWatcher, pki};
use crate::{
    messages::SourceName,
    socket_pool::SocketPool,
    state_keeper::{StateKeeper, report::Report},
};

/// How the files of a directory are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// `*.toml` with Sōzu's `[clusters.ID]`, `*.json` as `sozu state save` writes it.
    Routes,
    /// Certificates with their keys, however they are laid out.
    Pki(pki::Settings),
}

/// What a watcher is given.
#[derive(Clone)]
pub struct Deps {
    /// To whom it declares.
    pub keeper: Ref<StateKeeper>,
    /// What the keeper says.
    pub report: watch::Receiver<Arc<Report>>,
    /// Whom it asks what Sōzu serves.
    pub pool: Ref<SocketPool>,
    /// Where it writes what becomes of certificates.
    pub board: pki::Board,
}

/// One directory as a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The source's name, bare.
    pub source: SourceName,
    /// The directory. It need not be there yet.
    pub directory: PathBuf,
    /// How its files are read.
    pub reading: Reading,
}

impl Config {
    /// Makes the factory of the actor's lives. Opens nothing.
    pub fn build(self, deps: Deps) -> impl Fn(Reporter) -> FsWatcher + Send + Sync + 'static {
        move |reporter| FsWatcher::new(self.clone(), deps.clone(), reporter)
    }
}
