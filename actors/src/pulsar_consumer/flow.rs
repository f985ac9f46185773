//! One session's messages: from the broker to the keeper, and acknowledged once they are settled.
//!
//! What waits for the keeper is bounded; beyond that nothing is read, and the broker keeps the backlog.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use pulsar::consumer::message::Message;
use supervisors::AskError;
use tokio::{
    select,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    beginning::Beginning,
    broker::{Next, Stream},
    decode,
    error::is_about_an_entry,
    track::{self, Arrival, Track},
    word::Standing,
    work::{Stop, Work},
};
use crate::{
    messages::{BusChange, Changes, DeclareError, Declared, Original, Position},
    metrics,
};

/// So much is taken ahead of the keeper, in messages and in bytes.
const ROOM: usize = 20_000;
const ROOM_BYTES: usize = 64_000_000;
/// So much is handed over at once.
const HANDED: usize = 5_000;
/// What is there already is taken up to so many messages before anything else gets its turn.
const AT_ONCE: usize = 1_000;
/// The keeper writes it to disk before it answers, and waits for Sōzu in a flood.
const ASK_WITHIN: Duration = Duration::from_mins(10);
/// Without an answer for so long people are told.
const SLOW: Duration = Duration::from_secs(5);
/// After so long without a message the broker is asked where the topic ends.
const SILENCE: Duration = Duration::from_secs(4);
/// So many entries tell how a topic is published, while it is caught up with …
const MANY_ENTRIES: u64 = 5_000;
/// … and with fewer messages in each than these it is not batched.
const BATCHED: f64 = 2.0;
/// What was not taken is handed over again after this.
const AGAIN: Duration = Duration::from_millis(500);

type Answer = Result<Result<Declared, DeclareError>, AskError>;
type Asking = Pin<Box<dyn Future<Output = Answer>>>;

/// How a session began.
#[derive(Clone, Copy)]
pub(super) struct Begin {
    /// The keeper's life that was told of it.
    pub(super) life: u64,
    /// Behind this it goes on.
    pub(super) from: Option<Position>,
    /// Where the topic ended.
    pub(super) end: Option<Position>,
    /// So many entries were ahead.
    pub(super) entries: Option<u64>,
}

/// What is under way in a session.
struct Session {
    stream: Stream,
    begin: Begin,
    track: Track,
    /// What waits for the keeper.
    waiting: VecDeque<BusChange>,
    waiting_bytes: usize,
    /// What the keeper was handed, until it has taken it.
    handed: Vec<BusChange>,
    asking: Option<Asking>,
    asked_at: Instant,
    again_at: Option<Instant>,
    /// Entries that came and cannot be taken apart: why, each.
    damaged: Vec<String>,
    /// Whether the topic's beginning is there, while it is read from there.
    beginning: Option<Beginning>,
    ask_end_at: Instant,
    /// Where the topic ended at the last silence, if more should have come.
    missed: Option<Position>,
    caught_up: bool,
}

impl Session {
    fn has_room(&self) -> bool {
        self.waiting.len() < ROOM && self.waiting_bytes < ROOM_BYTES
    }

    fn has_come_to_the_end(&self) -> bool {
        self.begin.end <= self.track.last().max(self.begin.from)
    }

    /// About how many messages are left of what was there when it began.
    fn to_go(&self) -> u64 {
        let there = messages_in(self.begin.entries.unwrap_or(0), self.track.per_entry());
        there.saturating_sub(self.track.messages())
    }

    fn is_idle(&self) -> bool {
        self.asking.is_none() && self.waiting.is_empty() && self.handed.is_empty()
    }

    /// A message as the crate gives it.
    fn arrives(&mut self, message: Message<Vec<u8>>) -> Result<(), Stop> {
        let batch = message
            .message_id
            .batch_size
            .and_then(|size| u32::try_from(size).ok());
        let position = track::position(message.message_id());
        if let Some(beginning) = &mut self.beginning {
            let metadata = &message.payload.metadata;
            beginning.entry(&metadata.producer_name, metadata.sequence_id, batch);
        }
        self.take_damaged(position.ledger, position.entry)?;
        let arrival = Arrival {
            position,
            batch,
            published: message.payload.metadata.publish_time,
        };
        let original = Original {
            bytes: message.payload.data,
            key: message.payload.metadata.partition_key,
            published: Some(arrival.published).filter(|at| *at > 0),
            again: None,
        };
        self.takes(arrival, decode::change(position, original))
    }

    fn takes(&mut self, arrival: Arrival, change: BusChange) -> Result<(), Stop> {
        if !self.track.arrived(arrival) {
            return Err(Stop::Rewound);
        }
        self.waiting_bytes += change.original.bytes.len();
        self.waiting.push_back(change);
        Ok(())
    }

