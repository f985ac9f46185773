//! All that speaks with the `pulsar` crate about a topic that is read, and knows its traps (6.9.1, read in its source):
//!
//! - While it retries by itself nobody is told. So it retries little, and a session that ends is built again by `work`.
//! - `seek` ends the consumer and makes another one, while the old one tries to come back for as long as it may retry. So
//!   there is a consumer, with a client of its own, that only finds out where to begin.
//! - The engine of a consumer does nothing while its queue is full: what needs it (`seek`, the last message's id) is asked
//!   of a consumer that takes one entry at a time, or when nothing is waiting.
//! - An acknowledgement is only queued, behind all that came before it.

use std::{path::Path, time::Duration};

use futures_util::{FutureExt, StreamExt};
use pulsar::{
    ConnectionRetryOptions, Consumer, ConsumerOptions, Error, OperationRetryOptions, Pulsar,
    SubType, TokioExecutor, consumer::InitialPosition, consumer::message::Message,
    proto::command_get_topics_of_namespace,
};
use tokio::time::timeout;

use super::{
    address::Address,
    error::{BrokerError, sorted},
    look,
    token::TokenFile,
    track,
};
use crate::messages::Position;

/// How long the broker has for a step of a session's beginning.
const STEP_WITHIN: Duration = Duration::from_secs(10);
/// How long it has to tell the last message's id while nothing else is asked of it.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Between the crate's own tries: a topic that moves to another broker is served again within about as long.
const RETRY_DELAY: Duration = Duration::from_millis(250);
/// So often it tries by itself.
const RETRIES: u32 = 6;
/// And so often while it is found out where to begin: what the crate leaves behind there must not come back later.
const PROBE_RETRIES: u32 = 1;
/// So many messages the broker may send ahead. It sends at least an entry, however many are in it.
const AHEAD: u32 = 1_000;
/// So many messages of one entry a consumer that is not read may hold.
const ONE_ENTRY: u32 = 1_000_000;

/// One connection to a broker, or a few of a cluster.
pub type Client = Pulsar<TokioExecutor>;
type Bytes = Vec<u8>;

/// Connects.
///
/// # Errors
/// If the broker is not there, not trusted, or does not let us in.
pub async fn connect(address: &Address) -> Result<Client, BrokerError> {
    connect_with(address, RETRIES).await
}

/// As [`connect`], for a [`Probe`].
pub(super) async fn connect_to_probe(address: &Address) -> Result<Client, BrokerError> {
    connect_with(address, PROBE_RETRIES).await
}

async fn connect_with(address: &Address, retries: u32) -> Result<Client, BrokerError> {
    let mut builder = Pulsar::builder(&address.url, TokioExecutor)
        .with_connection_retry_options(ConnectionRetryOptions {
            min_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_millis(500),
            max_retries: 2,
            connection_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(10),
            ..ConnectionRetryOptions::default()
        })
        .with_operation_retry_options(OperationRetryOptions {
            operation_timeout: STEP_WITHIN,
            retry_delay: RETRY_DELAY,
            max_retries: Some(retries),
        });
    if let Some(file) = &address.token_file {
        // The crate reads it when it is connected, and tells its absence as a broker that cannot be reached.
        readable(file).await?;
        builder = builder.with_auth_provider(Box::new(TokenFile(file.clone())));
    }
    if let Some(path) = &address.ca_file {
        builder = builder.with_certificate_chain(readable(path).await?);
    }
    let shown = address.shown();
    match step("connecting", &shown, "", Box::pin(builder.build())).await {
        Ok(client) => Ok(client),
        // What it says is not always why.
        Err(error) => Err(look::reason(address).await.unwrap_or(error)),
    }
}

/// What is in a file of ours.
async fn readable(path: &Path) -> Result<Vec<u8>, BrokerError> {
    let read = tokio::fs::read(path).await;
    read.map_err(|error| BrokerError::File {
        path: path.to_owned(),
        why: error.to_string(),
    })
}

/// A subscription, before it is known where it has to begin.
pub(super) struct Probe {
    client: Client,
    consumer: Consumer<Bytes, TokioExecutor>,
    names: Names,
}

/// Who subscribes to what.
#[derive(Clone)]
pub(super) struct Names {
    /// As people may see it.
    pub(super) address: String,
    pub(super) topic: String,
    pub(super) subscription: String,
    /// What the broker's own tools show.
    pub(super) consumer: String,
}

impl Probe {
    pub(super) async fn open(client: Client, names: Names) -> Result<Self, BrokerError> {
        let (address, subscription) = (&names.address, &names.subscription);
        let partitions = Box::pin(client.lookup_partitioned_topic_number(&names.topic));
        if step("looking up the topic", address, subscription, partitions).await? > 0 {
            return Err(BrokerError::Partitioned(names.topic.clone()));
        }
        let build = Box::pin(subscribe(&client, &names, 1, ONE_ENTRY));
        let consumer = step("subscribing", address, subscription, build).await?;
        Ok(Self {
            client,
            consumer,
            names,
        })
    }

    /// Where the topic ends; nothing, if it holds no message.
    pub(super) async fn end(&mut self) -> Result<Option<Position>, BrokerError> {
        last_message(&mut self.consumer, &self.names).await
    }

    /// Ends the subscription for good.
    pub(super) async fn unsubscribe(mut self) -> Result<(), BrokerError> {
        let Names {
            address,
            subscription,
            ..
        } = &self.names;
        let end = Box::pin(self.consumer.unsubscribe());
        step("ending the subscription", address, subscription, end).await
    }

