//! Either side ends at any moment, by `kill -9` too, and comes back: what Sōzu holds is what the files say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use sozu_command_lib::proto::command::{UpgradeMain, request::RequestType};
use support::{
    Since, all_well, answer, as_held, daemon, exchanged, holds_exactly, mutations_of, not_found,
    remove_route, rounds, route, served, sozu_and_daemon, sozu_up, told, write_route,
};
use testkit::{Backend, Daemon, SOON, Sozu, routes, wait_until};

/// Of Sōzu's user and ours.
const GROUP: u32 = 65_534;

/// A hundred files under constant change, and what they say.
struct Files<'a> {
    sozu: &'a Sozu,
    directory: PathBuf,
    backends: [Backend; 2],
    /// File → which backend.
    say: BTreeMap<usize, usize>,
}

impl<'a> Files<'a> {
    fn new(sozu: &'a Sozu, daemon: &Daemon) -> Self {
        Self {
            sozu,
            directory: daemon.routes(),
            backends: [Backend::start("A").unwrap(), Backend::start("B").unwrap()],
            say: BTreeMap::new(),
        }
    }

    fn write(&mut self, file: usize, backend: usize) {
        let text = route(self.sozu, &format!("r{file}"), &self.backends[backend]);
        routes::write(&self.directory, &format!("r{file}.toml"), &text).unwrap();
        self.say.insert(file, backend);
    }

    fn remove(&mut self, file: usize) {
        routes::remove(&self.directory, &format!("r{file}.toml")).unwrap();
        self.say.remove(&file);
    }

    /// Every third file changes its backend, one in ten goes, one in ten (another) comes.
    fn change(&mut self, round: usize) {
        for file in 0..100 {
            let is_there = self.say.contains_key(&file);
            match (file + round) % 10 {
                0 if is_there => self.remove(file),
                1 | 4 | 7 => self.write(file, round % 2),
                _ if round == 0 => self.write(file, 0),
                _ => {}
            }
        }
    }

    fn are_held(&self) -> Result<(), String> {
        let held: Vec<_> = self
            .say
            .iter()
            .map(|(file, backend)| as_held(&format!("r{file}"), self.backends[*backend].address()))
            .collect();
        holds_exactly(self.sozu, &held)
    }
}

/// Sōzu's main process, or all its workers, are stopped, so that the batch is under way for certain when the daemon
/// is killed. What becomes of it once they go on, the daemon can only find out by asking.
#[test]
fn killed_in_the_middle_of_a_batch() {
    let sozu = Sozu::start().unwrap();
    let mut daemon = daemon(&sozu)
        .extra_toml("[guard]\nremoval_minimum = 100000")
        .start()
        .unwrap();
    let mut files = Files::new(&sozu, &daemon);
    daemon.wait_ready(SOON).unwrap();
    files.change(0);
    wait_until("Sōzu holds what the files say", SOON, || files.are_held());
    for round in 1..=rounds(5, 25) {
        if round % 2 == 0 {
            sozu.stop_workers().unwrap();
        } else {
            sozu.stop_main().unwrap();
        }
        files.change(round);
        wait_until("a batch is under way", SOON, || {
            !exchanged(&daemon).is_empty()
        });
        daemon.kill9().unwrap();
        // The files go on while nobody is there.
        files.write(200 + round, 0);
        sozu.continue_main().unwrap();
        sozu.continue_workers().unwrap();
        daemon.start().unwrap();
        daemon.wait_ready(2 * SOON).unwrap();
        wait_until("Sōzu holds what the files say", SOON, || files.are_held());
        all_well(&daemon);
        assert_eq!(exchanged(&daemon), Vec::<String>::new());
    }
}

/// The same without any help of timing: killed wherever it happens to be.
#[test]
fn killed_at_any_moment() {
    let sozu = Sozu::start().unwrap();
    let mut daemon = daemon(&sozu)
        .extra_toml("[guard]\nremoval_minimum = 100000")
        .start()
        .unwrap();
    let mut files = Files::new(&sozu, &daemon);
    for round in 0..rounds(5, 50) {
        // Between the start's first reading and well behind the batch.
        let moment = Duration::from_millis(97 * (round as u64 * 7 % 10));
        files.change(round);
        std::thread::sleep(moment);
        daemon.kill9().unwrap();
        daemon.start().unwrap();
    }
    daemon.wait_ready(2 * SOON).unwrap();
    wait_until("Sōzu holds what the files say", SOON, || files.are_held());
    all_well(&daemon);
}

