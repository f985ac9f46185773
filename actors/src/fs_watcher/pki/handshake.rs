//! One TLS handshake with a listener: which certificate does it show for a name?

use std::{
    io,
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// Within this a listener on this host answers.
const WITHIN: Duration = Duration::from_secs(5);

/// The leaf that is shown; nothing, if the listener ends the handshake. Blocks.
///
/// # Errors
/// If the listener is not reached, which tells nothing of certificates.
pub(super) fn leaf(
    listener: SocketAddr,
    expects_proxy: bool,
    name: &str,
) -> io::Result<Option<CertificateDer<'static>>> {
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut tcp = TcpStream::connect_timeout(&reachable(listener), WITHIN)?;
    tcp.set_read_timeout(Some(WITHIN))?;
    tcp.set_write_timeout(Some(WITHIN))?;
    if expects_proxy {
        tcp.write_all(&proxy_header(tcp.local_addr()?, tcp.peer_addr()?))?;
    }
    let mut tls = ClientConnection::new(config()?, name).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        match tls.complete_io(&mut tcp) {
            Ok(_) => {}
            Err(error) if is_timeout(&error) => return Err(error),
            // It was shown before whatever came then.
            Err(_) => break,
        }
    }
    let shown = tls.peer_certificates().and_then(|all| all.first());
    Ok(shown.map(|leaf| leaf.clone().into_owned()))
}

/// A PROXY protocol header, version 2, for a connection of our own. (One that speaks of no connection,
/// LOCAL, would be shorter, but Sōzu 2.3.3 closes an HTTPS connection for it: https.rs, `upgrade_expect`.)
fn proxy_header(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    const VERSION_2_PROXY: u8 = 0x21;
    const TCP_OVER_IPV4: u8 = 0x11;
    const TCP_OVER_IPV6: u8 = 0x21;
    let (family, addresses) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            (TCP_OVER_IPV4, [from.octets(), to.octets()].concat())
        }
        (from, to) => {
            let octets = |ip| match ip {
                IpAddr::V4(ip) => Ipv4Addr::to_ipv6_mapped(&ip).octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            (TCP_OVER_IPV6, [octets(from), octets(to)].concat())
        }
    };
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let length = u16::try_from(addresses.len() + ports.len()).unwrap_or_default();
    let start = [VERSION_2_PROXY, family];
    [SIGNATURE, &start, &length.to_be_bytes(), &addresses, &ports].concat()
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

/// A listener on every address is asked on this host's own.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

fn config() -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Looking))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Nothing is sent to whoever answers: what it shows is all that is wanted, trusted or not.
#[derive(Debug)]
struct Looking;

impl ServerCertVerifier for Looking {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_as_the_proxy_protocol_has_it() {
        let header = proxy_header(
            "127.0.0.1:4660".parse().unwrap(),
            "127.0.0.2:443".parse().unwrap(),
        );
        let expected =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x7f\0\0\x01\x7f\0\0\x02\x12\x34\x01\xbb";
        assert_eq!(header, expected);
        let header = proxy_header("[::1]:1".parse().unwrap(), "[::1]:2".parse().unwrap());
        assert_eq!(header[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(header.len(), 16 + 36);
    }
}
