//! Why a connection to a broker cannot be made.
//!
//! The `pulsar` crate (6.9.1, `Connection::new`) keeps it to itself: whatever cannot be tried again is a "fatal error", and of
//! several addresses of one host it names one that was refused. So one is made by hand, as far as it goes: TCP, TLS, and
//! the broker's word on who we are.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use prost::Message;
use pulsar::proto::ServerError;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::{
    address::Address,
    error::{BrokerError, of_server},
};

/// For each of the three.
const WITHIN: Duration = Duration::from_secs(3);
/// A broker's answer to who we are is short.
const MOST_BYTES: usize = 65_536;

/// `BaseCommand` of Pulsar's protocol, of which this is all that is needed here.
#[derive(Clone, PartialEq, Message)]
struct Command {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    connect: Option<Connect>,
    #[prost(message, optional, tag = "14")]
    error: Option<Refusal>,
}

/// `CommandConnect`.
#[derive(Clone, PartialEq, Message)]
struct Connect {
    #[prost(string, required, tag = "1")]
    client_version: String,
    #[prost(bytes = "vec", optional, tag = "3")]
    auth_data: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "4")]
    protocol_version: Option<i32>,
    #[prost(string, optional, tag = "5")]
    auth_method_name: Option<String>,
}

/// `CommandError`.
#[derive(Clone, PartialEq, Message)]
struct Refusal {
    #[prost(uint64, required, tag = "1")]
    request_id: u64,
    #[prost(int32, required, tag = "2")]
    error: i32,
    #[prost(string, required, tag = "3")]
    message: String,
}

/// `CONNECT`, and the version that the crate speaks.
const CONNECT: i32 = 2;
const VERSION: i32 = 12;

/// Why, as far as another connection tells; nothing, if that one is made.
pub(super) async fn reason(address: &Address) -> Option<BrokerError> {
    let address = address.clone();
    let looked = tokio::task::spawn_blocking(move || look(&address));
    looked.await.ok()?.err()
}

fn look(address: &Address) -> Result<(), BrokerError> {
    let shown = address.shown();
    let away = |error: io::Error| BrokerError::Away {
        address: shown.clone(),
        why: error.to_string(),
    };
    let (scheme, authority) = shown.split_once("://").unwrap_or(("", &shown));
    let is_tls = scheme == "pulsar+ssl";
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, if is_tls { "6651" } else { "6650" }),
    };
    let mut tcp = connected(&format!("{host}:{port}")).map_err(away)?;
    if is_tls {
        let mut tls = shaken(address, host, tcp)?;
        return introduced(&mut tls, address, &shown);
    }
    introduced(&mut tcp, address, &shown)
}

