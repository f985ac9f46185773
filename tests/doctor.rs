//! `doctor` against the real Sōzu: with and without a daemon, and with each thing wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use testkit::{Daemon, SOON, Sozu, routes, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_sozu-manager");
/// Nobody on any host.
const US: u32 = 54_321;
const SOZU: u32 = 54_322;

/// What `doctor -o json` says, and how it ends.
struct Said {
    status: i32,
    findings: Vec<Value>,
}

impl Said {
    fn of(mut command: Command) -> Self {
        let output = command.stdin(Stdio::null()).output().unwrap();
        let (out, err) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        );
        let findings: Value =
            serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
        Self {
            status: output.status.code().unwrap(),
            findings: findings.as_array().unwrap().clone(),
        }
    }

    fn by(daemon: &Daemon) -> Self {
        Self::of(daemon.command(&["doctor", "-o", "json"]))
    }

    /// `STATE: SAYS; REMEDY` of one check.
    #[track_caller]
    fn line(&self, check: &str) -> String {
        let found = self.findings.iter().find(|it| it["check"] == check);
        let found = found.unwrap_or_else(|| panic!("no {check} in {:#?}", self.findings));
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        format!("{}: {}; {}", text("state"), text("says"), text("remedy"))
    }

    #[track_caller]
    fn says(&self, check: &str, state: &str, parts: &[&str]) {
        let line = self.line(check);
        assert!(
            line.starts_with(state),
            "{state} expected of {check}: {line}"
        );
        for part in parts {
            assert!(line.contains(part), "{part:?} is not in {line}");
        }
    }

    fn states(&self) -> Vec<(&str, &str)> {
        self.findings
            .iter()
            .map(|it| (it["check"].as_str().unwrap(), it["state"].as_str().unwrap()))
            .collect()
    }
}

/// Every path below, with mode, owner and size.
fn everything(below: &Path) -> Vec<(PathBuf, u32, u32, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            found.extend(everything(&path));
        }
        found.push((path, metadata.mode(), metadata.uid(), metadata.len()));
    }
    found.sort();
    found
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn without_a_daemon_everything_is_tried_and_nothing_is_changed() {
    let sozu = Sozu::builder().https_listeners(1).start().unwrap();
    let daemon = Daemon::builder(BINARY, &sozu).prepare().unwrap();
    let text = routes::http("a", sozu.http_address(), &["a.example"], &[]);
    routes::write(&daemon.routes(), "a.toml", &text).unwrap();
    let before = (
        everything(daemon.directory()),
        sozu.held().unwrap().requests,
    );
    let said = Said::by(&daemon);
    assert_eq!(said.status, 0, "{:#?}", said.findings);
    assert_eq!(
        said.states(),
        [
            ("user", "ok"),
            ("sozu.socket", "ok"),
            ("sozu.answer", "ok"),
            ("sozu.listeners", "ok"),
            ("sozu.exchange_directory", "ok"),
            ("state.directory", "ok"),
            ("state.space", "ok"),
            ("routes.local", "ok"),
            ("http.address", "ok"),
            ("admin.socket", "warning"),
            ("unit", "ok"),
        ]
    );
    let https = format!("https {}", sozu.https_addresses()[0]);
    said.says("sozu.listeners", "ok", &[&https]);
    said.says(
        "sozu.exchange_directory",
        "ok",
        &["Sōzu reads what we write"],
    );
    said.says("admin.socket", "warning", &["systemctl start sozu-manager"]);
    let after = (
        everything(daemon.directory()),
        sozu.held().unwrap().requests,
    );
    assert_eq!(before, after);

    let text = daemon.command(&["doctor"]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.starts_with("ok       user: these checks are made as "),
        "{text}"
    );
    assert_eq!(text.lines().count(), 11, "{text}");
}

