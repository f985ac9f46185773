//! A certificate authority of our own, and what it issues; never for anything but tests.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber,
};
use rustls::pki_types::CertificateDer;

use crate::{Error, Result};

/// A self-made authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

/// A certificate with its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The leaf.
    pub leaf: String,
    /// What the leaf is signed by.
    pub chain: String,
    /// The leaf's key.
    pub key: String,
    /// The leaf, by which a handshake tells it.
    pub der: Vec<u8>,
}

impl Issued {
    /// Leaf and chain, as most tools write it.
    pub fn fullchain(&self) -> String {
        format!("{}{}", self.leaf, self.chain)
    }

    /// Everything in one, as HAProxy takes it.
    pub fn combined(&self) -> String {
        format!("{}{}", self.fullchain(), self.key)
    }

    /// Writes `fullchain` and key under these names; each whole, by rename.
    pub fn write(&self, directory: &Path, certificate: &str, key: &str) -> Result<()> {
        std::fs::create_dir_all(directory).map_err(Error::while_doing("making a folder"))?;
        write(&directory.join(key), &self.key)?;
        write(&directory.join(certificate), &self.fullchain())
    }
}

/// Writes a file whole: under another name, then renamed.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let mut hidden = std::ffi::OsString::from(".new-");
    hidden.push(path.file_name().unwrap_or_default());
    let new = path.with_file_name(hidden);
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(Error::while_doing(format!("writing {}", path.display())))
}

/// From when until when a certificate is valid, in days from now.
#[derive(Clone, Copy, Debug)]
pub struct Days(pub i64, pub i64);

impl Default for Days {
    fn default() -> Self {
        Self(-1, 90)
    }
}

static SERIAL: AtomicU64 = AtomicU64::new(1);

impl Authority {
    /// Makes one.
    pub fn new() -> Result<Self> {
        let failed = |error: rcgen::Error| Error::new(format!("making a CA: {error}"));
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "sozu-manager test CA");
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        })
    }

    /// The authority's own certificate, as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The same, for a client that trusts it.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// A certificate for these names: DNS names, taken as they are, or IP addresses.
    pub fn issue(&self, names: &[&str]) -> Result<Issued> {
        self.issue_for(names, Days::default())
    }

    /// As [`Authority::issue`], valid for these days.
    pub fn issue_for(&self, names: &[&str], days: Days) -> Result<Issued> {
        let failed = |error: rcgen::Error| Error::new(format!("issuing a certificate: {error}"));
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params(names, days)?
            .signed_by(&key, &self.issuer)
            .map_err(failed)?;
        Ok(Issued {
            leaf: certificate.pem(),
            chain: self.pem.clone(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
        })
    }
}

/// A certificate that nobody but itself has signed.
pub fn self_signed(names: &[&str], days: Days) -> Result<Issued> {
    let failed = |error: rcgen::Error| Error::new(format!("signing a certificate: {error}"));
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params(names, days)?.self_signed(&key).map_err(failed)?;
    Ok(Issued {
        leaf: certificate.pem(),
        chain: String::new(),
        key: key.serialize_pem(),
        der: certificate.der().to_vec(),
    })
}

fn params(names: &[&str], days: Days) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    let names = names.iter().map(|name| match name.parse() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => (*name)
            .try_into()
            .map(SanType::DnsName)
            .map_err(|error| Error::new(format!("the name {name:?}: {error}"))),
    });
    params.subject_alt_names = names.collect::<Result<_>>()?;
    let number = SERIAL.fetch_add(1, Ordering::Relaxed);
    params.serial_number = Some(SerialNumber::from(number));
    let common_name = format!("test {number}");
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = day(days.0).into();
    params.not_after = day(days.1).into();
    Ok(params)
}

fn day(days: i64) -> SystemTime {
    let span = Duration::from_secs(86_400 * days.unsigned_abs());
    let now = SystemTime::now();
    if days < 0 { now - span } else { now + span }
}
