//! Whole trees of puppets that fail on demand, most of them under paused time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod asking;
mod children;
mod lives;
mod matrix;
mod policy;
mod puppet;
mod stopping;
mod threads;
