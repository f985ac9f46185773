//! What is on disk, and what becomes of it: two daemons on one directory, a database that is damaged, newer, gone or
//! older than the world, and a disk that is full.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::Command,
};

use support::{
    Since, all_well, answer, as_held, daemon, error_of, holds_exactly, mutations_of, not_found,
    remove_route, served, sozu_and_daemon, told_of, write_route,
};
use testkit::{Backend, Daemon, Load, SOON, Sozu, wait_until};

fn database(daemon: &Daemon) -> PathBuf {
    daemon.state_directory().join("state.db")
}

fn copies(daemon: &Daemon, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(daemon.state_directory()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.to_string_lossy().contains(kind))
        .collect()
}

/// Waits until Sōzu holds these routes and not one object more.
#[track_caller]
fn holds(sozu: &Sozu, names: &[&str], backend: &Backend) {
    let routes: Vec<_> = names
        .iter()
        .map(|name| as_held(name, backend.address()))
        .collect();
    wait_until(&format!("{names:?} in Sōzu"), SOON, || {
        holds_exactly(sozu, &routes)
    });
}

/// A daemon with a directory of its own beside the first, but one of the first's.
fn second(sozu: &Sozu, variable: &str, directory: &Path) -> Daemon {
    let directory = directory.to_str().unwrap();
    daemon(sozu).env(variable, directory).prepare().unwrap()
}

#[test]
fn a_second_daemon_on_either_directory_ends_and_says_who_holds_it() {
    let (sozu, first) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&first, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    let table = [
        ("SOZU_MANAGER__STATE_DIRECTORY", first.state_directory()),
        (
            "SOZU_MANAGER__SOZU__EXCHANGE_DIRECTORY",
            first.exchange_directory(),
        ),
    ];
    for (variable, directory) in table {
        let mut second = second(&sozu, variable, &directory);
        write_route(&second, &sozu, "b", &backend);
        let before = snapshot(&directory);
        second.start().unwrap();
        let pid = second.pid().unwrap();
        let end = second.wait_exit(SOON).unwrap();
        assert_eq!(end.code(), Some(1), "{variable}");
        let log = second.log();
        let holder = format!("in use by process {}", first.pid().unwrap());
        for words in [holder.as_str(), directory.to_str().unwrap()] {
            assert!(log.contains(words), "{variable}: {log}");
        }
        assert_eq!(snapshot(&directory), before, "{variable}");
        assert_eq!(
            mutations_of(pid, &sozu, &Since::START),
            Vec::<String>::new()
        );
    }
    assert_eq!(answer(&sozu, "b.example").0, 404);
    all_well(&first);
}

/// The names and modes in a directory, which a daemon that may not have it must leave alone.
fn snapshot(directory: &Path) -> Vec<(PathBuf, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = paths
        .filter(|path| !path.to_string_lossy().contains("sozu-socket-"))
        .chain([directory.to_owned()])
        .map(|path| (path.clone(), mode(&path)))
        .collect();
    all.sort();
    all
}

#[test]
fn a_lock_ends_with_its_process() {
    let (sozu, mut first) = sozu_and_daemon();
    let mut second = second(
        &sozu,
        "SOZU_MANAGER__STATE_DIRECTORY",
        &first.state_directory(),
    );
    first.kill9().unwrap();
    second.start().unwrap();
    second.wait_ready(SOON).unwrap();
}

#[test]
fn an_exchange_directory_that_is_made_again_is_locked_again() {
    let (sozu, first) = sozu_and_daemon();
    fs::remove_dir_all(first.exchange_directory()).unwrap();
    let backend = Backend::start("A").unwrap();
    write_route(&first, &sozu, "a", &backend);
    write_route(&first, &sozu, "b", &backend);
    served(&sozu, "a.example", "A");
    served(&sozu, "b.example", "A");
    let lock = first.exchange_directory().join(".lock");
    wait_until("a lock in the new directory", SOON, || lock.exists());
    let variable = "SOZU_MANAGER__SOZU__EXCHANGE_DIRECTORY";
    let mut second = second(&sozu, variable, &first.exchange_directory());
    second.start().unwrap();
    assert_eq!(second.wait_exit(SOON).unwrap().code(), Some(1));
}

fn garbage(file: &Path) {
    fs::write(file, vec![0xA5; 50_000]).unwrap();
}

fn truncated(file: &Path) {
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    let half = file.metadata().unwrap().len() / 8192 * 4096;
    file.set_len(half).unwrap();
}

