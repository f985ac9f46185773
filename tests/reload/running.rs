//! What runs on meanwhile, and what changes at once.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use testkit::{Backend, Load, Port, SOON, Sozu, get, routes, wait_until};

use crate::{
    stand::{
        clusters, connections, edit, identity, listener, refused, reloaded, reloads, with_source,
    },
    support::{
        self, answer, as_held, holds_exactly, route, served, sozu_and_daemon, systemd::Systemd,
        write_route,
    },
};

#[test]
fn a_storm_of_hangups_ends_with_the_last_file() {
    let (sozu, mut daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    let load = Load::start(sozu.http_port(), "a.example", "/");
    let before = identity(&daemon, "routes.local");
    with_source(&daemon, "other");
    let with = fs::read_to_string(daemon.config_file()).unwrap();
    let without = with.split("\n[routes.other]").next().unwrap();
    for hangup in 0..200 {
        edit(&daemon, |_| {
            if hangup % 2 == 0 {
                without.to_owned()
            } else {
                with.clone()
            }
        });
        daemon.signal(Signal::SIGHUP).unwrap();
        thread::sleep(Duration::from_millis(3));
    }
    let text = route(&sozu, "b", &backend);
    routes::write(&daemon.routes_of("other"), "b.toml", &text).unwrap();
    served(&sozu, "b.example", "A");
    assert!(reloaded(&daemon).contains("Nothing has changed"));
    let all: f64 = ["applied", "unchanged", "refused", "rolled_back"]
        .map(|outcome| reloads(&daemon, outcome).unwrap())
        .iter()
        .sum();
    assert!((2.0..=201.0).contains(&all), "{all}");
    assert_eq!(reloads(&daemon, "refused"), Some(0.0));
    assert_eq!(reloads(&daemon, "rolled_back"), Some(0.0));
    assert_eq!(identity(&daemon, "routes.local"), before);
    assert_eq!(load.stop().failed(), 0);
}

#[test]
fn a_reload_in_the_middle_of_a_bulk_loses_nothing() {
    const ROUTES: usize = 3_000;
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    let name = |number: usize| format!("r{number}");
    let text: String = (0..ROUTES)
        .map(|it| route(&sozu, &name(it), &backend))
        .collect();
    routes::write(&daemon.routes(), "many.toml", &text).unwrap();
    wait_until("the bulk has begun", SOON, || {
        let held = sozu.held().unwrap().clusters().len();
        held > 0 || clusters(&daemon, "local") > Some(0.0)
    });
    with_source(&daemon, "other");
    let text = route(&sozu, "b", &backend);
    routes::write(&daemon.routes_of("other"), "b.toml", &text).unwrap();
    reloaded(&daemon);
    served(&sozu, "b.example", "A");
    let mut routes: Vec<_> = (0..ROUTES)
        .map(|it| as_held(&name(it), backend.address()))
        .collect();
    routes.push(as_held("b", backend.address()));
    wait_until("all are there", Duration::from_mins(1), || {
        holds_exactly(&sozu, &routes)
    });
    assert_eq!(daemon.component("state_keeper").unwrap()["restarts"], 0);
}

#[test]
fn connections_of_what_is_unchanged_are_the_same_ones() {
    let (sozu, daemon) = sozu_and_daemon();
    let http = || (listener(&daemon), identity(&daemon, "http_server"));
    let served_by = http();
    assert!(!served_by.0.is_empty());
    let before = connections(&sozu);
    assert!(!before.is_empty());
    with_source(&daemon, "other");
    edit(&daemon, |text| {
        format!("{text}\n[guard]\nremoval_minimum = 10\n[journal]\nkeep = \"1d\"\n")
    });
    let said = reloaded(&daemon);
    assert!(said.contains("state_keeper has new settings"), "{said}");
    assert!(before.is_subset(&connections(&sozu)), "{before:?}");
    assert_eq!(http(), served_by);

    // and another setting of the pool makes others, while the rest stays
    let keeper = identity(&daemon, "state_keeper");
    edit(&daemon, |text| {
        text.replace("[sozu]\n", "[sozu]\nconnections = 3\n")
    });
    let said = reloaded(&daemon);
    assert!(said.contains("socket_pool has new settings"), "{said}");
    wait_until("other connections", SOON, || {
        before.is_disjoint(&connections(&sozu))
    });
    assert_eq!(http(), served_by);
    assert_eq!(identity(&daemon, "state_keeper"), keeper);
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
}

#[test]
fn another_port_answers_before_the_old_one_ends() {
    let (_sozu, daemon) = sozu_and_daemon();
    let (old, new) = (daemon.http_port(), Port::free().unwrap());
    let over = Arc::new(AtomicBool::new(false));
    let asking = {
        let (over, new) = (Arc::clone(&over), new.number());
        let live = |port| get(port, "a", "/livez").is_ok_and(|it| it.status == 200);
        thread::spawn(move || {
            let mut gaps = 0;
            while !over.load(Ordering::Relaxed) {
                // the old one may end between the two questions, but then the new one answers
                if !live(old) && !live(new) && !live(new) {
                    gaps += 1;
                }
            }
            gaps
        })
    };
    edit(&daemon, |text| {
        text.replace(&format!("127.0.0.1:{old}"), &new.address().to_string())
    });
    let said = reloaded(&daemon);
    assert!(said.contains("http_server listens on"), "{said}");
    wait_until("the old one ends", SOON, || {
        get(old, "a", "/livez").is_err()
    });
    assert_eq!(get(new.number(), "a", "/livez").unwrap().status, 200);
    over.store(true, Ordering::Relaxed);
    assert_eq!(asking.join().unwrap(), 0);
}

#[test]
fn the_mode_and_the_level_change_at_once() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    let keeper = identity(&daemon, "state_keeper");
    let applies = fs::read_to_string(daemon.config_file()).unwrap();
    edit(&daemon, |text| {
        format!("{text}\n[reconcile]\nmode = \"observe\"\n[log]\nlevel = \"debug\"\n")
    });
    reloaded(&daemon);
    write_route(&daemon, &sozu, "a", &backend);
    wait_until("it is observed", SOON, || {
        let labels = [("source", "local"), ("verdict", "observed")];
        daemon.metric("sozu_manager_changes_total", &labels) >= Some(3.0)
    });
    assert_eq!(answer(&sozu, "a.example").0, 404);
    assert!(daemon.log().contains("\"level\":\"DEBUG\""));

    edit(&daemon, |_| applies);
    reloaded(&daemon);
    served(&sozu, "a.example", "A");
    assert_eq!(identity(&daemon, "state_keeper"), keeper);
}

