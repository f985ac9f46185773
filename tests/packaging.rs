//! What is shipped for a host and for a container names the paths, the user, the commands and the addresses that the binary
//! really has. No container is built here: its file is held against the binary, line by line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sozu_manager::config::{self, Config, Environment, Problem};
use testkit::{Daemon, SOON, Sozu};

const BINARY: &str = env!("CARGO_BIN_EXE_sozu-manager");

fn shipped(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The configuration of nobody, under these variables.
fn config(variables: &[(&str, &str)]) -> Config {
    let variables = variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let environment: Environment = variables.collect();
    let text = "[routes.local]\ndirectory = \"/etc/sozu-manager/routes.d\"\n";
    let loaded = config::parse("config.toml", text.as_bytes(), &environment);
    loaded
        .unwrap_or_else(|problems| {
            let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
            panic!("{}", lines.join("\n"));
        })
        .config
}

/// The instructions of the container file: the word, and the rest of its line.
fn instructions() -> Vec<(String, String)> {
    let text = shipped("packaging/container/Containerfile");
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(word, rest)| (word.to_owned(), rest.to_owned()))
        .collect()
}

fn all(word: &str) -> Vec<String> {
    let lines = instructions().into_iter();
    lines
        .filter(|(found, _)| found == word)
        .map(|it| it.1)
        .collect()
}

#[track_caller]
fn only(word: &str) -> String {
    let found = all(word);
    assert_eq!(found.len(), 1, "{word}: {found:?}");
    found[0].clone()
}

/// An instruction in its form without a shell, which the image does not have.
fn exec(text: &str) -> Vec<String> {
    let begin = text.find('[').unwrap();
    serde_json::from_str(&text[begin..]).unwrap()
}

/// Where a copy of this path of the build lies in the image.
fn copied(from: &str) -> Vec<PathBuf> {
    let copies = all("COPY").into_iter();
    copies
        .filter(|copy| copy.contains(&format!(" {from} ")))
        .map(|copy| PathBuf::from(copy.rsplit(' ').next().unwrap().trim_end_matches('/')))
        .collect()
}

#[test]
fn the_container_runs_the_binary_that_it_builds_as_the_user_that_it_makes() {
    let binary = copied("/build/target/release/sozu-manager");
    let entry = exec(&only("ENTRYPOINT"));
    assert_eq!(binary, [PathBuf::from(&entry[0])]);
    assert_eq!(entry[0], "/usr/bin/sozu-manager", "as the unit has it");
    let command = exec(&only("CMD"));
    let status = Command::new(BINARY)
        .args(&command)
        .arg("--help")
        .output()
        .unwrap()
        .status;
    assert!(status.success(), "{command:?}");

    let user = only("USER");
    let (uid, gid) = user.split_once(':').unwrap();
    assert_eq!(uid, gid);
    let run = all("RUN");
    let made = run
        .iter()
        .find(|line| line.starts_with("useradd "))
        .unwrap();
    assert!(made.contains(&format!("--uid {uid} ")), "{made}");
    // its name and home as sysusers.d has them
    let sysusers = shipped("packaging/systemd/sozu-manager.sysusers.conf");
    let line = sysusers
        .lines()
        .find(|line| line.starts_with("u "))
        .unwrap();
    let (name, home) = (
        line.split(' ').nth(1).unwrap(),
        line.rsplit(' ').next().unwrap(),
    );
    assert!(made.ends_with(&format!(" {name}")), "{made}");
    assert!(made.contains(&format!("--home-dir {home} ")), "{made}");
    for copy in all("COPY").iter().filter(|copy| copy.contains("--chown")) {
        assert!(copy.contains(&format!("--chown={uid}:{gid} ")), "{copy}");
    }
}

