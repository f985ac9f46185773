//! Sōzu's event stream, on a connection of its own.
//!
//! Sōzu numbers no event and keeps none for those who come later. So what matters as much as an event is to know when
//! some may have been missed: between [`Heard::Lost`] and the next [`Heard::Subscribed`].

use std::mem;

use prost::{
    Message,
    bytes::{Buf, BytesMut},
};
use sozu_command_lib::proto::command::{
    Event, Request, Response, ResponseStatus, SubscribeEvents, request::RequestType,
    response_content::ContentType,
};
use tokio::{
    io::AsyncWriteExt,
    net::UnixStream,
    time::{Instant, sleep_until},
};

use crate::{Builder, Pool, backoff::Backoff, connection::Connection, frame};

/// Sōzu's events as they come, over ends and new beginnings of the connection, for as long as it is asked for the
/// [`next`](Events::next) one. Nothing is connected before that, and dropping it closes the connection.
///
/// Sōzu keeps what is not fetched yet for as long as its `max_command_buffer_size` allows: fetch as it comes.
#[derive(Debug)]
pub struct Events {
    builder: Builder,
    line: Option<Line>,
    /// Whether the caller knows that nothing is heard.
    lost: bool,
    backoff: Backoff,
    next_try: Instant,
}

/// What is heard of Sōzu's events.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Heard {
    /// From here on every event is heard. Read what you need to know of Sōzu's state now: what happened before, at
    /// the first time too, nobody told.
    Subscribed,
    /// Something happened. One change may be told twice (by the main process and by a worker).
    Event {
        /// The worker's id, or `None` for the main process.
        worker: Option<u32>,
        /// Sōzu's own word.
        event: Event,
    },
    /// Nothing is heard until the next `Subscribed`, which is tried for again and again. Told once.
    Lost {
        /// Why, and what to do.
        why: String,
    },
}

#[derive(Debug)]
struct Line {
    stream: UnixStream,
    /// What was read and not understood yet: a caller may leave in the middle of a frame.
    buffer: BytesMut,
    /// Whether Sōzu has answered: it tells a subscriber of its own subscription.
    subscribed: bool,
}

impl Pool {
    /// The event stream, on a connection of its own beside those of the pool.
    pub fn events(&self) -> Events {
        Events {
            builder: self.builder().clone(),
            line: None,
            lost: false,
            backoff: Backoff::new(),
            next_try: Instant::now(),
        }
    }
}

impl Events {
    /// Waits for what comes next; it never ends. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Heard {
        loop {
            match self.listen().await {
                Ok(heard) => return heard,
                Err(why) => {
                    self.line = None;
                    self.next_try = Instant::now() + self.backoff.pause();
                    if !mem::replace(&mut self.lost, true) {
                        return Heard::Lost { why };
                    }
                }
            }
        }
    }

    async fn listen(&mut self) -> Result<Heard, String> {
        let line = match &mut self.line {
            Some(line) => line,
            none => {
                sleep_until(self.next_try).await;
                none.insert(Line::open(&self.builder).await?)
            }
        };
        loop {
            if let Some(heard) = line.understand(self.builder.max_answer_bytes)? {
                self.lost = false;
                self.backoff = Backoff::new();
                return Ok(heard);
            }
            match frame::more(&mut line.stream, &mut line.buffer).await {
                Ok(0) => return Err("Sōzu closed the event stream".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("reading Sōzu's events failed: {error}")),
            }
        }
    }
}

impl Line {
    async fn open(builder: &Builder) -> Result<Self, String> {
        let mut stream = Connection::open(&builder.command_socket)
            .await?
            .into_stream();
        let request: Request = RequestType::SubscribeEvents(SubscribeEvents {}).into();
        let frame = frame::encode(&request, usize::MAX)
            .map_err(|size| format!("{size} bytes are too many"))?;
        let writing = stream.write_all(&frame).await;
        writing.map_err(|error| format!("subscribing to Sōzu's events failed: {error}"))?;
        Ok(Self {
            stream,
            buffer: BytesMut::new(),
            subscribed: false,
        })
    }

    /// What the buffer holds, if it is a whole answer.
    fn understand(&mut self, limit: usize) -> Result<Option<Heard>, String> {
        while let Some(frame) =
            frame::first(&self.buffer, limit).map_err(|error| error.to_string())?
        {
            let response = Response::decode(frame)
                .map_err(|error| format!("Sōzu's event cannot be decoded: {error}"))?;
            if response.status != ResponseStatus::Processing as i32 {
                return Err(format!("Sōzu ended the event stream: {}", response.message));
            }
            if !mem::replace(&mut self.subscribed, true) {
                return Ok(Some(Heard::Subscribed));
            }
            let used = frame::HEADER + frame.len();
            self.buffer.advance(used);
            if let Some(heard) = heard(response) {
                return Ok(Some(heard));
            }
        }
        Ok(None)
    }
}

/// The event in an answer, if there is one.
pub(crate) fn heard(response: Response) -> Option<Heard> {
    let ContentType::Event(event) = response.content?.content_type? else {
        return None;
    };
    let worker = response.message.parse().ok();
    Some(Heard::Event { worker, event })
}
