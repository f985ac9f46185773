//! The actors of sozu-manager. One folder per actor; [`messages`] holds what passes between them.

pub mod admin_server;
pub mod fs_watcher;
pub mod http_server;
pub mod messages;
pub mod metrics;
pub mod metrics_scraper;
pub mod pulsar_consumer;
pub mod socket_pool;
pub mod state_keeper;
mod web;
