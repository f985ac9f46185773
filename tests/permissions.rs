//! Who may read and write what: one user and two users for Sōzu and the daemon, directories that are missing, closed,
//! too wide or a trap, and what is secret.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{
    fmt::Write,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use support::{
    all_well, as_held, daemon, error_of, exchanged, holds_exactly, route, served, told, told_of,
    write_route,
};
use tempfile::TempDir;
use testkit::{Backend, Daemon, SOON, Sozu, routes, wait_until};

const SOZU: u32 = 61_001;
const DAEMON: u32 = 61_002;
const GROUP: u32 = 61_100;
const KEEPER: &str = "state_keeper";

/// Only root can be somebody else.
fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can start processes of other users");
    }
    is_root
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn give(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(GROUP)).unwrap();
}

/// Sōzu of a user of its own, whose command socket the group may use.
fn sozu_of_its_own_user() -> Sozu {
    Sozu::builder()
        .user(SOZU, GROUP)
        .extra_toml("command_socket_mode = \"0660\"")
        .start()
        .unwrap()
}

/// A daemon of another user in the same group, not started yet, with an exchange directory at a place of the test's.
struct Stage {
    sozu: Sozu,
    daemon: Daemon,
    backend: Backend,
    exchange: PathBuf,
    ground: TempDir,
}

impl Stage {
    /// Only root can set it.
    fn new() -> Option<Self> {
        if !is_root() {
            return None;
        }
        let sozu = sozu_of_its_own_user();
        let ground = tempfile::tempdir().unwrap();
        set_mode(ground.path(), 0o755);
        let exchange = ground.path().join("exchange");
        let daemon = daemon(&sozu)
            .user(DAEMON, GROUP)
            .env(
                "SOZU_MANAGER__SOZU__EXCHANGE_DIRECTORY",
                exchange.to_str().unwrap(),
            )
            .prepare()
            .unwrap();
        let backend = Backend::start("A").unwrap();
        write_route(&daemon, &sozu, "a", &backend);
        write_route(&daemon, &sozu, "b", &backend);
        Some(Self {
            sozu,
            daemon,
            backend,
            exchange,
            ground,
        })
    }

    /// The exchange directory, by root.
    fn make_exchange(&self, uid: u32, mode: u32) {
        fs::create_dir(&self.exchange).unwrap();
        give(&self.exchange, uid);
        set_mode(&self.exchange, mode);
    }

    /// Starts the daemon, which cannot read Sōzu and says these words; then nothing was sent.
    #[track_caller]
    fn starts_and_tells(&mut self, words: &[&str]) {
        self.daemon.start().unwrap();
        let exchange = self.exchange.to_str().unwrap().to_owned();
        let words: Vec<&str> = words.iter().copied().chain([exchange.as_str()]).collect();
        told_of(&self.daemon, KEEPER, &words);
        assert_eq!(self.daemon.fetch("/readyz").unwrap().status, 503);
        assert_eq!(self.daemon.fetch("/livez").unwrap().status, 200);
        holds_exactly(&self.sozu, &[]).unwrap();
    }

    /// It has healed without a restart.
    #[track_caller]
    fn heals(&mut self) {
        self.daemon.wait_ready(SOON).unwrap();
        served(&self.sozu, "a.example", "A");
        let routes = ["a", "b"].map(|name| as_held(name, self.backend.address()));
        wait_until("both routes", SOON, || holds_exactly(&self.sozu, &routes));
        all_well(&self.daemon);
    }
}

/// A bulk, a single change and a reading, and nothing is left behind.
fn works(sozu: &Sozu, daemon: &mut Daemon) {
    let backend = Backend::start("A").unwrap();
    for name in ["a", "b", "c"] {
        write_route(daemon, sozu, name, &backend);
    }
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    served(sozu, "a.example", "A");
    write_route(daemon, sozu, "d", &backend);
    served(sozu, "d.example", "A");
    all_well(daemon);
    wait_until("no file is left", SOON, || exchanged(daemon).is_empty());
    assert_eq!(mode(&daemon.state_directory()), 0o700);
    for entry in fs::read_dir(daemon.state_directory()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert_eq!(mode(&daemon.exchange_directory().join(".lock")), 0o600);
}

#[test]
fn of_one_user_both_keep_everything_to_themselves() {
    if !is_root() {
        return;
    }
    let sozu = Sozu::builder().user(SOZU, GROUP).start().unwrap();
    let mut daemon = daemon(&sozu).user(SOZU, GROUP).prepare().unwrap();
    works(&sozu, &mut daemon);
    assert_eq!(mode(&daemon.exchange_directory()), 0o700);
}

#[test]
fn two_users_in_one_group_pass_files_through_it() {
    if !is_root() {
        return;
    }
    let sozu = sozu_of_its_own_user();
    let mut daemon = daemon(&sozu).user(DAEMON, GROUP).prepare().unwrap();
    works(&sozu, &mut daemon);
    assert_eq!(mode(&daemon.exchange_directory()), 0o710);
}

#[test]
fn two_users_without_a_common_group_are_told_to_have_one() {
    if !is_root() {
        return;
    }
    let sozu = Sozu::builder()
        .user(SOZU, GROUP)
        .extra_toml("command_socket_mode = \"0666\"")
        .start()
        .unwrap();
    let mut daemon = daemon(&sozu).user(DAEMON, DAEMON).start().unwrap();
    told_of(&daemon, KEEPER, &["ermission denied", "group"]);
    assert_eq!(daemon.fetch("/readyz").unwrap().status, 503);
    daemon.terminate().unwrap();
}

#[test]
fn a_missing_exchange_directory_is_made() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    give(stage.ground.path(), DAEMON);
    stage.daemon.start().unwrap();
    stage.heals();
    assert_eq!(mode(&stage.exchange), 0o710);
}

