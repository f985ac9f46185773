//! One request, one answer over the admin socket: HTTP/1.1 with JSON.

use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::exit::Exit;

/// The daemon answers within 30 s, whatever happens to it and Sōzu.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why there is no answer, or not the one that was wished for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error(
        "no daemon answers on {}: {error}; start it (`systemctl start sozu-manager`), or name the configuration that it runs with (--config); if it runs and [admin] socket was edited since, restart it, or name the socket that it has (--socket; its log has said which)", socket.display()
    )]
    NoDaemon { socket: PathBuf, error: io::Error },
    #[error(
        "{}: {error}; run this as root or as the daemon's user, or as a member of its [admin] group", socket.display()
    )]
    Denied { socket: PathBuf, error: io::Error },
    #[error("{}: {error}; see the daemon's log, then try again", socket.display())]
    Broken { socket: PathBuf, error: io::Error },
    #[error("{0}")]
    Refused(String),
}

impl ClientError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NoDaemon { .. } => Exit::NoDaemon,
            _ => Exit::Failed,
        }
    }
}

/// The admin socket.
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        let socket = socket.to_owned();
        Self { socket }
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.ask("GET", path)
    }

    /// To `/v1/…` with these segments.
    pub(super) fn post(&self, segments: &[&str]) -> Result<Value, ClientError> {
        self.post_with(segments, &[])
    }

    /// To `/v1/…` with these segments and these values.
    pub(super) fn post_with(
        &self,
        segments: &[&str],
        values: &[(&str, &str)],
    ) -> Result<Value, ClientError> {
        let segments: Vec<String> = segments.iter().map(|it| encoded(it)).collect();
        let values = values.iter();
        let values: Vec<String> = values
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        let path = format!("/v1/{}?{}", segments.join("/"), values.join("&"));
        self.ask("POST", path.trim_end_matches('?'))
    }

    fn ask(&self, method: &str, path: &str) -> Result<Value, ClientError> {
        let stream = UnixStream::connect(&self.socket).map_err(|error| {
            let socket = self.socket.clone();
            match error.kind() {
                io::ErrorKind::PermissionDenied => ClientError::Denied { socket, error },
                _ => ClientError::NoDaemon { socket, error },
            }
        })?;
        let (code, body) = exchange(stream, method, path).map_err(|error| ClientError::Broken {
            socket: self.socket.clone(),
            error,
        })?;
        if (200..300).contains(&code) {
            return Ok(body);
        }
        let why = body["error"].as_str().map(str::to_owned);
        Err(ClientError::Refused(why.unwrap_or_else(|| {
            format!("the daemon answered {code} without a reason")
        })))
    }
}

fn exchange(mut stream: UnixStream, method: &str, path: &str) -> io::Result<(u16, Value)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| {
        let what = "what answers there is no sozu-manager, or it ended before it had answered";
        io::Error::new(io::ErrorKind::InvalidData, what)
    })
}

/// The status code and the body of a whole answer.
pub(crate) fn parse(answer: &[u8]) -> Option<(u16, Value)> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let code = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    })?;
    let body = answer.get(end + 4..)?.get(..length)?;
    Some((code.parse().ok()?, serde_json::from_slice(body).ok()?))
}

/// As a part of a URL.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_answer_is_read_and_a_part_of_one_is_not() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
        assert_eq!(parse(whole), Some((200, serde_json::json!([]))));
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), None, "{end}");
        }
        assert_eq!(parse(b"220 mail.example ESMTP\r\n\r\n"), None);
    }

    #[test]
    fn a_name_is_one_segment_whatever_it_holds() {
        assert_eq!(encoded("local_1-a"), "local_1-a");
        assert_eq!(encoded("../x?y=ō"), "..%2Fx%3Fy%3D%C5%8D");
    }
}