#[test]
fn the_containers_directories_are_the_ones_that_the_daemon_uses() {
    let config = config(&[]);
    let volumes = exec(&only("VOLUME")).into_iter().map(PathBuf::from);
    let volumes: Vec<PathBuf> = volumes.collect();
    let exchange = &config.sozu.exchange_directory;
    let shared = exchange.parent().unwrap();
    assert_eq!(volumes, [config.state_directory.as_path(), shared]);
    assert_eq!(config.admin.socket.parent(), Some(shared));
    assert_eq!(copied("/empty/"), volumes, "made for its user");
    let text = shipped("packaging/container/Containerfile");
    let socket = format!(
        "command_socket = \"{}\"",
        config.sozu.command_socket.display()
    );
    assert!(text.contains(&socket), "{socket}");
}

#[test]
fn the_container_is_reached_at_the_port_that_it_names() {
    let variables = all("ENV");
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|line| line.split_once('=').unwrap())
        .collect();
    let address = config(&variables).http.address;
    assert!(address.ip().is_unspecified(), "{address}");
    assert_eq!(address.port(), config(&[]).http.address.port());
    assert_eq!(only("EXPOSE"), address.port().to_string());

    let probe = exec(&only("HEALTHCHECK"));
    assert_eq!(copied("/bin/busybox"), [PathBuf::from(&probe[0])]);
    let before = format!("http://127.0.0.1:{}", address.port());
    let path = probe.last().unwrap().strip_prefix(&before).unwrap();
    let sozu = Sozu::start().unwrap();
    let mut daemon = Daemon::builder(BINARY, &sozu).start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    assert_eq!((path, daemon.fetch(path).unwrap().status), ("/livez", 200));
    // the paths that are named for Kubernetes
    let text = shipped("packaging/container/Containerfile");
    for probe in ["/livez", "/readyz"] {
        assert!(text.contains(&format!("Probe {probe}")), "{probe}");
        assert_eq!(daemon.fetch(probe).unwrap().status, 200);
    }
}

#[test]
fn the_container_is_built_with_what_the_repository_asks_for() {
    let manifest: toml::Table = shipped("Cargo.toml").parse().unwrap();
    let rust = manifest["workspace"]["package"]["rust-version"]
        .as_str()
        .unwrap();
    let minor = rust.rsplit_once('.').unwrap().0;
    let from = all("FROM");
    assert!(
        from[0].contains(&format!("/rust:{minor}-slim-bookworm ")),
        "{from:?}"
    );
    // the same C library below both
    assert!(from[1].ends_with("debian12"), "{from:?}");
    let run = all("RUN");
    let built = run.iter().find(|line| line.starts_with("cargo ")).unwrap();
    assert!(!built.contains("failpoints"), "{built}");
    assert!(
        built.contains("--release --locked --bin sozu-manager"),
        "{built}"
    );
    let ignored = shipped(".containerignore");
    for name in [".git", ".peers", "target"] {
        assert!(ignored.lines().any(|line| line == name), "{name}");
    }
}

/// The unit names its directories once, and so do the defaults: a daemon without any setting fits its unit.
#[test]
fn the_unit_makes_the_directories_that_the_daemon_uses() {
    let unit = shipped("packaging/systemd/sozu-manager.service");
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("no {key}")).to_owned()
    };
    let config = config(&[]);
    let state = Path::new("/var/lib").join(value("StateDirectory="));
    assert_eq!(config.state_directory, state);
    let runtime = Path::new("/run").join(value("RuntimeDirectory="));
    assert!(config.sozu.exchange_directory.starts_with(&runtime));
    assert!(config.admin.socket.starts_with(&runtime));
    let user = value("User=");
    let sysusers = shipped("packaging/systemd/sozu-manager.sysusers.conf");
    assert!(sysusers.contains(&format!("u {user} ")), "{user}");

    // Sōzu's user passes through to the exchange directory, nobody lists it
    assert_eq!(value("RuntimeDirectoryMode="), "0711");
    assert_eq!(value("StateDirectoryMode="), "0700");
}
