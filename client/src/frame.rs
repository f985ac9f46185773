//! Frames of the command socket: an 8-byte little-endian length that counts itself, then a protobuf message.
//! (`sozu-command-lib` 2.3.3, `channel.rs`.)

use prost::{Message, bytes::BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The size of a length.
pub(crate) const HEADER: usize = size_of::<u64>();

/// At least so much room is made at a time, in bytes.
const ROOM: usize = 4096;

/// Why no frame could be read. After any of these the stream is useless.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("Sōzu closed the connection")]
    Closed,
    #[error("Sōzu closed the connection in the middle of a frame")]
    HalfFrame,
    #[error("Sōzu sent a frame with the impossible length {0}")]
    Length(u64),
    #[error("Sōzu sent a frame of {size} bytes, more than max_answer_bytes = {limit}")]
    TooLarge { size: u64, limit: usize },
    #[error("reading from Sōzu failed: {0}")]
    Io(#[from] std::io::Error),
}

/// The frame of a message, or its size in bytes if that is above the limit.
pub(crate) fn encode(message: &impl Message, limit: usize) -> Result<Vec<u8>, usize> {
    let size = HEADER + message.encoded_len();
    if size > limit {
        return Err(size);
    }
    let mut frame = Vec::with_capacity(size);
    frame.extend_from_slice(&(size as u64).to_le_bytes());
    match message.encode(&mut frame) {
        Ok(()) => Ok(frame),
        Err(_) => Err(size),
    }
}

/// Reads until the bytes begin with a whole frame, and gives what follows its length. What came behind it stays, too.
pub(crate) async fn read<'a>(
    reader: &mut (impl AsyncRead + Unpin),
    bytes: &'a mut BytesMut,
    limit: usize,
) -> Result<&'a [u8], FrameError> {
    let size = loop {
        if let Some(payload) = first(bytes, limit)? {
            break payload.len();
        }
        match more(reader, bytes).await? {
            0 if bytes.is_empty() => return Err(FrameError::Closed),
            0 => return Err(FrameError::HalfFrame),
            _ => {}
        }
    };
    Ok(&bytes[HEADER..HEADER + size])
}

/// Reads what is there, and tells how much that was. A small answer is one read, and a large one a few: room doubles, as
/// bytes arrive and never on the word of a length. Dropping the future loses nothing.
pub(crate) async fn more(
    reader: &mut (impl AsyncRead + Unpin),
    bytes: &mut BytesMut,
) -> std::io::Result<usize> {
    if bytes.capacity() - bytes.len() < ROOM / 2 {
        bytes.reserve(ROOM.max(bytes.len()));
    }
    reader.read_buf(bytes).await
}

/// What follows the length of the first frame in these bytes, once all of it is there.
pub(crate) fn first(bytes: &[u8], limit: usize) -> Result<Option<&[u8]>, FrameError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    Ok(rest.get(..payload_size(*header, limit)?))
}

/// How many bytes follow this length. An empty message is no answer either: `Response` has required fields.
fn payload_size(header: [u8; HEADER], limit: usize) -> Result<usize, FrameError> {
    let size = u64::from_le_bytes(header);
    match usize::try_from(size)
        .ok()
        .and_then(|size| size.checked_sub(HEADER))
    {
        Some(payload) if payload > 0 && size <= limit as u64 => Ok(payload),
        Some(payload) if payload > 0 => Err(FrameError::TooLarge { size, limit }),
        _ => Err(FrameError::Length(size)),
    }
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::proto::command::{
        Request, Response, ResponseStatus, request::RequestType,
    };
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn response() -> Response {
        Response {
            status: ResponseStatus::Ok.into(),
            message: "fine".to_owned(),
            content: None,
        }
    }

    #[test]
    fn the_length_counts_itself() {
        let request: Request = RequestType::RemoveCluster("a".to_owned()).into();
        let frame = encode(&request, 100).unwrap();
        assert_eq!(frame[..8], (frame.len() as u64).to_le_bytes());
        assert_eq!(Request::decode(&frame[8..]).unwrap(), request);
    }

    #[test]
    fn the_limit_is_of_the_whole_frame() {
        let request: Request = RequestType::RemoveCluster("abc".to_owned()).into();
        let size = encode(&request, usize::MAX).unwrap().len();
        assert!(encode(&request, size).is_ok());
        assert_eq!(encode(&request, size - 1), Err(size));
    }

    #[tokio::test]
    async fn a_frame_may_arrive_byte_by_byte() {
        let frame = encode(&response(), 100).unwrap();
        // a pipe with room for one byte makes every read a partial one
        let (mut theirs, mut ours) = tokio::io::duplex(1);
        let writing = tokio::spawn(async move { theirs.write_all(&frame).await });
        let mut bytes = BytesMut::new();
        let payload = read(&mut ours, &mut bytes, 100).await.unwrap();
        assert_eq!(Response::decode(payload).unwrap(), response());
        writing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn impossible_lengths_are_refused() {
        for length in [0, 1, 7, 8] {
            let bytes = u64::to_le_bytes(length);
            let error = read(&mut bytes.as_slice(), &mut BytesMut::new(), 100)
                .await
                .unwrap_err();
            assert!(
                matches!(error, FrameError::Length(told) if told == length),
                "{error}"
            );
        }
        for length in [101, 1 << 63, u64::MAX] {
            let bytes = u64::to_le_bytes(length);
            let error = read(&mut bytes.as_slice(), &mut BytesMut::new(), 100)
                .await
                .unwrap_err();
            assert!(
                matches!(error, FrameError::TooLarge { size, .. } if size == length),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn every_cut_is_a_half_frame_and_none_at_all_a_close() {
        let frame = encode(&response(), 100).unwrap();
        for cut in 1..frame.len() {
            let error = read(&mut &frame[..cut], &mut BytesMut::new(), 100)
                .await
                .unwrap_err();
            assert!(matches!(error, FrameError::HalfFrame), "{cut}: {error}");
        }
        let error = read(&mut &frame[..0], &mut BytesMut::new(), 100)
            .await
            .unwrap_err();
        assert!(matches!(error, FrameError::Closed), "{error}");
    }
}
