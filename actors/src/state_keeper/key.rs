//! Keys and objects: what Sōzu tells apart, and what a change touches.
//!
//! A key is Sōzu's own. What a source declares under it, and what Sōzu holds under it, is an
//! [`Object`]. Listeners are not ours and have no key here.

use std::{
    fmt::{self, Write as _},
    net::SocketAddr,
    sync::Arc,
};

use sha2::{Digest, Sha256};
use sozu_command_lib::proto::command::{
    AddBackend, AddCertificate, Cluster, RemoveBackend, RemoveCertificate, ReplaceCertificate,
    Request, RequestHttpFrontend, RequestTcpFrontend, RequestUdpFrontend, request::RequestType,
};

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

/// What stands under a key. Boxed, since a cluster takes three times what a backend does, and there are many of both.
#[derive(Clone, PartialEq)]
pub enum Object {
    /// A TLS certificate. Its private key may be empty: then it has to come from its file again.
    Certificate(Box<AddCertificate>),
    /// A cluster, with its health check.
    Cluster(Box<Cluster>),
    /// A backend.
    Backend(Box<AddBackend>),
    /// A route of an HTTP listener.
    HttpFrontend(Box<RequestHttpFrontend>),
    /// A route of an HTTPS listener.
    HttpsFrontend(Box<RequestHttpFrontend>),
    /// A route of a TCP listener.
    TcpFrontend(Box<RequestTcpFrontend>),
    /// The route of a UDP listener.
    UdpFrontend(Box<RequestUdpFrontend>),
}

/// Objects hold secrets (keys, header values, hashes): only the kind and the key are shown.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key() {
            Ok(key) => write!(f, "{} {key}", key.kind()),
            Err(error) => write!(f, "object without a key: {error}"),
        }
    }
}

/// An object in the form in which Sōzu stores it, with its key: worked out once, then shared.
#[derive(Clone, PartialEq)]
pub struct Keyed {
    /// The key.
    pub key: Key,
    /// The object.
    pub object: Arc<Object>,
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.object.fmt(f)
    }
}

