//! What a Sōzu holds, as it saves it itself.

use std::{fs, path::Path};

use sozu_command_lib::{
    proto::command::{Request, RequestHttpFrontend, WorkerRequest, request::RequestType},
    state::ConfigState,
};

use crate::{Error, Result};

/// The requests that would make this state, in the order in which Sōzu saved them.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Everything, listeners among it.
    pub requests: Vec<Request>,
}

impl Held {
    /// Reads a state file: JSON records, each followed by `\n\0`.
    pub fn read(path: &Path) -> Result<Self> {
        let doing = || format!("reading the state file {}", path.display());
        let text = fs::read_to_string(path).map_err(Error::while_doing(doing()))?;
        let requests = text
            .split("\n\0")
            .map(str::trim)
            .filter(|record| !record.is_empty())
            .map(|record| {
                serde_json::from_str::<WorkerRequest>(record).map(|request| request.content)
            })
            .collect::<std::result::Result<_, _>>()
            .map_err(Error::while_doing(doing()))?;
        Ok(Self { requests })
    }

    /// The ids of its clusters, sorted.
    pub fn clusters(&self) -> Vec<String> {
        self.sorted(|request| match request {
            RequestType::AddCluster(cluster) => Some(cluster.cluster_id.clone()),
            _ => None,
        })
    }

    /// The host names of its HTTP and HTTPS frontends, sorted.
    pub fn hostnames(&self) -> Vec<String> {
        self.sorted(|request| frontend(request).map(|frontend| frontend.hostname.clone()))
    }

    /// `hostname → cluster id` of its HTTP and HTTPS frontends, sorted.
    pub fn frontends(&self) -> Vec<(String, String)> {
        self.sorted(|request| {
            frontend(request).map(|frontend| {
                (
                    frontend.hostname.clone(),
                    frontend.cluster_id.clone().unwrap_or_default(),
                )
            })
        })
    }

    /// `(cluster id, address)` of its backends, sorted.
    pub fn backends(&self) -> Vec<(String, String)> {
        self.sorted(|request| match request {
            RequestType::AddBackend(backend) => Some((
                backend.cluster_id.clone(),
                std::net::SocketAddr::from(backend.address).to_string(),
            )),
            _ => None,
        })
    }

    /// Sōzu's own model of it; an error if it refuses a record.
    pub fn state(&self) -> Result<ConfigState> {
        let mut state = ConfigState::new();
        for request in &self.requests {
            state
                .dispatch(request)
                .map_err(Error::while_doing("folding what Sōzu holds"))?;
        }
        Ok(state)
    }

    fn sorted<T: Ord>(&self, pick: impl Fn(&RequestType) -> Option<T>) -> Vec<T> {
        let mut all: Vec<T> = self
            .requests
            .iter()
            .filter_map(|request| request.request_type.as_ref())
            .filter_map(pick)
            .collect();
        all.sort();
        all
    }
}

fn frontend(request: &RequestType) -> Option<&RequestHttpFrontend> {
    match request {
        RequestType::AddHttpFrontend(frontend) | RequestType::AddHttpsFrontend(frontend) => {
            Some(frontend)
        }
        _ => None,
    }
}
