//! Every shipped configuration is right, and `default.toml` tells the truth about the defaults.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{fs, net::SocketAddr, path::PathBuf};

use sozu_manager::{
    cli::DEFAULT_CONFIG,
    config::{
        self, Config, Environment, Loaded, Problem,
        tables::{Layout, Mode, Pki, Pulsar, Routes},
    },
};
use toml::Table;

fn parse(name: &str, text: &str) -> Loaded {
    config::parse(name, text.as_bytes(), &Environment::default()).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
        panic!("{}", lines.join("\n"));
    })
}

fn shipped() -> Vec<PathBuf> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("configs");
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn read(name: &str) -> Config {
    let path = shipped()
        .into_iter()
        .find(|path| path.ends_with(name))
        .unwrap();
    parse(name, &fs::read_to_string(path).unwrap()).config
}

/// The default with each commented key set: a comment that is a line of TOML is one.
fn uncommented() -> String {
    let line = |line: &str| {
        let Some(comment) = line.strip_prefix("# ") else {
            return line.to_owned();
        };
        let key = comment.split(" = ").next().unwrap();
        let is_key = comment.contains(" = ") && !key.contains(' ');
        let is_table = comment.starts_with('[') && comment.ends_with(']');
        if is_key || is_table { comment } else { line }.to_owned()
    };
    let lines: Vec<String> = DEFAULT_CONFIG.lines().map(line).collect();
    lines.join("\n")
}

#[test]
fn each_shipped_file_is_right() {
    let files = shipped();
    assert!(files.len() >= 3, "{files:?}");
    for path in files {
        assert_eq!(path.extension().unwrap(), "toml", "{}", path.display());
        parse(
            &path.display().to_string(),
            &fs::read_to_string(&path).unwrap(),
        );
    }
}

#[test]
fn the_default_as_printed_is_the_default() {
    assert_eq!(
        parse("default.toml", DEFAULT_CONFIG).config,
        Config::default()
    );
}

#[test]
fn each_key_of_the_default_shows_its_default() {
    let mut config = parse("default.toml", &uncommented()).config;
    let example = Routes {
        directory: "/etc/sozu-manager/routes.d".into(),
    };
    assert_eq!(config.routes.remove("local"), Some(example));
    let example = Pki {
        directory: "/etc/letsencrypt/live".into(),
        ..Pki::default()
    };
    assert_eq!(config.pki.remove("public"), Some(example));
    let example = config.pulsar.remove("platform").unwrap();
    assert_eq!(example.subscription, Pulsar::default().subscription);
    assert_eq!(example.verbs, Pulsar::default().verbs);
    assert_eq!(config, Config::default());
}

#[test]
fn the_default_names_every_key() {
    fn keys(table: &Table, path: &str) -> Vec<String> {
        let of = |(key, value): (&String, &toml::Value)| match value {
            toml::Value::Table(inner) => keys(inner, &format!("{path}{key}.")),
            _ => vec![format!("{path}{key}")],
        };
        let mut keys: Vec<String> = table.iter().flat_map(of).collect();
        keys.sort();
        keys
    }
    let mut shown: Table = toml::from_str(&uncommented()).unwrap();
    let of_pulsar = |table: &Table| table["pulsar"]["platform"].as_table().unwrap().clone();
    let pulsar = of_pulsar(&shown);
    let all = Table::try_from(Pulsar::default()).unwrap();
    assert_eq!(keys(&pulsar, ""), keys(&all, ""));
    shown.remove("routes");
    let pki: Table = shown.remove("pki").unwrap().try_into().unwrap();
    let every = Table::try_from(Pki::default()).unwrap();
    assert_eq!(
        keys(pki["public"].as_table().unwrap(), ""),
        keys(&every, "")
    );
    shown.remove("pulsar");
    let all = Table::try_from(Config::default()).unwrap();
    assert_eq!(keys(&shown, ""), keys(&all, ""));
}

#[test]
fn certificates_are_looked_for_where_the_tools_put_them() {
    let config = read("pki.toml");
    assert_eq!(config.routes.len(), 0);
    assert_eq!(
        config.pki["letsencrypt"].root(),
        PathBuf::from("/etc/letsencrypt")
    );
    let config = read("kubernetes.toml");
    assert_eq!(config.pki["secrets"].layout, Layout::Kubernetes);
}

#[test]
fn the_exporter_has_no_source() {
    let config = read("exporter-only.toml");
    let address: SocketAddr = "0.0.0.0:7380".parse().unwrap();
    assert_eq!((config.routes.len(), config.http.address), (0, address));
}

#[test]
fn a_topic_may_be_the_only_source() {
    let config = read("pulsar.toml");
    assert_eq!((config.routes.len(), config.pulsar.len()), (0, 1));
    let platform = &config.pulsar["platform"];
    assert!(platform.url.starts_with("pulsar+ssl://"));
    assert!(!platform.allow_hostnames.is_empty() && !platform.allow_backends.is_empty());
}

#[test]
fn attaching_to_a_sozu_that_runs_sends_nothing() {
    let config = read("existing-sozu.toml");
    assert_eq!(config.reconcile.mode, Mode::Observe);
    assert_eq!(config.routes.len(), 1);
}
