//! A TLS client that asks for a name and tells which certificate it got.
//!
//! The daemon has one, too. This is another one on purpose: it is the witness by which the daemon's word is judged, and
//! must not make the same mistake.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, Stream,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::{Error, Result, pki::Authority};

/// What a handshake shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The leaf.
    pub leaf: Vec<u8>,
    /// How many certificates came with it.
    pub chain: usize,
}

/// Shakes hands for `name`, and trusts whatever comes: the leaf says what it is.
pub fn shake(address: SocketAddr, name: &str) -> Result<Shown> {
    let (mut tcp, mut tls) = begin(address, name, trusting()?)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)
            .map_err(Error::while_doing(format!("the handshake for {name}")))?;
    }
    let certificates = tls
        .peer_certificates()
        .ok_or_else(|| Error::new(format!("no certificate was shown for {name}")))?;
    let leaf = certificates.first().map(|leaf| leaf.to_vec());
    Ok(Shown {
        leaf: leaf.unwrap_or_default(),
        chain: certificates.len().saturating_sub(1),
    })
}

/// `GET https://NAME/`, with the certificate verified against the authority. The status, and the
/// leaf.
pub fn get_verified(
    address: SocketAddr,
    name: &str,
    authority: &Authority,
) -> Result<(u16, Vec<u8>)> {
    let mut roots = RootCertStore::empty();
    roots
        .add(authority.der().clone())
        .map_err(Error::while_doing("trusting the test CA"))?;
    let config = builder()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (mut tcp, mut tls) = begin(address, name, Arc::new(config))?;
    let mut stream = Stream::new(&mut tls, &mut tcp);
    let doing = || format!("https://{name}/");
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
    )
    .map_err(Error::while_doing(doing()))?;
    let mut answer = Vec::new();
    // A peer that closes without a goodbye is an ordinary thing.
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status =
        status.ok_or_else(|| Error::new(format!("{}: no HTTP answer: {text:?}", doing())))?;
    let leaf = tls.peer_certificates().and_then(|all| all.first());
    Ok((status, leaf.map(|leaf| leaf.to_vec()).unwrap_or_default()))
}

fn begin(
    address: SocketAddr,
    name: &str,
    config: Arc<ClientConfig>,
) -> Result<(TcpStream, ClientConnection)> {
    let timeout = Duration::from_secs(10);
    let tcp = TcpStream::connect_timeout(&address, timeout)
        .map_err(Error::while_doing(format!("connecting to {address}")))?;
    tcp.set_read_timeout(Some(timeout))
        .and_then(|()| tcp.set_write_timeout(Some(timeout)))
        .and_then(|()| tcp.set_nodelay(true))
        .map_err(Error::while_doing("setting timeouts"))?;
    let name = ServerName::try_from(name.to_owned())
        .map_err(|error| Error::new(format!("the name {name:?}: {error}")))?;
    let tls =
        ClientConnection::new(config, name).map_err(Error::while_doing("beginning a handshake"))?;
    Ok((tcp, tls))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::while_doing("setting TLS up"))
}

fn trusting() -> Result<Arc<ClientConfig>> {
    let config = builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Takes whatever comes.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Handshakes for some names, one after the other, round and round until it is stopped.
pub struct Shaking {
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What came of those for one name.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By leaf, how often.
    pub leaves: BTreeMap<Vec<u8>, u64>,
    /// Why others failed.
    pub errors: Vec<String>,
}

impl Seen {
    /// How many there were.
    pub fn total(&self) -> u64 {
        self.leaves.values().sum::<u64>() + self.errors.len() as u64
    }
}

impl Shaking {
    /// Begins.
    pub fn start(address: SocketAddr, names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let none = names.iter().map(|name| (name.clone(), Seen::default()));
        let seen: Arc<Mutex<BTreeMap<String, Seen>>> = Arc::new(Mutex::new(none.collect()));
        let stop: Arc<AtomicBool> = Arc::default();
        let (shared, ended) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            for name in names.iter().cycle() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let shown = shake(address, name);
                let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let seen_of_it = seen.entry(name.clone()).or_default();
                match shown {
                    Ok(shown) => *seen_of_it.leaves.entry(shown.leaf).or_default() += 1,
                    Err(error) => seen_of_it.errors.push(error.to_string()),
                }
                drop(seen);
                // The machine is shared with what is tested.
                thread::sleep(Duration::from_millis(2));
            }
        });
        Self {
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// So far, by name.
    pub fn seen(&self) -> BTreeMap<String, Seen> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends, and what came of all, by name.
    pub fn stop(mut self) -> BTreeMap<String, Seen> {
        self.end();
        self.seen()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Shaking {
    fn drop(&mut self) {
        self.end();
    }
}
