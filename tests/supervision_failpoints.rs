//! Every component is crashed on demand, in every phase, under traffic: nobody outside notices, and nobody else inside.
//!
//! Needs the feature `failpoints`: `cargo test --features failpoints --test supervision_failpoints`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{path::Path, time::Duration};

use support::{all_well, exchanged, once, restarts, served, systemd::Systemd, write_route};
use testkit::{Backend, Daemon, Load, SOON, Sozu, wait_until};

/// Each component and its kind.
const COMPONENTS: [(&str, &str); 6] = [
    ("socket_pool", "socket_pool"),
    ("state_keeper", "state_keeper"),
    ("routes.local", "routes_watcher"),
    ("metrics_scraper", "metrics_scraper"),
    ("http_server", "http_server"),
    ("admin_server", "admin_server"),
];

/// A daemon that fails so, with the directories that an earlier one may have left.
fn failing(sozu: &Sozu, directory: &Path, failpoints: &str) -> Daemon {
    let builder = support::daemon(sozu).directory(directory);
    builder.env("FAILPOINTS", failpoints).start().unwrap()
}

#[test]
fn whoever_crashes_in_whatever_phase_no_request_fails() {
    let sozu = Sozu::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start("A").unwrap();
    let mut daemon = failing(&sozu, directory.path(), "");
    write_route(&daemon, &sozu, "steady", &backend);
    served(&sozu, "steady.example", "A");
    daemon.terminate().unwrap();

    let load = Load::start(sozu.http_port(), "steady.example", "/");
    for (component, kind) in COMPONENTS {
        for phase in ["start", "message", "tick"] {
            let point = format!("{kind}::{phase}");
            let failpoints = format!("{point}=1*panic");
            let mut daemon = failing(&sozu, directory.path(), &failpoints);
            // written while it crashes
            let name = format!("{kind}-{phase}").replace('_', "-");
            write_route(&daemon, &sozu, &name, &backend);
            wait_until(&format!("{point} has crashed once"), SOON, || {
                let seen = restarts(&daemon)?;
                if seen == once(component, "panic") {
                    Ok(())
                } else {
                    Err(format!("{seen:?}"))
                }
            });
            wait_until(&format!("{component} runs again"), SOON, || {
                let seen = daemon
                    .component(component)
                    .map_err(|error| error.to_string())?;
                if seen["state"] == "running" {
                    Ok(())
                } else {
                    Err(seen.to_string())
                }
            });
            served(&sozu, &format!("{name}.example"), "A");
            daemon.wait_ready(SOON).unwrap();
            all_well(&daemon);
            assert_eq!(restarts(&daemon), Ok(once(component, "panic")), "{point}");
            assert!(daemon.log().contains(&format!("failpoint {point} panic")));
            assert_eq!(daemon.terminate().unwrap().code(), Some(0), "{point}");
        }
    }
    let tally = load.stop();
    assert!(tally.total() > 100, "{tally}");
    assert_eq!(tally.failed(), 0, "{tally}: {:?}", tally.errors);
}

#[test]
fn whoever_crashes_while_it_stops_the_daemon_ends_in_order() {
    let sozu = Sozu::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start("A").unwrap();
    let mut first = failing(&sozu, directory.path(), "");
    write_route(&first, &sozu, "steady", &backend);
    served(&sozu, "steady.example", "A");
    first.terminate().unwrap();

    let load = Load::start(sozu.http_port(), "steady.example", "/");
    for (component, kind) in COMPONENTS {
        let mut daemon = failing(&sozu, directory.path(), &format!("{kind}::stop=1*panic"));
        daemon.wait_ready(SOON).unwrap();
        let name = format!("{kind}-stop").replace('_', "-");
        write_route(&daemon, &sozu, &name, &backend);
        served(&sozu, &format!("{name}.example"), "A");
        assert_eq!(daemon.terminate().unwrap().code(), Some(0), "{component}");
        let log = daemon.log();
        let told = log
            .lines()
            .rev()
            .find(|line| line.contains("ended while it was to stop") && line.contains(component));
        assert!(told.is_some(), "{log}");
        assert_eq!(exchanged(&daemon), Vec::<String>::new());
    }
    let tally = load.stop();
    assert_eq!(tally.failed(), 0, "{tally}: {:?}", tally.errors);
}

fn watched(sozu: &Sozu, systemd: &Systemd, failpoints: &str) -> Daemon {
    support::daemon(sozu)
        .env("NOTIFY_SOCKET", systemd.path().to_str().unwrap())
        .env("WATCHDOG_USEC", "3000000")
        .env("FAILPOINTS", failpoints)
        .start()
        .unwrap()
}

