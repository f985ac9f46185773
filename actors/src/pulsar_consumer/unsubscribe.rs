//! Ends a subscription for good: a host that is gone would pin the backlog of the topic for ever.

use super::{
    address::Address,
    broker::{self, Names, Probe},
    error::BrokerError,
};

/// Removes a subscription at the broker. One that is not there is as good as removed.
///
/// # Errors
/// If the broker is not there, does not let us in, or somebody reads with that subscription.
pub async fn unsubscribe(
    address: &Address,
    topic: &str,
    subscription: &str,
) -> Result<(), BrokerError> {
    let client = broker::connect_to_probe(address).await?;
    // Whoever subscribes makes the topic, too, if the broker lets it.
    if !broker::may_exist(&client, topic).await {
        return Ok(());
    }
    let names = Names {
        address: address.shown(),
        topic: topic.to_owned(),
        subscription: subscription.to_owned(),
        consumer: format!("sozu-manager unsubscribe, pid {}", std::process::id()),
    };
    // There is one consumer at a time: that this one is let in says that nobody reads.
    Probe::open(client, names).await?.unsubscribe().await
}
