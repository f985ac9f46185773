//! What goes wrong with a broker, in words that tell a person what to do.

use std::{io::ErrorKind, path::PathBuf};

use pulsar::{
    Error,
    error::{
        AuthenticationError, ConnectionError, ConsumerError, ProducerError, ServiceDiscoveryError,
    },
    proto::ServerError,
};

/// Why there is no session with the broker, or no longer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// It is not there, or does not answer.
    #[error("the broker {address} cannot be reached: {why}")]
    Away {
        /// Where it was looked for.
        address: String,
        /// Why.
        why: String,
    },
    /// Its certificate is not trusted.
    #[error(
        "the broker's certificate is not trusted: {0}; name its authority in `ca_file`, or correct the host name in `url`"
    )]
    Certificate(String),
    /// It does not let us in.
    #[error("the broker refuses us: {0}; look at `token_file` and at what its role may do")]
    Denied(String),
    /// A file of ours cannot be read.
    #[error("{path} cannot be read: {why}; let this user read it")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Somebody else has the subscription.
    #[error(
        "the subscription {subscription} is in use by another consumer (the broker says: {why}); is there a second daemon with this `instance`? `pulsar-admin topics stats` shows its address and name"
    )]
    Taken {
        /// Which.
        subscription: String,
        /// The broker's words.
        why: String,
    },
    /// The topic has no order.
    #[error(
        "the topic {0} is partitioned, so its messages have no order; name a topic without partitions"
    )]
    Partitioned(String),
    /// The topic is not there and the broker makes none.
    #[error("the broker does not know the topic: {0}; create it, or correct `topic`")]
    NoTopic(String),
    /// It takes nothing more.
    #[error(
        "the broker takes no more messages for this topic: {0}; a subscription that nobody reads keeps its backlog: `pulsar-admin topics stats` shows which, `sozu-manager unsubscribe` ends one"
    )]
    Full(String),
    /// It did not answer in time.
    #[error("the broker did not answer in time while {0}")]
    Silent(&'static str),
    /// Anything else.
    #[error("the broker: {0}")]
    Other(String),
}

/// Sorts an error of the crate by what a person can do about it.
pub(super) fn sorted(error: &Error, address: &str, subscription: &str) -> BrokerError {
    match connection(error) {
        Some(ConnectionError::PulsarError(Some(code), text)) => {
            of_server(*code, text.as_deref().unwrap_or(""), subscription)
        }
        Some(ConnectionError::Tls(error)) => BrokerError::Certificate(error.to_string()),
        Some(ConnectionError::DnsName(error)) => BrokerError::Certificate(error.to_string()),
        // rustls' own errors come through the socket
        Some(ConnectionError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
            BrokerError::Certificate(error.to_string())
        }
        Some(ConnectionError::Authentication(
            AuthenticationError::Custom(why) | AuthenticationError::Retriable(why),
        )) => BrokerError::Denied(why.clone()),
        Some(
            error @ (ConnectionError::Unexpected(_)
            | ConnectionError::Decoding(_)
            | ConnectionError::Encoding(_)),
        ) => BrokerError::Other(error.to_string()),
        Some(error) => BrokerError::Away {
            address: address.to_owned(),
            why: error.to_string(),
        },
        None => match error {
            Error::ServiceDiscovery(ServiceDiscoveryError::Query(Some(code), text)) => {
                of_server(*code, text.as_deref().unwrap_or(""), subscription)
            }
            Error::Authentication(error) => BrokerError::Denied(error.to_string()),
            error => BrokerError::Other(error.to_string()),
        },
    }
}

fn connection(error: &Error) -> Option<&ConnectionError> {
    match error {
        // a whole entry has the same trouble
        Error::Producer(ProducerError::Batch(error)) => connection(error),
        Error::Connection(error)
        | Error::Consumer(ConsumerError::Connection(error))
        | Error::Producer(ProducerError::Connection(error))
        | Error::ServiceDiscovery(ServiceDiscoveryError::Connection(error)) => Some(error),
        _ => None,
    }
}

pub(super) fn of_server(code: ServerError, text: &str, subscription: &str) -> BrokerError {
    let why = format!("{text} ({})", code.as_str_name());
    match code {
        ServerError::ConsumerBusy => BrokerError::Taken {
            subscription: subscription.to_owned(),
            why,
        },
        ServerError::AuthenticationError | ServerError::AuthorizationError => {
            BrokerError::Denied(why)
        }
        ServerError::TopicNotFound => BrokerError::NoTopic(why),
        ServerError::ProducerBlockedQuotaExceededError
        | ServerError::ProducerBlockedQuotaExceededException => BrokerError::Full(why),
        _ => BrokerError::Other(why),
    }
}

/// Whether the error is about one entry that cannot be taken apart, and not about the connection: the stream goes on.
pub(super) fn is_about_an_entry(error: &Error) -> bool {
    let in_consumer = |error: &ConsumerError| match error {
        ConsumerError::Io(_) | ConsumerError::MissingPayload(_) => true,
        ConsumerError::Connection(error) => matches!(error, ConnectionError::Decoding(_)),
        _ => false,
    };
    match error {
        Error::Consumer(error) => in_consumer(error),
        Error::Connection(error) => matches!(error, ConnectionError::Decoding(_)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_what_to_do() {
        let server = |code, text: &str| {
            Error::Connection(ConnectionError::PulsarError(
                Some(code),
                Some(text.to_owned()),
            ))
        };
        let io = |kind, text: &str| {
            Error::Connection(ConnectionError::Io(std::io::Error::new(
                kind,
                text.to_owned(),
            )))
        };
        let told = |error: &Error| sorted(error, "pulsar://b:1", "sub-a").to_string();
        let taken = told(&server(
            ServerError::ConsumerBusy,
            "Exclusive consumer is already connected",
        ));
        assert!(
            taken.contains("sub-a") && taken.contains("already connected"),
            "{taken}"
        );
        let denied = told(&server(ServerError::AuthorizationError, "no"));
        assert!(denied.contains("token_file"), "{denied}");
        let away = told(&io(ErrorKind::ConnectionRefused, "refused"));
        assert!(away.contains("pulsar://b:1"), "{away}");
        let certificate = told(&io(
            ErrorKind::InvalidData,
            "invalid peer certificate: UnknownIssuer",
        ));
        assert!(certificate.contains("ca_file"), "{certificate}");
    }
}
