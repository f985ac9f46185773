//! What stands under a key, and the requests that add it, remove it and put it in another one's place.

use std::{fmt, net::SocketAddr, sync::Arc};

use prost::Message;
use sozu_command_lib::proto::command::{
    AddBackend, AddCertificate, Cluster, RemoveBackend, RemoveCertificate, ReplaceCertificate,
    Request, RequestHttpFrontend, RequestTcpFrontend, RequestUdpFrontend, request::RequestType,
};

use super::{
    Key, KeyError, Kind,
    of::{backend_key, certificate_key, fingerprint, route, tcp_key, udp_key},
};

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

    /// The object that a change brings: one that it adds, or puts in the place of another one.
    pub fn brought_by(request: &RequestType) -> Option<Object> {
        match request {
            RequestType::ReplaceCertificate(replace) => {
                Some(Object::Certificate(Box::new(AddCertificate {
                    address: replace.address,
                    certificate: replace.new_certificate.clone(),
                    expired_at: replace.new_expired_at,
                })))
            }
            _ => Self::added_by(request),
        }
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

    /// How many bytes that request takes.
    pub fn bytes(&self) -> usize {
        self.add().encoded_len()
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
                let old = fingerprint(add).ok()?;
                Some(replacement(add, &old))
            }
            Object::Cluster(_) | Object::Backend(_) => Some(self.add()),
            _ => None,
        }
    }

    /// The request that puts this certificate in the place of the one under `old`, on the same listener.
    /// Nothing, if either is something else.
    pub fn in_place_of(&self, old: &Key) -> Option<Request> {
        match (self, old) {
            (Object::Certificate(add), Key::Certificate(old)) => {
                Some(replacement(add, &old.fingerprint))
            }
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

/// The kind of what a change brings, and the listener that it needs; without a copy of it.
pub fn listener_for(request: &RequestType) -> Option<(Kind, SocketAddr)> {
    let (kind, address) = match request {
        RequestType::AddCertificate(add) => (Kind::Certificate, add.address),
        RequestType::ReplaceCertificate(replace) => (Kind::Certificate, replace.address),
        RequestType::AddHttpFrontend(front)
        | RequestType::AddHttpFrontendWithHeaderPredicates(front)
        | RequestType::AddHttpFrontendWithSilentClose(front) => (Kind::HttpFrontend, front.address),
        RequestType::AddHttpsFrontend(front)
        | RequestType::AddHttpsFrontendWithHeaderPredicates(front)
        | RequestType::AddHttpsFrontendWithSilentClose(front) => {
            (Kind::HttpsFrontend, front.address)
        }
        RequestType::AddTcpFrontend(front) => (Kind::TcpFrontend, front.address),
        RequestType::AddUdpFrontend(front) => (Kind::UdpFrontend, front.address),
        _ => return None,
    };
    Some((kind, address.into()))
}

fn replacement(add: &AddCertificate, old_fingerprint: &str) -> Request {
    RequestType::ReplaceCertificate(ReplaceCertificate {
        address: add.address,
        new_certificate: add.certificate.clone(),
        old_fingerprint: old_fingerprint.to_owned(),
        new_expired_at: add.expired_at,
    })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_keeper::examples::tcp;

    #[test]
    fn the_canonical_form_is_what_sozu_stores() {
        let Object::TcpFrontend(front) = tcp("a", "A.Example").canonical() else {
            panic!("a TCP frontend stays one")
        };
        assert_eq!(front.sni.as_deref(), Some("a.example"));
        assert_eq!(front.alpn, ["h2", "http/1.1"]);
    }
}
