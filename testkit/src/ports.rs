//! Ports that no other test uses, as long as the value lives.
//!
//! Binding port 0 and closing it again is a race with every other test. Here a port is taken from below the
//! kernel's own range, and the same number on another loopback address is kept bound (UDP) as the lock: it ends
//! with the process, however that ends, and leaves no file behind.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
};

use crate::{Error, Result};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
const LOCKS: Ipv4Addr = Ipv4Addr::new(127, 77, 7, 7);

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A TCP port on 127.0.0.1 that nothing listens on and no other test gets.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: UdpSocket,
}

impl Port {
    /// The next free port.
    pub fn free() -> Result<Self> {
        // different processes begin at different places
        let begin = u16::try_from(std::process::id() % u32::from(COUNT / 50)).unwrap_or(0) * 50;
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
            let number = FIRST + (begin + step) % COUNT;
            let Ok(lock) = UdpSocket::bind((LOCKS, number)) else {
                continue;
            };
            // a listener on all addresses or on this one makes it somebody's
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self {
                    number,
                    _lock: lock,
                });
            }
        }
        Err(Error::new(format!(
            "no free port between {FIRST} and {}",
            FIRST + COUNT
        )))
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The port on 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.number))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_port_is_handed_out_twice() {
        let ports: Vec<Port> = (0..50).map(|_| Port::free().unwrap()).collect();
        let numbers: HashSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), 50);
        for port in &ports {
            assert!(
                TcpListener::bind(port.address()).is_ok(),
                "{} is taken",
                port.number()
            );
        }
    }
}
