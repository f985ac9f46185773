//! A small HTTP call, enough for a broker's admin REST API.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use crate::{Error, Result};

const WITHIN: Duration = Duration::from_secs(30);

/// The status and the body.
pub(super) fn ask(
    port: u16,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> Result<(u16, String)> {
    let failed = || Error::while_doing(format!("{method} {path}"));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut socket = TcpStream::connect_timeout(&address, WITHIN).map_err(failed())?;
    socket.set_read_timeout(Some(WITHIN)).map_err(failed())?;
    let token = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    // HTTP/1.0: the answer is whole when the connection ends
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{token}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).map_err(failed())?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).map_err(failed())?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| Error::new(format!("{method} {path}: no HTTP: {head}")))?;
    Ok((status, body.to_owned()))
}