/// A keeper that opens, or migrates, a large database takes long: systemd's patience is renewed until then, and it is told
/// what is waited for.
#[test]
fn a_start_that_takes_long_is_extended() {
    let sozu = Sozu::start().unwrap();
    let mut systemd = Systemd::start();
    let mut daemon = watched(&sozu, &systemd, "state_keeper::start=1*sleep(4000)");
    systemd.until("STATUS=starts: state_keeper is starting", 0);
    let ready = systemd.until("READY=1", 0);
    let before = &systemd.heard[..ready];
    let count = |word: &str| before.iter().filter(|line| line.starts_with(word)).count();
    assert!(count("EXTEND_TIMEOUT_USEC=") >= 3, "{before:?}");
    assert!(count("WATCHDOG=1") >= 1, "{before:?}");
    assert_eq!(count("STATUS=starts"), count("STATUS="), "{before:?}");
    let behind = systemd.heard[ready..].iter();
    assert_eq!(behind.filter(|line| line.starts_with("EXTEND")).count(), 0);
    daemon.wait_ready(SOON).unwrap();
    assert_eq!(restarts(&daemon), Ok([].into()));
    assert_eq!(daemon.terminate().unwrap().code(), Some(0));
}

/// While it is in backoff it lives; when its supervisor gives up, the pings end at once and the daemon soon.
#[test]
fn a_crash_loop_of_a_critical_component_ends_the_pings_and_the_daemon() {
    let sozu = Sozu::start().unwrap();
    let mut systemd = Systemd::start();
    let mut daemon = watched(&sozu, &systemd, "http_server::tick=panic");
    let stopping = systemd.until_within("STOPPING=1", 0, 3 * SOON);
    assert_eq!(daemon.wait_exit(SOON).unwrap().code(), Some(1));
    systemd.hear();
    let (before, behind) = systemd.heard.split_at(stopping);
    assert!(before.iter().any(|line| line == "WATCHDOG=1"), "{before:?}");
    assert!(
        before
            .iter()
            .any(|line| line.contains("failpoint http_server::tick panic"))
    );
    assert!(
        !behind.iter().any(|line| line == "WATCHDOG=1"),
        "{behind:?}"
    );
}

/// The supervisor's own thread hangs: nobody feeds the watchdog in its place, and `/livez`, on threads of its own, says why.
#[test]
fn a_component_that_blocks_the_supervisor_ends_the_pings() {
    let sozu = Sozu::start().unwrap();
    let mut systemd = Systemd::start();
    let mut daemon = watched(
        &sozu,
        &systemd,
        "metrics_scraper::tick=1*off->1*sleep(600000)",
    );
    systemd.until("READY=1", 0);
    daemon.wait_status("/livez", 503, 4 * SOON).unwrap();
    let why = daemon.fetch("/livez").unwrap().body;
    assert!(why.contains("the supervisor has not turned for"), "{why}");
    let (status, page) = daemon.get("/health").unwrap();
    assert_eq!((status, &page["status"]), (503, &"failed".into()), "{page}");
    assert_eq!(page["live"], false, "{page}");
    let alive = (systemd.hear(), systemd.count("WATCHDOG=1"));
    assert!(alive.1 > 0);
    // longer than systemd would wait
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((systemd.hear(), systemd.count("WATCHDOG=1")), alive);
    daemon.kill9().unwrap();
}

/// The keeper hangs on its own thread and keeps what it holds, its lock among it: the others go on, the traffic does, and
/// the watchdog ends what only the process's end can end.
#[test]
fn a_keeper_that_hangs_is_left_to_the_watchdog() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    let mut systemd = Systemd::start();
    let mut daemon = watched(&sozu, &systemd, "state_keeper::message=1*sleep(600000)");
    write_route(&daemon, &sozu, "a", &backend);
    wait_until("the keeper is replaced", 6 * SOON, || {
        let seen = restarts(&daemon)?;
        if seen == once("state_keeper", "unresponsive") {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    systemd.hear();
    let alive = systemd.heard.len();
    systemd.until("WATCHDOG=1", alive);
    daemon.wait_status("/livez", 503, 6 * SOON).unwrap();
    let why = daemon.fetch("/livez").unwrap().body;
    assert!(
        why.contains("state_keeper has been without a heartbeat"),
        "{why}"
    );
    assert_eq!(daemon.get("/health").unwrap().0, 503);
    let alive = (systemd.hear(), systemd.count("WATCHDOG=1")).1;
    // longer than systemd would wait
    std::thread::sleep(Duration::from_secs(3));
    systemd.hear();
    assert_eq!(systemd.count("WATCHDOG=1"), alive);
    assert_eq!(restarts(&daemon), Ok(once("state_keeper", "unresponsive")));
    daemon.kill9().unwrap();
}