#[test]
fn an_exporter_needs_no_directories() {
    let sozu = Sozu::start().unwrap();
    let daemon = Daemon::builder(BINARY, &sozu)
        .routes(&[])
        .prepare()
        .unwrap();
    let said = Said::by(&daemon);
    assert_eq!(said.status, 0, "{:#?}", said.findings);
    said.says("sources", "ok", &["a Prometheus exporter"]);
    let checks: Vec<&str> = said.states().iter().map(|(check, _)| *check).collect();
    assert!(
        !checks.iter().any(|it| it.starts_with("state.")),
        "{checks:?}"
    );
}

/// systemd is played by a script: what it says of the unit is compared with the configuration.
#[test]
fn the_hardening_of_the_unit_is_held_against_our_paths() {
    let sozu = Sozu::start().unwrap();
    let daemon = Daemon::builder(BINARY, &sozu).prepare().unwrap();
    let systemctl = daemon.directory().join("systemctl");
    let doctor = |properties: &str| {
        let script = format!(
            "#!/bin/sh\n[ \"$1 $2\" = \"show sozu-manager.service\" ] || exit 1\ncat <<'END'\nLoadState=loaded\n{properties}\nEND\n"
        );
        fs::write(&systemctl, script).unwrap();
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = daemon.command(&["doctor", "-o", "json"]);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", daemon.directory().display()));
        Said::of(command)
    };
    let strict =
        "User=sozu-manager\nProtectSystem=strict\nPrivateTmp=no\nRuntimeDirectory=sozu-manager";
    let said = doctor(strict);
    assert_eq!(said.status, 1);
    said.says(
        "unit",
        "ok",
        &["sozu-manager.service is loaded", "sozu-manager"],
    );
    let state = format!("ReadWritePaths={}", daemon.state_directory().display());
    said.says("unit.paths", "wrong", &["ProtectSystem=strict", &state]);
    said.says(
        "unit.groups",
        "wrong",
        &["mode 0600", "command_socket_mode"],
    );

    let open = format!(
        "{strict}\nUser=\nReadWritePaths={}",
        daemon.directory().display()
    );
    let said = doctor(&open);
    said.says("unit.paths", "ok", &[]);
    said.says("unit.groups", "ok", &[]);

    fs::write(&systemctl, "#!/bin/sh\necho LoadState=not-found\n").unwrap();
    let mut command = daemon.command(&["doctor", "-o", "json"]);
    command.env("PATH", daemon.directory());
    Said::of(command).says("unit", "ok", &["nothing to compare"]);
}

#[test]
fn a_running_daemon_is_asked_and_not_disturbed() {
    let mut sozu = Sozu::start().unwrap();
    let mut daemon = Daemon::builder(BINARY, &sozu).start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    wait_until("all is well", SOON, || {
        daemon.health().is_ok_and(|health| health["status"] == "ok")
    });
    let said = Said::by(&daemon);
    assert_eq!(said.status, 0, "{:#?}", said.findings);
    said.says(
        "sozu.exchange_directory",
        "ok",
        &["in use by the running daemon"],
    );
    said.says("http.address", "ok", &["a sozu-manager answers"]);
    said.says("admin.socket", "ok", &["all is well"]);

    sozu.kill().unwrap();
    wait_until("the daemon misses Sōzu", SOON, || {
        daemon
            .component("state_keeper")
            .is_ok_and(|it| it["state"] == "degraded")
    });
    let said = Said::by(&daemon);
    assert_eq!(said.status, 1);
    said.says(
        "sozu.socket",
        "wrong",
        &["nobody listens", "systemctl start sozu"],
    );
    said.says(
        "sozu.exchange_directory",
        "warning",
        &["sozu-manager status"],
    );
    said.says("admin.socket", "warning", &["sozu-manager status"]);
}