#[test]
fn sozu_comes_back_empty_and_everything_returns() {
    let (mut sozu, mut daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    let names: Vec<String> = (0..20).map(|n| format!("r{n}")).collect();
    for name in &names {
        write_route(&daemon, &sozu, name, &backend);
    }
    served(&sozu, "r19.example", "A");

    sozu.kill().unwrap();
    daemon.wait_status("/readyz", 503, SOON).unwrap();
    assert_eq!(daemon.fetch("/livez").unwrap().status, 200);
    sozu.start_again().unwrap();

    served(&sozu, "r19.example", "A");
    daemon.wait_ready(SOON).unwrap();
    let held: Vec<_> = names
        .iter()
        .map(|name| as_held(name, backend.address()))
        .collect();
    holds_exactly(&sozu, &held).unwrap();
    all_well(&daemon);
}

#[test]
fn sozu_is_away_at_the_start() {
    let mut sozu = Sozu::builder().prepare().unwrap();
    let backend = Backend::start("A").unwrap();
    let mut daemon = daemon(&sozu).prepare().unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    daemon.start().unwrap();
    daemon.wait_status("/readyz", 503, SOON).unwrap();
    wait_until("why, on a line of its own", SOON, || {
        let text = daemon.fetch("/readyz").unwrap().body;
        let socket = sozu.command_socket().display().to_string();
        let line = text.lines().find(|line| line.starts_with("[-]sozu: "));
        if line.is_some_and(|line| line.contains(&socket)) {
            Ok(())
        } else {
            Err(text)
        }
    });
    assert_eq!(daemon.fetch("/livez").unwrap().status, 200);
    assert_eq!(daemon.fetch("/health").unwrap().status, 200);
    sozu_up(&daemon, 0.0);

    sozu.start_again().unwrap();
    daemon.wait_ready(SOON).unwrap();
    served(&sozu, "a.example", "A");
    all_well(&daemon);
    sozu_up(&daemon, 1.0);
}

/// Sōzu loads its saved state at its start: it serves again what was removed since.
#[test]
fn what_was_removed_since_an_older_saved_state_stays_removed() {
    let (mut sozu, mut daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "stays", &backend);
    write_route(&daemon, &sozu, "goes", &backend);
    served(&sozu, "goes.example", "A");
    served(&sozu, "stays.example", "A");
    sozu.save_state(&sozu.saved_state()).unwrap();
    remove_route(&daemon, "goes");
    not_found(&sozu, "goes.example");

    sozu.kill().unwrap();
    daemon.wait_status("/readyz", 503, SOON).unwrap();
    sozu.start_again().unwrap();
    daemon.wait_ready(SOON).unwrap();
    not_found(&sozu, "goes.example");
    served(&sozu, "stays.example", "A");
    let held = [as_held("stays", backend.address())];
    wait_until("Sōzu holds what the files say", SOON, || {
        holds_exactly(&sozu, &held)
    });
    all_well(&daemon);
}

#[test]
fn our_own_restart_changes_nothing() {
    let (sozu, mut daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    all_well(&daemon);

    assert_eq!(daemon.terminate().unwrap().code(), Some(0));
    assert_eq!(answer(&sozu, "a.example"), (200, "A".to_owned()));
    let since = Since::now(&sozu);
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    all_well(&daemon);
    let sent = mutations_of(daemon.pid().unwrap(), &sozu, &since);
    assert_eq!(sent, Vec::<String>::new());
}

#[test]
fn what_changed_while_nobody_was_there_is_caught_up_with() {
    let (sozu, mut daemon) = sozu_and_daemon();
    let (a, b) = (Backend::start("A").unwrap(), Backend::start("B").unwrap());
    for name in ["goes", "changes", "stays"] {
        write_route(&daemon, &sozu, name, &a);
        served(&sozu, &format!("{name}.example"), "A");
    }
    daemon.terminate().unwrap();
    remove_route(&daemon, "goes");
    write_route(&daemon, &sozu, "changes", &b);
    write_route(&daemon, &sozu, "comes", &b);

    daemon.start().unwrap();
    not_found(&sozu, "goes.example");
    served(&sozu, "changes.example", "B");
    served(&sozu, "comes.example", "B");
    served(&sozu, "stays.example", "A");
}

#[test]
fn a_file_broken_while_nobody_was_there_removes_nothing() {
    let (mut sozu, mut daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    write_route(&daemon, &sozu, "b", &backend);
    served(&sozu, "a.example", "A");
    served(&sozu, "b.example", "A");
    daemon.terminate().unwrap();
    let path = routes::write(&daemon.routes(), "a.toml", "[clusters.a]\nprotocol = ").unwrap();

    let since = Since::now(&sozu);
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    let place = format!("{}:2:", path.display());
    told(&daemon, &[&place, "its last good content stays"]);
    assert_eq!(answer(&sozu, "a.example"), (200, "A".to_owned()));
    let sent = mutations_of(daemon.pid().unwrap(), &sozu, &since);
    assert_eq!(sent, Vec::<String>::new());

    // A restart of Sōzu brings back what the file last gave, too.
    sozu.kill().unwrap();
    sozu.start_again().unwrap();
    served(&sozu, "a.example", "A");
    served(&sozu, "b.example", "A");
}

/// Both run without privileges, as two users of one group: the modes of what passes between them are tried, too.
#[test]
fn a_file_made_unreadable_while_nobody_was_there_removes_nothing() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can start processes as other users");
        return;
    }
    let sozu = Sozu::builder()
        .extra_toml("command_socket_mode = \"0660\"")
        .user(65_533, GROUP)
        .start()
        .unwrap();
    let mut daemon = daemon(&sozu).user(65_532, GROUP).start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    write_route(&daemon, &sozu, "b", &backend);
    served(&sozu, "a.example", "A");
    served(&sozu, "b.example", "A");
    all_well(&daemon);

    daemon.terminate().unwrap();
    let path = daemon.routes().join("a.toml");
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o000);
    let since = Since::now(&sozu);
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    told(&daemon, &[path.to_str().unwrap(), "65532", "stays"]);
    assert_eq!(answer(&sozu, "a.example"), (200, "A".to_owned()));
    let sent = mutations_of(daemon.pid().unwrap(), &sozu, &since);
    assert_eq!(sent, Vec::<String>::new());

    mode(0o644);
    all_well(&daemon);
}

