//! The command line of `publish`, and where a topic is.

use std::{path::PathBuf, time::Duration};

use clap::{Args, value_parser};

use super::change::Change;

/// Which topic.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct To {
    /// The [pulsar.NAME] of the configuration that is published to [default: the only one]
    #[arg(long, value_name = "NAME", global = true)]
    pub(super) source: Option<String>,
    /// The broker, pulsar://HOST:PORT or pulsar+ssl://HOST:PORT, instead of the configuration's
    #[arg(long, value_name = "URL", global = true)]
    pub(super) url: Option<String>,
    /// The topic, persistent://TENANT/NAMESPACE/TOPIC, instead of the configuration's
    #[arg(long, value_name = "TOPIC", global = true)]
    pub(super) topic: Option<String>,
    /// Holds the token, instead of the configuration's
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) token_file: Option<PathBuf>,
    /// Authorities (PEM) that are trusted beside the well-known ones, instead of the configuration's
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) ca_file: Option<PathBuf>,
}

/// What is published, and whether it is waited for.
#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true, subcommand_value_name = "CHANGE")]
#[command(subcommand_help_heading = "Single changes")]
pub(crate) struct Publish {
    /// Whole files: Sōzu's [clusters.ID] or its whole configuration (*.toml), or what `sozu state save` writes (*.json)
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,
    #[command(subcommand)]
    pub(super) change: Option<Change>,
    #[command(flatten)]
    pub(super) to: To,
    /// So many messages make an entry of the topic; it decides how fast they are read
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, global = true, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(super) batch: u32,
    /// Wait until the daemon with this admin socket reports them live
    #[arg(long, value_name = "SOCKET", global = true)]
    pub(super) wait: Option<PathBuf>,
    /// How long it is waited for
    #[arg(long, value_name = "DURATION", default_value = "5m", global = true, value_parser = humantime::parse_duration)]
    pub(super) within: Duration,
}
