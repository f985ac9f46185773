//! Asks Sōzu what it does, when somebody scrapes and not before.
//!
//! However many ask at once, one query is in flight and its answer is everybody's; one that is younger than `share_for`
//! is given again. Whoever cannot wait for the whole answer gets what is known by then.
//!
//! In the order in which to read: `table` has every metric of Sōzu and what becomes of it, `names` looks there and knows
//! what to do with the rest, `object` sums one thing's values over workers so that nothing falls, `budget` decides which
//! clusters are shown by name, `store` is all of it from one reading to the next, `snapshot` what is written, `question`
//! asks.

mod actor;
mod budget;
mod config;
mod desk;
mod names;
mod number;
mod object;
mod question;
mod snapshot;
mod store;
pub(crate) mod table;

#[cfg(test)]
mod docs;

pub use actor::MetricsScraper;
pub use config::{Config, Detail};
pub(crate) use snapshot::Cursor;
pub use snapshot::Snapshot;
pub(crate) use store::Notes;
