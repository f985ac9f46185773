//! The requests that make up a route, with Sōzu's own defaults for all that they leave out: every path of a host name,
//! backends in turn. Whoever needs more fills in the types of `sozu_command_lib::proto::command`.

use sozu_command_lib::proto::command::{
    AddBackend, Cluster, Request, RequestHttpFrontend, SocketAddress, request::RequestType,
};

/// `AddCluster`. It replaces a cluster of this id, and leaves the frontends and backends of it.
pub fn add_cluster(cluster_id: &str) -> Request {
    RequestType::AddCluster(Cluster {
        cluster_id: cluster_id.to_owned(),
        ..Cluster::default()
    })
    .into()
}

/// `RemoveCluster`, which removes the frontends and backends of it, too.
pub fn remove_cluster(cluster_id: &str) -> Request {
    RequestType::RemoveCluster(cluster_id.to_owned()).into()
}

/// `AddHttpFrontend`: what comes for this host name at the HTTP listener of this address goes to the cluster. Sōzu
/// refuses a second one for the same host name, whatever its cluster.
pub fn add_http_frontend(
    cluster_id: &str,
    listener: impl Into<SocketAddress>,
    hostname: &str,
) -> Request {
    RequestType::AddHttpFrontend(frontend(cluster_id, listener.into(), hostname)).into()
}

/// As [`add_http_frontend`], at an HTTPS listener. Its certificate is another request.
pub fn add_https_frontend(
    cluster_id: &str,
    listener: impl Into<SocketAddress>,
    hostname: &str,
) -> Request {
    RequestType::AddHttpsFrontend(frontend(cluster_id, listener.into(), hostname)).into()
}

/// `AddBackend`, with its address as its id, so that no two backends of a cluster share one.
pub fn add_backend(cluster_id: &str, address: std::net::SocketAddr) -> Request {
    RequestType::AddBackend(AddBackend {
        cluster_id: cluster_id.to_owned(),
        backend_id: address.to_string(),
        address: address.into(),
        ..AddBackend::default()
    })
    .into()
}

fn frontend(cluster_id: &str, address: SocketAddress, hostname: &str) -> RequestHttpFrontend {
    RequestHttpFrontend {
        cluster_id: Some(cluster_id.to_owned()),
        address,
        hostname: hostname.to_owned(),
        ..RequestHttpFrontend::default()
    }
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::{
        proto::command::{PathRuleKind, RulePosition},
        state::ConfigState,
    };

    use super::*;

    #[test]
    fn they_make_up_a_route_of_every_path_and_go_with_their_cluster() {
        let listener = SocketAddress::new_v4(127, 0, 0, 1, 80);
        let mut state = ConfigState::new();
        for request in [
            add_cluster("shop"),
            add_http_frontend("shop", listener, "shop.example"),
            add_https_frontend("shop", listener, "shop.example"),
            add_backend("shop", ([10, 0, 0, 1], 8080).into()),
            add_backend("shop", ([10, 0, 0, 2], 8080).into()),
        ] {
            state.dispatch(&request).unwrap();
        }
        for front in state
            .http_fronts
            .values()
            .chain(state.https_fronts.values())
        {
            assert_eq!(front.path.kind(), PathRuleKind::Prefix);
            assert_eq!(front.path.value, "");
            assert_eq!(front.position, RulePosition::Tree);
        }
        assert_eq!((state.count_frontends(), state.count_backends()), (2, 2));
        state.dispatch(&remove_cluster("shop")).unwrap();
        assert_eq!((state.count_frontends(), state.count_backends()), (0, 0));
    }
}
