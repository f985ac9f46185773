//! What may be shown and sent on of a message: all of it but its secrets, which are private keys, a cluster's `authorized_hashes`
//! and the values of a frontend's headers.
//!
//! What cannot be decoded cannot be searched for them. It is given out only if there is no text in it; else just its
//! length is told, and the bytes stay in the database.

use prost::Message;
use sozu_command_lib::proto::command::{
    CertificateAndKey, Cluster, Request, RequestHttpFrontend, request::RequestType,
};

/// So many printable characters in a row are text.
const TEXT: usize = 4;

/// Every PEM of a private key has it.
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY";

/// What is given out of a message.
#[derive(Clone, PartialEq)]
pub struct Payload {
    /// Its bytes, or those of the same request without its secrets; nothing: they are withheld.
    pub bytes: Option<Vec<u8>>,
    /// Which of these.
    pub is: Given,
    /// The request without its secrets, if it can be decoded.
    pub request: Option<Request>,
}

/// How much of a message is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Its very bytes.
    Original,
    /// What it asks for, without the secrets in it.
    WithoutSecrets,
    /// Nothing: it cannot be decoded, and may hold secrets.
    Undecodable,
    /// Nothing: what its verb carries may be secret, or a private key lies where none belongs.
    Forbidden,
}

impl Given {
    /// The name in answers and in the properties of what is sent on.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::WithoutSecrets => "without_secrets",
            Self::Undecodable | Self::Forbidden => "withheld",
        }
    }

    /// Why it is not all of it.
    pub const fn why(self) -> Option<&'static str> {
        match self {
            Self::Original => None,
            Self::WithoutSecrets => Some(
                "private keys, authorized hashes and the values of headers are left out, and what this version does not know",
            ),
            Self::Undecodable => Some(
                "it cannot be decoded, so a secret in it would not be found; its bytes are in state.db only, `original` of the view dead_letters",
            ),
            Self::Forbidden => Some(
                "it holds a private key where none belongs, or its verb may carry secrets; its bytes are in state.db only, `request` of the view dead_letters",
            ),
        }
    }
}

/// What is given out of a message with these bytes.
pub fn payload(bytes: &[u8]) -> Payload {
    let decoded = Request::decode(bytes).ok();
    let Some(mut request) = decoded.filter(|request| request.request_type.is_some()) else {
        let is_harmless = !holds_text(bytes);
        return Payload {
            bytes: is_harmless.then(|| bytes.to_owned()),
            is: if is_harmless {
                Given::Original
            } else {
                Given::Undecodable
            },
            request: None,
        };
    };
    if let Some(asked) = &mut request.request_type
        && !clear(asked)
    {
        return Payload {
            bytes: None,
            is: Given::Forbidden,
            request: None,
        };
    }
    let cleared = request.encode_to_vec();
    // Whatever field it was put into.
    if cleared
        .windows(PRIVATE_KEY.len())
        .any(|it| it == PRIVATE_KEY)
    {
        return Payload {
            bytes: None,
            is: Given::Forbidden,
            request: None,
        };
    }
    Payload {
        is: if cleared == bytes {
            Given::Original
        } else {
            Given::WithoutSecrets
        },
        bytes: Some(cleared),
        request: Some(request),
    }
}

/// Takes the secrets out. False: what else it carries is not known to be harmless.
fn clear(asked: &mut RequestType) -> bool {
    match asked {
        RequestType::AddCertificate(add) => clear_certificate(&mut add.certificate),
        RequestType::ReplaceCertificate(replace) => {
            clear_certificate(&mut replace.new_certificate);
        }
        RequestType::AddCluster(cluster) => clear_cluster(cluster),
        RequestType::AddHttpFrontend(front)
        | RequestType::AddHttpsFrontend(front)
        | RequestType::RemoveHttpFrontend(front)
        | RequestType::RemoveHttpsFrontend(front)
        | RequestType::AddHttpFrontendWithHeaderPredicates(front)
        | RequestType::AddHttpsFrontendWithHeaderPredicates(front)
        | RequestType::RemoveHttpFrontendWithHeaderPredicates(front)
        | RequestType::RemoveHttpsFrontendWithHeaderPredicates(front)
        | RequestType::AddHttpFrontendWithSilentClose(front)
        | RequestType::AddHttpsFrontendWithSilentClose(front) => clear_frontend(front),
        RequestType::RemoveCluster(_)
        | RequestType::RemoveCertificate(_)
        | RequestType::AddBackend(_)
        | RequestType::AddUnixBackend(_)
        | RequestType::RemoveBackend(_)
        | RequestType::AddTcpFrontend(_)
        | RequestType::RemoveTcpFrontend(_)
        | RequestType::AddUdpFrontend(_)
        | RequestType::RemoveUdpFrontend(_)
        | RequestType::SetHealthCheck(_)
        | RequestType::RemoveHealthCheck(_)
        // What is never taken, and names paths and addresses only.
        | RequestType::SaveState(_)
        | RequestType::LoadState(_)
        | RequestType::ReloadConfiguration(_)
        | RequestType::HardStop(_)
        | RequestType::SoftStop(_)
        | RequestType::UpgradeMain(_)
        | RequestType::UpgradeWorker(_)
        | RequestType::Status(_)
        | RequestType::RemoveListener(_)
        | RequestType::ActivateListener(_)
        | RequestType::DeactivateListener(_)
        | RequestType::ReturnListenSockets(_)
        | RequestType::CloseSessions(_) => {}
        _ => return false,
    }
    true
}

