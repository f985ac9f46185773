//! One connection to Sōzu, which carries one exchange at a time.
//!
//! Requests have no id, so an answer belongs to whoever reads it next. Therefore an exchange takes the connection
//! by value and gives it back only after a complete answer: one that is cancelled, late or broken half way drops it.

use std::{io, path::Path, time::Duration};

use prost::{
    Message,
    bytes::{Buf, BytesMut},
};
use sozu_command_lib::proto::command::{Response, ResponseStatus};
use tokio::{
    io::AsyncWriteExt,
    net::UnixStream,
    task::{JoinError, spawn_blocking},
    time::timeout,
};

use crate::{
    answer::{Answer, ExchangeError, Refusal},
    frame::{self, FrameError},
    life::{SocketFile, socket_file},
};

/// How long opening a connection may take.
pub(crate) const OPEN_DEADLINE: Duration = Duration::from_secs(5);

/// So large an answer, in bytes, is decoded away from the runtime's threads: others go on meanwhile.
const LARGE: usize = 64 << 10;

/// A connection on which nobody waits for an answer.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    /// The socket's file when it was opened. Whoever else listens on the path has made another one.
    file: Option<SocketFile>,
}

/// Why an exchange broke.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("writing to Sōzu failed: {0}")]
    Write(io::Error),
    #[error(transparent)]
    Read(#[from] FrameError),
    #[error("Sōzu's answer cannot be decoded: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("decoding Sōzu's answer ended early: {0}")]
    Ended(#[from] JoinError),
    #[error("Sōzu answered with the unknown status {0}")]
    Status(i32),
    #[error("Sōzu sent more than max_answer_bytes = {0} before its answer")]
    Endless(usize),
}

impl Connection {
    /// Opens a connection, or says why not and what to do.
    pub(crate) async fn open(path: &Path) -> Result<Self, String> {
        // before it is opened: one that is replaced at this moment looks old, which costs a connection and no more
        let file = socket_file(path).ok();
        match timeout(OPEN_DEADLINE, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => Ok(Self { stream, file }),
            Ok(Err(error)) => Err(format!(
                "cannot connect to Sōzu's command socket {}: {error}{}",
                path.display(),
                remedy(error.kind())
            )),
            Err(_) => Err(format!(
                "Sōzu did not take a connection on {} within {} s",
                path.display(),
                OPEN_DEADLINE.as_secs()
            )),
        }
    }

    /// For whoever says something else than exchanges on it.
    pub(crate) fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// Whether nobody else listens on this path now. A file that was removed leads to nobody else.
    pub(crate) fn leads_to(&self, path: &Path) -> bool {
        socket_file(path).map_or(true, |now| Some(now) == self.file)
    }

    /// Whether nothing came since the last answer. An end or a byte that nobody asked for makes it useless.
    ///
    /// Asks the kernel itself: what tokio knows of the socket may be older than the end of it.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(
            nix::unistd::read(&self.stream, &mut [0]),
            Err(nix::Error::EAGAIN)
        )
    }

    /// Waits until the connection is of no more use, and says why.
    pub(crate) async fn ended(&self) -> String {
        loop {
            if let Err(error) = self.stream.readable().await {
                return format!("the connection to Sōzu broke: {error}");
            }
            match self.stream.try_read(&mut [0]) {
                Ok(0) => return "Sōzu closed the connection".to_owned(),
                Ok(_) => return "Sōzu sent what nobody asked for".to_owned(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return format!("the connection to Sōzu broke: {error}"),
            }
        }
    }

    /// Sends a frame and reads the whole answer. The connection comes back only if it may carry another one.
    pub(crate) async fn exchange(
        mut self,
        frame: &[u8],
        deadline: Duration,
        max_answer_bytes: usize,
    ) -> (Result<Answer, ExchangeError>, Option<Self>) {
        let mut sent = 0;
        let conversing = converse(&mut self.stream, frame, &mut sent, max_answer_bytes);
        let why = match timeout(deadline, conversing).await {
            // what came behind the answer nobody asked for
            Ok(Ok((result, rest))) => return (result, (rest == 0).then_some(self)),
            Ok(Err(broken)) => broken.to_string(),
            Err(_) => format!("no answer from Sōzu within {} s", deadline.as_secs()),
        };
        if sent == 0 {
            (Err(ExchangeError::NotSent(why)), None)
        } else {
            (Err(ExchangeError::Unknown(why)), None)
        }
    }
}

