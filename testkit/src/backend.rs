//! A tiny HTTP/1.1 backend: answers every request with 200 and one body, and counts.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use crate::{Error, Port, Result};

/// A running backend; it ends when it is dropped.
#[derive(Debug)]
pub struct Backend {
    port: Port,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    body: String,
    requests: AtomicU64,
    stopping: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Backend {
    /// Starts one that answers with this body.
    pub fn start(body: impl Into<String>) -> Result<Self> {
        let port = Port::free()?;
        let listener = TcpListener::bind(port.address()).map_err(Error::while_doing(format!(
            "listening on {}",
            port.address()
        )))?;
        let shared = Arc::new(Shared {
            body: body.into(),
            requests: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            open: Mutex::new(Vec::new()),
        });
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self {
            port,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// How many requests it has answered.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // one connection more wakes the acceptor
        let _ = TcpStream::connect(self.address());
        for stream in self
            .shared
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if let Ok(copy) = stream.try_clone() {
            shared
                .open
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(copy);
        }
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            let _ = serve(&stream, &shared);
            let _ = stream.shutdown(std::net::Shutdown::Both);
            let mine = stream.peer_addr().ok();
            shared
                .open
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|other| other.peer_addr().ok() != mine);
        });
    }
}

/// Answers requests on one connection until the client closes it.
fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Some(head) = read_head(&mut reader)? {
        io::copy(
            &mut (&mut reader).take(head.content_length),
            &mut io::sink(),
        )?;
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let body = &shared.body;
        let connection = if head.close { "close" } else { "keep-alive" };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: text/plain\r\nConnection: {connection}\r\n\r\n{body}",
            body.len()
        );
        writer.write_all(answer.as_bytes())?;
        if head.close {
            break;
        }
    }
    Ok(())
}

struct Head {
    content_length: u64,
    close: bool,
}

/// One request's head; `None` at the end of the connection.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut head = Head {
        content_length: 0,
        close: false,
    };
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let header = line.trim_end().to_ascii_lowercase();
        match header.split_once(':') {
            None if header.is_empty() => return Ok(Some(head)),
            Some(("content-length", value)) => {
                head.content_length = value.trim().parse().unwrap_or(0);
            }
            Some(("connection", value)) => head.close = value.trim() == "close",
            _ => {}
        }
    }
}
