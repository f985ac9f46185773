//! A producer for tests: whatever bytes, batched or one by one, and back only when the broker has them.

use std::collections::HashMap;

use pulsar::{
    ConsumerOptions, Producer as Inner, ProducerOptions, Pulsar, SubType, TokioExecutor,
    compression::Compression, consumer::InitialPosition, producer::Message,
};
use tokio::runtime::Runtime;

use crate::{Error, Result};

/// A producer of one topic, on a runtime of its own.
pub struct Producer {
    runtime: Runtime,
    // dropped within the runtime: the crate spawns a task then
    inner: Option<Inner<TokioExecutor>>,
    is_batched: bool,
}

/// A message that was read from a topic.
#[derive(Clone, Debug)]
pub struct Read {
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Its key.
    pub key: Option<String>,
    /// Its properties.
    pub properties: HashMap<String, String>,
}

impl Producer {
    /// Of the topic with that full name; `batch` messages make an entry.
    pub fn new(url: &str, topic: &str, batch: u32) -> Result<Self> {
        Self::compressed(url, topic, batch, None)
    }

    /// As [`Producer::new`], with compression.
    pub fn compressed(
        url: &str,
        topic: &str,
        batch: u32,
        compression: Option<Compression>,
    ) -> Result<Self> {
        let runtime = runtime()?;
        let options = ProducerOptions {
            batch_size: (batch > 1).then_some(batch),
            compression,
            block_queue_if_full: true,
            ..ProducerOptions::default()
        };
        let inner = runtime.block_on(Box::pin(async {
            let client = Pulsar::builder(url, TokioExecutor).build().await?;
            let builder = client.producer().with_topic(topic).with_options(options);
            Box::pin(builder.build()).await
        }));
        let inner = inner.map_err(Error::while_doing(format!("making a producer of {topic}")))?;
        Ok(Self {
            runtime,
            inner: Some(inner),
            is_batched: batch > 1,
        })
    }

    /// Publishes all, in order, and waits for every receipt.
    pub fn publish<B: Into<Vec<u8>>>(
        &mut self,
        payloads: impl IntoIterator<Item = B>,
    ) -> Result<()> {
        let Self {
            runtime,
            inner: Some(inner),
            is_batched,
        } = self
        else {
            return Ok(());
        };
        let sent = runtime.block_on(async {
            let mut receipts = Vec::new();
            for payload in payloads {
                let message = Message {
                    payload: payload.into(),
                    partition_key: Some("key".to_owned()),
                    ..Message::default()
                };
                receipts.push(Box::pin(inner.send_non_blocking(message)).await?);
            }
            if *is_batched {
                inner.send_batch().await?;
            }
            for receipt in receipts {
                receipt.await?;
            }
            Ok::<_, pulsar::Error>(())
        });
        sent.map_err(Error::while_doing("publishing"))
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let _within = self.runtime.enter();
        self.inner = None;
    }
}

/// The first `count` messages of a topic, with a subscription of its own.
pub fn read(url: &str, topic: &str, count: usize) -> Result<Vec<Read>> {
    let runtime = runtime()?;
    let read = async {
        let client = Pulsar::builder(url, TokioExecutor).build().await?;
        let mut consumer: pulsar::Consumer<Vec<u8>, _> = client
            .consumer()
            .with_topic(topic)
            .with_subscription("testkit")
            .with_subscription_type(SubType::Exclusive)
            .with_options(
                ConsumerOptions::default().with_initial_position(InitialPosition::Earliest),
            )
            .build()
            .await?;
        let mut read = Vec::new();
        while read.len() < count {
            use futures_util::StreamExt;
            let Some(message) = consumer.next().await else {
                break;
            };
            let message = message?;
            let properties = message.metadata().properties.iter();
            read.push(Read {
                key: message.key(),
                properties: properties
                    .map(|it| (it.key.clone(), it.value.clone()))
                    .collect(),
                payload: message.payload.data,
            });
        }
        Ok::<_, pulsar::Error>(read)
    };
    let within = std::time::Duration::from_secs(30);
    let read = runtime.block_on(async { tokio::time::timeout(within, Box::pin(read)).await });
    read.map_err(Error::while_doing(format!(
        "reading {count} messages of {topic}"
    )))?
    .map_err(Error::while_doing(format!("reading {topic}")))
}

fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(Error::while_doing("starting a runtime"))
}
