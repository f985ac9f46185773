//! `unsubscribe SOURCE`: ends a host's subscription at the broker, since that of a host that is gone pins the backlog of the
//! topic for the whole fleet.

use std::io::{self, Write};

use actors::{
    pulsar_consumer::{self, BrokerError},
    state_keeper::store::{StoreError, kept_instance},
};
use clap::Args;

use crate::{
    admin::{Client, ClientError},
    cli::print,
    config::Config,
    exit::Exit,
    sources,
};

/// Which subscription.
#[derive(Debug, Args)]
pub(crate) struct Unsubscribe {
    /// The source: the NAME of its [pulsar.NAME]
    source: String,
    /// The host that is gone, by the name that it had for the broker [default: this host]
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

/// Why it is not removed.
#[derive(Debug, thiserror::Error)]
enum UnsubscribeError {
    #[error(
        "the configuration has no [pulsar.{0}]; name one that it has, or the configuration that has it (--config)"
    )]
    NoSource(String),
    #[error(
        "what this host calls itself is not known: {0}; say it with --instance NAME, `pulsar-admin topics stats` shows the subscriptions"
    )]
    NoInstance(String),
    #[error(
        "the daemon on this host still reads {0}, and would subscribe again at once: stop it (`systemctl stop sozu-manager`), then try again; take [pulsar.{0}] out of the configuration before it is started again"
    )]
    Runs(String),
    #[error("whether a daemon on this host still reads it is not known: {0}")]
    Unknown(#[from] ClientError),
    #[error(
        "a daemon still reads with the subscription {subscription} (the broker says: {why}): stop that daemon, `pulsar-admin topics stats` shows its address, then try again"
    )]
    Taken { subscription: String, why: String },
    #[error("{0}; nothing was removed")]
    Broker(BrokerError),
    #[error("it cannot start: {0}; raise the limit on open files")]
    Runtime(io::Error),
}

/// Does what the arguments say.
pub(crate) fn run(unsubscribe: &Unsubscribe, config: &Config) -> Exit {
    match unsubscribed(unsubscribe, config) {
        Ok(exit) => exit,
        Err(error) => {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(io::stderr(), "{error}");
            Exit::Failed
        }
    }
}

fn unsubscribed(unsubscribe: &Unsubscribe, config: &Config) -> Result<Exit, UnsubscribeError> {
    let Unsubscribe { source, instance } = unsubscribe;
    let Some(table) = config.pulsar.get(source) else {
        return Err(UnsubscribeError::NoSource(source.clone()));
    };
    let ours = this_host(config);
    let is_ours = match (instance, &ours) {
        (None, _) => true,
        (Some(named), Ok(ours)) => named == ours,
        (Some(_), Err(_)) => false,
    };
    if (is_ours || !table.subscription.contains("{instance}")) && runs(config, source)? {
        return Err(UnsubscribeError::Runs(source.clone()));
    }
    let subscription = if table.subscription.contains("{instance}") {
        let instance = instance.clone().map_or(ours, Ok);
        let instance = instance.map_err(UnsubscribeError::NoInstance)?;
        table.subscription.replace("{instance}", &instance)
    } else {
        table.subscription.clone()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(UnsubscribeError::Runtime)?;
    let address = sources::broker(table);
    let ending = pulsar_consumer::unsubscribe(&address, &table.topic, &subscription);
    runtime.block_on(ending).map_err(|error| match error {
        BrokerError::Taken { subscription, why } => UnsubscribeError::Taken { subscription, why },
        error => UnsubscribeError::Broker(error),
    })?;
    Ok(print(&format!(
        "the subscription {subscription} of {} is removed: nothing is kept for it any more\n",
        table.topic
    )))
}

/// What this host calls itself.
fn this_host(config: &Config) -> Result<String, String> {
    if !config.instance.is_empty() {
        return Ok(config.instance.clone());
    }
    let directory = &config.state_directory;
    match kept_instance(directory) {
        Ok(Some(instance)) => Ok(instance),
        Ok(None) | Err(StoreError::Sqlite(_)) => {
            Err(format!("no database in {} tells it", directory.display()))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Whether the daemon of this configuration runs, and reads this source.
fn runs(config: &Config, source: &str) -> Result<bool, ClientError> {
    let status = match Client::new(&config.admin.socket).get("/v1/status") {
        Ok(status) => status,
        Err(ClientError::NoDaemon { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let name = format!("pulsar.{source}");
    let mut components = status["components"].as_array().into_iter().flatten();
    Ok(components.any(|it| it["name"] == name.as_str() && it["state"] != "stopped"))
}
