//! The admin socket and the commands on it, against the real Sōzu.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use sozu_command_lib::proto::command::{Cluster, request::RequestType};
use testkit::{Backend, Daemon, SOON, Sozu, get, routes, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_sozu-manager");
/// `nobody` and `nogroup` of every Debian.
const NOBODY: u32 = 65534;

struct Ended {
    status: i32,
    out: String,
    err: String,
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}\n{}", self.out, self.err))
    }
}

fn ended(mut command: Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Ended {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn says(daemon: &Daemon, arguments: &[&str]) -> Ended {
    ended(daemon.command(arguments))
}

fn answers(sozu: &Sozu, host: &str, status: u16) {
    wait_until(&format!("{status} from {host}"), SOON, || {
        match get(sozu.http_port(), host, "/") {
            Ok(answer) if answer.status == status => Ok(()),
            Ok(answer) => Err(answer.status.to_string()),
            Err(error) => Err(error.to_string()),
        }
    });
}

/// Sōzu, a backend, and a daemon whose 40 routes were removed: all of it is held.
fn emptied() -> (Sozu, Backend, Daemon, String) {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("hello").unwrap();
    let mut daemon = Daemon::builder(BINARY, &sozu).prepare().unwrap();
    for n in 0..40 {
        let (cluster, host) = (format!("r{n}"), format!("r{n}.example"));
        let backends = [backend.address()];
        let text = routes::http(&cluster, sozu.http_address(), &[&host], &backends);
        routes::write(&daemon.routes(), &format!("{cluster}.toml"), &text).unwrap();
    }
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    answers(&sozu, "r39.example", 200);
    for n in 0..40 {
        routes::remove(&daemon.routes(), &format!("r{n}.toml")).unwrap();
    }
    let id = wait_until("a hold of everything", SOON, || {
        let held = says(&daemon, &["holds", "list", "-o", "json"]).json();
        (held[0]["objects"] == 120).then(|| held[0]["id"].as_str().unwrap().to_owned())
    });
    (sozu, backend, daemon, id)
}

#[test]
fn a_hold_is_listed_and_its_release_removes_exactly_that() {
    let (sozu, _backend, daemon, id) = emptied();
    let listed = says(&daemon, &["holds", "list", "-o", "json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["source"], "local");
    assert_eq!(listed[0]["keys"].as_array().unwrap().len(), 120);
    let text = says(&daemon, &["holds", "list"]);
    assert!(
        text.out.contains(&id) && text.out.contains("40 cluster"),
        "{}",
        text.out
    );
    assert_eq!(
        daemon.component("routes.local").unwrap()["state"],
        "degraded"
    );

    // Nobody can be asked: nothing happens.
    let unasked = says(&daemon, &["holds", "release", &id]);
    assert_eq!(unasked.status, 2);
    assert!(unasked.err.contains("--yes"), "{}", unasked.err);
    let wrong = says(&daemon, &["holds", "release", "000000000000", "--yes"]);
    assert_eq!(wrong.status, 1);
    assert!(wrong.err.contains("holds list"), "{}", wrong.err);
    answers(&sozu, "r0.example", 200);

    let released = says(&daemon, &["holds", "release", &id, "--yes"]);
    assert_eq!(
        (released.status, released.out.as_str()),
        (0, "120 removals: 120 applied\n")
    );
    answers(&sozu, "r0.example", 404);
    assert_eq!(sozu.held().unwrap().clusters(), Vec::<String>::new());
    assert_eq!(
        says(&daemon, &["holds", "list", "-o", "json"]).json(),
        serde_json::json!([])
    );
    wait_until("the source is well again", SOON, || {
        daemon.component("routes.local").unwrap()["state"] == "running"
    });

    let journal = says(
        &daemon,
        &[
            "journal", "--source", "local", "--limit", "1000", "-o", "json",
        ],
    )
    .json();
    let released: Vec<&Value> = journal
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["admission"] == "released")
        .collect();
    assert_eq!(released.len(), 120);
    let uid = format!("uid {}", nix::unistd::geteuid());
    for line in released {
        assert_eq!(
            (&line["origin"], &line["hold"]),
            (&uid.as_str().into(), &id.as_str().into())
        );
        assert_eq!(
            (&line["change"], &line["verdict"]),
            (&"remove".into(), &"applied".into())
        );
    }
    let none = says(
        &daemon,
        &[
            "journal",
            "--verdict",
            "refused",
            "--since",
            "1h",
            "-o",
            "json",
        ],
    );
    assert_eq!((none.status, none.json()), (0, serde_json::json!([])));
}

#[test]
fn what_is_discarded_stays_until_the_orphans_are_removed() {
    let (sozu, _backend, mut daemon, id) = emptied();
    assert_eq!(
        says(&daemon, &["orphans", "list", "-o", "json"]).json(),
        serde_json::json!([])
    );
    let discarded = says(&daemon, &["holds", "discard", &id]);
    assert_eq!(discarded.status, 0, "{}", discarded.err);
    answers(&sozu, "r0.example", 200);
    let orphans = |daemon: &Daemon| says(daemon, &["orphans", "list", "-o", "json"]).json();
    let listed = orphans(&daemon);
    assert_eq!(
        (&listed[0]["source"], &listed[0]["objects"]),
        (&"local".into(), &120.into())
    );
    let metric = daemon.metric("sozu_manager_orphaned_objects", &[("source", "local")]);
    assert_eq!(metric, Some(120.0));

    daemon.kill9().unwrap();
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    answers(&sozu, "r39.example", 200);
    assert_eq!(orphans(&daemon)[0]["objects"], 120);
    assert_eq!(
        says(&daemon, &["holds", "list", "-o", "json"]).json(),
        serde_json::json!([])
    );

    let removed = says(
        &daemon,
        &["orphans", "remove", "local", "--yes", "-o", "json"],
    );
    assert_eq!(removed.status, 0, "{}", removed.err);
    assert_eq!(removed.json()["verdicts"]["applied"], 120);
    answers(&sozu, "r39.example", 404);
    assert_eq!(orphans(&daemon), serde_json::json!([]));
    assert_eq!(
        says(&daemon, &["orphans", "remove", "local", "--yes"]).status,
        1
    );
}

#[test]
fn the_exit_status_tells_how_the_daemon_is() {
    let mut sozu = Sozu::start().unwrap();
    let mut daemon = Daemon::builder(BINARY, &sozu).prepare().unwrap();
    let nobody = says(&daemon, &["status"]);
    assert_eq!((nobody.status, nobody.out.as_str()), (69, ""));
    let socket = daemon.admin_socket();
    let expected = [
        socket.to_str().unwrap(),
        "systemctl start sozu-manager",
        "--config",
    ];
    for part in expected {
        assert!(nobody.err.contains(part), "{}", nobody.err);
    }

    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    wait_until("all is well", SOON, || {
        says(&daemon, &["status"]).status == 0
    });
    let status = says(&daemon, &["status", "-o", "json"]).json();
    assert_eq!(
        (&status["status"], &status["ready"]),
        (&"ok".into(), &true.into())
    );
    let shown = says(&daemon, &["status"]).out;
    assert!(shown.starts_with("ok, ready: sozu-manager "), "{shown}");
    assert!(shown.contains("routes.local"), "{shown}");

    sozu.kill().unwrap();
    wait_until("Sōzu is missed", SOON, || {
        says(&daemon, &["status"]).status == 3
    });
    let diff = says(&daemon, &["diff"]);
    assert_eq!((diff.status, diff.out.as_str()), (1, ""));
    assert!(diff.err.contains("is not known"), "{}", diff.err);
    assert!(daemon.terminate().unwrap().success());
    assert!(!socket.exists(), "it is removed at the end");
    assert_eq!(says(&daemon, &["status"]).status, 69);
}

#[test]
fn a_difference_ends_with_3_and_a_stranger_alone_with_0() {
    let sozu = Sozu::start().unwrap();
    let stranger = Cluster {
        cluster_id: "stranger".to_owned(),
        ..Cluster::default()
    };
    sozu.apply([RequestType::AddCluster(stranger)]).unwrap();
    let mut daemon = Daemon::builder(BINARY, &sozu).start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    let foreign = says(&daemon, &["diff", "-o", "json"]);
    assert_eq!(foreign.status, 0, "{}", foreign.err);
    let differences = foreign.json();
    assert_eq!(differences.as_array().unwrap().len(), 1, "{differences}");
    assert_eq!(
        (&differences[0]["difference"], &differences[0]["key"]),
        (&"foreign".into(), &"stranger".into())
    );

    let mut observer = Daemon::builder(BINARY, &sozu)
        .extra_toml("[reconcile]\nmode = \"observe\"")
        .prepare()
        .unwrap();
    let backend = Backend::start("hello").unwrap();
    let text = routes::http(
        "shop",
        sozu.http_address(),
        &["shop.example"],
        &[backend.address()],
    );
    routes::write(&observer.routes(), "shop.toml", &text).unwrap();
    observer.start().unwrap();
    observer.wait_ready(SOON).unwrap();
    let missing = wait_until("what is missing", SOON, || {
        let diff = says(&observer, &["diff", "-o", "json"]);
        (diff.status == 3).then(|| diff.json())
    });
    let missing: Vec<&Value> = missing
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["difference"] == "missing" && it["source"] == "local")
        .collect();
    assert_eq!(missing.len(), 3, "{missing:?}");
    let text = says(&observer, &["diff"]);
    assert_eq!(text.status, 3);
    assert!(text.out.contains("shop.example"), "{}", text.out);
}

#[test]
fn the_socket_is_private_and_another_daemon_keeps_away_from_it() {
    let sozu = Sozu::start().unwrap();
    let mut daemon = Daemon::builder(BINARY, &sozu).start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    let socket = daemon.admin_socket();
    let mode = fs::metadata(&socket).unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o600);

    // With a state of its own, but the same admin socket.
    let mut second = daemon.command(&["run"]);
    second
        .env(
            "SOZU_MANAGER__STATE_DIRECTORY",
            daemon.directory().join("state-2"),
        )
        .env(
            "SOZU_MANAGER__SOZU__EXCHANGE_DIRECTORY",
            daemon.directory().join("exchange-2"),
        );
    let second = ended(second);
    assert_eq!(second.status, 1);
    assert!(
        second.err.contains("another daemon answers on"),
        "{}",
        second.err
    );
    assert_eq!(says(&daemon, &["holds", "list"]).status, 0);

    // What a killed daemon leaves behind is in nobody's way.
    daemon.kill9().unwrap();
    assert!(socket.exists());
    assert_eq!(says(&daemon, &["status"]).status, 69);
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    assert_eq!(says(&daemon, &["holds", "list"]).status, 0);
}

/// The binary where anybody can run it, as another user.
fn as_nobody(daemon: &Daemon, arguments: &[&str]) -> Command {
    let binary = daemon.directory().join("binary");
    if !binary.exists() {
        // A copy that this process wrote would be busy for as long as another test's child holds it.
        let copied = Command::new("cp")
            .arg(BINARY)
            .arg(&binary)
            .status()
            .unwrap();
        assert!(copied.success());
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(binary);
    command
        .arg("--config")
        .arg(daemon.config_file())
        .args(arguments)
        .current_dir(Path::new("/"))
        .uid(NOBODY)
        .gid(NOBODY);
    command
}

#[test]
fn another_user_is_refused_and_a_member_of_the_group_reads() {
    if !nix::unistd::geteuid().is_root() {
        return; // only root can become somebody else
    }
    let sozu = Sozu::start().unwrap();
    let start = |admin: &str| {
        let mut daemon = Daemon::builder(BINARY, &sozu).prepare().unwrap();
        let text = fs::read_to_string(daemon.config_file()).unwrap();
        let text = text.replace("[admin]\n", &format!("[admin]\n{admin}"));
        fs::write(daemon.config_file(), text).unwrap();
        daemon.start().unwrap();
        daemon.wait_ready(SOON).unwrap();
        daemon
    };
    let daemon = start("");
    let refused = ended(as_nobody(&daemon, &["holds", "list"]));
    assert_eq!((refused.status, refused.out.as_str()), (1, ""));
    assert!(refused.err.contains("run this as root"), "{}", refused.err);
    drop(daemon);

    for (may_write, expected) in [
        ("false", "may not change things"),
        ("true", "there is no hold"),
    ] {
        let daemon = start(&format!(
            "group = \"nogroup\"\ngroup_may_write = {may_write}\n"
        ));
        let socket = fs::metadata(daemon.admin_socket()).unwrap();
        assert_eq!((socket.mode() & 0o7777, socket.gid()), (0o660, NOBODY));
        let read = ended(as_nobody(&daemon, &["holds", "list", "-o", "json"]));
        assert_eq!((read.status, read.json()), (0, serde_json::json!([])));
        let write = ended(as_nobody(&daemon, &["holds", "release", "1f2e", "--yes"]));
        assert_eq!(write.status, 1);
        assert!(write.err.contains(expected), "{}", write.err);
    }
}
