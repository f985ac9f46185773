//! Sends refused messages on to the dead-letter topic. The database is the outbox: a letter stays unsent there until the broker
//! has given its receipt and that is on disk, so that a crash forgets none. What was sent right before a crash is sent again; the
//! message's id and the host in its properties tell.
//!
//! It has a client of its own: a publish must not wait behind acknowledgements.

use std::{collections::HashMap, sync::Arc, time::Duration};

use pulsar::{ProducerOptions, TokioExecutor, producer::Message};
use supervisors::{Backoff, Ref, may_end_at};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{debug, info};

use super::{
    broker,
    config::Config,
    error::{BrokerError, sorted},
};
use crate::{
    messages::{DeclareError, ListUnsent, SentOn},
    state_keeper::{StateKeeper, report::Report, store::LetterLine},
};

/// So many letters are sent before they are noted as sent.
const LOT: u32 = 100;
/// How long the broker has for a step, and for the receipts of a lot.
const STEP_WITHIN: Duration = Duration::from_secs(30);
/// How long the keeper has.
const ASK_WITHIN: Duration = Duration::from_secs(30);
/// Between two tries.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(10),
};
/// A broker takes messages of 5 MiB. One that came compressed may be larger than that.
const LARGEST: usize = 5_000_000;
/// Between the broker's receipts and their note on disk, and before a lot goes: for tests that kill the daemon there.
const SENDS: &str = "pulsar_consumer::outbox";

type Producer = pulsar::Producer<TokioExecutor>;

/// The dead-letter topic of a source.
pub(super) struct Outbox {
    config: Config,
    keeper: Ref<StateKeeper>,
    report: watch::Receiver<Arc<Report>>,
    says: watch::Sender<Option<String>>,
}

/// Why letters wait.
#[derive(Debug, thiserror::Error)]
enum OutboxError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Keeper(#[from] DeclareError),
    #[error("the state keeper: {0}")]
    Away(#[from] supervisors::AskError),
}

impl Outbox {
    /// Nothing, if the source has no such topic. And what keeps it from its work.
    pub(super) fn new(
        config: &Config,
        keeper: &Ref<StateKeeper>,
        report: &watch::Receiver<Arc<Report>>,
    ) -> Option<(Self, watch::Receiver<Option<String>>)> {
        if config.dead_letter_topic.is_empty() {
            return None;
        }
        let (says, heard) = watch::channel(None);
        let outbox = Self {
            config: config.clone(),
            keeper: keeper.clone(),
            report: report.clone(),
            says,
        };
        Some((outbox, heard))
    }

    /// Never ends by itself.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let instance = self.something_to_send().await;
            match self.send_all(&instance).await {
                Ok(()) => {
                    failures = 0;
                    self.say(None);
                }
                Err(error) => {
                    failures += 1;
                    let topic = &self.config.dead_letter_topic;
                    let why = format!(
                        "dead letters cannot be sent on to {topic}: {error}; they stay in the database"
                    );
                    self.say(Some(why));
                    sleep(BACKOFF.delay(failures, rand::random())).await;
                }
            }
        }
    }

    fn say(&self, trouble: Option<String>) {
        self.says.send_if_modified(|said| {
            let is_news = *said != trouble;
            *said = trouble;
            is_news
        });
    }

    /// Waits until a letter is unsent. Returns what this host calls itself.
    async fn something_to_send(&mut self) -> Arc<str> {
        let source = self.config.source.clone();
        let unsent = |report: &Arc<Report>| {
            let of_source = report.sources.get(&source);
            of_source.is_some_and(|it| it.letters.unsent > 0) && report.instance.is_some()
        };
        let found = self.report.wait_for(unsent).await;
        let instance = found.ok().and_then(|report| report.instance.clone());
        match instance {
            Some(instance) => instance,
            // The keeper is gone for good: the program ends.
            None => std::future::pending().await,
        }
    }

    /// Sends until nothing is left.
    async fn send_all(&self, instance: &str) -> Result<(), OutboxError> {
        let mut producer = None;
        loop {
            let source = self.config.source.clone();
            let asked = ListUnsent { source, limit: LOT };
            let letters = self.keeper.ask(asked, ASK_WITHIN).await??;
            if letters.is_empty() {
                return Ok(());
            }
            if producer.is_none() {
                producer = Some(self.connect().await?);
            }
            let Some(producer) = &mut producer else {
                return Ok(());
            };
            may_end_at(SENDS);
            self.send(producer, &letters, instance).await?;
            may_end_at(SENDS);
            let sent: Vec<u64> = letters.iter().map(|letter| letter.id).collect();
            let count = sent.len();
            self.keeper.ask(SentOn(sent), ASK_WITHIN).await??;
            debug!(source = %self.config.source, count, "Dead letters were sent on.");
        }
    }

    async fn connect(&self) -> Result<Producer, OutboxError> {
        let topic = &self.config.dead_letter_topic;
        let client = broker::connect(&self.config.address).await?;
        let options = ProducerOptions {
            block_queue_if_full: true,
            ..ProducerOptions::default()
        };
        let builder = client.producer().with_topic(topic).with_options(options);
        let built = self.within("making a producer", Box::pin(builder.build()));
        let producer = built.await?;
        info!(source = %self.config.source, topic, "Dead letters are sent on.");
        Ok(producer)
    }

    async fn send(
        &self,
        producer: &mut Producer,
        letters: &[LetterLine],
        instance: &str,
    ) -> Result<(), OutboxError> {
        let sending = async {
            let mut receipts = Vec::with_capacity(letters.len());
            for letter in letters {
                let message = message(letter, instance);
                receipts.push(Box::pin(producer.send_non_blocking(message)).await?);
            }
            for receipt in receipts {
                receipt.await?;
            }
            Ok(())
        };
        self.within("sending", Box::pin(sending)).await
    }

    async fn within<T>(
        &self,
        doing: &'static str,
        step: impl Future<Output = Result<T, pulsar::Error>>,
    ) -> Result<T, OutboxError> {
        match timeout(STEP_WITHIN, step).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(sorted(
                &error,
                &self.config.address.shown(),
                &self.config.dead_letter_topic,
            )
            .into()),
            Err(_) => Err(BrokerError::Silent(doing).into()),
        }
    }
}

