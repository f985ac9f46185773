//! How long a broker by itself takes from publish to receive, one message at a time.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use pulsar::{Consumer, Producer, Pulsar, SubType, TokioExecutor, producer::Message};
use tokio::{runtime::Runtime, time::timeout};

use crate::{Error, Result};

const WITHIN: Duration = Duration::from_secs(30);

/// A producer and a consumer of one topic.
pub struct Echo {
    runtime: Runtime,
    // dropped within the runtime: the crate spawns a task then
    ends: Option<Ends>,
}

type Ends = (Producer<TokioExecutor>, Consumer<Vec<u8>, TokioExecutor>);

impl Echo {
    /// On the topic with that full name, which nobody else uses.
    pub fn new(url: &str, topic: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(Error::while_doing("starting a runtime"))?;
        let ends = runtime.block_on(Box::pin(async {
            // a client each: the crate never sets TCP_NODELAY, and what follows an acknowledgement waits
            let reads = Pulsar::builder(url, TokioExecutor).build().await?;
            let consumer = reads
                .consumer()
                .with_topic(topic)
                .with_subscription("echo")
                .with_subscription_type(SubType::Exclusive)
                .build()
                .await?;
            let writes = Pulsar::builder(url, TokioExecutor).build().await?;
            let producer = writes.producer().with_topic(topic).build();
            let producer = Box::pin(producer).await?;
            Ok::<_, pulsar::Error>((producer, consumer))
        }));
        let ends = Some(ends.map_err(Error::while_doing(format!("echoing on {topic}")))?);
        Ok(Self { runtime, ends })
    }

    /// Publishes these bytes, and waits until they have come.
    pub fn once(&mut self, payload: Vec<u8>) -> Result<Duration> {
        let Some((producer, consumer)) = &mut self.ends else {
            return Err(Error::new("the echo has ended"));
        };
        let began = Instant::now();
        let echoed = async {
            let message = Message {
                payload,
                ..Message::default()
            };
            let receipt = Box::pin(producer.send_non_blocking(message)).await?;
            let came = consumer.next().await;
            let took = began.elapsed();
            receipt.await?;
            if let Some(message) = came {
                consumer.ack(&message?).await?;
            }
            Ok::<_, pulsar::Error>(took)
        };
        let echoed = self
            .runtime
            .block_on(async { timeout(WITHIN, Box::pin(echoed)).await });
        echoed
            .map_err(Error::while_doing("waiting for an echo"))?
            .map_err(Error::while_doing("echoing"))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _within = self.runtime.enter();
        self.ends = None;
    }
}