#[test]
fn one_that_cannot_be_made_is_told_and_used_once_it_is_there() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    stage.starts_and_tells(&["making it failed", "ermission denied"]);
    stage.make_exchange(DAEMON, 0o700);
    stage.heals();
}

#[test]
fn one_that_is_lost_under_the_daemon_is_made_again() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    give(stage.ground.path(), DAEMON);
    stage.daemon.start().unwrap();
    stage.heals();
    fs::remove_dir_all(&stage.exchange).unwrap();
    for name in ["c", "d"] {
        write_route(&stage.daemon, &stage.sozu, name, &stage.backend);
    }
    served(&stage.sozu, "c.example", "A");
    served(&stage.sozu, "d.example", "A");
    all_well(&stage.daemon);
}

#[test]
fn a_strangers_exchange_directory_is_refused() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    stage.make_exchange(61_003, 0o777);
    stage.starts_and_tells(&["belongs to uid 61003", "chown"]);
    assert_eq!(mode(&stage.exchange), 0o777, "it is not ours to change");
    assert_eq!(fs::read_dir(&stage.exchange).unwrap().count(), 0);
    give(&stage.exchange, DAEMON);
    stage.heals();
    assert_eq!(mode(&stage.exchange), 0o710);
}

#[test]
fn sozus_own_one_is_refused_if_it_is_wide_or_closed_to_us() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    stage.make_exchange(SOZU, 0o777);
    stage.starts_and_tells(&["0777", "chmod"]);
    assert_eq!(fs::read_dir(&stage.exchange).unwrap().count(), 0);
    set_mode(&stage.exchange, 0o710);
    told_of(&stage.daemon, KEEPER, &["ermission denied", "chown"]);
    give(&stage.exchange, DAEMON);
    stage.heals();
}

#[test]
fn a_wide_exchange_directory_of_ours_is_tightened() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    stage.make_exchange(DAEMON, 0o777);
    stage.daemon.start().unwrap();
    stage.heals();
    assert_eq!(mode(&stage.exchange), 0o710);
}

#[test]
fn a_link_in_place_of_the_exchange_directory_or_its_lock_is_not_followed() {
    for of_the_lock in [false, true] {
        let Some(mut stage) = Stage::new() else {
            return;
        };
        let target = stage.ground.path().join("target");
        let link = if of_the_lock {
            fs::write(&target, "precious").unwrap();
            stage.make_exchange(DAEMON, 0o710);
            stage.exchange.join(".lock")
        } else {
            fs::create_dir(&target).unwrap();
            stage.exchange.clone()
        };
        give(&target, DAEMON);
        set_mode(&target, 0o777);
        symlink(&target, &link).unwrap();
        stage.starts_and_tells(&["link"]);
        assert_eq!(mode(&target), 0o777);
        if of_the_lock {
            assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        } else {
            assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
        }
        fs::remove_file(&link).unwrap();
        give(stage.ground.path(), DAEMON);
        stage.heals();
    }
}

#[test]
fn a_state_directory_that_cannot_be_written_is_told_and_used_once_it_can() {
    for of_the_file in [false, true] {
        let Some(mut stage) = Stage::new() else {
            return;
        };
        give(stage.ground.path(), DAEMON);
        let directory = stage.daemon.state_directory();
        let closed = if of_the_file {
            let file = directory.join("state.db");
            fs::write(&file, "").unwrap();
            file
        } else {
            directory
        };
        chown(&closed, Some(0), Some(0)).unwrap();
        set_mode(&closed, 0o700);
        stage.daemon.start().unwrap();
        let words = ["ermission denied", "writable", closed.to_str().unwrap()];
        told_of(&stage.daemon, KEEPER, &words);
        assert_eq!(stage.daemon.fetch("/livez").unwrap().status, 200);
        holds_exactly(&stage.sozu, &[]).unwrap();
        give(&closed, DAEMON);
        stage.heals();
    }
}

const HASH: &str = "admin:8c6976e5b5410415bde908bd4dee15dfb167a9c873fc4bb8a81f6f2ab448a918";
const HEADER: &str = "Bearer-hunter2-header-value";

