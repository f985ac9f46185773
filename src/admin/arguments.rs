//! The command line of these commands.

use std::{
    fmt::Write,
    time::{Duration, SystemTime},
};

use clap::{Args, Subcommand};

use super::client::encoded;
use crate::output::Output;

/// A removal is confirmed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Confirmed {
    /// Do not ask
    #[arg(short, long)]
    pub(super) yes: bool,
}

/// What can be done about holds.
#[derive(Debug, Subcommand)]
pub(crate) enum Holds {
    /// Show what the guard keeps, and under which id
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Let go what a hold keeps: its objects are removed
    Release {
        /// The hold's id, as `holds list` shows it
        id: String,
        #[command(flatten)]
        confirmed: Confirmed,
        #[command(flatten)]
        output: Output,
    },
    /// Keep what a hold keeps: its objects stay, orphaned
    Discard {
        /// The hold's id, as `holds list` shows it
        id: String,
        #[command(flatten)]
        output: Output,
    },
}

/// What can be done about orphans.
#[derive(Debug, Subcommand)]
pub(crate) enum Orphans {
    /// Show the sources that left objects behind
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Remove all that a source left behind
    Remove {
        /// The source, as `orphans list` shows it
        source: String,
        #[command(flatten)]
        confirmed: Confirmed,
        #[command(flatten)]
        output: Output,
    },
}

/// What can be done about dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// Show the latest messages that were refused, and why
    List {
        /// Of this source only
        #[arg(long)]
        source: Option<String>,
        /// The latest so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// Show one with what it asks for, without its secrets
    Show {
        /// The letter's id, as `dead-letters list` shows it
        id: u64,
        #[command(flatten)]
        output: Output,
    },
    /// Try one again, as a new change; refused if a later change of the same object was taken
    Retry {
        /// The letter's id, as `dead-letters list` shows it
        id: u64,
        /// Also if that undoes a later change
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Throw letters away: the journal keeps what became of them, their bytes go
    Discard {
        /// Their ids, as `dead-letters list` shows them
        #[arg(required_unless_present_any = ["source", "all"])]
        ids: Vec<u64>,
        /// All of this source
        #[arg(long, conflicts_with_all = ["ids", "all"])]
        source: Option<String>,
        /// All
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        #[command(flatten)]
        confirmed: Confirmed,
        #[command(flatten)]
        output: Output,
    },
    /// Write letters to standard output, a line of JSON each, without their secrets
    Export {
        /// Only this one
        id: Option<u64>,
        /// Of this source only
        #[arg(long, conflicts_with = "id")]
        source: Option<String>,
        /// The bytes of the one letter, as they came
        #[arg(long, requires = "id")]
        raw: bool,
    },
}

/// What can be done about sources that wait for a person.
#[derive(Debug, Subcommand)]
pub(crate) enum Sources {
    /// Let a source go on as it is: with another subscription than before, or though something of its topic is missing
    Accept {
        /// The source, bare
        source: String,
        #[command(flatten)]
        output: Output,
    },
}

/// Which changes the journal shows.
#[derive(Debug, Args)]
pub(crate) struct Journal {
    /// Of this source only
    #[arg(long)]
    source: Option<String>,
    /// About this key only, as the journal shows it
    #[arg(long)]
    key: Option<String>,
    /// With this verdict only: applied, refused, …; `open` for none yet
    #[arg(long)]
    verdict: Option<String>,
    /// Taken since then only: a duration such as 1h, or a time such as 2026-11-24T12:00:00Z
    #[arg(long, value_parser = since)]
    since: Option<SystemTime>,
    /// The latest so many
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    pub(super) output: Output,
}

/// A command for the running daemon.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show how the daemon is; ends with 3 unless all is well
    Status {
        #[command(flatten)]
        output: Output,
    },
    /// Show how Sōzu differs from what it should hold; ends with 3 if it does
    Diff {
        #[command(flatten)]
        output: Output,
    },
    /// Show the latest changes and what became of them
    Journal(Journal),
    /// Send nothing to Sōzu for a while: changes are taken and wait
    Pause {
        /// How long, from 1s to 7d; it ends by itself
        #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
        lasts: Duration,
        #[command(flatten)]
        output: Output,
    },
    /// Let the daemon read its configuration again, and wait until the new one runs
    Reload {
        #[command(flatten)]
        output: Output,
    },
    /// End a pause: what waits is sent
    Resume {
        #[command(flatten)]
        output: Output,
    },
    /// Removals that wait for a person
    #[command(subcommand)]
    Holds(Holds),
    /// Objects that nobody stands for any more
    #[command(subcommand)]
    Orphans(Orphans),
    /// Messages that were refused and wait for a person
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Sources that wait for a person
    #[command(subcommand)]
    Sources(Sources),
}

impl Journal {
    pub(super) fn path(&self) -> String {
        let mut path = format!("/v1/journal?limit={}", self.limit);
        let since = self
            .since
            .map(|since| humantime::format_rfc3339_millis(since).to_string());
        for (name, value) in [
            ("source", &self.source),
            ("key", &self.key),
            ("verdict", &self.verdict),
            ("since", &since),
        ] {
            if let Some(value) = value {
                // Writing into a String cannot fail.
                let _ = write!(path, "&{name}={}", encoded(value));
            }
        }
        path
    }
}

fn since(text: &str) -> Result<SystemTime, String> {
    let ago = |ago: Duration| SystemTime::now().checked_sub(ago);
    let time = match humantime::parse_duration(text) {
        Ok(duration) => ago(duration),
        Err(_) => humantime::parse_rfc3339_weak(text).ok(),
    };
    time.filter(|time| *time >= SystemTime::UNIX_EPOCH)
        .ok_or_else(|| {
            "write a duration such as 1h, or a time such as 2026-11-24T12:00:00Z".to_owned()
        })
}

impl Command {
    /// Whether it is worth asking although the configuration is wrong.
    pub(crate) fn is_reload(&self) -> bool {
        matches!(self, Self::Reload { .. })
    }
}
