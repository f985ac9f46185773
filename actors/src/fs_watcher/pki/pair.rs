//! One certificate with its key: taken whole, or not at all.

use std::{fmt, sync::Arc};

use rustls::{
    Error as TlsError, InconsistentKeys,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};
use sozu_command_lib::proto::command::CertificateAndKey;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};
use zeroize::Zeroizing;

use super::{
    names,
    pem::{self, Blocks, PemError},
};

/// The algorithm of a certificate's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum KeyType {
    Rsa,
    Ecdsa,
    Ed25519,
    Other,
}

impl KeyType {
    /// As it is named in metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            KeyType::Rsa => "rsa",
            KeyType::Ecdsa => "ecdsa",
            KeyType::Ed25519 => "ed25519",
            KeyType::Other => "other",
        }
    }
}

/// What is known of a certificate besides its texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Facts {
    /// SHA-256 of the leaf, hexadecimal.
    pub(super) fingerprint: Arc<str>,
    /// What Sōzu can serve it for. Never empty.
    pub(super) names: Vec<String>,
    /// Names in it that Sōzu cannot serve.
    pub(super) unusable: Vec<String>,
    /// Seconds since 1970.
    pub(super) not_before: i64,
    /// Seconds since 1970.
    pub(super) not_after: i64,
    pub(super) self_signed: bool,
    pub(super) key_type: KeyType,
}

/// A pair that may be loaded.
#[derive(Clone, PartialEq)]
pub(super) struct Pair {
    pub(super) facts: Facts,
    /// As Sōzu takes it.
    pub(super) material: CertificateAndKey,
}

/// Without the private key.
impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.fmt(f)
    }
}

/// Why two files are no pair. Names neither contents nor, where it is the one that was asked for,
/// the file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PairError {
    #[error("{0}")]
    Pem(#[from] PemError),
    #[error("its key file {file}: {error}")]
    Key { file: String, error: PemError },
    #[error("there is no certificate in it; write the leaf and its chain into it, as PEM")]
    NoCertificate,
    #[error("there is no private key in {0}; write it there, as PEM")]
    NoKey(String),
    #[error("there are {count} private keys in {file}; leave only its own")]
    TwoKeys { file: String, count: usize },
    #[error("certificate {0} in it cannot be read as X.509; write it again")]
    NotX509(usize),
    #[error(
        "the leaf is not the first certificate in it, certificate {0} is; put the leaf first, then the chain in order"
    )]
    LeafNotFirst(usize),
    #[error(
        "the private key is not this certificate's: one of the two files is from before a renewal, or another's; it is tried again, write both"
    )]
    Mismatch,
    #[error(
        "its private key is of a kind that cannot be used; take RSA, ECDSA (P-256, P-384) or Ed25519"
    )]
    UnusableKey,
    #[error(
        "none of its names can be served by Sōzu, which finds a certificate by the host name alone{0}"
    )]
    NoName(String),
    #[error("its name {0} is not within allow_names; add it there, or take another certificate")]
    NotAllowed(String),
}

/// The bytes of a pair's files.
pub(super) struct Files<'a> {
    pub(super) certificate: &'a [u8],
    /// The key's own file with its name; nothing: the key is in the certificate's file.
    pub(super) key: Option<(&'a [u8], String)>,
}

/// Reads a pair. `versions`: TLS versions to pass on; `allow`: names it may serve, empty for any.
pub(super) fn read(
    files: &Files<'_>,
    versions: Vec<i32>,
    allow: &[String],
) -> Result<Pair, PairError> {
    let mut chain = pem::blocks(files.certificate)?;
    let (text, key) = private_key(files, &mut chain)?;
    let certificates = chain.certificates;
    if certificates.is_empty() {
        return Err(PairError::NoCertificate);
    }
    for (index, (_, der)) in certificates.iter().enumerate() {
        parse(der).ok_or(PairError::NotX509(index + 1))?;
    }
    let ders: Vec<_> = certificates.iter().map(|(_, der)| der.clone()).collect();
    matching(&ders, &key)?;
    let facts = facts(&certificates[0].1, allow)?;
    let mut texts = certificates.into_iter().map(|(text, _)| text);
    let material = CertificateAndKey {
        certificate: texts.next().unwrap_or_default(),
        certificate_chain: texts.collect(),
        key: text.to_string(),
        versions,
        names: facts.names.clone(),
    };
    Ok(Pair { facts, material })
}

type Key = (Zeroizing<String>, Zeroizing<PrivateKeyDer<'static>>);

fn private_key(files: &Files<'_>, chain: &mut Blocks) -> Result<Key, PairError> {
    let (found, keys, file) = match &files.key {
        None => (chain.key.take(), chain.keys, "it".to_owned()),
        Some((bytes, file)) => {
            let blocks = pem::blocks(bytes).map_err(|error| PairError::Key {
                file: file.clone(),
                error,
            })?;
            (blocks.key, blocks.keys, file.clone())
        }
    };
    if keys > 1 {
        return Err(PairError::TwoKeys { file, count: keys });
    }
    found.ok_or(PairError::NoKey(file))
}

/// Nothing may be left over behind it.
fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then_some(certificate)
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    PROVIDER
        .get_or_init(|| Arc::new(ring::default_provider()))
        .clone()
}

/// Whether the key is the first certificate's. What cannot be told counts as no.
fn matching(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), PairError> {
    // It zeroes the copy.
    let key = provider()
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(|_| PairError::UnusableKey)?;
    let is_of = |certificate: &CertificateDer<'static>| {
        CertifiedKey::new(vec![certificate.clone()], key.clone()).keys_match()
    };
    match is_of(&chain[0]) {
        Ok(()) => Ok(()),
        Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let later = chain.iter().skip(1).position(|it| is_of(it).is_ok());
            Err(later.map_or(PairError::Mismatch, |at| PairError::LeafNotFirst(at + 2)))
        }
        Err(_) => Err(PairError::UnusableKey),
    }
}

/// What is known of a leaf.
pub(super) fn facts(leaf: &CertificateDer<'_>, allow: &[String]) -> Result<Facts, PairError> {
    let certificate = parse(leaf).ok_or(PairError::NotX509(1))?;
    let names = names::of(&certificate);
    if names.usable.is_empty() {
        let unusable = match names.unusable.join(", ") {
            text if text.is_empty() => "; give it a DNS name".to_owned(),
            text => format!(" ({text}); give it a DNS name"),
        };
        return Err(PairError::NoName(unusable));
    }
    let refused = names.usable.iter().find(|name| {
        !allow.is_empty() && !allow.iter().any(|pattern| names::covers(pattern, name))
    });
    if let Some(name) = refused {
        return Err(PairError::NotAllowed(name.clone()));
    }
    let algorithm = certificate.public_key().algorithm.algorithm.to_id_string();
    Ok(Facts {
        fingerprint: fingerprint(leaf).into(),
        names: names.usable,
        unusable: names.unusable,
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        self_signed: certificate.subject().as_raw() == certificate.issuer().as_raw(),
        key_type: match algorithm.as_str() {
            "1.2.840.113549.1.1.1" => KeyType::Rsa,
            "1.2.840.10045.2.1" => KeyType::Ecdsa,
            "1.3.101.112" => KeyType::Ed25519,
            _ => KeyType::Other,
        },
    })
}

/// SHA-256 of a certificate, hexadecimal.
pub(super) fn fingerprint(leaf: &CertificateDer<'_>) -> String {
    hex(&Sha256::digest(leaf))
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // writing to a String cannot fail
            let _ = write!(text, "{byte:02x}");
            text
        })
}