/// One of two workers does not answer: the other serves, and the silent one has it once it goes on.
#[test]
fn a_silent_worker_holds_up_no_route() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    sozu.stop_one_worker().unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    write_route(&daemon, &sozu, "b", &backend);
    let held = [
        as_held("a", backend.address()),
        as_held("b", backend.address()),
    ];
    wait_until("Sōzu holds both", 2 * SOON, || holds_exactly(&sozu, &held));
    sozu.continue_workers().unwrap();
    for _ in 0..20 {
        served(&sozu, "a.example", "A");
        served(&sozu, "b.example", "A");
    }
    wait_until("nothing is wrong", 4 * SOON, || {
        daemon.health().unwrap()["status"] == "ok"
    });
    holds_exactly(&sozu, &held).unwrap();
}

/// All workers are killed one after the other: Sōzu starts new ones and gives them their state.
#[test]
fn killed_workers_come_back_with_their_routes() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    let before = sozu.worker_pids();
    for pid in &before {
        testkit::process::signal_to(*pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    wait_until("new workers", SOON, || {
        let pids = sozu.worker_pids();
        pids.len() == 2 && pids.iter().all(|pid| !before.contains(pid))
    });
    served(&sozu, "a.example", "A");
    write_route(&daemon, &sozu, "b", &backend);
    served(&sozu, "b.example", "A");
    all_well(&daemon);
}

/// The main process and its workers are replaced while they run; the state goes over.
#[test]
fn a_hot_upgrade_of_sozu() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    let before = sozu.pids();
    sozu.apply([RequestType::UpgradeMain(UpgradeMain {})])
        .unwrap();
    wait_until("a new main process", SOON, || sozu.pids().len() == 3);
    for worker in 0..2 {
        sozu.apply([RequestType::UpgradeWorker(worker)]).unwrap();
    }
    wait_until("everything is new", 2 * SOON, || {
        let pids = sozu.pids();
        pids.len() == 3 && pids.iter().all(|pid| !before.contains(pid))
    });
    write_route(&daemon, &sozu, "b", &backend);
    served(&sozu, "b.example", "A");
    served(&sozu, "a.example", "A");
    all_well(&daemon);
    let held = [
        as_held("a", backend.address()),
        as_held("b", backend.address()),
    ];
    holds_exactly(&sozu, &held).unwrap();
}
