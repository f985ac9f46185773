//! Small objects for the tests of the rules.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use sozu_command_lib::proto::command::{
    AddBackend, AddCertificate, CertificateAndKey, Cluster, PathRule, RequestHttpFrontend,
    RequestTcpFrontend, RulePosition,
};

use super::key::{Keyed, Object};

pub(crate) const HTTP: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
pub(crate) const TCP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9000);

pub(crate) const HTTPS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);

/// A leaf, and the one that follows it.
pub(crate) const LEAF: &str = include_str!("../fs_watcher/testdata/certificate.pem");
pub(crate) const RENEWED: &str = include_str!("../fs_watcher/testdata/renewed.pem");
const PRIVATE_KEY: &str = include_str!("../fs_watcher/testdata/key.pem");

pub(crate) fn certificate(address: SocketAddr, leaf: &str, names: &[&str]) -> Object {
    Object::Certificate(Box::new(AddCertificate {
        address: address.into(),
        certificate: CertificateAndKey {
            certificate: leaf.to_owned(),
            key: PRIVATE_KEY.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..CertificateAndKey::default()
        },
        expired_at: None,
    }))
}

pub(crate) fn cluster(id: &str) -> Object {
    Object::Cluster(Box::new(Cluster {
        cluster_id: id.to_owned(),
        ..Cluster::default()
    }))
}

pub(crate) fn backend(cluster: &str, id: &str, port: u16) -> Object {
    Object::Backend(Box::new(AddBackend {
        cluster_id: cluster.to_owned(),
        backend_id: id.to_owned(),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into(),
        ..AddBackend::default()
    }))
}

pub(crate) fn http(cluster: &str, hostname: &str) -> Object {
    Object::HttpFrontend(Box::new(RequestHttpFrontend {
        cluster_id: Some(cluster.to_owned()),
        address: HTTP.into(),
        hostname: hostname.to_owned(),
        path: PathRule::prefix("/"),
        position: RulePosition::Tree.into(),
        ..RequestHttpFrontend::default()
    }))
}

pub(crate) fn tcp(cluster: &str, sni: &str) -> Object {
    Object::TcpFrontend(Box::new(RequestTcpFrontend {
        cluster_id: cluster.to_owned(),
        address: TCP.into(),
        sni: Some(sni.to_owned()),
        alpn: vec!["http/1.1".to_owned(), "h2".to_owned()],
        ..RequestTcpFrontend::default()
    }))
}

pub(crate) fn keyed(objects: &[Object]) -> Arc<Vec<Keyed>> {
    let keyed = objects
        .iter()
        .cloned()
        .map(|object| Keyed::new(object).unwrap());
    Arc::new(keyed.collect())
}