#[test]
fn each_wrong_thing_is_told_with_what_mends_it() {
    let sozu = Sozu::start().unwrap();
    let daemon = Daemon::builder(BINARY, &sozu).prepare().unwrap();
    let at = |name: &str| daemon.directory().join(name);
    fs::write(at("file"), "").unwrap();
    fs::create_dir(at("wide")).unwrap();
    fs::set_permissions(at("wide"), fs::Permissions::from_mode(0o777)).unwrap();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = stranger.local_addr().unwrap();

    // (the variable, its value, the check, its state, what it says)
    let file = at("file").display().to_string();
    let port = format!("sport = :{}", taken.port());
    let table = [
        (
            "SOZU__COMMAND_SOCKET",
            at("none.sock").display().to_string(),
            "sozu.socket",
            "wrong",
            "systemctl start sozu",
        ),
        (
            "SOZU__COMMAND_SOCKET",
            file.clone(),
            "sozu.socket",
            "wrong",
            "is no socket; set [sozu] command_socket",
        ),
        (
            "SOZU__EXCHANGE_DIRECTORY",
            file.clone(),
            "sozu.exchange_directory",
            "wrong",
            "remove it",
        ),
        (
            "SOZU__EXCHANGE_DIRECTORY",
            at("wide").display().to_string(),
            "sozu.exchange_directory",
            "warning",
            "chmod 0700",
        ),
        (
            "SOZU__EXCHANGE_DIRECTORY",
            at("new").display().to_string(),
            "sozu.exchange_directory",
            "warning",
            "start the daemon, then run this again",
        ),
        (
            "SOZU__EXCHANGE_DIRECTORY_IN_SOZU",
            "/nowhere".to_owned(),
            "sozu.exchange_directory",
            "wrong",
            "exchange_directory_in_sozu",
        ),
        (
            "STATE_DIRECTORY",
            file.clone(),
            "state.directory",
            "wrong",
            "move it away",
        ),
        (
            "STATE_DIRECTORY",
            at("wide").display().to_string(),
            "state.directory",
            "warning",
            "chmod 0700",
        ),
        (
            "HTTP__ADDRESS",
            taken.to_string(),
            "http.address",
            "wrong",
            &port,
        ),
        (
            "ADMIN__SOCKET",
            file,
            "admin.socket",
            "wrong",
            "move it away",
        ),
        (
            "ADMIN__GROUP",
            "no-such-group-here".to_owned(),
            "admin.socket",
            "wrong",
            "groupadd --system no-such-group-here",
        ),
    ];
    for (name, value, check, state, part) in table {
        let mut command = daemon.command(&["doctor", "-o", "json"]);
        command.env(format!("SOZU_MANAGER__{name}"), value);
        Said::of(command).says(check, state, &[part]);
    }
    assert!(!at("new").exists(), "nothing is made");
}

#[test]
fn a_source_that_is_gone_or_broken_and_a_wrong_configuration_are_told() {
    let sozu = Sozu::start().unwrap();
    let daemon = Daemon::builder(BINARY, &sozu)
        .routes(&["local", "gone"])
        .prepare()
        .unwrap();
    fs::remove_dir(daemon.routes_of("gone")).unwrap();
    fs::write(daemon.routes().join("a.toml"), "[clusters.a\n").unwrap();
    let nowhere = routes::http("b", "127.0.0.1:9".parse().unwrap(), &["b.example"], &[]);
    routes::write(&daemon.routes(), "b.toml", &nowhere).unwrap();
    let said = Said::by(&daemon);
    assert_eq!(said.status, 1);
    let lines = said.findings.iter().map(|it| it["says"].to_string());
    let mut refused = lines.filter(|says| says.contains("no listener at 127.0.0.1:9"));
    assert!(refused.next().is_some(), "{:#?}", said.findings);
    said.says("routes.local", "wrong", &["a.toml:1:"]);
    said.says(
        "routes.gone",
        "wrong",
        &["is not there", "make it, or mount it"],
    );

    let mut wrong = daemon.command(&["doctor"]);
    wrong.env("SOZU_MANAGER__HTTP__ADDRESS", "nonsense");
    assert_eq!(wrong.output().unwrap().status.code(), Some(78));
}

