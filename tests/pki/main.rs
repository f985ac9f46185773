//! Certificates from a directory, served by a real Sōzu and seen by real handshakes: every layout,
//! every way in which a tool renews, whatever happens to files, the directory, Sōzu and the daemon.
//!
//! Meanwhile clients shake hands in a loop: one with a name that nobody touches never fails, one with
//! a name that is renewed gets the old or the new certificate, never nothing. Where Sōzu itself is
//! started anew there is nobody to serve; `restarts` says what holds then.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod bad;
mod deaths;
mod directory;
mod layouts;
mod names;
mod renewals;
mod restarts;
mod served;
mod stand;
mod tools;
