//! Sōzu's own metrics: valid in every state, exact, and there when Sōzu, its workers or a scraper misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

#[path = "../support/mod.rs"]
mod support;

mod exact;
mod scrapes;
mod stand;
mod states;