fn clear_certificate(certificate: &mut CertificateAndKey) {
    certificate.key.clear();
}

fn clear_cluster(cluster: &mut Cluster) {
    cluster.authorized_hashes.clear();
}

fn clear_frontend(front: &mut RequestHttpFrontend) {
    for header in &mut front.headers {
        header.val.clear();
    }
    for predicate in &mut front.header_predicates {
        predicate.value = None;
    }
}

fn holds_text(bytes: &[u8]) -> bool {
    let printable = |byte: &u8| (b' '..=b'~').contains(byte);
    bytes
        .split(|byte| !printable(byte))
        .any(|run| run.len() >= TEXT)
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::proto::command::{AddCertificate, HardStop, Header, HttpsListenerConfig};

    use super::*;
    use crate::state_keeper::{
        examples::{cluster, http},
        key::Object,
    };

    fn has(bytes: &[u8], word: &str) -> bool {
        bytes
            .windows(word.len())
            .any(|part| part == word.as_bytes())
    }

    fn certificate(names: &str) -> Request {
        let certificate = CertificateAndKey {
            certificate: names.to_owned(),
            key: "-----BEGIN PRIVATE KEY-----\nhunter2\n".to_owned(),
            ..CertificateAndKey::default()
        };
        let add = AddCertificate {
            certificate,
            ..AddCertificate::default()
        };
        RequestType::AddCertificate(add).into()
    }

    #[test]
    fn what_holds_no_secret_is_given_as_it_came() {
        for request in [
            cluster("a").add(),
            http("a", "a.example").add(),
            RequestType::LoadState("/etc/passwd".to_owned()).into(),
            RequestType::HardStop(HardStop {}).into(),
        ] {
            let bytes = request.encode_to_vec();
            let given = payload(&bytes);
            assert_eq!((given.is, given.bytes), (Given::Original, Some(bytes)));
            assert_eq!(given.request, Some(request));
        }
        let garbage = [0xff, 0x00, 0xfa, b'a', b'b', 0x3f];
        assert_eq!(payload(&garbage).bytes.as_deref(), Some(&garbage[..]));
    }

    #[test]
    fn secrets_are_in_nothing_that_is_given() {
        let mut hashes = cluster("a");
        if let Object::Cluster(cluster) = &mut hashes {
            cluster.authorized_hashes = vec!["hunter2".to_owned()];
        }
        let mut front = http("a", "a.example");
        if let Object::HttpFrontend(front) = &mut front {
            front.headers = vec![Header {
                key: "X-Token".to_owned(),
                val: "hunter2".to_owned(),
                ..Header::default()
            }];
        }
        for request in [certificate("leaf"), hashes.add(), front.add()] {
            let given = payload(&request.encode_to_vec());
            assert_eq!(given.is, Given::WithoutSecrets);
            assert!(!has(&given.bytes.unwrap(), "hunter2"));
            assert!(
                !serde_json::to_string(&given.request)
                    .unwrap()
                    .contains("hunter2")
            );
        }
        let whole = certificate("leaf").encode_to_vec();
        let listener = HttpsListenerConfig {
            key: Some("hunter2".to_owned()),
            ..HttpsListenerConfig::default()
        };
        let listener = Request::from(RequestType::AddHttpsListener(listener)).encode_to_vec();
        for bytes in [&whole[..whole.len() - 1], &whole[3..], &listener[..]] {
            let given = payload(bytes);
            assert_eq!((given.is.name(), given.bytes), ("withheld", None));
            assert!(given.request.is_none() && given.is.why().is_some());
        }
    }

    #[test]
    fn a_field_that_this_version_does_not_know_is_left_out() {
        let mut bytes = cluster("a").add().encode_to_vec();
        // field 900 of the request, a text
        bytes.extend([0xa2, 0x38, 0x07]);
        bytes.extend(b"hunter2");
        let given = payload(&bytes);
        assert_eq!(given.is, Given::WithoutSecrets);
        assert!(!has(&given.bytes.unwrap(), "hunter2"));
    }
}
