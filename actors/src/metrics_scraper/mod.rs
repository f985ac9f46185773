//! Asks Sōzu what it does, when somebody scrapes and not before.
//!
//! However many ask at once, one query is in flight and its answer is everybody's; one that is
//! younger than `share_for` is given again. For now the answer is whether Sōzu is up and how many
//! workers it has.

mod actor;
mod config;
mod desk;
mod question;

pub use actor::MetricsScraper;
pub use config::Config;
