//! The truth over HTTP: `/metrics`, `/health`, `/livez`, `/readyz`.
//!
//! What is live, ready and healthy are plain functions (`live`, `ready`, `health`) of three things
//! that others publish: the supervisors' health, the keeper's report, whether Sōzu answers.
//! `/metrics` is what was counted ([`crate::metrics`]) and what is seen at the moment (`gauges`),
//! written by [`crate::metrics::text`].

mod accept;
mod actor;
mod certificates;
mod config;
mod gauges;
mod health;
mod live;
mod once;
mod process;
mod ready;
mod routes;
mod scrape;
mod truth;

#[cfg(test)]
mod exposition;
#[cfg(test)]
mod tests;

pub use actor::HttpServer;
pub use config::{Config, Deps};
pub(crate) use routes::panic_is_500;
pub use truth::Truth;
