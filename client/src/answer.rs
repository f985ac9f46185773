//! What an exchange brings back, and what a caller must know when it brought no `OK`.

use std::{fmt, time::Duration};

use sozu_command_lib::proto::command::{Request, Response, ResponseContent};

/// Sōzu's `OK`, with all that it said before.
///
/// `Debug` leaves the contents out: they may hold private keys and credentials.
#[derive(Clone, Default, PartialEq)]
pub struct Answer {
    /// Sōzu's words.
    pub message: String,
    /// What was asked for, if the request asks for something.
    pub content: Option<ResponseContent>,
    /// Every `PROCESSING` response that came before, in order.
    pub processing: Vec<Response>,
}

/// Sōzu's `FAILURE`, with all that it said before.
///
/// `Debug` leaves the contents out: they may hold private keys and credentials.
#[derive(Clone, Default, PartialEq)]
pub struct Refusal {
    /// Sōzu's words.
    pub message: String,
    /// What comes with a failure, if anything.
    pub content: Option<ResponseContent>,
    /// Every `PROCESSING` response that came before, in order.
    pub processing: Vec<Response>,
}

/// What a caller must know of an exchange that brought no `OK`, and so what it may do next. There are no other cases: each
/// wants its own answer, so a caller should meet them all.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ExchangeError {
    /// Nothing reached Sōzu's state: it is away, the pool is busy, or the exchange directory is not usable. The text says
    /// what to do about it. Asking again is harmless; leave a pause.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The request, or one record of a bulk, is larger than the limit: nothing was sent, and never will be. Make it smaller,
    /// or raise `max_command_buffer_size` in Sōzu and [`Builder::max_request_bytes`](crate::Builder::max_request_bytes).
    #[error("the request has {size} bytes, more than max_request_bytes = {limit}; it was not sent")]
    TooLarge {
        /// The frame's or the record's size, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// At least a byte was sent, and the outcome is unknown: no answer in time, or the connection broke. Sōzu may have done
    /// it, or do it yet: read what it holds ([`Pool::saved_state`](crate::Pool::saved_state)), then decide.
    #[error("sent, but the outcome is unknown: {0}")]
    Unknown(String),
    /// Sōzu answered `FAILURE`. What that means depends on its words: `could not apply request on the main process state`
    /// begins a refusal of the main process, which changed nothing; after a refusal of workers the main process may hold
    /// it all the same, and after one of a bulk some of it is done: read what it holds.
    #[error("Sōzu refused: {}", .0.message)]
    Refused(Box<Refusal>),
}

/// What Sōzu said to a `LoadState`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct BulkAnswer {
    /// The `OK`.
    pub answer: Answer,
    /// How many entries there were. None at all are not sent, and answered by this library.
    pub entries: usize,
    /// How many entries were not taken, by Sōzu's own count. It never says which.
    pub skipped: usize,
}

/// What Sōzu's main process holds.
///
/// `Debug` tells numbers only: the requests hold private keys and credentials.
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct SavedState {
    /// Every record that this version can read, in Sōzu's order.
    pub requests: Vec<Request>,
    /// How many records it cannot read.
    pub opaque: usize,
    /// How long Sōzu took to write it. Every other request waited meanwhile.
    pub took: Duration,
    /// By which the very same state is known again: for [`Pool::saved_state_unless`](crate::Pool::saved_state_unless).
    pub digest: StateDigest,
}

/// The SHA-256 of a saved state, and how many records it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateDigest {
    pub(crate) sha256: [u8; 32],
    pub(crate) records: usize,
}

/// What a read came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// What Sōzu holds.
    State(SavedState),
    /// To the byte what it was when it had this digest.
    Same {
        /// How long Sōzu took to write it. Every other request waited meanwhile.
        took: Duration,
    },
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(
            f,
            "Answer",
            &self.message,
            self.content.as_ref(),
            &self.processing,
        )
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(
            f,
            "Refusal",
            &self.message,
            self.content.as_ref(),
            &self.processing,
        )
    }
}

impl fmt::Debug for SavedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedState")
            .field("requests", &self.requests.len())
            .field("opaque", &self.opaque)
            .field("took", &self.took)
            .finish_non_exhaustive()
    }
}

fn debug(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    message: &str,
    content: Option<&ResponseContent>,
    processing: &[Response],
) -> fmt::Result {
    let said: Vec<&str> = processing
        .iter()
        .map(|response| response.message.as_str())
        .collect();
    f.debug_struct(name)
        .field("message", &message)
        .field("has_content", &content.is_some())
        .field("processing", &said)
        .finish()
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::proto::command::{
        AddCertificate, CertificateAndKey, request::RequestType,
    };

    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let request: Request = RequestType::AddCertificate(AddCertificate {
            certificate: CertificateAndKey {
                key: "a private key".to_owned(),
                ..CertificateAndKey::default()
            },
            ..AddCertificate::default()
        })
        .into();
        let saved = SavedState {
            digest: StateDigest::default(),
            requests: vec![request],
            opaque: 2,
            took: Duration::ZERO,
        };
        assert_eq!(
            format!("{saved:?}"),
            "SavedState { requests: 1, opaque: 2, took: 0ns, .. }"
        );
    }
}