/// The root of the accepted declarations.
fn a_page_overwritten(file: &Path) {
    let connection = rusqlite::Connection::open(file).unwrap();
    let sql = "SELECT rootpage - 1 FROM sqlite_schema WHERE name = 'objects'";
    let page: u64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    drop(connection);
    let mut file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(page * 4096)).unwrap();
    file.write_all(&[0xA5; 4096]).unwrap();
}

#[test]
fn a_damaged_database_is_kept_aside_and_sozu_ends_with_what_the_files_say() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 3] = [
        ("garbage", garbage),
        ("truncated", truncated),
        ("a page overwritten", a_page_overwritten),
    ];
    for (what, damage) in damages {
        let (sozu, mut daemon) = sozu_and_daemon();
        let backend = Backend::start("A").unwrap();
        for name in ["a", "b", "c"] {
            write_route(&daemon, &sozu, name, &backend);
        }
        holds(&sozu, &["a", "b", "c"], &backend);
        all_well(&daemon);
        daemon.terminate().unwrap();
        assert!(!daemon.state_directory().join("state.db-wal").exists());
        damage(&database(&daemon));
        // what was removed while nobody remembers is nobody's: it stays
        remove_route(&daemon, "c");
        write_route(&daemon, &sozu, "d", &backend);
        let load = Load::start(sozu.http_port(), "a.example", "/");
        daemon.start().unwrap();
        daemon.wait_ready(SOON).unwrap();
        served(&sozu, "d.example", "A");
        holds(&sozu, &["a", "b", "c", "d"], &backend);
        let tally = load.stop();
        assert_eq!(tally.failed(), 0, "{what}: {tally:?}");
        all_well(&daemon);

        let copies = copies(&daemon, "state.db.corrupt.");
        assert_eq!(copies.len(), 1, "{what}: {copies:?}");
        let log = daemon.log();
        assert!(
            log.contains("\"ERROR\"") && log.contains(copies[0].to_str().unwrap()),
            "{what}: {log}"
        );
        // and it goes on as ever
        remove_route(&daemon, "d");
        not_found(&sozu, "d.example");
    }
}

#[test]
fn a_newer_database_is_left_alone_and_both_numbers_are_told() {
    let (sozu, mut daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    daemon.terminate().unwrap();
    let path = database(&daemon);
    let set = |number: u32| {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .pragma_update(None, "user_version", number)
            .unwrap();
    };
    set(99);
    let before = fs::read(&path).unwrap();
    daemon.start().unwrap();
    told_of(
        &daemon,
        "state_keeper",
        &["schema 99", "knows 3", path.to_str().unwrap()],
    );
    assert_eq!(answer(&sozu, "a.example").0, 200);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(copies(&daemon, "corrupt").is_empty());
    daemon.terminate().unwrap();
    set(3);
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
}

#[test]
fn a_database_that_was_deleted_or_is_an_older_copy_ends_with_what_the_files_say() {
    // the last: after a crash, with the later file's log still beside it
    for (restored, killed) in [(false, false), (false, true), (true, false), (true, true)] {
        let (sozu, mut daemon) = sozu_and_daemon();
        let backend = Backend::start("A").unwrap();
        for name in ["a", "b"] {
            write_route(&daemon, &sozu, name, &backend);
        }
        holds(&sozu, &["a", "b"], &backend);
        all_well(&daemon);
        daemon.terminate().unwrap();
        let copy = daemon.directory().join("state.copy");
        fs::copy(database(&daemon), &copy).unwrap();

        daemon.start().unwrap();
        daemon.wait_ready(SOON).unwrap();
        remove_route(&daemon, "b");
        write_route(&daemon, &sozu, "c", &backend);
        holds(&sozu, &["a", "c"], &backend);
        all_well(&daemon);
        if killed {
            daemon.kill9().unwrap();
        } else {
            daemon.terminate().unwrap();
        }
        if restored {
            fs::copy(&copy, database(&daemon)).unwrap();
        } else {
            fs::remove_file(database(&daemon)).unwrap();
        }
        write_route(&daemon, &sozu, "d", &backend);
        daemon.start().unwrap();
        daemon.wait_ready(SOON).unwrap();
        holds(&sozu, &["a", "c", "d"], &backend);
        all_well(&daemon);
        remove_route(&daemon, "c");
        holds(&sozu, &["a", "d"], &backend);
    }
}

#[test]
fn a_database_that_is_removed_under_the_daemon_is_made_again() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    holds(&sozu, &["a"], &backend);
    all_well(&daemon);
    for part in ["state.db", "state.db-wal", "state.db-shm"] {
        fs::remove_file(daemon.state_directory().join(part)).unwrap();
    }
    write_route(&daemon, &sozu, "b", &backend);
    holds(&sozu, &["a", "b"], &backend);
    all_well(&daemon);
    assert!(database(&daemon).exists());
    let log = daemon.log();
    assert!(
        log.contains("was removed or replaced while it was in use"),
        "{log}"
    );
    remove_route(&daemon, "b");
    holds(&sozu, &["a"], &backend);
}