/// A letter as its topic gets it: the message without its secrets, and in the properties what is known of it.
fn message(letter: &LetterLine, instance: &str) -> Message {
    let mut properties: HashMap<String, String> = HashMap::new();
    let mut add = |name: &str, value: &str| properties.insert(name.to_owned(), value.to_owned());
    add("reason", &letter.reason);
    add("source", &letter.source);
    add("instance", instance);
    add("letter_id", &letter.id.to_string());
    add("message_id", &letter.message);
    add("taken", &letter.at);
    for (name, value) in [
        ("message_key", &letter.message_key),
        ("published", &letter.published),
        ("kind", &letter.kind),
        ("key", &letter.key),
    ] {
        if let Some(value) = value {
            add(name, value);
        }
    }
    add("payload_bytes", &letter.bytes.to_string());
    let content = letter.content.as_ref();
    let payload = content.and_then(|it| it.payload.as_ref());
    let payload = payload.filter(|bytes| bytes.len() <= LARGEST);
    match content {
        Some(content) if payload.is_some() || content.payload.is_none() => {
            add("payload", content.payload_is);
            if let Some(lacks) = content.payload_lacks {
                add("payload_lacks", lacks);
            }
        }
        _ => {
            add("payload", "withheld");
            add("payload_lacks", "it is larger than a message may be");
        }
    }
    Message {
        payload: payload.cloned().unwrap_or_default(),
        properties,
        partition_key: letter.message_key.clone(),
        ..Message::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_keeper::store::Content;

    fn letter(payload: Option<Vec<u8>>) -> LetterLine {
        LetterLine {
            id: 7,
            source: "platform".to_owned(),
            at: "2026-11-24T12:00:00.000Z".to_owned(),
            message: "3:9:-1".to_owned(),
            message_key: Some("a".to_owned()),
            published: None,
            kind: None,
            key: None,
            reason: "no".to_owned(),
            bytes: 12,
            overtaken_by: None,
            sent_on: None,
            content: Some(Content {
                payload,
                payload_is: "original",
                payload_lacks: None,
                request: None,
            }),
        }
    }

    #[test]
    fn what_is_known_of_a_letter_is_in_its_properties() {
        let sent = message(&letter(Some(vec![1, 2])), "edge-1");
        assert_eq!(sent.payload, [1, 2]);
        assert_eq!(sent.partition_key.as_deref(), Some("a"));
        for (name, value) in [
            ("reason", "no"),
            ("source", "platform"),
            ("instance", "edge-1"),
            ("message_id", "3:9:-1"),
            ("message_key", "a"),
            ("payload", "original"),
            ("payload_bytes", "12"),
        ] {
            assert_eq!(sent.properties[name], value);
        }
        let sent = message(&letter(Some(vec![0; LARGEST + 1])), "edge-1");
        assert!(sent.payload.is_empty());
        assert_eq!(sent.properties["payload"], "withheld");
    }
}
