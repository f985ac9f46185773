//! The keeper of the desired state: the only writer of what should be, and the only one that
//! decides what Sōzu is sent.
//!
//! What it promises: a crash anywhere loses nothing and applies nothing twice; no receipt is false;
//! what Sōzu holds is known, not assumed. A change goes
//! *admit once → log → fold → plan → send → meaning → verdict → accepted set*.
//! Nothing is sent before its entry is on disk. After a crash the unfinished tail of the log is
//! folded again over the accepted sets, and each of its entries counts as one with an unknown
//! outcome: Sōzu is read, and the difference is sent.
//!
//! To read in this order: [`key`], [`effects`], [`declared`], [`listing`], [`admit`], [`policy`],
//! [`guard`], [`desired`] with `checks`, [`log`] with `fold`, [`held`], [`plan`], [`gate`], [`answer`], [`verdict`]: the
//! rules, one in each file. Then [`events`] and [`keeper`] with its parts: `intake`, `orders` and `takeover` (what sources
//! send), `appending` (what is on disk counts), `sending`, `renewing`, `outcome` and `reading` (what Sōzu is told and says),
//! `doubts` (what that leaves open), `upgrade` (workers that differ), `settling` (what is final), [`operator`] (what a person
//! orders), `pause`, `settings` (a reload), `reporting`. Then the shell:
//! [`store`], `actor`, `asking`, `persons`, `journalist`. Only the shell knows actix and SQLite.

mod actor;
pub mod admit;
pub mod answer;
mod appending;
mod asking;
mod checks;
mod clusters;
mod config;
pub mod declared;
pub mod desired;
mod doubts;
pub mod effects;
pub mod events;
#[cfg(test)]
pub(crate) mod examples;
mod fold;
pub mod gate;
pub mod guard;
pub mod held;
mod intake;
mod journalist;
pub mod keeper;
pub mod key;
mod letters;
pub mod listing;
pub mod log;
pub mod operator;
mod orders;
mod outcome;
mod pause;
mod persons;
pub mod plan;
#[cfg(test)]
mod plan_properties;
pub mod policy;
mod post;
mod reading;
pub mod redact;
mod renewing;
pub mod report;
mod reporting;
mod sending;
mod settings;
mod settling;
#[cfg(test)]
mod sim;
pub mod store;
mod takeover;
mod upgrade;
pub mod verdict;
mod warnings;

pub use actor::StateKeeper;
pub use config::Config;
