//! The `routes` reading: plain functions from a file's text to the objects it declares.
//!
//! `*.toml` is Sōzu's `[clusters.ID]` (`document`, then `convert`); `*.json` is what
//! `sozu state save` writes (`records`). What several files declare is settled in `claims`. A file that is to be sent on
//! may be a whole configuration of Sōzu, too (`configuration`).

pub(super) mod claims;
mod configuration;
mod convert;
mod document;
mod frontend;
mod named;
mod records;
mod resolve;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
};

use sozu_command_lib::config::FileClusterConfig;

use self::records::Certificates;

pub(super) use self::named::NamedFiles;
pub(super) use self::resolve::{Resolved, resolve_all};
use super::problem::Fault;
use crate::state_keeper::{
    key::{Keyed, Object},
    report::Listeners,
};

/// A file that was understood, before anything outside of it was asked for.
pub(super) enum Parsed {
    /// A TOML with its clusters in the order of their ids, and its text for positions.
    Clusters {
        text: String,
        clusters: BTreeMap<String, FileClusterConfig>,
    },
    /// A state file declares its objects by itself.
    Objects(Vec<Object>),
}

/// Understands a file by its name's ending.
pub(super) fn parse(path: &Path, bytes: Vec<u8>) -> Result<Parsed, Fault> {
    let text = utf8(bytes)?;
    if is_state_file(path) {
        return records::objects(&text, Certificates::Skipped).map(Parsed::Objects);
    }
    let clusters = document::parse(&text)?;
    Ok(Parsed::Clusters { text, clusters })
}

/// As [`parse`], of a file that is to be sent on: all that it holds, and the listeners that it tells of.
pub(super) fn parse_all(path: &Path, bytes: Vec<u8>) -> Result<(Parsed, Listeners), Fault> {
    let text = utf8(bytes)?;
    if is_state_file(path) {
        let objects = records::objects(&text, Certificates::Taken)?;
        return Ok((Parsed::Objects(objects), Listeners::new()));
    }
    let (clusters, listeners) = configuration::parse(&text)?;
    Ok((Parsed::Clusters { text, clusters }, listeners))
}

fn is_state_file(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "json")
}

fn utf8(bytes: Vec<u8>) -> Result<String, Fault> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        Fault::at(
            super::problem::Position::of(&text, valid),
            "it is not UTF-8 from here on; save it as UTF-8",
        )
    })
}

impl Parsed {
    /// The `host:port`s of backends that have to be resolved.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let Parsed::Clusters { clusters, .. } = self else {
            return BTreeSet::new();
        };
        clusters
            .values()
            .flat_map(|cluster| &cluster.backends)
            .filter(|backend| backend.address.parse::<SocketAddr>().is_err())
            .map(|backend| backend.address.clone())
            .collect()
    }

    /// What the file declares.
    pub(super) fn objects(
        self,
        listeners: &Listeners,
        files: &mut NamedFiles,
        resolved: &Resolved,
    ) -> Result<Vec<Keyed>, Fault> {
        let objects = match self {
            Parsed::Objects(objects) => objects,
            Parsed::Clusters { text, clusters } => {
                convert::objects(clusters, listeners, files, resolved)
                    .map_err(|misfit| misfit.placed(&text))?
            }
        };
        let keyed = objects.into_iter().map(Keyed::new);
        keyed
            .collect::<Result<_, _>>()
            .map_err(|error| Fault::whole(error.to_string()))
    }
}

#[cfg(test)]
mod tests;
