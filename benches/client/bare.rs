//! The plainest way to ask Sōzu: a thread for each connection, which writes, reads and decodes.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use prost::Message;
use sozu_command_lib::proto::command::{Request, Response, ResponseStatus};

pub(crate) const HEADER: usize = 8;

pub(crate) struct Line {
    stream: UnixStream,
    bytes: Vec<u8>,
}

impl Line {
    pub(crate) fn open(socket: &Path) -> Self {
        Self {
            stream: UnixStream::connect(socket).unwrap(),
            bytes: vec![0; 4 << 20],
        }
    }

    pub(crate) fn exchange(&mut self, request: &Request) {
        self.stream.write_all(&frame(request)).unwrap();
        let (mut at, mut filled) = (0, 0);
        loop {
            let read = self.stream.read(&mut self.bytes[filled..]).unwrap();
            assert_ne!(read, 0, "Sōzu closed the connection");
            filled += read;
            while let Some(message) = whole(&self.bytes[at..filled]) {
                if is_last(message) {
                    return;
                }
                at += HEADER + message.len();
            }
        }
    }
}

pub(crate) fn frame(request: &Request) -> Vec<u8> {
    let size = HEADER + request.encoded_len();
    let mut frame = Vec::with_capacity(size);
    frame.extend((size as u64).to_le_bytes());
    request.encode(&mut frame).unwrap();
    frame
}

/// The first message, once all of it is there.
pub(crate) fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let size = u64::from_le_bytes(*bytes.first_chunk::<HEADER>()?);
    bytes.get(HEADER..usize::try_from(size).unwrap())
}

/// Whether it is the answer, and not a word before it.
pub(crate) fn is_last(message: &[u8]) -> bool {
    let response = Response::decode(message).unwrap();
    assert_ne!(
        response.status,
        i32::from(ResponseStatus::Failure),
        "{}",
        response.message
    );
    response.status == i32::from(ResponseStatus::Ok)
}

/// Exchanges per second.
pub(crate) fn rate(
    socket: &Path,
    request: fn() -> Request,
    connections: usize,
    round: Duration,
) -> f64 {
    let until = Instant::now() + round;
    let count: u32 = thread::scope(|scope| {
        let asking = || {
            let mut line = Line::open(socket);
            let mut count = 0;
            while Instant::now() < until {
                line.exchange(&request());
                count += 1;
            }
            count
        };
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(asking)).collect();
        threads.into_iter().map(|it| it.join().unwrap()).sum()
    });
    f64::from(count) / round.as_secs_f64()
}

/// What each light exchange took while so many ask for much.
pub(crate) fn light_among(socket: &Path, heavy: usize, round: Duration) -> Vec<Duration> {
    let until = Instant::now() + round;
    thread::scope(|scope| {
        for _ in 0..heavy {
            scope.spawn(|| {
                let mut line = Line::open(socket);
                while Instant::now() < until {
                    line.exchange(&crate::heavy());
                }
            });
        }
        let mut line = Line::open(socket);
        let mut took = Vec::new();
        while Instant::now() < until {
            let asked = Instant::now();
            line.exchange(&crate::light());
            took.push(asked.elapsed());
        }
        took
    })
}