/// With the first of its addresses that answers.
fn connected(authority: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for address in authority.to_socket_addrs()?.collect::<Vec<SocketAddr>>() {
        match TcpStream::connect_timeout(&address, WITHIN) {
            Ok(tcp) => {
                tcp.set_read_timeout(Some(WITHIN))?;
                tcp.set_write_timeout(Some(WITHIN))?;
                return Ok(tcp);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn shaken(
    address: &Address,
    host: &str,
    tcp: TcpStream,
) -> Result<StreamOwned<ClientConnection, TcpStream>, BrokerError> {
    let certificate = |error: &dyn std::fmt::Display| BrokerError::Certificate(error.to_string());
    // Those of the crate: the well-known ones, and ours.
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = &address.ca_file {
        let unread = |why: String| BrokerError::File {
            path: path.clone(),
            why,
        };
        let pem = std::fs::read(path).map_err(|error| unread(error.to_string()))?;
        for authority in CertificateDer::pem_slice_iter(&pem) {
            let authority = authority.map_err(|error| unread(error.to_string()))?;
            roots
                .add(authority)
                .map_err(|error| unread(error.to_string()))?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| certificate(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|error| certificate(&error))?;
    let tls = ClientConnection::new(Arc::new(config), name).map_err(|error| certificate(&error))?;
    let mut stream = StreamOwned::new(tls, tcp);
    while stream.conn.is_handshaking() {
        stream
            .conn
            .complete_io(&mut stream.sock)
            .map_err(|error| match error.kind() {
                // rustls' own errors come through the socket
                io::ErrorKind::InvalidData => certificate(&error),
                _ => BrokerError::Away {
                    address: address.shown(),
                    why: format!("the TLS handshake: {error}"),
                },
            })?;
    }
    Ok(stream)
}

/// Says who we are, and hears what the broker thinks of it.
fn introduced(
    stream: &mut (impl Read + Write),
    address: &Address,
    shown: &str,
) -> Result<(), BrokerError> {
    let token = address.token_file.as_ref().map(|path| {
        let read = std::fs::read(path);
        read.map_err(|error| BrokerError::File {
            path: path.clone(),
            why: error.to_string(),
        })
    });
    let token = token.transpose()?;
    let command = Command {
        kind: CONNECT,
        connect: Some(Connect {
            client_version: concat!("sozu-manager ", env!("CARGO_PKG_VERSION")).to_owned(),
            auth_method_name: token.as_ref().map(|_| "token".to_owned()),
            auth_data: token.map(|token| token.trim_ascii().to_vec()),
            protocol_version: Some(VERSION),
        }),
        error: None,
    };
    let answer = exchanged(stream, &command).map_err(|error| BrokerError::Away {
        address: shown.to_owned(),
        why: format!("it does not answer as a broker: {error}"),
    })?;
    match answer.error {
        Some(refusal) => {
            let code = ServerError::try_from(refusal.error).unwrap_or(ServerError::UnknownError);
            Err(of_server(code, &refusal.message, ""))
        }
        None => Ok(()),
    }
}

/// One command each way: the length of it all, the length of the command, the command.
fn exchanged(stream: &mut (impl Read + Write), command: &Command) -> io::Result<Command> {
    let bytes = command.encode_to_vec();
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&(length + 4).to_be_bytes())?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&bytes)?;
    stream.flush()?;
    let mut lengths = [[0; 4]; 2];
    stream.read_exact(&mut lengths[0])?;
    stream.read_exact(&mut lengths[1])?;
    let length = u32::from_be_bytes(lengths[1]) as usize;
    if length > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too long"));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    Command::decode(answer.as_slice()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// A broker that says this to whoever comes.
    fn broker(answer: &Command) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address {
            url: format!("pulsar://{}", listener.local_addr().unwrap()),
            ..Address::default()
        };
        let bytes = answer.encode_to_vec();
        thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            let length = u32::try_from(bytes.len()).unwrap();
            let mut asked = [0; 8];
            tcp.read_exact(&mut asked).unwrap();
            tcp.write_all(&(length + 4).to_be_bytes()).unwrap();
            tcp.write_all(&length.to_be_bytes()).unwrap();
            tcp.write_all(&bytes).unwrap();
            let _ = tcp.read_to_end(&mut Vec::new());
        });
        address
    }

    #[tokio::test]
    async fn what_the_broker_says_of_us_is_told() {
        let refusal = Refusal {
            request_id: u64::MAX,
            error: ServerError::AuthenticationError.into(),
            message: "Failed to authenticate".to_owned(),
        };
        let refused = broker(&Command {
            kind: 14,
            connect: None,
            error: Some(refusal),
        });
        let told = reason(&refused).await.unwrap();
        assert!(matches!(told, BrokerError::Denied(_)), "{told}");
        assert!(
            told.to_string().contains("Failed to authenticate"),
            "{told}"
        );

        let connected = broker(&Command {
            kind: 3,
            ..Command::default()
        });
        assert_eq!(reason(&connected).await, None);
    }

    #[tokio::test]
    async fn nobody_and_a_stranger_are_told_apart() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address {
            url: format!("pulsar://{}", closed.local_addr().unwrap()),
            ..Address::default()
        };
        drop(closed);
        let told = reason(&address).await.unwrap().to_string();
        assert!(told.contains("refused"), "{told}");
        let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address {
            url: format!("pulsar+ssl://{}", stranger.local_addr().unwrap()),
            ..Address::default()
        };
        thread::spawn(move || {
            let (mut tcp, _) = stranger.accept().unwrap();
            tcp.write_all(b"220 mail.example ESMTP\r\n").unwrap();
        });
        let told = reason(&address).await.unwrap();
        assert!(
            matches!(told, BrokerError::Certificate(_) | BrokerError::Away { .. }),
            "{told}"
        );
    }
}
