//! Sōzu's command socket, spoken in the plainest way and independent of our own client, which it tests.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use prost::Message;
use sozu_command_lib::proto::command::{Request, Response, ResponseStatus};

use crate::{Error, Result};

/// Longer than Sōzu itself waits for anything.
const PATIENCE: Duration = Duration::from_mins(2);
const HEADER: usize = 8;

/// One request on a connection of its own, and all its answers; the last one is OK or FAILURE.
pub(super) fn exchange(socket: &Path, request: &Request) -> Result<Vec<Response>> {
    let doing = || format!("asking Sōzu at {}", socket.display());
    let mut stream = UnixStream::connect(socket).map_err(Error::while_doing(doing()))?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
        .and_then(|()| stream.write_all(&frame(request)))
        .map_err(Error::while_doing(doing()))?;
    let mut answers = Vec::new();
    loop {
        let answer = read(&mut stream)?;
        let last = answer.status != ResponseStatus::Processing as i32;
        answers.push(answer);
        if last {
            return Ok(answers);
        }
    }
}

/// A request's verb, without its content.
pub(super) fn verb(request: &Request) -> String {
    let text = format!("{:?}", request.request_type);
    text.trim_start_matches("Some(")
        .split('(')
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The length counts itself.
fn frame(request: &Request) -> Vec<u8> {
    let message = request.encode_to_vec();
    let mut frame = ((message.len() + HEADER) as u64).to_le_bytes().to_vec();
    frame.extend(message);
    frame
}

fn read(stream: &mut UnixStream) -> Result<Response> {
    let mut header = [0; HEADER];
    stream
        .read_exact(&mut header)
        .map_err(Error::while_doing("reading Sōzu's answer"))?;
    let length = usize::try_from(u64::from_le_bytes(header))
        .ok()
        .and_then(|length| length.checked_sub(HEADER))
        .ok_or_else(|| Error::new(format!("not a frame's length: {header:?}")))?;
    let mut message = vec![0; length];
    stream
        .read_exact(&mut message)
        .map_err(Error::while_doing("reading Sōzu's answer"))?;
    Response::decode(message.as_slice()).map_err(Error::while_doing("decoding Sōzu's answer"))
}
