//! A topic's random history, and a model of what it comes to.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "each suite uses its part of it"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::SocketAddr,
};

use sozu_command_lib::proto::command::{
    AddBackend, Cluster, RemoveBackend, SocketAddress, request::RequestType,
};
use testkit::Sozu;

use crate::{dice::Dice, support::frontend};

/// What the topic comes to, by a model of its own.
#[derive(Default)]
pub struct Published {
    clusters: BTreeMap<String, bool>,
    backends: BTreeSet<(String, String)>,
    frontends: BTreeMap<String, String>,
    /// The places of what is refused.
    pub bad: BTreeSet<usize>,
}

impl Published {
    /// The next message, at this place of the topic.
    pub fn next(&mut self, place: usize, dice: &mut Dice, sozu: &Sozu) -> RequestType {
        let cluster = format!("c{}", dice.roll(40));
        let known = self.clusters.contains_key(&cluster);
        match dice.roll(20) {
            _ if !known => self.cluster(cluster, dice),
            0..4 => self.cluster(cluster, dice),
            4 => {
                self.backends.retain(|(of, _)| *of != cluster);
                self.frontends.retain(|_, of| *of != cluster);
                self.clusters.remove(&cluster);
                RequestType::RemoveCluster(cluster)
            }
            5 => {
                self.bad.insert(place);
                RequestType::AddHttpFrontend(frontend(
                    sozu,
                    &cluster,
                    &format!("b{}.example/", dice.roll(9)),
                ))
            }
            6..10 => {
                let port = 9_000 + dice.roll(3);
                self.backends
                    .insert((cluster.clone(), format!("127.0.0.1:{port}")));
                RequestType::AddBackend(backend(&cluster, port))
            }
            10..12 => {
                let port = 9_000 + dice.roll(3);
                self.backends
                    .remove(&(cluster.clone(), format!("127.0.0.1:{port}")));
                let AddBackend {
                    backend_id,
                    address,
                    ..
                } = backend(&cluster, port);
                RequestType::RemoveBackend(RemoveBackend {
                    cluster_id: cluster,
                    backend_id,
                    address,
                })
            }
            12..15 => match self.frontends.pop_first() {
                Some((hostname, of)) => {
                    RequestType::RemoveHttpFrontend(frontend(sozu, &of, &hostname))
                }
                None => self.frontend(&cluster, dice, sozu),
            },
            _ => self.frontend(&cluster, dice, sozu),
        }
    }

    /// Somebody removed the cluster beside this history.
    pub fn ends(&mut self, cluster: &str) {
        self.backends.retain(|(of, _)| of != cluster);
        self.frontends.retain(|_, of| of != cluster);
        self.clusters.remove(cluster);
    }

    /// Whether Sōzu holds this and one route beside it, and nothing else.
    pub fn with_live(
        &self,
        sozu: &Sozu,
        cluster: &str,
        hostname: &str,
        backend: SocketAddr,
    ) -> Result<(), String> {
        let held = sozu.held().map_err(|error| error.to_string())?;
        let live = (cluster.to_owned(), backend.to_string());
        let backends: BTreeSet<_> = self.backends.iter().cloned().chain([live]).collect();
        let route = (hostname.to_owned(), cluster.to_owned());
        let frontends: BTreeSet<_> = self.frontends.clone().into_iter().chain([route]).collect();
        let mut clusters: BTreeSet<_> = self.clusters.keys().cloned().collect();
        clusters.insert(cluster.to_owned());
        let set = |held: Vec<(String, String)>| -> BTreeSet<_> { held.into_iter().collect() };
        let differences = [
            same(
                "clusters",
                &held.clusters().into_iter().collect(),
                &clusters,
            ),
            same("backends", &set(held.backends()), &backends),
            same("frontends", &set(held.frontends()), &frontends),
        ];
        differences.into_iter().collect()
    }

    fn cluster(&mut self, cluster_id: String, dice: &mut Dice) -> RequestType {
        let sticky_session = dice.roll(2) == 1;
        self.clusters.insert(cluster_id.clone(), sticky_session);
        RequestType::AddCluster(Cluster {
            cluster_id,
            sticky_session,
            ..Cluster::default()
        })
    }

    /// Under its own key a bus replaces.
    fn frontend(&mut self, cluster: &str, dice: &mut Dice, sozu: &Sozu) -> RequestType {
        let hostname = format!("h{}.example", dice.roll(60));
        self.frontends.insert(hostname.clone(), cluster.to_owned());
        RequestType::AddHttpFrontend(frontend(sozu, cluster, &hostname))
    }

    pub fn is_held_by(&self, sozu: &Sozu) {
        let held = sozu.held().unwrap();
        let frontends: Vec<_> = self.frontends.clone().into_iter().collect();
        assert_eq!(held.frontends(), frontends);
        assert_eq!(
            held.backends(),
            self.backends.iter().cloned().collect::<Vec<_>>()
        );
        let state = held.state().unwrap();
        let clusters: BTreeMap<_, _> = state
            .clusters
            .iter()
            .map(|(id, cluster)| (id.to_string(), cluster.sticky_session))
            .collect();
        assert_eq!(clusters, self.clusters);
    }
}

fn backend(cluster: &str, port: usize) -> AddBackend {
    AddBackend {
        cluster_id: cluster.to_owned(),
        backend_id: format!("{cluster}-{port}"),
        address: SocketAddress::from(std::net::SocketAddr::from((
            [127, 0, 0, 1],
            u16::try_from(port).unwrap(),
        ))),
        load_balancing_parameters: Some(
            sozu_command_lib::proto::command::LoadBalancingParams::default(),
        ),
        ..AddBackend::default()
    }
}

fn same<T: Debug + Ord>(
    what: &str,
    held: &BTreeSet<T>,
    wanted: &BTreeSet<T>,
) -> Result<(), String> {
    let missing: Vec<_> = wanted.difference(held).collect();
    let extra: Vec<_> = held.difference(wanted).collect();
    if missing.is_empty() && extra.is_empty() {
        return Ok(());
    }
    Err(format!("{what}: missing {missing:?}, too much {extra:?}"))
}
