//! A plain HTTP/1.1 client: one connection, one request, one answer, no redirects and no retries.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

/// A status and a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers as they came, one a line.
    pub headers: String,
    /// The body; invalid UTF-8 is replaced.
    pub body: String,
}

impl Answer {
    /// A header's value; the name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// `GET http://127.0.0.1:PORT/PATH` with this `Host`, on a connection of its own, within 10 s.
pub fn get(port: u16, host: &str, path: &str) -> io::Result<Answer> {
    get_with(port, host, path, "")
}

/// As [`get`], with further headers, each ended by `\r\n`.
pub fn get_with(port: u16, host: &str, path: &str, headers: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| {
        let text = String::from_utf8_lossy(&bytes);
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("not a whole HTTP answer: {text:?}"),
        )
    })
}

/// A whole answer up to the end of its connection; `None` if it was cut short.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.split(' ').nth(1)?.parse().ok()?;
    let mut answer = Answer {
        status,
        headers: headers.replace("\r\n", "\n"),
        body: String::new(),
    };
    let rest = &bytes[end + 4..];
    let body = if answer
        .header("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    {
        unchunk(rest)?
    } else if let Some(length) = answer.header("content-length") {
        rest.get(..length.parse().ok()?)?.to_vec()
    } else {
        rest.to_vec()
    };
    answer.body = String::from_utf8_lossy(&body).into_owned();
    Some(answer)
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end])
            .ok()?
            .split(';')
            .next()?
            .trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Backend;

    #[test]
    fn a_backend_answers_and_counts() {
        let backend = Backend::start("hello").unwrap();
        for _ in 0..3 {
            let answer = get(backend.port(), "a.example", "/").unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
        }
        assert_eq!(backend.requests(), 3);
    }

    #[test]
    fn a_connection_is_kept_for_the_next_request() {
        let backend = Backend::start("hi").unwrap();
        let mut stream = TcpStream::connect(backend.address()).unwrap();
        for _ in 0..2 {
            stream
                .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
                .unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\nhi") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                seen.push(byte[0]);
            }
        }
        assert_eq!(backend.requests(), 2);
    }

    #[test]
    fn an_answer_that_was_cut_short_is_none() {
        assert_eq!(
            parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"),
            None
        );
        assert_eq!(
            parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"),
            None
        );
        let whole = parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n").unwrap();
        assert_eq!(whole.body, "hello");
    }
}