impl Keyed {
    /// Brings the object to its canonical form and works its key out.
    ///
    /// # Errors
    /// As [`Object::key`].
    pub fn new(object: Object) -> Result<Self, KeyError> {
        let object = object.canonical();
        Ok(Self {
            key: object.key()?,
            object: Arc::new(object),
        })
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

impl Object {
    /// The object that a request of Sōzu adds, or nothing if it is not one that adds an object.
    pub fn added_by(request: &RequestType) -> Option<Object> {
        Some(match request {
            RequestType::AddCertificate(add) => Object::Certificate(Box::new(add.clone())),
            RequestType::AddCluster(cluster) => Object::Cluster(Box::new(cluster.clone())),
            RequestType::AddBackend(backend) | RequestType::AddUnixBackend(backend) => {
                Object::Backend(Box::new(backend.clone()))
            }
            RequestType::AddHttpFrontend(front)
            | RequestType::AddHttpFrontendWithHeaderPredicates(front)
            | RequestType::AddHttpFrontendWithSilentClose(front) => {
                Object::HttpFrontend(Box::new(front.clone()))
            }
            RequestType::AddHttpsFrontend(front)
            | RequestType::AddHttpsFrontendWithHeaderPredicates(front)
            | RequestType::AddHttpsFrontendWithSilentClose(front) => {
                Object::HttpsFrontend(Box::new(front.clone()))
            }
            RequestType::AddTcpFrontend(front) => Object::TcpFrontend(Box::new(front.clone())),
            RequestType::AddUdpFrontend(front) => Object::UdpFrontend(Box::new(front.clone())),
            _ => return None,
        })
    }

    /// Which key the object stands under.
    ///
    /// # Errors
    /// A certificate whose leaf cannot be read has no fingerprint, hence no key.
    pub fn key(&self) -> Result<Key, KeyError> {
        Ok(match self {
            Object::Certificate(add) => certificate_key(add)?,
            Object::Cluster(cluster) => Key::Cluster(cluster.cluster_id.as_str().into()),
            Object::Backend(backend) => backend_key(backend),
            Object::HttpFrontend(front) => Key::HttpFrontend(route(front)),
            Object::HttpsFrontend(front) => Key::HttpsFrontend(route(front)),
            Object::TcpFrontend(front) => tcp_key(front),
            Object::UdpFrontend(front) => udp_key(front),
        })
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Object::Certificate(_) => Kind::Certificate,
            Object::Cluster(_) => Kind::Cluster,
            Object::Backend(_) => Kind::Backend,
            Object::HttpFrontend(_) => Kind::HttpFrontend,
            Object::HttpsFrontend(_) => Kind::HttpsFrontend,
            Object::TcpFrontend(_) => Kind::TcpFrontend,
            Object::UdpFrontend(_) => Kind::UdpFrontend,
        }
    }

    /// The request that adds the object, in the verb that carries all of it.
    pub fn add(&self) -> Request {
        match self {
            Object::Certificate(add) => RequestType::AddCertificate(add.as_ref().clone()),
            Object::Cluster(cluster) => RequestType::AddCluster(cluster.as_ref().clone()),
            Object::Backend(backend) => RequestType::add_backend(backend.as_ref().clone()),
            Object::HttpFrontend(front) => RequestType::add_http_frontend(front.as_ref().clone()),
            Object::HttpsFrontend(front) => RequestType::add_https_frontend(front.as_ref().clone()),
            Object::TcpFrontend(front) => RequestType::AddTcpFrontend(front.as_ref().clone()),
            Object::UdpFrontend(front) => RequestType::AddUdpFrontend(front.as_ref().clone()),
        }
        .into()
    }

    /// The request that removes the object. Built from what Sōzu holds, since it must name
    /// Sōzu's cluster.
    ///
    /// # Errors
    /// As [`Object::key`].
    pub fn remove(&self) -> Result<Request, KeyError> {
        Ok(match self {
            Object::Certificate(add) => RequestType::RemoveCertificate(RemoveCertificate {
                address: add.address,
                fingerprint: fingerprint(add)?.to_string(),
            }),
            Object::Cluster(cluster) => RequestType::RemoveCluster(cluster.cluster_id.clone()),
            Object::Backend(backend) => RequestType::RemoveBackend(RemoveBackend {
                cluster_id: backend.cluster_id.clone(),
                backend_id: backend.backend_id.clone(),
                address: backend.address,
            }),
            Object::HttpFrontend(front) => {
                RequestType::remove_http_frontend(front.as_ref().clone())
            }
            Object::HttpsFrontend(front) => {
                RequestType::remove_https_frontend(front.as_ref().clone())
            }
            Object::TcpFrontend(front) => RequestType::RemoveTcpFrontend(front.as_ref().clone()),
            Object::UdpFrontend(front) => RequestType::RemoveUdpFrontend(front.as_ref().clone()),
        }
        .into())
    }

    /// The request that makes Sōzu hold `self` where it holds another object under the same key,
    /// if one request can. A frontend cannot be replaced: it is removed and added.
    pub fn replace(&self) -> Option<Request> {
        match self {
            Object::Certificate(add) => {
                let Ok(old_fingerprint) = fingerprint(add) else {
                    return None;
                };
                Some(
                    RequestType::ReplaceCertificate(ReplaceCertificate {
                        address: add.address,
                        new_certificate: add.certificate.clone(),
                        old_fingerprint: old_fingerprint.to_string(),
                        new_expired_at: add.expired_at,
                    })
                    .into(),
                )
            }
            Object::Cluster(_) | Object::Backend(_) => Some(self.add()),
            _ => None,
        }
    }

    /// The form in which Sōzu stores the object, so that what is declared compares equal to what
    /// is read back (`ConfigState::dispatch` of sozu-command-lib 2.3.3: sorted ALPN, lower-case
    /// server names, a certificate's names taken from its leaf where none are given).
    #[must_use]
    pub fn canonical(mut self) -> Self {
        match &mut self {
            Object::TcpFrontend(front) => {
                front.alpn.sort();
                front.alpn.dedup();
                front.sni = front.sni.take().map(|sni| sni.to_ascii_lowercase());
            }
            Object::Certificate(add) => {
                // A leaf that cannot be read has no key either and is refused for that.
                let _ = add.certificate.apply_overriding_names();
            }
            _ => {}
        }
        self
    }

    /// Whether Sōzu would serve the same. A certificate's private key is left out: it follows from
    /// the leaf, and what comes from the database lacks it.
    pub fn same(&self, other: &Object) -> bool {
        if std::ptr::eq(self, other) {
            return true;
        }
        match (self, other) {
            (Object::Certificate(a), Object::Certificate(b)) => {
                a.address == b.address
                    && a.expired_at == b.expired_at
                    && a.certificate.certificate == b.certificate.certificate
                    && a.certificate.certificate_chain == b.certificate.certificate_chain
                    && a.certificate.versions == b.certificate.versions
                    && a.certificate.names == b.certificate.names
            }
            _ => self == other,
        }
    }

    /// Whether the object lacks what Sōzu needs to serve it: the private key of a certificate,
    /// which is never stored where a file has it.
    pub fn is_keyless(&self) -> bool {
        matches!(self, Object::Certificate(add) if add.certificate.key.is_empty())
    }

    /// The object as the database may hold it: without a private key that a file has.
    #[must_use]
    pub fn without_private_key(&self) -> Self {
        let mut object = self.clone();
        if let Object::Certificate(add) = &mut object {
            add.certificate.key.clear();
        }
        object
    }

    /// The cluster that the object is, or belongs to. A frontend without one denies.
    pub fn cluster(&self) -> Option<&str> {
        match self {
            Object::Certificate(_) => None,
            Object::Cluster(cluster) => Some(&cluster.cluster_id),
            Object::Backend(backend) => Some(&backend.cluster_id),
            Object::HttpFrontend(front) | Object::HttpsFrontend(front) => {
                front.cluster_id.as_deref()
            }
            Object::TcpFrontend(front) => Some(&front.cluster_id),
            Object::UdpFrontend(front) => Some(&front.cluster_id),
        }
    }

    /// The address of the listener that the object needs, for frontends and certificates.
    pub fn listener(&self) -> Option<SocketAddr> {
        match self {
            Object::Certificate(add) => Some(add.address.into()),
            Object::Cluster(_) | Object::Backend(_) => None,
            Object::HttpFrontend(front) | Object::HttpsFrontend(front) => {
                Some(front.address.into())
            }
            Object::TcpFrontend(front) => Some(front.address.into()),
            Object::UdpFrontend(front) => Some(front.address.into()),
        }
    }
}

fn fingerprint(add: &AddCertificate) -> Result<Arc<str>, KeyError> {
    match add.certificate.fingerprint() {
        Ok(fingerprint) => Ok(fingerprint.to_string().into()),
        Err(error) => Err(KeyError::Certificate {
            address: add.address.into(),
            reason: error.to_string(),
        }),
    }
}

/// The key that a request touches, for the verbs that add or remove one object.
///
/// # Errors
/// As [`Object::key`].
pub fn key_of(request: &RequestType) -> Option<Result<Key, KeyError>> {
    Some(Ok(match request {
        RequestType::AddCertificate(add) => return Some(certificate_key(add)),
        RequestType::AddCluster(cluster) => Key::Cluster(cluster.cluster_id.as_str().into()),
        RequestType::AddBackend(backend) | RequestType::AddUnixBackend(backend) => {
            backend_key(backend)
        }
        RequestType::AddHttpFrontend(front)
        | RequestType::AddHttpFrontendWithHeaderPredicates(front)
        | RequestType::AddHttpFrontendWithSilentClose(front)
        | RequestType::RemoveHttpFrontend(front)
        | RequestType::RemoveHttpFrontendWithHeaderPredicates(front) => {
            Key::HttpFrontend(route(front))
        }
        RequestType::AddHttpsFrontend(front)
        | RequestType::AddHttpsFrontendWithHeaderPredicates(front)
        | RequestType::AddHttpsFrontendWithSilentClose(front)
        | RequestType::RemoveHttpsFrontend(front)
        | RequestType::RemoveHttpsFrontendWithHeaderPredicates(front) => {
            Key::HttpsFrontend(route(front))
        }
        RequestType::AddTcpFrontend(front) | RequestType::RemoveTcpFrontend(front) => {
            tcp_key(front)
        }
        RequestType::AddUdpFrontend(front) | RequestType::RemoveUdpFrontend(front) => {
            udp_key(front)
        }
        RequestType::RemoveCertificate(remove) => {
            Key::certificate(remove.address.into(), &remove.fingerprint)
        }
        RequestType::RemoveCluster(id) => Key::Cluster(id.as_str().into()),
        RequestType::RemoveBackend(backend) => Key::Backend(Arc::new(BackendKey {
            cluster: backend.cluster_id.as_str().into(),
            id: backend.backend_id.as_str().into(),
            address: backend.address.into(),
        })),
        _ => return None,
    }))
}

/// Whether the request adds an object.
pub fn adds(request: &RequestType) -> bool {
    matches!(
        request,
        RequestType::AddCertificate(_)
            | RequestType::AddCluster(_)
            | RequestType::AddBackend(_)
            | RequestType::AddUnixBackend(_)
            | RequestType::AddHttpFrontend(_)
            | RequestType::AddHttpFrontendWithHeaderPredicates(_)
            | RequestType::AddHttpFrontendWithSilentClose(_)
            | RequestType::AddHttpsFrontend(_)
            | RequestType::AddHttpsFrontendWithHeaderPredicates(_)
            | RequestType::AddHttpsFrontendWithSilentClose(_)
            | RequestType::AddTcpFrontend(_)
            | RequestType::AddUdpFrontend(_)
    )
}

fn certificate_key(add: &AddCertificate) -> Result<Key, KeyError> {
    Ok(Key::Certificate(Arc::new(CertificateKey {
        address: add.address.into(),
        fingerprint: fingerprint(add)?,
    })))
}

fn backend_key(backend: &AddBackend) -> Key {
    Key::Backend(Arc::new(BackendKey {
        cluster: backend.cluster_id.as_str().into(),
        id: backend.backend_id.as_str().into(),
        address: backend.address.into(),
    }))
}

fn udp_key(front: &RequestUdpFrontend) -> Key {
    Key::UdpFrontend(Arc::new(front.address.into()))
}

/// Of an HTTP or HTTPS frontend. Sōzu's text ends with the predicates, values included.
fn route(front: &RequestHttpFrontend) -> Arc<str> {
    let text = front.to_string();
    if front.header_predicates.is_empty() {
        return text.into();
    }
    let names = front.header_predicates.iter();
    let mut names: Vec<String> = names.map(|it| it.name.to_ascii_lowercase()).collect();
    names.sort();
    names.dedup();
    let without = RequestHttpFrontend {
        header_predicates: Vec::new(),
        ..front.clone()
    };
    let mut key = format!("{without};H{}#", names.join(","));
    for byte in &Sha256::digest(text.as_bytes())[..6] {
        // writing to a String cannot fail
        let _ = write!(key, "{byte:02x}");
    }
    key.into()
}

fn tcp_key(front: &RequestTcpFrontend) -> Key {
    let mut alpn = front.alpn.clone();
    alpn.sort();
    alpn.dedup();
    Key::TcpFrontend(Arc::new(TcpKey {
        address: front.address.into(),
        sni: front
            .sni
            .as_deref()
            .map(|sni| sni.to_ascii_lowercase().into()),
        alpn,
    }))
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::proto::command::HeaderPredicate;

    use super::*;
    use crate::state_keeper::examples::{backend, cluster, http, tcp};

    #[test]
    fn every_object_and_its_removal_stand_under_one_key() {
        let mut on_a_socket = backend("a", "a-1", 1);
        if let Object::Backend(backend) = &mut on_a_socket {
            backend.unix_path = Some("/run/a.sock".to_owned());
        }
        for object in [
            cluster("a"),
            on_a_socket,
            backend("a", "a-1", 1),
            http("a", "a.example"),
            tcp("a", "A.example"),
        ] {
            let key = object.key().unwrap();
            let remove = object.remove().unwrap().request_type.unwrap();
            assert_eq!(key_of(&remove).unwrap().unwrap(), key);
            let add = object.add().request_type.unwrap();
            assert_eq!(key_of(&add).unwrap().unwrap(), key);
            assert!(adds(&add) && !adds(&remove));
            assert_eq!(Object::added_by(&add), Some(object));
        }
    }

    #[test]
    fn a_frontend_key_leaves_the_cluster_out() {
        assert_eq!(
            http("a", "a.example").key().unwrap(),
            http("b", "a.example").key().unwrap()
        );
    }

    #[test]
    fn a_header_value_tells_frontends_apart_and_is_not_shown() {
        let canary = |value: &str| {
            let Object::HttpFrontend(mut front) = http("a", "a.example") else {
                panic!("an HTTP frontend")
            };
            front.header_predicates.push(HeaderPredicate {
                name: "X-Canary".to_owned(),
                kind: 0,
                value: Some(value.to_owned()),
            });
            let object = Object::HttpFrontend(front);
            let remove = object.remove().unwrap().request_type.unwrap();
            let key = object.key().unwrap();
            assert_eq!(key_of(&remove).unwrap().unwrap(), key);
            key
        };
        let plain = http("a", "a.example").key().unwrap();
        let (one, other) = (canary("s3cret"), canary("other"));
        assert!(one != other && one != plain);
        let shown = one.to_string();
        assert!(shown.starts_with(&format!("{plain};Hx-canary#")), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn two_backends_of_one_id_have_two_keys() {
        assert_ne!(
            backend("a", "a-1", 1).key().unwrap(),
            backend("a", "a-1", 2).key().unwrap()
        );
    }

    #[test]
    fn the_canonical_form_is_what_sozu_stores() {
        let Object::TcpFrontend(front) = tcp("a", "A.Example").canonical() else {
            panic!("a TCP frontend stays one")
        };
        assert_eq!(front.sni.as_deref(), Some("a.example"));
        assert_eq!(front.alpn, ["h2", "http/1.1"]);
    }
}
