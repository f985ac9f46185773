//! The daemon as a service: alone, in company, in mode `observe`, at its end, and silent about secrets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;

use rusqlite::{Connection, types::ValueRef};
use support::{
    Since, all_well, answer, daemon, exchanged, mutations_of, requests, route, served,
    sozu_and_daemon, sozu_up, told, write_route,
};
use testkit::{Backend, Daemon, SOON, Sozu, routes, wait_until};

#[test]
fn told_to_stop_it_ends_in_order_and_leaves_nothing() {
    let (sozu, mut daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    let status = daemon.terminate().unwrap();
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    assert_eq!(exchanged(&daemon), Vec::<String>::new());
    assert_eq!(answer(&sozu, "a.example"), (200, "A".to_owned()));
}

#[test]
fn a_stop_in_the_middle_of_a_batch_leaves_nothing_either() {
    let (sozu, mut daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    sozu.stop_main().unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    wait_until("a batch is under way", SOON, || {
        !exchanged(&daemon).is_empty()
    });
    let status = daemon.terminate().unwrap();
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    assert_eq!(exchanged(&daemon), Vec::<String>::new());

    sozu.continue_main().unwrap();
    daemon.start().unwrap();
    served(&sozu, "a.example", "A");
    all_well(&daemon);
}

#[test]
fn in_mode_observe_nothing_is_sent() {
    let sozu = Sozu::start().unwrap();
    let (a, b) = (Backend::start("A").unwrap(), Backend::start("B").unwrap());
    sozu.apply(requests(&sozu, "theirs", "theirs.example", b.address()))
        .unwrap();
    let mut daemon = daemon(&sozu)
        .extra_toml("[reconcile]\nmode = \"observe\"\ninterval = \"1s\"")
        .prepare()
        .unwrap();
    write_route(&daemon, &sozu, "a", &a);
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();

    wait_until("what would be sent, in /health", SOON, || {
        let keeper = daemon.component("state_keeper").unwrap();
        let detail = keeper["detail"].as_str().unwrap().to_owned();
        if detail.contains("observing, 3 would be sent") {
            Ok(())
        } else {
            Err(detail)
        }
    });
    let missing = |kind| {
        let labels = [("difference", "missing"), ("kind", kind)];
        daemon.metric("sozu_manager_drift_objects", &labels)
    };
    assert_eq!(missing("http_frontend"), Some(1.0));
    let foreign = daemon.metric("sozu_manager_foreign_objects", &[("kind", "cluster")]);
    assert_eq!(foreign, Some(1.0));
    write_route(&daemon, &sozu, "b", &a);
    wait_until("two would be missing", SOON, || {
        missing("http_frontend") == Some(2.0)
    });
    let sent = mutations_of(daemon.pid().unwrap(), &sozu, &Since::START);
    assert_eq!(sent, Vec::<String>::new());
    assert_eq!(answer(&sozu, "a.example").0, 404);

    // The switch to `apply`.
    daemon.terminate().unwrap();
    let config = fs::read_to_string(daemon.config_file()).unwrap();
    fs::write(daemon.config_file(), config.replace("observe", "apply")).unwrap();
    daemon.start().unwrap();
    served(&sozu, "a.example", "A");
    served(&sozu, "b.example", "A");
    assert_eq!(answer(&sozu, "theirs.example"), (200, "B".to_owned()));
}

#[test]
fn without_a_source_it_is_an_exporter_and_no_more() {
    let mut sozu = Sozu::start().unwrap();
    let mut daemon = daemon(&sozu).routes(&[]).prepare().unwrap();
    for directory in [daemon.state_directory(), daemon.exchange_directory()] {
        fs::remove_dir(directory).unwrap();
    }
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    all_well(&daemon);
    sozu_up(&daemon, 1.0);
    assert!(!daemon.state_directory().exists());
    assert!(!daemon.exchange_directory().exists());
    let names = daemon.health().unwrap()["components"].to_string();
    assert!(!names.contains("state_keeper"), "{names}");

    sozu.kill().unwrap();
    daemon.wait_status("/readyz", 503, SOON).unwrap();
    assert_eq!(daemon.fetch("/metrics").unwrap().status, 200);
    sozu_up(&daemon, 0.0);
    assert_eq!(daemon.fetch("/livez").unwrap().status, 200);

    sozu.start_again().unwrap();
    daemon.wait_ready(SOON).unwrap();
    sozu_up(&daemon, 1.0);
    // Nothing of Sōzu's was read.
    assert!(!sozu.log().contains("verb=state_saved"), "{}", sozu.log());
    assert_eq!(daemon.terminate().unwrap().code(), Some(0));
}

/// A reload of a file that did not change: told, and nothing stops.
#[test]
fn a_hangup_ends_nothing() {
    let (sozu, mut daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGHUP).unwrap();
    wait_until("a word about it", SOON, || daemon.log().contains("reload"));
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    assert_eq!(daemon.exit_status().unwrap(), None);
}

/// Sōzu is there, but not for our user: that is told with the socket's path, and mends itself with the permission.
#[test]
fn a_command_socket_that_we_may_not_use() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can start processes as other users");
        return;
    }
    let sozu = Sozu::builder().user(65_533, 65_534).start().unwrap();
    let backend = Backend::start("A").unwrap();
    let mut daemon = daemon(&sozu).user(65_532, 65_534).prepare().unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    daemon.start().unwrap();
    daemon.wait_status("/readyz", 503, SOON).unwrap();
    let socket = sozu.command_socket();
    let words = [socket.to_str().unwrap(), "ermission denied"];
    support::told_of(&daemon, "socket_pool", &words);

    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o660);
    fs::set_permissions(&socket, mode).unwrap();
    served(&sozu, "a.example", "A");
    daemon.wait_ready(SOON).unwrap();
    all_well(&daemon);
}