    /// Entries that could not be taken apart get the places before this one: the crate does not tell theirs.
    fn take_damaged(&mut self, ledger: u64, before: u64) -> Result<(), Stop> {
        let damaged = std::mem::take(&mut self.damaged);
        let first = before.saturating_sub(damaged.len() as u64);
        for (entry, why) in (first..before).zip(damaged) {
            let position = Position {
                ledger,
                entry,
                index: -1,
            };
            if self.track.last() >= Some(position) {
                continue;
            }
            let change = BusChange {
                position,
                request: Err(format!("the entry cannot be taken apart: {why}")),
                original: Arc::default(),
            };
            let arrival = Arrival {
                position,
                batch: None,
                published: 0,
            };
            self.takes(arrival, change)?;
        }
        Ok(())
    }

    /// The next lot for the keeper.
    fn hand_over(&mut self) {
        if self.handed.is_empty() {
            let lot = self.waiting.len().min(HANDED);
            self.handed.extend(self.waiting.drain(..lot));
            let sizes = self.handed.iter();
            let bytes: usize = sizes.map(|change| change.original.bytes.len()).sum();
            self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        }
    }
}

impl Work {
    /// Reads until something ends the session.
    pub(super) async fn read(&mut self, stream: Stream, begin: Begin) -> Stop {
        let now = Instant::now();
        let mut session = Session {
            stream,
            begin,
            track: Track::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            handed: Vec::new(),
            asking: None,
            asked_at: now,
            again_at: None,
            damaged: Vec::new(),
            beginning: begin.from.is_none().then(Beginning::default),
            ask_end_at: now + SILENCE,
            missed: None,
            caught_up: false,
        };
        loop {
            if let Err(stop) = self.turn(&mut session).await {
                return stop;
            }
        }
    }

    async fn turn(&mut self, session: &mut Session) -> Result<(), Stop> {
        if session.asking.is_none() && session.again_at.is_none() {
            session.hand_over();
            if !session.handed.is_empty() {
                self.ask(session);
            }
        }
        self.follow(session).await?;
        let now = Instant::now();
        let slow_at = session.asked_at + SLOW;
        let again_at = session.again_at.unwrap_or(now);
        let asks = session.asking.is_some();
        let has_room = session.has_room();
        select! {
            next = session.stream.next(), if has_room => self.take(session, next)?,
            answer = answered(&mut session.asking), if asks => self.heard(session, answer)?,
            changed = self.report.changed() => if changed.is_err() {
                // The keeper is gone for good: the program ends.
                std::future::pending::<()>().await;
            },
            () = Self::outbox_says(&mut self.outbox) => {}
            () = sleep_until(again_at), if session.again_at.is_some() => session.again_at = None,
            () = sleep_until(slow_at), if asks && now < slow_at => self.trouble(Some(
                "the keeper has not taken the last messages yet, see state_keeper; the broker keeps the others".to_owned(),
            )),
            () = sleep_until(session.ask_end_at), if session.is_idle() => self.look_after(session).await?,
        }
        Ok(())
    }

    fn ask(&mut self, session: &mut Session) {
        let changes = Changes {
            source: self.config.source.clone(),
            changes: session.handed.clone(),
        };
        let keeper = self.keeper.clone();
        session.asked_at = Instant::now();
        session.asking = Some(Box::pin(
            async move { keeper.ask(changes, ASK_WITHIN).await },
        ));
    }

    /// Takes what has come, and what is there already behind it.
    fn take(&self, session: &mut Session, next: Next) -> Result<(), Stop> {
        let mut ready = Some(next);
        let mut taken = 0;
        while let Some(next) = ready {
            match next {
                Some(Ok(message)) => session.arrives(message)?,
                Some(Err(error)) if is_about_an_entry(&error) => {
                    let source = &self.config.source;
                    warn!(%source, error = %error, "An entry of the topic cannot be taken apart; it becomes a dead letter.");
                    session.damaged.push(error.to_string());
                }
                Some(Err(error)) => return Err(session.stream.sorted(&error).into()),
                None => return Err(Stop::Ended),
            }
            taken += 1;
            let goes_on = taken < AT_ONCE && session.has_room();
            ready = if goes_on {
                session.stream.ready()
            } else {
                None
            };
        }
        session.missed = None;
        session.ask_end_at = Instant::now() + SILENCE;
        Ok(())
    }

