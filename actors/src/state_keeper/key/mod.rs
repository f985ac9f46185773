//! Keys and objects: what Sōzu tells apart, and what stands there.
//!
//! A key is Sōzu's own. What a source declares under it, and what Sōzu holds under it, is an
//! [`Object`]. Listeners are not ours and have no key here.

mod object;
mod of;

use std::{fmt, net::SocketAddr, sync::Arc};

use foldhash::{HashMap, HashSet};

pub use self::{
    object::{Keyed, Object, listener_for},
    of::{adds, key_of},
};

/// A map from keys. In a flood each key is looked up some dozen times, and its hash is what that costs.
pub type KeyMap<V> = HashMap<Key, V>;
/// A set of keys, as quick.
pub type KeySet = HashSet<Key>;

/// The kinds of objects, as they are named in metrics and in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A TLS certificate of a listener.
    Certificate,
    /// A cluster.
    Cluster,
    /// A backend of a cluster.
    Backend,
    /// A frontend of an HTTP listener.
    HttpFrontend,
    /// A frontend of an HTTPS listener.
    HttpsFrontend,
    /// A frontend of a TCP listener.
    TcpFrontend,
    /// A frontend of a UDP listener.
    UdpFrontend,
}

impl Kind {
    /// Every kind, in the order in which additions are sent.
    pub const ALL: [Kind; 7] = [
        Kind::Certificate,
        Kind::Cluster,
        Kind::Backend,
        Kind::HttpFrontend,
        Kind::HttpsFrontend,
        Kind::TcpFrontend,
        Kind::UdpFrontend,
    ];

    /// Whether Sōzu keys it by a route of a listener, without the cluster.
    pub const fn is_frontend(self) -> bool {
        matches!(
            self,
            Kind::HttpFrontend | Kind::HttpsFrontend | Kind::TcpFrontend | Kind::UdpFrontend
        )
    }

    /// The name in metrics, in the database and in texts.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Certificate => "certificate",
            Kind::Cluster => "cluster",
            Kind::Backend => "backend",
            Kind::HttpFrontend => "http_frontend",
            Kind::HttpsFrontend => "https_frontend",
            Kind::TcpFrontend => "tcp_frontend",
            Kind::UdpFrontend => "udp_frontend",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What Sōzu tells objects apart by. Small, since every object's is in several tables.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A certificate on one listener.
    Certificate(Arc<CertificateKey>),
    /// The cluster's id.
    Cluster(Arc<str>),
    /// Sōzu tells backends of one cluster apart by id and address together.
    Backend(Arc<BackendKey>),
    /// Sōzu's own text for an HTTP route: address, host name, path, method, header predicates; of
    /// these the names and a digest, since a header's value is a secret.
    HttpFrontend(Arc<str>),
    /// As [`Key::HttpFrontend`], on HTTPS listeners.
    HttpsFrontend(Arc<str>),
    /// A route of a TCP listener.
    TcpFrontend(Arc<TcpKey>),
    /// A UDP listener serves one frontend.
    UdpFrontend(Arc<SocketAddr>),
}

/// What Sōzu tells certificates apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificateKey {
    /// The listener.
    pub address: SocketAddr,
    /// SHA-256 of the leaf, in lower-case hexadecimal.
    pub fingerprint: Arc<str>,
}

/// What Sōzu tells backends apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendKey {
    /// The cluster's id.
    pub cluster: Arc<str>,
    /// The backend's id, not unique by itself.
    pub id: Arc<str>,
    /// Where the backend listens.
    pub address: SocketAddr,
}

/// What Sōzu tells TCP frontends apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TcpKey {
    /// The listener.
    pub address: SocketAddr,
    /// Lower-case server name, if the frontend has one.
    pub sni: Option<Arc<str>>,
    /// The ALPN protocols, sorted, without repetition.
    pub alpn: Vec<String>,
}

impl Key {
    /// Of a certificate, by its fingerprint in hexadecimal.
    pub fn certificate(address: SocketAddr, fingerprint: &str) -> Self {
        Key::Certificate(Arc::new(CertificateKey {
            address,
            fingerprint: fingerprint.to_ascii_lowercase().into(),
        }))
    }

    /// Which kind of object stands under this key.
    pub fn kind(&self) -> Kind {
        match self {
            Key::Certificate(_) => Kind::Certificate,
            Key::Cluster(_) => Kind::Cluster,
            Key::Backend(_) => Kind::Backend,
            Key::HttpFrontend(_) => Kind::HttpFrontend,
            Key::HttpsFrontend(_) => Kind::HttpsFrontend,
            Key::TcpFrontend(_) => Kind::TcpFrontend,
            Key::UdpFrontend(_) => Kind::UdpFrontend,
        }
    }
}

/// Without its kind: `0.0.0.0:80;a.example;P/`. Unique within a kind, and what the database holds.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Certificate(it) => write!(f, "{};{}", it.address, it.fingerprint),
            Key::Cluster(id) => f.write_str(id),
            Key::Backend(it) => write!(f, "{};{};{}", it.cluster, it.id, it.address),
            Key::HttpFrontend(text) | Key::HttpsFrontend(text) => f.write_str(text),
            Key::TcpFrontend(it) => {
                let sni = it.sni.as_deref().unwrap_or("");
                write!(f, "{};{sni};{}", it.address, it.alpn.join(","))
            }
            Key::UdpFrontend(address) => write!(f, "{address}"),
        }
    }
}

/// Why something has no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The certificate's leaf cannot be read.
    #[error("the certificate for {address} cannot be read: {reason}; give PEM with the leaf first")]
    Certificate {
        /// The listener it is meant for.
        address: SocketAddr,
        /// What sozu-command-lib says of it.
        reason: String,
    },
}