    /// Sets the subscription to this place, and lets go of it. Tells how many entries are ahead.
    ///
    /// The crate makes another consumer for that, while the first one comes back by itself: whichever of them has the
    /// subscription then keeps the other out. The place is set all the same, and both go.
    pub(super) async fn seek(mut self, to: Option<Position>) -> Result<Option<u64>, BrokerError> {
        let Names {
            address,
            subscription,
            ..
        } = &self.names;
        let to = Some(track::id(to));
        let seek = Box::pin(self.consumer.seek(None, to, None, self.client.clone()));
        match step(
            "going to our place in the topic",
            address,
            subscription,
            seek,
        )
        .await
        {
            Ok(()) | Err(BrokerError::Taken { .. }) => {}
            Err(error) => return Err(error),
        }
        let entries = backlog(&mut self.consumer).await;
        // What is left of it goes with the client, which is its own.
        let close = Box::pin(self.consumer.close());
        if let Err(error) = step("closing", address, subscription, close).await {
            tracing::debug!(error = %error, "The consumer that went to our place was gone already.");
        }
        Ok(entries)
    }
}

/// What the broker delivers.
pub(super) struct Stream {
    consumer: Consumer<Bytes, TokioExecutor>,
    names: Names,
}

impl Stream {
    /// Begins to read where the subscription stands.
    pub(super) async fn open(client: &Client, names: Names) -> Result<Self, BrokerError> {
        let build = Box::pin(subscribe(client, &names, AHEAD, AHEAD));
        let consumer = step("subscribing", &names.address, &names.subscription, build).await?;
        Ok(Self { consumer, names })
    }
}

/// What comes next.
pub(super) type Next = Option<Result<Message<Bytes>, Error>>;

impl Stream {
    pub(super) async fn next(&mut self) -> Next {
        self.consumer.next().await
    }

    /// What has come already.
    pub(super) fn ready(&mut self) -> Option<Next> {
        self.consumer.next().now_or_never()
    }

    /// Where the topic ends now. Only while nothing waits to be read.
    pub(super) async fn end(&mut self) -> Result<Option<Position>, BrokerError> {
        timeout(ANSWER_WITHIN, last_message(&mut self.consumer, &self.names))
            .await
            .unwrap_or(Err(BrokerError::Silent("nothing came")))
    }

    /// How many entries of the topic are not acknowledged, as the broker counts. Only while nothing waits to be read.
    pub(super) async fn backlog(&mut self) -> Option<u64> {
        backlog(&mut self.consumer).await
    }

    /// All up to here is done with.
    pub(super) async fn acknowledge(&mut self, up_to: Position) -> Result<(), BrokerError> {
        let topic = self.names.topic.clone();
        let acknowledged = self
            .consumer
            .cumulative_ack_with_id(&topic, track::id(Some(up_to)));
        acknowledged
            .await
            .map_err(|error| self.sorted(&error.into()))
    }

    pub(super) fn sorted(&self, error: &Error) -> BrokerError {
        sorted(error, &self.names.address, &self.names.subscription)
    }
}

async fn subscribe(
    client: &Client,
    names: &Names,
    ahead: u32,
    queue: u32,
) -> Result<Consumer<Bytes, TokioExecutor>, Error> {
    let options = ConsumerOptions::default()
        .durable(true)
        .with_initial_position(InitialPosition::Earliest)
        .with_receiver_queue_size(queue);
    let builder = client
        .consumer()
        .with_topic(&names.topic)
        .with_subscription(&names.subscription)
        .with_subscription_type(SubType::Exclusive)
        .with_consumer_name(&names.consumer)
        .with_batch_size(ahead)
        .with_options(options);
    Box::pin(builder.build()).await
}

async fn backlog(consumer: &mut Consumer<Bytes, TokioExecutor>) -> Option<u64> {
    let stats = timeout(ANSWER_WITHIN, Box::pin(consumer.get_stats()))
        .await
        .ok()?
        .ok()?;
    stats.first()?.msg_backlog
}

async fn last_message(
    consumer: &mut Consumer<Bytes, TokioExecutor>,
    names: &Names,
) -> Result<Option<Position>, BrokerError> {
    let asked = Box::pin(consumer.get_last_message_id());
    let ids = step(
        "asking where the topic ends",
        &names.address,
        &names.subscription,
        asked,
    )
    .await?;
    Ok(ids.first().and_then(track::end))
}

/// Whether the broker may have this topic: it does not tell everybody.
pub(super) async fn may_exist(client: &Client, topic: &str) -> bool {
    let named = topic.strip_prefix("persistent://").unwrap_or(topic);
    let Some((namespace, _)) = named.rsplit_once('/') else {
        return true;
    };
    let mode = command_get_topics_of_namespace::Mode::All;
    let asked = client.get_topics_of_namespace(namespace.to_owned(), mode);
    match timeout(ANSWER_WITHIN, Box::pin(asked)).await {
        Ok(Ok(topics)) => topics.iter().any(|known| known == topic),
        _ => true,
    }
}

pub(super) async fn step<T>(
    doing: &'static str,
    address: &str,
    subscription: &str,
    future: impl Future<Output = Result<T, Error>>,
) -> Result<T, BrokerError> {
    match timeout(STEP_WITHIN, future).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(sorted(&error, address, subscription)),
        Err(_) => Err(BrokerError::Silent(doing)),
    }
}
