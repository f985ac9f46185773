//! An async, pooled client of the Sōzu command socket.

use std::{path::PathBuf, sync::Arc, time::Duration};

use sozu_command_lib::proto::command::{Request, Response, ResponseContent};
use tokio::sync::watch;

/// Sōzu's `OK`, with all that it said before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /** words */
    pub message: String,
    /** content */
    pub content: Option<ResponseContent>,
    /** every PROCESSING, in order */
    pub processing: Vec<Response>,
}

/// Sōzu's `FAILURE`, with all that it said before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refusal {
    /** words */
    pub message: String,
    /** content */
    pub content: Option<ResponseContent>,
    /** every PROCESSING, in order */
    pub processing: Vec<Response>,
}

/// What a caller must know of an exchange that brought no `OK`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ExchangeError {
    /// Nothing was sent: Sōzu is away or the pool is busy. Asking again is harmless.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The request is larger than the limit: never sent, and never will be.
    #[error("the request has {size} bytes, more than max_request_bytes = {limit}; it was not sent")]
    TooLarge {
        /** bytes */
        size: usize,
        /** bytes */
        limit: usize,
    },
    /// Sent, and the outcome is unknown: no answer in time, or the connection broke.
    #[error("sent, but the outcome is unknown: {0}")]
    Unknown(String),
    /// Sōzu answered `FAILURE`. What that means depends on its words.
    #[error("Sōzu refused: {}", .0.message)]
    Refused(Box<Refusal>),
}

/// What Sōzu said to a `LoadState`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BulkAnswer {
    /** the OK */
    pub answer: Answer,
    /** entries that were not taken, by Sōzu's own count */
    pub skipped: usize,
}

/// What Sōzu's main process holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedState {
    /** every record that this version can read */
    pub requests: Vec<Request>,
    /** how many it cannot */
    pub opaque: usize,
}

/// One life of Sōzu's main process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Life {
    /** text, the same text = the same life */
    pub text: Arc<str>,
}

impl Life {
    /** Whether both are the same life; in doubt they are not. */
    pub fn same(&self, other: &Life) -> bool {
        self == other
    }
}

/// Whether Sōzu answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sozu {
    /** not yet asked */
    Unasked,
    /** away and why */
    Away {
        /** why */
        why: String,
    },
    /** answers */
    Here(Life),
}

/// How to reach Sōzu.
#[derive(Clone, Debug)]
pub struct Builder {
    /** socket */
    pub command_socket: PathBuf,
    /** at most so many */
    pub connections: usize,
    /** Sōzu's */
    pub worker_timeout: Duration,
    /** bytes */
    pub max_request_bytes: usize,
    /** ours */
    pub exchange_directory: PathBuf,
    /** as Sōzu sees it */
    pub exchange_directory_in_sozu: Option<PathBuf>,
}

/// The pool.
#[derive(Clone)]
pub struct Pool;

impl Builder {
    /** Opens nothing yet. */
    pub fn build(self) -> Pool {
        Pool
    }
}

impl Pool {
    /// One request alone.
    pub async fn exchange(&self, _request: Request) -> Result<Answer, ExchangeError> {
        Err(ExchangeError::NotSent(String::new()))
    }
    /// Many as a file.
    pub async fn bulk(&self, _requests: Vec<Request>) -> Result<BulkAnswer, ExchangeError> {
        Err(ExchangeError::NotSent(String::new()))
    }
    /// Reads back.
    pub async fn saved_state(&self) -> Result<SavedState, ExchangeError> {
        Err(ExchangeError::NotSent(String::new()))
    }
    /// Whether Sōzu answers, and which life of it.
    pub fn seen(&self) -> watch::Receiver<Sozu> {
        watch::channel(Sozu::Unasked).1
    }
}
