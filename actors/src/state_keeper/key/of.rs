//! How a key is worked out, as Sōzu does it.

use std::{fmt::Write as _, sync::Arc};

use sha2::{Digest, Sha256};
use sozu_command_lib::proto::command::{
    AddBackend, AddCertificate, RequestHttpFrontend, RequestTcpFrontend, RequestUdpFrontend,
    request::RequestType,
};

use super::{BackendKey, CertificateKey, Key, KeyError, Object, TcpKey};

pub(super) fn fingerprint(add: &AddCertificate) -> Result<Arc<str>, KeyError> {
    match add.certificate.fingerprint() {
        Ok(fingerprint) => Ok(fingerprint.to_string().into()),
        Err(error) => Err(KeyError::Certificate {
            address: add.address.into(),
            reason: error.to_string(),
        }),
    }
}

/// The key that a request touches, for the verbs that add or remove one object; of a certificate in the
/// place of another one its own.
///
/// # Errors
/// As [`Object::key`].
pub fn key_of(request: &RequestType) -> Option<Result<Key, KeyError>> {
    Some(Ok(match request {
        RequestType::AddCertificate(add) => return Some(certificate_key(add)),
        RequestType::ReplaceCertificate(_) => return Some(Object::brought_by(request)?.key()),
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
            | RequestType::ReplaceCertificate(_)
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

pub(super) fn certificate_key(add: &AddCertificate) -> Result<Key, KeyError> {
    Ok(Key::Certificate(Arc::new(CertificateKey {
        address: add.address.into(),
        fingerprint: fingerprint(add)?,
    })))
}

pub(super) fn backend_key(backend: &AddBackend) -> Key {
    Key::Backend(Arc::new(BackendKey {
        cluster: backend.cluster_id.as_str().into(),
        id: backend.backend_id.as_str().into(),
        address: backend.address.into(),
    }))
}

pub(super) fn udp_key(front: &RequestUdpFrontend) -> Key {
    Key::UdpFrontend(Arc::new(front.address.into()))
}

/// Of an HTTP or HTTPS frontend. Sōzu's text ends with the predicates, values included.
pub(super) fn route(front: &RequestHttpFrontend) -> Arc<str> {
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

pub(super) fn tcp_key(front: &RequestTcpFrontend) -> Key {
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
}