/// A route with both secrets in it.
fn secret_route(sozu: &Sozu, name: &str, listener: &str, backend: &Backend) -> String {
    format!(
        "[clusters.{name}]\nprotocol = \"http\"\nauthorized_hashes = [\"{HASH}\"]\nfrontends = [{{ address = \"{listener}\", \
         hostname = \"{name}.example\", headers = [{{ position = \"request\", key = \"X-Key\", value = \"{HEADER}\" }}] }}]\n\
         backends = [{{ address = \"{}\" }}]\n",
        backend.address()
    )
    .replace("LISTENER", &sozu.http_address().to_string())
}

#[test]
fn secrets_are_in_no_log_no_page_and_no_text_of_the_journal() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    // somebody else has the same frontend with other values: it is taken over
    sozu.apply(support::requests(
        &sozu,
        "s",
        "s.example",
        backend.address(),
    ))
    .unwrap();
    let mut daemon = daemon(&sozu)
        .env("SOZU_MANAGER__LOG__LEVEL", "trace")
        .prepare()
        .unwrap();
    let good = secret_route(&sozu, "s", "LISTENER", &backend);
    let write = |name: &str, text: &str| {
        routes::write(&daemon.routes(), &format!("{name}.toml"), text).unwrap();
    };
    write("a-good", &good);
    write("b-shadowed", &good.replace("X-Key", "X-Other"));
    write(
        "c-no-listener",
        &secret_route(&sozu, "n", "127.0.0.1:9", &backend),
    );
    write(
        "d-type",
        &good.replace(&format!("[\"{HASH}\"]"), &format!("\"{HASH}\"")),
    );
    write("e-syntax", &good.replace(HASH, &format!("{HASH}\" \"")));
    write(
        "f-position",
        &good.replace("\"request\"", &format!("\"{HEADER}\"")),
    );
    write("g-key", &good.replace("key =", "kee ="));
    write("h-bytes", &good.replace(HEADER, &format!("{HEADER}\\r\\n")));
    write(
        "i-host",
        &secret_route(&sozu, "a.example/", "LISTENER", &backend)
            .replace("clusters.a.example/", "clusters.i"),
    );
    daemon.start().unwrap();
    told(&daemon, &["e-syntax.toml"]);
    daemon.wait_ready(SOON).unwrap();
    // changed and removed again, so that both have verdicts
    let file = daemon.routes().join("a-good.toml");
    fs::write(&file, good.replace("X-Key", "X-New")).unwrap();
    wait_until("the changed frontend in Sōzu", SOON, || {
        fs::read_to_string(saved(&sozu)).is_ok_and(|held| held.contains("X-New"))
    });
    fs::write(daemon.routes().join("z.toml"), route(&sozu, "z", &backend)).unwrap();
    served(&sozu, "z.example", "A");

    let check = daemon.command(&["check"]).output().unwrap();
    let check = String::from_utf8_lossy(&[check.stdout, check.stderr].concat()).into_owned();
    let mut seen = vec![
        ("the log", daemon.log()),
        ("the journal", journal(&daemon)),
        ("check", check),
        ("the error", error_of(&daemon, "routes.local")),
    ];
    for path in ["/health", "/metrics", "/readyz", "/livez"] {
        seen.push((path, daemon.fetch(path).unwrap().body));
    }
    for command in [
        ["status"].as_slice(),
        &["diff"],
        &["journal"],
        &["holds", "list"],
        &["orphans", "list"],
    ] {
        let output = daemon.command(command).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        seen.push((command[0], text));
    }
    let (_, hash) = HASH.split_once(':').unwrap();
    for (what, text) in seen {
        for secret in [hash, "hunter2"] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "in {what}");
        }
    }
    // but it is what Sōzu was given
    let held = fs::read_to_string(saved(&sozu)).unwrap();
    assert!(held.contains(hash) && held.contains(HEADER));
}

fn saved(sozu: &Sozu) -> PathBuf {
    let path = sozu.directory().join("saved-by-the-test.json");
    sozu.save_state(&path).unwrap();
    path
}

/// Every text of the journal and the objects: all but the requests themselves.
fn journal(daemon: &Daemon) -> String {
    let path = daemon.state_directory().join("state.db");
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut text = String::new();
    for table in [
        "journal",
        "objects",
        "dead_letters",
        "holds",
        "positions",
        "meta",
    ] {
        let mut statement = connection
            .prepare(&format!("SELECT * FROM {table}"))
            .unwrap();
        let columns: Vec<String> = statement.column_names().map(ToString::to_string).collect();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for (place, column) in columns.iter().enumerate() {
                if column == "request" || column == "original" {
                    continue;
                }
                match row.get_ref(place).unwrap() {
                    rusqlite::types::ValueRef::Text(bytes)
                    | rusqlite::types::ValueRef::Blob(bytes) => {
                        text.push_str(&String::from_utf8_lossy(bytes));
                    }
                    value => drop(write!(text, "{value:?}")),
                }
                text.push('|');
            }
            text.push('\n');
        }
    }
    text
}
