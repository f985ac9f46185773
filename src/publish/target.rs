//! Where it is published to, and what whoever reads that topic takes.

use std::path::PathBuf;

use actors::{messages::SourceName, pulsar_consumer::Address, state_keeper::policy::Policy};

use super::arguments::To;
use crate::{
    config::{Config, LoadError, Loaded},
    sources,
};

/// A topic.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) topic: String,
    /// What its readers take.
    pub(crate) policy: Policy,
    pub(crate) max_request_bytes: usize,
}

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error(transparent)]
    Configuration(#[from] LoadError),
    #[error(
        "the configuration has no [pulsar.NAME]: write one, or name the topic with --url and --topic"
    )]
    NoSource,
    #[error("the configuration has more than one topic: name one with --source, of {0}")]
    Several(String),
    #[error("the configuration has no [pulsar.{name}]; it has {known}")]
    Unknown { name: String, known: String },
    #[error("{0}")]
    BadName(String),
}

impl To {
    /// Finds it. The configuration is read only if something of it is needed.
    pub(super) fn target(
        &self,
        load: impl FnOnce() -> Result<Loaded, LoadError>,
    ) -> Result<Target, TargetError> {
        let mut target = match (&self.source, &self.url, &self.topic) {
            (None, Some(_), Some(_)) => Target {
                address: Address::default(),
                topic: String::new(),
                policy: Policy {
                    verbs: ["routing", "certificates"].map(str::to_owned).to_vec(),
                    ..Policy::default()
                },
                max_request_bytes: Config::default().sozu.max_request_bytes,
            },
            _ => configured(&load()?.config, self.source.as_deref())?,
        };
        if let Some(url) = &self.url {
            if !["pulsar://", "pulsar+ssl://"]
                .iter()
                .any(|scheme| url.starts_with(scheme))
            {
                let why = "--url: write pulsar://HOST:PORT, or pulsar+ssl://HOST:PORT with TLS";
                return Err(TargetError::BadName(why.to_owned()));
            }
            target.address.url.clone_from(url);
        }
        if let Some(topic) = &self.topic {
            if !topic.starts_with("persistent://") || topic.split('/').count() != 5 {
                let why = "--topic: write persistent://TENANT/NAMESPACE/TOPIC";
                return Err(TargetError::BadName(why.to_owned()));
            }
            target.topic.clone_from(topic);
        }
        let here = |file: &PathBuf| std::path::absolute(file).unwrap_or_else(|_| file.clone());
        if let Some(file) = &self.token_file {
            target.address.token_file = Some(here(file));
        }
        if let Some(file) = &self.ca_file {
            target.address.ca_file = Some(here(file));
        }
        Ok(target)
    }
}

fn configured(config: &Config, asked_for: Option<&str>) -> Result<Target, TargetError> {
    let known = || {
        let names: Vec<String> = config.pulsar.keys().cloned().collect();
        names.join(", ")
    };
    let name = match (asked_for, config.pulsar.len()) {
        (Some(name), _) => name.to_owned(),
        (None, 0) => return Err(TargetError::NoSource),
        (None, 1) => known(),
        (None, _) => return Err(TargetError::Several(known())),
    };
    let Some(table) = config.pulsar.get(&name) else {
        let known = match known() {
            none if none.is_empty() => "no topic at all".to_owned(),
            known => known,
        };
        return Err(TargetError::Unknown { name, known });
    };
    let policy = sources::policies(config).remove(&SourceName::new(&name));
    Ok(Target {
        address: sources::broker(table),
        topic: table.topic.clone(),
        policy: policy.unwrap_or_default(),
        max_request_bytes: config.sozu.max_request_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tables;

    fn with(names: &[&str]) -> Config {
        let pulsar = names.iter().map(|name| {
            let table = tables::Pulsar {
                topic: format!("persistent://public/default/{name}"),
                ..tables::Pulsar::default()
            };
            ((*name).to_owned(), table)
        });
        Config {
            pulsar: pulsar.collect(),
            ..Config::default()
        }
    }

    #[test]
    fn the_only_topic_needs_no_name() {
        let topic = |config: &Config, named| configured(config, named).map(|it| it.topic);
        assert_eq!(
            topic(&with(&["a"]), None).unwrap(),
            "persistent://public/default/a"
        );
        let told = |config: &Config, named| topic(config, named).unwrap_err().to_string();
        assert!(told(&with(&[]), None).contains("--topic"));
        assert!(told(&with(&["a", "b"]), None).contains("a, b"));
        assert!(told(&with(&["a"]), Some("c")).contains("[pulsar.c]"));
    }
}
