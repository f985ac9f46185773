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
    answer(&mut stream, |answer| {
        answers.push(answer.clone());
        Ok(())
    })?;
    Ok(answers)
}

/// Reads all answers to one request; the last one is OK or FAILURE.
pub(crate) fn answer(
    stream: &mut UnixStream,
    mut each: impl FnMut(&Response) -> Result<()>,
) -> Result<()> {
    loop {
        let answer = read::<Response>(stream)?;
        each(&answer)?;
        if answer.status != ResponseStatus::Processing as i32 {
            return Ok(());
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
pub(crate) fn frame(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut frame = ((message.len() + HEADER) as u64).to_le_bytes().to_vec();
    frame.extend(message);
    frame
}

/// One frame.
pub(crate) fn read<M: Message + Default>(stream: &mut impl Read) -> Result<M> {
    let mut header = [0; HEADER];
    stream
        .read_exact(&mut header)
        .map_err(Error::while_doing("reading a frame"))?;
    let length = usize::try_from(u64::from_le_bytes(header))
        .ok()
        .and_then(|length| length.checked_sub(HEADER))
        .ok_or_else(|| Error::new(format!("not a frame's length: {header:?}")))?;
    let mut message = vec![0; length];
    stream
        .read_exact(&mut message)
        .map_err(Error::while_doing("reading a frame"))?;
    M::decode(message.as_slice()).map_err(Error::while_doing("decoding a frame"))
}
