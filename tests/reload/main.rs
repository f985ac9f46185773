//! The configuration changes while the daemon runs: what differs is changed, and nothing else notices.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

#[path = "../support/mod.rs"]
mod support;

mod refused;
mod running;
mod sources;
mod stand;