/// A small file system of its own, which ends with this.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can mount a small disk");
            return None;
        }
        fs::create_dir_all(&path).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs"])
            .arg(&path)
            .status();
        if mount.unwrap().success() {
            return Some(Self(path));
        }
        eprintln!("skipped: this container may not mount");
        None
    }

    fn fill(&self) {
        let mut ballast = fs::File::create(self.0.join("ballast")).unwrap();
        while ballast.write(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_the_intake_and_nothing_else_and_it_resumes_by_itself() {
    let sozu = Sozu::start().unwrap();
    let mut daemon = daemon(&sozu).prepare().unwrap();
    let Some(disk) = Disk::mount(daemon.state_directory()) else {
        return;
    };
    let backend = Backend::start("A").unwrap();
    daemon.start().unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    write_route(&daemon, &sozu, "b", &backend);
    holds(&sozu, &["a", "b"], &backend);
    all_well(&daemon);

    disk.fill();
    let load = Load::start(sozu.http_port(), "a.example", "/");
    // more than what SQLite may have room for in its log
    for number in 0..50 {
        write_route(&daemon, &sozu, &format!("more-{number}"), &backend);
    }
    remove_route(&daemon, "b");
    told_of(&daemon, "state_keeper", &["full", "free space"]);
    assert_eq!(daemon.fetch("/livez").unwrap().status, 200);
    assert_eq!(daemon.fetch("/readyz").unwrap().status, 200);
    holds(&sozu, &["a", "b"], &backend);
    // a life that begins on a full disk waits as well
    daemon.kill9().unwrap();
    daemon.start().unwrap();
    told_of(&daemon, "state_keeper", &["full"]);
    holds(&sozu, &["a", "b"], &backend);

    disk.free();
    let names: Vec<String> = (0..50).map(|number| format!("more-{number}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.push("a");
    holds(&sozu, &names, &backend);
    all_well(&daemon);
    let tally = load.stop();
    assert_eq!(tally.failed(), 0, "{tally:?}");
    assert_eq!(error_of(&daemon, "state_keeper"), "");
    daemon.terminate().unwrap();
}

/// Sōzu writes what it holds into a file of ours, and reads a bulk from one.
#[test]
fn a_full_exchange_directory_is_told_and_heals_by_itself() {
    let sozu = Sozu::start().unwrap();
    let mut daemon = daemon(&sozu)
        .env("SOZU_MANAGER__RECONCILE__INTERVAL", "1s")
        .prepare()
        .unwrap();
    let Some(disk) = Disk::mount(daemon.exchange_directory()) else {
        return;
    };
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    daemon.start().unwrap();
    holds(&sozu, &["a"], &backend);
    all_well(&daemon);

    disk.fill();
    for name in ["b", "c"] {
        write_route(&daemon, &sozu, name, &backend);
    }
    told_of(&daemon, "state_keeper", &["No space left", "free space"]);
    assert_eq!(answer(&sozu, "a.example").0, 200);
    assert_eq!(daemon.fetch("/readyz").unwrap().status, 200);
    disk.free();
    holds(&sozu, &["a", "b", "c"], &backend);
    all_well(&daemon);
    daemon.terminate().unwrap();
}

#[test]
fn the_instance_is_the_hosts_name_until_another_is_configured_and_then_kept() {
    let (_sozu, mut daemon) = sozu_and_daemon();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let opened = |daemon: &Daemon, name: &str| {
        let words = format!("\"instance\":\"{name}\"");
        let line = daemon
            .log()
            .lines()
            .rfind(|line| line.contains("The database is open."))
            .unwrap()
            .to_owned();
        assert!(line.contains(&words), "{line}");
    };
    opened(&daemon, host.trim());
    let config = fs::read_to_string(daemon.config_file()).unwrap();
    for text in [format!("instance = \"edge-1\"\n{config}"), config] {
        daemon.terminate().unwrap();
        fs::write(daemon.config_file(), text).unwrap();
        daemon.start().unwrap();
        daemon.wait_ready(SOON).unwrap();
        opened(&daemon, "edge-1");
    }
}