#[test]
fn systemd_is_told_of_each_reload() {
    let sozu = Sozu::start().unwrap();
    let mut systemd = Systemd::start();
    let mut daemon = support::daemon(&sozu)
        .env("NOTIFY_SOCKET", systemd.path().to_str().unwrap())
        .start()
        .unwrap();
    let started = systemd.until("STATUS=all ", 0);
    let good = fs::read_to_string(daemon.config_file()).unwrap();
    // by a signal and by a person, in vain and not
    daemon.signal(Signal::SIGHUP).unwrap();
    let mut at = started;
    for round in 0..3 {
        let begun = systemd.until("RELOADING=1", at);
        let stamp = systemd.until("MONOTONIC_USEC=", begun);
        assert_eq!(stamp, begun + 1, "{:?}", systemd.heard);
        let number = systemd.heard[stamp].split_once('=').unwrap().1;
        assert!(number.parse::<u64>().unwrap() > 0);
        at = systemd.until("READY=1", stamp) + 1;
        match round {
            0 => {
                edit(&daemon, |text| format!("{text}\n[nothing]\n"));
                refused(&daemon);
            }
            1 => {
                systemd.until("STATUS=reload failed: ", at);
                edit(&daemon, |_| good.clone());
                reloaded(&daemon);
            }
            _ => {
                systemd.until("STATUS=all ", at);
            }
        }
    }
    assert_eq!(systemd.count("RELOADING=1"), 3);
}
