//! A Pulsar topic as a source of the keeper: ordered changes, each acknowledged once its verdict is on disk.
//!
//! One actor per `[pulsar.NAME]`. It holds one durable, exclusive subscription of this host alone, hands over what
//! the broker delivers in its order, and acknowledges as far as the keeper's report says. What comes again is known to
//! the keeper by its position, so every session simply begins where the database says.
//!
//! Read in this order: `actor` and `work` (sessions, one after the other), `flow` (one session's messages), `track`
//! (places, entries, what may be acknowledged) and `decode`: `beginning` whether a
//! topic still has one: plain rules; `outbox` sends refused messages on. `broker` is all that speaks with the `pulsar`
//! crate and knows its traps, but for `look`, which finds out why a connection fails; `address` and `token` say where the broker is and who we are; `word` is what people
//! are told. `publisher` and `unsubscribe` are what the commands of these names do, without any actor.

mod actor;
pub mod address;
mod beginning;
pub mod broker;
mod config;
mod decode;
pub mod error;
pub mod examine;
mod flow;
mod look;
mod outbox;
mod publisher;
mod token;
mod track;
mod unsubscribe;
mod word;
mod work;

pub use actor::PulsarConsumer;
pub use address::Address;
pub use config::Config;
pub use error::BrokerError;
pub use publisher::{Interrupted, Outgoing, Publisher};
pub use unsubscribe::unsubscribe;
