//! Messages for a topic: in order, batched, and done only when the broker has them all.
//!
//! Two traps of the `pulsar` crate (6.9.1, read in its source): a batch that fails does not keep the next one from being
//! sent, and what was not flushed when a producer ends is lost. So the first failure ends the whole, and every receipt is
//! waited for. The broker gives each producer a name of its own: a second run is not taken for a repetition of the first.

use futures_util::{FutureExt, StreamExt, stream::FuturesOrdered};
use prost::Message as _;
use pulsar::{
    Producer, ProducerOptions, TokioExecutor, producer::Message, proto::CommandSendReceipt,
};
use sozu_command_lib::proto::command::Request;

use super::{
    address::Address,
    broker::{self, step},
    error::{BrokerError, sorted},
    track,
};
use crate::{
    messages::Position,
    state_keeper::key::{Key, KeyError, key_of},
};

/// An entry is sent when it has so many bytes, whatever else: a broker takes 5 MB by default.
const ENTRY_BYTES: usize = 1_000_000;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The object that it is about. All that is said of one object has one key.
    pub key: String,
    /// Its bytes.
    pub payload: Vec<u8>,
}

impl Outgoing {
    /// One change, under the key of its object: `cluster/website`.
    ///
    /// # Errors
    /// A certificate that cannot be read has no key.
    pub fn of(request: &Request) -> Result<Self, KeyError> {
        let key = match request.request_type.as_ref().and_then(key_of) {
            Some(key) => named(&key?),
            // Sōzu keeps a health check in its cluster, and a replaced certificate is another one.
            None => about(request)?,
        };
        Ok(Self {
            key,
            payload: request.encode_to_vec(),
        })
    }
}

fn named(key: &Key) -> String {
    format!("{}/{key}", key.kind())
}

/// The key of a change that is about a part of an object, or about two.
fn about(request: &Request) -> Result<String, KeyError> {
    use sozu_command_lib::proto::command::{AddCertificate, request::RequestType};
    Ok(match &request.request_type {
        Some(RequestType::SetHealthCheck(set)) => format!("health_check/{}", set.cluster_id),
        Some(RequestType::RemoveHealthCheck(cluster)) => format!("health_check/{cluster}"),
        Some(RequestType::ReplaceCertificate(replace)) => {
            let new = RequestType::AddCertificate(AddCertificate {
                address: replace.address,
                certificate: replace.new_certificate.clone(),
                expired_at: replace.new_expired_at,
            });
            match key_of(&new) {
                Some(key) => named(&key?),
                None => String::new(),
            }
        }
        _ => String::new(),
    })
}

/// Publishing ended before the broker had everything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{why}. The broker has the first {sent} messages, perhaps more; publish the same again: what is there already changes nothing"
)]
pub struct Interrupted {
    /// So many, from the first on, are known to be there.
    pub sent: usize,
    /// Why no more.
    pub why: BrokerError,
}

/// A producer of one topic.
pub struct Publisher {
    producer: Producer<TokioExecutor>,
    address: String,
    is_batched: bool,
}

impl Publisher {
    /// Of the topic with that full name; `batch` messages make an entry, which decides the speed of whoever reads it.
    ///
    /// # Errors
    /// If the broker is not there, not trusted, does not let us in, or the topic is none that can be read in order.
    pub async fn open(address: &Address, topic: &str, batch: u32) -> Result<Self, BrokerError> {
        let client = broker::connect(address).await?;
        let address = address.shown();
        let partitions = Box::pin(client.lookup_partitioned_topic_number(topic));
        if step("looking up the topic", &address, "", partitions).await? > 0 {
            return Err(BrokerError::Partitioned(topic.to_owned()));
        }
        let is_batched = batch > 1;
        let options = ProducerOptions {
            batch_size: is_batched.then_some(batch),
            batch_byte_size: is_batched.then_some(ENTRY_BYTES),
            block_queue_if_full: true,
            ..ProducerOptions::default()
        };
        let build = client
            .producer()
            .with_topic(topic)
            .with_options(options)
            .build();
        let producer = step("making a producer", &address, "", Box::pin(build)).await?;
        Ok(Self {
            producer,
            address,
            is_batched,
        })
    }

    /// Publishes all of it, in order. `stored` hears of each receipt. Returns where each message lies.
    ///
    /// # Errors
    /// If the broker did not take all of it.
    pub async fn publish(
        &mut self,
        messages: impl IntoIterator<Item = Outgoing>,
        mut stored: impl FnMut(usize),
    ) -> Result<Vec<Position>, Interrupted> {
        let mut places = Vec::new();
        let sent = self.send(messages, &mut places, &mut stored).await;
        match sent {
            Ok(()) => Ok(places),
            Err(error) => Err(Interrupted {
                sent: places.len(),
                why: sorted(&error, &self.address, ""),
            }),
        }
    }

    async fn send(
        &mut self,
        messages: impl IntoIterator<Item = Outgoing>,
        places: &mut Vec<Position>,
        stored: &mut impl FnMut(usize),
    ) -> Result<(), pulsar::Error> {
        let mut receipts = FuturesOrdered::new();
        let mut take = |receipt: CommandSendReceipt| {
            places.push(place(&receipt));
            stored(places.len());
        };
        for Outgoing { key, payload } in messages {
            let message = Message {
                payload,
                partition_key: Some(key),
                ..Message::default()
            };
            let receipt = Box::pin(self.producer.send_non_blocking(message)).await?;
            receipts.push_back(receipt);
            while let Some(Some(receipt)) = receipts.next().now_or_never() {
                take(receipt?);
            }
        }
        if self.is_batched {
            self.producer.send_batch().await?;
        }
        while let Some(receipt) = receipts.next().await {
            take(receipt?);
        }
        Ok(())
    }
}

/// Where a message lies. In a batched entry the crate tells which one of it.
fn place(receipt: &CommandSendReceipt) -> Position {
    let nowhere = Position {
        ledger: 0,
        entry: 0,
        index: -1,
    };
    receipt.message_id.as_ref().map_or(nowhere, track::position)
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::proto::command::{
        HealthCheckConfig, RemoveBackend, SetHealthCheck, SocketAddress, request::RequestType,
    };

    use super::*;
    use crate::state_keeper::examples::{backend, cluster, http};

    fn key(request: impl Into<Request>) -> String {
        Outgoing::of(&request.into()).unwrap().key
    }

    #[test]
    fn all_that_is_said_of_an_object_has_one_key() {
        for object in [cluster("a"), backend("a", "a-1", 1), http("a", "a.example")] {
            assert_eq!(key(object.add()), key(object.remove().unwrap()));
        }
        assert_eq!(key(cluster("a").add()), "cluster/a");
        let remove = RequestType::RemoveBackend(RemoveBackend {
            cluster_id: "a".to_owned(),
            backend_id: "a-1".to_owned(),
            address: SocketAddress::new_v4(127, 0, 0, 1, 1),
        });
        assert_eq!(key(remove), "backend/a;a-1;127.0.0.1:1");
        let set = RequestType::SetHealthCheck(SetHealthCheck {
            cluster_id: "a".to_owned(),
            config: HealthCheckConfig::default(),
        });
        let remove = RequestType::RemoveHealthCheck("a".to_owned());
        assert_eq!(key(set), key(remove));
    }

    #[test]
    fn a_message_is_the_request_itself() {
        let request = cluster("a").add();
        let message = Outgoing::of(&request).unwrap();
        assert_eq!(Request::decode(&message.payload[..]).unwrap(), request);
    }
}
