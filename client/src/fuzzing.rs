//! What the fuzz targets and the tests throw bytes at: nothing that comes from Sōzu's socket or from a file may panic,
//! and two ways to read the same bytes must read the same.
//!
//! Compiled for tests and by `cargo fuzz` only; no part of the interface.

use std::{
    io::Cursor,
    pin::pin,
    task::{Context, Poll, Waker},
};

use prost::{
    Message,
    bytes::{Buf, BytesMut},
};
use sozu_command_lib::proto::command::Response;

use crate::{events, frame, saved};

const LIMIT: usize = 1 << 16;

/// Bytes as they come from the socket, read as an exchange reads them and as the event stream does.
pub fn frames(bytes: &[u8]) {
    let (mut stream, mut buffer) = (bytes, bytes);
    let mut come = BytesMut::new();
    loop {
        let Poll::Ready(read) = pin!(frame::read(&mut stream, &mut come, LIMIT))
            .poll(&mut Context::from_waker(Waker::noop()))
        else {
            unreachable!("a slice never waits");
        };
        match (read, frame::first(buffer, LIMIT)) {
            (Ok(read), Ok(Some(first))) => {
                assert_eq!(read, first);
                let used = frame::HEADER + first.len();
                buffer = &buffer[used..];
                come.advance(used);
            }
            // the rest may come yet, or never
            (Err(_), Ok(None) | Err(_)) => return,
            (read, first) => unreachable!("{read:?} and {first:?} differ"),
        }
    }
}

/// One answer of Sōzu. What is understood of it can be shown.
pub fn response(bytes: &[u8]) {
    if let Ok(response) = Response::decode(bytes) {
        let _ = format!("{:?}", events::heard(response));
    }
}

/// A file as `SaveState` leaves it.
pub fn saved_state(bytes: &[u8]) {
    if let Ok(saved) = saved::read(&mut Cursor::new(bytes)) {
        let records = bytes.split(|byte| *byte == 0).count();
        assert!(saved.requests.len() + saved.opaque <= records);
        let _ = format!("{saved:?}");
        let _ = saved.config_state();
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Every input that the fuzz targets found worth keeping.
    fn replay(target: &str, run: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target);
        let inputs = fs::read_dir(&corpus).unwrap();
        let mut count = 0;
        for input in inputs {
            run(&fs::read(input.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{} is empty", corpus.display());
    }

    #[test]
    fn frames() {
        replay("frames", super::frames);
    }

    #[test]
    fn response() {
        replay("response", super::response);
    }

    #[test]
    fn saved_state() {
        replay("saved_state", super::saved_state);
    }
}