/// Zero or more `PROCESSING`, then one `OK` or `FAILURE`; and how many bytes came behind that. Counts in `sent` what went
/// out, for whoever cancels it.
async fn converse(
    stream: &mut UnixStream,
    frame: &[u8],
    sent: &mut usize,
    max_answer_bytes: usize,
) -> Result<(Result<Answer, ExchangeError>, usize), Broken> {
    while *sent < frame.len() {
        match stream.write(&frame[*sent..]).await {
            Ok(0) => return Err(Broken::Write(io::ErrorKind::WriteZero.into())),
            Ok(written) => *sent += written,
            Err(error) => return Err(Broken::Write(error)),
        }
    }
    let mut processing = Vec::new();
    let mut before = 0;
    let mut bytes = BytesMut::new();
    loop {
        let payload = frame::read(stream, &mut bytes, max_answer_bytes).await?;
        let size = payload.len();
        let response = if size < LARGE {
            let response = Response::decode(payload)?;
            bytes.advance(frame::HEADER + size);
            response
        } else {
            let mut frame = bytes.split_to(frame::HEADER + size);
            frame.advance(frame::HEADER);
            spawn_blocking(move || Response::decode(frame)).await??
        };
        let Ok(status) = ResponseStatus::try_from(response.status) else {
            return Err(Broken::Status(response.status));
        };
        let Response {
            message, content, ..
        } = response;
        match status {
            ResponseStatus::Ok => {
                let answer = Answer {
                    message,
                    content,
                    processing,
                };
                return Ok((Ok(answer), bytes.len()));
            }
            ResponseStatus::Failure => {
                let refusal = Refusal {
                    message,
                    content,
                    processing,
                };
                return Ok((Err(ExchangeError::Refused(Box::new(refusal))), bytes.len()));
            }
            ResponseStatus::Processing => {
                before += size;
                if before > max_answer_bytes {
                    return Err(Broken::Endless(max_answer_bytes));
                }
                processing.push(Response {
                    status: status.into(),
                    message,
                    content,
                });
            }
        }
    }
}

fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => {
            "; is Sōzu running, and is this the command_socket of its configuration?"
        }
        io::ErrorKind::ConnectionRefused => "; nobody listens on it: is Sōzu running?",
        io::ErrorKind::PermissionDenied => {
            "; run as Sōzu's user, or set command_socket_mode in Sōzu's configuration"
        }
        io::ErrorKind::WouldBlock => "; Sōzu takes no more connections: does it hang?",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn pair() -> (Connection, UnixStream) {
        let (stream, theirs) = UnixStream::pair().unwrap();
        (Connection { stream, file: None }, theirs)
    }

    fn said(status: ResponseStatus, message: &str) -> Vec<u8> {
        let response = Response {
            status: status.into(),
            message: message.to_owned(),
            content: None,
        };
        frame::encode(&response, usize::MAX).unwrap()
    }

    #[tokio::test]
    async fn every_processing_response_is_kept_in_order() {
        let (connection, mut theirs) = pair();
        for frame in [
            said(ResponseStatus::Processing, "one"),
            said(ResponseStatus::Processing, "two"),
            said(ResponseStatus::Ok, "done"),
        ] {
            theirs.write_all(&frame).await.unwrap();
        }
        let (result, connection) = connection.exchange(b"request", LONG, 1000).await;
        let answer = result.unwrap();
        let before: Vec<_> = answer
            .processing
            .iter()
            .map(|said| said.message.as_str())
            .collect();
        assert_eq!(
            (answer.message.as_str(), before),
            ("done", vec!["one", "two"])
        );
        assert!(connection.is_some_and(|connection| connection.is_quiet()));
    }

    #[tokio::test]
    async fn an_answer_of_any_size_comes_whole_and_the_connection_lives_on() {
        for size in [LARGE - 100, LARGE, 20 * LARGE] {
            let (connection, mut theirs) = pair();
            let long = "x".repeat(size);
            let frames = [
                said(ResponseStatus::Processing, &long),
                said(ResponseStatus::Ok, &long),
            ]
            .concat();
            let (answered, written) = tokio::join!(
                connection.exchange(b"request", LONG, frames.len()),
                theirs.write_all(&frames)
            );
            written.unwrap();
            let (result, connection) = answered;
            let answer = result.unwrap();
            assert!(answer.message == long && answer.processing[0].message == long);
            assert!(connection.is_some_and(|connection| connection.is_quiet()));
        }
    }

    #[tokio::test]
    async fn a_failure_is_a_refusal_and_the_connection_lives_on() {
        let (connection, mut theirs) = pair();
        theirs
            .write_all(&said(ResponseStatus::Failure, "no"))
            .await
            .unwrap();
        let (result, connection) = connection.exchange(b"request", LONG, 1000).await;
        let Err(ExchangeError::Refused(refusal)) = result else {
            panic!("{result:?}")
        };
        assert_eq!(refusal.message, "no");
        assert!(connection.is_some());
    }

    #[tokio::test]
    async fn whatever_breaks_after_the_first_byte_is_unknown_and_ends_the_connection() {
        let half = said(ResponseStatus::Ok, "half")[..10].to_vec();
        let mut nonsense = 12_u64.to_le_bytes().to_vec();
        nonsense.extend([0xff; 4]);
        let broken = [
            Vec::new(),
            half,
            0_u64.to_le_bytes().to_vec(),
            7_u64.to_le_bytes().to_vec(),
            (1_u64 << 63).to_le_bytes().to_vec(),
            nonsense,
        ];
        for bytes in broken {
            let (connection, mut theirs) = pair();
            theirs.write_all(&bytes).await.unwrap();
            theirs.shutdown().await.unwrap();
            let (result, connection) = connection.exchange(b"request", LONG, 1000).await;
            assert!(
                matches!(result, Err(ExchangeError::Unknown(_))),
                "{bytes:?}: {result:?}"
            );
            assert!(connection.is_none());
        }
    }

    #[tokio::test]
    async fn an_endless_stream_of_processing_ends() {
        let (connection, mut theirs) = pair();
        let pouring = tokio::spawn(async move {
            let frame = said(ResponseStatus::Processing, "event");
            while theirs.write_all(&frame).await.is_ok() {}
        });
        let (result, connection) = connection.exchange(b"subscribe", LONG, 1000).await;
        assert!(
            matches!(result, Err(ExchangeError::Unknown(_))),
            "{result:?}"
        );
        assert!(connection.is_none());
        pouring.await.unwrap();
    }

    #[tokio::test]
    async fn a_write_that_fails_at_its_first_byte_sent_nothing() {
        let (connection, theirs) = pair();
        drop(theirs);
        let (result, connection) = connection.exchange(b"request", LONG, 1000).await;
        assert!(
            matches!(result, Err(ExchangeError::NotSent(_))),
            "{result:?}"
        );
        assert!(connection.is_none());
    }

    #[tokio::test]
    async fn a_write_that_stops_half_way_is_unknown() {
        let (connection, mut theirs) = pair();
        let reading = tokio::spawn(async move {
            theirs.read_exact(&mut [0; 100]).await.unwrap();
        });
        // more than the kernel buffers for a socket
        let request = vec![0; 8 << 20];
        let (result, connection) = connection.exchange(&request, LONG, 1000).await;
        assert!(
            matches!(result, Err(ExchangeError::Unknown(_))),
            "{result:?}"
        );
        assert!(connection.is_none());
        reading.await.unwrap();
    }

    #[tokio::test]
    async fn silence_is_unknown_after_the_deadline() {
        let (connection, theirs) = pair();
        let (result, connection) = connection
            .exchange(b"request", Duration::from_millis(20), 1000)
            .await;
        assert!(
            matches!(result, Err(ExchangeError::Unknown(_))),
            "{result:?}"
        );
        assert!(connection.is_none());
        drop(theirs);
    }

    #[tokio::test]
    async fn an_end_or_an_unasked_byte_is_noticed_at_once() {
        let (connection, theirs) = pair();
        assert!(connection.is_quiet());
        drop(theirs);
        assert!(!connection.is_quiet());
        connection.ended().await;

        let (connection, mut theirs) = pair();
        theirs.write_all(b"!").await.unwrap();
        assert!(!connection.is_quiet());
    }
}
