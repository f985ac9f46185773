//! A look at a broker from outside, for `doctor`: nothing is made there, and nothing is read.

use std::time::Duration;

use pulsar::{
    ConsumerOptions, SubType, TokioExecutor, proto::command_get_topics_of_namespace::Mode,
};
use tokio::time::timeout;

use super::{
    address::Address,
    broker::{self, Client},
    error::{BrokerError, sorted},
};

/// How long the broker has for a step.
const WITHIN: Duration = Duration::from_secs(10);

/// What was found, in words.
pub type Found = Result<String, BrokerError>;

/// Whether the broker lets us in, has the topic, and, if it was made before, whether the subscription is free. What does not
/// hold ends it.
pub async fn examine(address: &Address, topic: &str, subscription: Option<&str>) -> Vec<Found> {
    let mut found = Vec::new();
    let client = match broker::connect_to_probe(address).await {
        Ok(client) => client,
        Err(error) => return vec![Err(error)],
    };
    let shown = address.shown();
    found.push(Ok(format!("the broker {shown} answers and lets us in")));
    let there = is_there(&client, &shown, topic).await;
    let is_there = there.is_ok();
    found.push(there);
    if let (true, Some(subscription)) = (is_there, subscription) {
        found.push(is_free(&client, &shown, topic, subscription).await);
    }
    found
}

async fn is_there(client: &Client, address: &str, topic: &str) -> Found {
    let partitions = client.lookup_partitioned_topic_number(topic);
    if step("looking up the topic", address, "", Box::pin(partitions)).await? > 0 {
        return Err(BrokerError::Partitioned(topic.to_owned()));
    }
    let Some(namespace) = namespace(topic) else {
        return Err(BrokerError::NoTopic(format!(
            "{topic} is no topic's full name"
        )));
    };
    let listed = client.get_topics_of_namespace(namespace.to_owned(), Mode::Persistent);
    match step("listing topics", address, "", Box::pin(listed)).await {
        Ok(topics) if topics.iter().any(|it| it == topic) => Ok(format!("{topic} is there")),
        Ok(_) => Err(BrokerError::NoTopic(format!("there is no {topic} yet"))),
        // Who may read one topic may not list all of them.
        Err(BrokerError::Denied(_)) => Ok(format!(
            "whether {topic} is there is not told to us: we may not list topics"
        )),
        Err(error) => Err(error),
    }
}

async fn is_free(client: &Client, address: &str, topic: &str, subscription: &str) -> Found {
    let consumer = client
        .consumer()
        .with_topic(topic)
        .with_subscription(subscription)
        .with_subscription_type(SubType::Exclusive)
        .with_consumer_name("sozu-manager doctor")
        .with_batch_size(1)
        .with_options(ConsumerOptions::default().durable(true));
    let built = Box::pin(consumer.build::<Vec<u8>>());
    let mut consumer: pulsar::Consumer<Vec<u8>, TokioExecutor> =
        step("subscribing", address, subscription, built).await?;
    // It goes with the client, at the latest.
    let _ = timeout(WITHIN, Box::pin(consumer.close())).await;
    Ok(format!("the subscription {subscription} is free"))
}

/// `tenant/namespace` of `persistent://tenant/namespace/topic`.
fn namespace(topic: &str) -> Option<&str> {
    let (_, path) = topic.split_once("://")?;
    let (namespace, _) = path.rsplit_once('/')?;
    Some(namespace)
}

async fn step<T>(
    doing: &'static str,
    address: &str,
    subscription: &str,
    step: impl Future<Output = Result<T, pulsar::Error>>,
) -> Result<T, BrokerError> {
    match timeout(WITHIN, step).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(sorted(&error, address, subscription)),
        Err(_) => Err(BrokerError::Silent(doing)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_topic_says_its_namespace() {
        let namespace = super::namespace;
        assert_eq!(namespace("persistent://a/b/c"), Some("a/b"));
        assert_eq!(namespace("c"), None);
    }
}