#[test]
fn a_silent_worker_and_a_wrong_timeout_are_seen() {
    let sozu = Sozu::start().unwrap();
    let daemon = Daemon::builder(BINARY, &sozu).prepare().unwrap();
    sozu.stop_one_worker().unwrap();
    let mut command = daemon.command(&["doctor", "-o", "json"]);
    command.env("SOZU_MANAGER__SOZU__WORKER_TIMEOUT", "20s");
    let said = Said::of(command);
    sozu.continue_workers().unwrap();
    said.says("sozu.answer", "warning", &["sozu upgrade --worker "]);
    said.says(
        "sozu.worker_timeout",
        "warning",
        &["is 20s", "[sozu] worker_timeout"],
    );
}

/// A user who may not use Sōzu's socket is told the lines that let it in, one after the other, and
/// they do.
#[test]
fn a_user_who_may_not_is_told_the_very_lines_that_help() {
    if !is_root() {
        return; // only root can become somebody else
    }
    let doctor = |sozu: &Sozu| {
        let daemon = Daemon::builder(BINARY, sozu)
            .user(US, US)
            .prepare()
            .unwrap();
        let said = Said::by(&daemon);
        (daemon, said)
    };
    let sozu = Sozu::builder().user(SOZU, SOZU).start().unwrap();
    let (_daemon, closed) = doctor(&sozu);
    assert_eq!(closed.status, 1);
    let (group, us) = (SOZU.to_string(), US.to_string());
    closed.says("user", "ok", &[&format!("uid {us}")]);
    let usermod = format!("usermod -aG {group} {us}");
    closed.says(
        "sozu.socket",
        "wrong",
        &["command_socket_mode = \"0660\"", &usermod],
    );
    closed.says("sozu.exchange_directory", "warning", &["above first"]);
    drop(sozu);

    let sozu = Sozu::builder()
        .user(SOZU, SOZU)
        .extra_toml("command_socket_mode = \"0666\"")
        .start()
        .unwrap();
    let (daemon, open) = doctor(&sozu);
    assert_eq!(open.status, 1);
    open.says(
        "sozu.socket",
        "warning",
        &["every user", "command_socket_mode"],
    );
    open.says(
        "sozu.exchange_directory",
        "wrong",
        &["ermission denied", &usermod, "install -d -m 0710"],
    );
    // What that line says, by hand.
    chown(daemon.exchange_directory(), Some(US), Some(SOZU)).unwrap();
    let mut member = Command::new(daemon.directory().join("sozu-manager"));
    member
        .args(["doctor", "-o", "json", "--config"])
        .arg(daemon.config_file())
        .current_dir("/")
        .uid(US)
        .gid(SOZU);
    let member = Said::of(member);
    member.says("sozu.exchange_directory", "ok", &["writes what we read"]);
    drop((daemon, sozu));

    let sozu = Sozu::builder()
        .extra_toml("command_socket_mode = \"0666\"\ncommand_allowed_uids = [0]")
        .start()
        .unwrap();
    let (_daemon, refused) = doctor(&sozu);
    assert_eq!(refused.status, 1);
    let line = format!("command_allowed_uids = [{us}]");
    refused.says(
        "sozu.answer",
        "wrong",
        &[&line, &format!("refuses uid {us}")],
    );
}

/// Root sees that it is not the daemon, and leaves nothing in the daemon's directories.
#[test]
fn root_touches_nothing_that_is_the_daemons() {
    if !is_root() {
        return; // only root can be somebody else than the daemon
    }
    let sozu = Sozu::start().unwrap();
    let daemon = Daemon::builder(BINARY, &sozu)
        .user(US, US)
        .prepare()
        .unwrap();
    let before = everything(daemon.directory());
    let mut root = Command::new(BINARY);
    root.args(["doctor", "-o", "json", "--config"])
        .arg(daemon.config_file());
    let said = Said::of(root);
    said.says(
        "user",
        "warning",
        &[&format!("sudo -u '#{US}' sozu-manager doctor")],
    );
    said.says(
        "sozu.exchange_directory",
        "wrong",
        &["this as the daemon's user"],
    );
    assert_eq!(everything(daemon.directory()), before);
}