    fn heard(&mut self, session: &mut Session, answer: Answer) -> Result<(), Stop> {
        session.asking = None;
        session.ask_end_at = Instant::now() + SILENCE;
        match answer {
            Ok(Ok(_)) => {
                session.handed.clear();
                self.trouble(None);
                Ok(())
            }
            // It has to hear of the subscription first.
            Ok(Err(error @ DeclareError::Starting)) => Err(Stop::Keeper(error.to_string())),
            Ok(Err(error)) => {
                if let DeclareError::LettersFull { taken } = &error {
                    let handed = &mut session.handed;
                    handed.retain(|change| Some(change.position) > *taken);
                }
                session.again_at = Some(Instant::now() + AGAIN);
                self.trouble(Some(error.to_string()));
                Ok(())
            }
            Err(error) => Err(Stop::Keeper(format!("the state keeper: {error}"))),
        }
    }

    /// Acknowledges what the keeper has settled, and says how it stands.
    async fn follow(&mut self, session: &mut Session) -> Result<(), Stop> {
        self.warn(session).await?;
        let report = self.report.borrow_and_update().clone();
        let source = report.sources.get(&self.config.source);
        let Some(source) = source.filter(|_| report.life == session.begin.life) else {
            return Err(Stop::Keeper(
                "the state keeper has begun another life".to_owned(),
            ));
        };
        let was_caught_up = session.caught_up;
        session.caught_up |= source.caught_up == Some(true) && session.has_come_to_the_end();
        if session.caught_up && !was_caught_up {
            info!(source = %self.config.source, messages = session.track.messages(), "The topic is caught up with.");
        }
        if let Some(up_to) = source.settled {
            let settled = session.track.settled(up_to);
            // History would tell how old the topic is.
            if was_caught_up {
                self.tell_times(&settled.published);
            }
            if let Some(position) = settled.acknowledge {
                session.stream.acknowledge(position).await?;
            }
        }
        let taken = session.track.messages();
        let to_go = (!session.caught_up).then(|| session.to_go());
        self.standing = Standing::Reads { taken, to_go };
        self.say();
        Ok(())
    }

    /// Tells what a person should know of the topic.
    async fn warn(&mut self, session: &mut Session) -> Result<(), Stop> {
        let gone = session.beginning.as_mut().and_then(Beginning::gone);
        if let Some(gone) = gone {
            let source = &self.config.source;
            let what = format!(
                "the start of the topic is gone: {gone}. What was published before that is not known to this host; publish the whole state again, then run `sozu-manager sources accept {source}`"
            );
            warn!(%source, error = what, "The source has a gap.");
            self.missing(&what).await?;
        }
        if session.caught_up {
            session.beginning = None;
        }
        let is_flood = !session.caught_up && session.track.entries() >= MANY_ENTRIES;
        if is_flood && session.track.per_entry() < BATCHED && !self.told_unbatched {
            self.told_unbatched = true;
            let (messages, entries) = (session.track.messages(), session.track.entries());
            warn!(source = %self.config.source, messages, entries, "The topic's messages come nearly one by one: catching up takes about twenty times as long as with batches of a thousand. Let the producer batch them.");
        }
        Ok(())
    }

    fn tell_times(&self, published: &[u64]) {
        let now = SystemTime::now();
        for at in published.iter().filter(|at| **at > 0) {
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(*at);
            // Clocks differ a little.
            let took = now.duration_since(at).unwrap_or_default();
            metrics::published_to_live(&self.config.source, took);
        }
    }

    /// Nothing came for a while: is the broker there, and is that all?
    async fn look_after(&mut self, session: &mut Session) -> Result<(), Stop> {
        let end = session.stream.end().await?;
        session.ask_end_at = Instant::now() + SILENCE;
        if let Some(end) = end {
            session.take_damaged(end.ledger, end.entry + 1)?;
        }
        let taken = session
            .track
            .last()
            .max(self.source().and_then(|source| source.settled));
        let place = |position: Option<Position>| position.map(|it| (it.ledger, it.entry));
        if end.is_some() && place(end) < place(taken) {
            return Err(Stop::Rewound);
        }
        if place(end) > place(taken) {
            if session.missed == end {
                return Err(Stop::Stuck);
            }
            session.missed = end;
        }
        if let Some(entries) = session.stream.backlog().await {
            metrics::set_backlog(
                &self.config.source,
                Some(messages_in(entries, session.track.per_entry())),
            );
        }
        Ok(())
    }
}

/// About how many messages so many entries hold.
fn messages_in(entries: u64, per_entry: f64) -> u64 {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    let messages = (entries as f64 * per_entry) as u64;
    messages
}

async fn answered(asking: &mut Option<Asking>) -> Answer {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}
