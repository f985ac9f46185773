//! The address for probes and scrapes: free, or answered by the daemon.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use super::{Doctor, Finding, admin::Daemon};
use crate::{admin::parse, run::remedy};

const CHECK: &str = "http.address";
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn finding(doctor: &Doctor<'_>) -> Finding {
    let address = doctor.config.http.address;
    match TcpListener::bind(address) {
        Ok(_) => match doctor.daemon {
            Daemon::Runs(_) => Finding::wrong(
                CHECK,
                format!("a daemon runs, and does not listen on {address}"),
                "it was started with another [http] address: restart it",
            ),
            _ => Finding::ok(CHECK, format!("{address} is free")),
        },
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_ours(address) => {
            Finding::ok(CHECK, format!("a sozu-manager answers on {address}"))
        }
        Err(error) => Finding::wrong(
            CHECK,
            format!("{address} cannot be listened on: {error}"),
            remedy(address, &error),
        ),
    }
}

/// Whether what answers there is a daemon of this program.
fn is_ours(address: SocketAddr) -> bool {
    let health = health(reachable(address)).ok().flatten();
    health.is_some_and(|health| health["components"].is_array() && health["live"].is_boolean())
}

fn health(address: SocketAddr) -> io::Result<Option<serde_json::Value>> {
    /// Longer than any page of ours.
    const LONGEST: u64 = 4 << 20;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    Ok(parse(&answer).map(|(_, page)| page))
}

/// Any address of this host is reached by its own one.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_on_the_port_is_not_us() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stranger = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 16];
            stream.read_exact(&mut asked).unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                .unwrap();
        });
        assert!(!is_ours(address));
        stranger.join().unwrap();
        assert_eq!(
            reachable("0.0.0.0:80".parse().unwrap()),
            "127.0.0.1:80".parse().unwrap()
        );
        assert_eq!(
            reachable("[::]:80".parse().unwrap()),
            "[::1]:80".parse().unwrap()
        );
    }
}
