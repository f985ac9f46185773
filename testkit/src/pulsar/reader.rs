//! What lies in a topic.

use std::collections::HashMap;

use futures_util::StreamExt;
use pulsar::{ConsumerOptions, Pulsar, SubType, TokioExecutor, consumer::InitialPosition};

use crate::{Error, Result};

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

/// The first `count` messages of a topic, with a subscription of its own.
pub fn read(url: &str, topic: &str, count: usize) -> Result<Vec<Read>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::while_doing("starting a runtime"))?;
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