const HEADER: &str = "Bearer-c2VjcmV0LW9mLWEtaGVhZGVy";
const HASH: &str = "admin:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";

/// A header's value and the hash of a password pass through everything that speaks: a good file, a broken one, one
/// that Sōzu refuses, a take-over, a removal; at the most talkative level.
#[test]
fn no_secret_is_told() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    sozu.apply(requests(&sozu, "a", "a.example", backend.address()))
        .unwrap();
    let mut daemon = daemon(&sozu)
        .env("SOZU_MANAGER__LOG__LEVEL", "trace")
        .extra_toml("[reconcile]\ninterval = \"1s\"")
        .start()
        .unwrap();
    daemon.wait_ready(SOON).unwrap();

    write(&daemon, "a", &secret(&sozu, "a", &backend));
    served(&sozu, "a.example", "A");
    let broken = secret(&sozu, "a", &backend).replace("value = ", "value = 5 ");
    write(&daemon, "a", &broken);
    told(&daemon, &["a.toml:"]);
    let unknown = secret(&sozu, "a", &backend).replace("authorized_hashes", "authorised_hashes");
    write(&daemon, "a", &unknown);
    told(&daemon, &["a.toml:", "authorised_hashes"]);
    let refused = secret(&sozu, "b", &backend).replace("b.example\"", "b.example/\"");
    write(&daemon, "b", &refused);
    told(&daemon, &["b.example/", "refused"]);
    write(&daemon, "a", &route(&sozu, "a", &backend));
    wait_until("a.toml is right again", SOON, || {
        !support::error_of(&daemon, "routes.local").contains("a.toml")
    });
    routes::remove(&daemon.routes(), "b.toml").unwrap();
    all_well(&daemon);
    let pages = daemon.fetch("/health").unwrap().body + &daemon.metrics().unwrap();
    daemon.terminate().unwrap();

    let journal = texts(&daemon);
    assert!(journal.contains("a.example"), "{journal}");
    for (what, text) in [
        ("the log", daemon.log()),
        ("a page", pages),
        ("the journal", journal),
    ] {
        for secret in [HEADER, HASH, HASH.split(':').nth(1).unwrap()] {
            assert!(!text.contains(secret), "{what} tells {secret}");
        }
    }
}

fn write(daemon: &Daemon, name: &str, text: &str) {
    routes::write(&daemon.routes(), &format!("{name}.toml"), text).unwrap();
}

fn secret(sozu: &Sozu, name: &str, backend: &Backend) -> String {
    let header = format!(
        "headers = [{{ position = \"request\", key = \"X-Token\", value = \"{HEADER}\" }}]"
    );
    route(sozu, name, backend)
        .replace(
            "protocol = \"http\"",
            &format!("protocol = \"http\"\nauthorized_hashes = [\"{HASH}\"]"),
        )
        .replace(".example\" }", &format!(".example\", {header} }}"))
}

/// Every text in every table and view of the database.
fn texts(daemon: &Daemon) -> String {
    let database = Connection::open(daemon.state_directory().join("state.db")).unwrap();
    let names: Vec<String> = database
        .prepare("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut texts = String::new();
    for name in names {
        let mut all = database.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns = all.column_count();
        let mut rows = all.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                if let ValueRef::Text(text) = row.get_ref(column).unwrap() {
                    texts.push_str(&String::from_utf8_lossy(text));
                    texts.push('\n');
                }
            }
        }
    }
    texts
}
