//! An order is obeyed, a conclusion is questioned: what only absence suggests is held beyond the guard's bounds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;

use support::{
    Since, all_well, answer, at_rest, daemon, error_of, mutations_of, not_found, remove_route,
    served, sozu_and_daemon, told, write_route,
};
use testkit::{Backend, Daemon, SOON, Sozu, routes, wait_until};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("r{n}")).collect()
}

/// So many routes, all of them served.
fn with_routes(count: usize, backend: &Backend) -> (Sozu, Daemon) {
    let (sozu, daemon) = sozu_and_daemon();
    for name in names(count) {
        write_route(&daemon, &sozu, &name, backend);
    }
    for name in names(count) {
        served(&sozu, &format!("{name}.example"), "A");
    }
    all_well(&daemon);
    (sozu, daemon)
}

fn empty(daemon: &Daemon, count: usize) {
    for name in names(count) {
        remove_route(daemon, &name);
    }
}

fn held_removals(daemon: &Daemon) -> Option<f64> {
    daemon.metric("sozu_manager_held_removals", &[("source", "local")])
}

#[test]
fn forty_routes_that_vanish_are_held_until_they_are_back() {
    let backend = Backend::start("A").unwrap();
    let (mut sozu, mut daemon) = with_routes(40, &backend);
    let since = Since::now(&sozu);
    empty(&daemon, 40);

    let error = told(&daemon, &["hold ", "120 removals", "holds release"]);
    let id = error.split("hold ").nth(1).unwrap();
    let id = id.split(' ').next().unwrap();
    assert!(
        id.len() >= 8 && id.chars().all(|c| c.is_ascii_hexdigit()),
        "{error}"
    );
    assert_eq!(held_removals(&daemon), Some(120.0));
    assert_eq!(daemon.fetch("/readyz").unwrap().status, 200);
    for name in names(40) {
        assert_eq!(answer(&sozu, &format!("{name}.example")).0, 200);
    }
    let sent = mutations_of(daemon.pid().unwrap(), &sozu, &since);
    assert_eq!(sent, Vec::<String>::new());

    // It stands across a restart of ours, and what it keeps across one of Sōzu's.
    daemon.kill9().unwrap();
    sozu.kill().unwrap();
    daemon.start().unwrap();
    sozu.start_again().unwrap();
    served(&sozu, "r39.example", "A");
    assert!(told(&daemon, &["hold "]).contains(id));

    // One more file changes nothing about it.
    write_route(&daemon, &sozu, "more", &backend);
    served(&sozu, "more.example", "A");
    assert!(error_of(&daemon, "routes.local").contains(id));

    for name in names(40) {
        write_route(&daemon, &sozu, &name, &backend);
    }
    all_well(&daemon);
    assert_eq!(held_removals(&daemon), Some(0.0));
    assert_eq!(answer(&sozu, "r0.example").0, 200);
}

#[test]
fn a_hold_shrinks_with_what_returns() {
    let backend = Backend::start("A").unwrap();
    let (sozu, daemon) = with_routes(40, &backend);
    empty(&daemon, 40);
    told(&daemon, &["120 removals"]);
    for name in names(10) {
        write_route(&daemon, &sozu, &name, &backend);
    }
    told(&daemon, &["90 removals"]);
    assert_eq!(held_removals(&daemon), Some(90.0));
    served(&sozu, "r39.example", "A");
}

#[test]
fn three_routes_that_vanish_are_removed() {
    let backend = Backend::start("A").unwrap();
    let (sozu, daemon) = with_routes(3, &backend);
    empty(&daemon, 3);
    for name in names(3) {
        not_found(&sozu, &format!("{name}.example"));
    }
    wait_until("Sōzu is empty", SOON, || {
        sozu.held().unwrap().clusters().is_empty()
    });
    all_well(&daemon);
}

/// Forty routes that go one after the other are one conclusion.
#[test]
fn a_slow_removal_is_held_as_well() {
    let backend = Backend::start("A").unwrap();
    let (sozu, daemon) = with_routes(40, &backend);
    for name in &names(40)[..15] {
        remove_route(&daemon, name);
    }
    not_found(&sozu, "r14.example");
    for name in &names(40)[15..] {
        remove_route(&daemon, name);
    }
    told(&daemon, &["hold ", "75 removals"]);
    assert_eq!(answer(&sozu, "r39.example").0, 200);
}

/// What is replaced is not removed: all forty get another backend at once.
#[test]
fn a_redeploy_is_no_removal() {
    let backend = Backend::start("A").unwrap();
    let (sozu, daemon) = with_routes(40, &backend);
    let other = Backend::start("B").unwrap();
    for name in names(40) {
        write_route(&daemon, &sozu, &name, &other);
    }
    for name in names(40) {
        served(&sozu, &format!("{name}.example"), "B");
    }
    all_well(&daemon);
    assert!(fs::read_dir(daemon.routes()).unwrap().count() == 40);
}

/// 1,000 objects in 100 files: a cluster, its frontend and eight backends each.
fn write_large(daemon: &Daemon, sozu: &Sozu, files: impl IntoIterator<Item = usize>) {
    for n in files {
        let backends: Vec<_> = (0..8)
            .map(|m| format!("127.0.0.1:{}", 20_000 + 8 * n + m).parse().unwrap())
            .collect();
        let host = format!("l{n}.example");
        let text = routes::http(&format!("l{n}"), sozu.http_address(), &[&host], &backends);
        routes::write(&daemon.routes(), &format!("l{n}.toml"), &text).unwrap();
    }
}

fn remove_large(daemon: &Daemon, files: impl IntoIterator<Item = usize>) {
    for n in files {
        remove_route(daemon, &format!("l{n}"));
    }
}

/// A Sōzu and a daemon with 1,000 objects, of which 300 go missing while one more file comes.
fn three_hundred_missing() -> (Sozu, Daemon, String) {
    let sozu = Sozu::start().unwrap();
    // While it is away they go, so that they are missing in one listing.
    let mut daemon = daemon(&sozu).prepare().unwrap();
    write_large(&daemon, &sozu, 0..100);
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    at_rest(&daemon.state_directory(), 1_000, SOON);
    daemon.terminate().unwrap();
    remove_large(&daemon, 0..30);
    write_large(&daemon, &sozu, [100]);
    daemon.start().unwrap();
    let error = told(&daemon, &["hold ", "300 removals"]);
    let id = error.split("hold ").nth(1).unwrap();
    let id = id.split(' ').next().unwrap().to_owned();
    (sozu, daemon, id)
}

fn clusters(sozu: &Sozu, count: usize) {
    wait_until(&format!("{count} clusters in Sōzu"), SOON, || {
        let held = sozu.held().unwrap();
        let seen = (held.clusters().len(), held.backends().len());
        if seen == (count, 8 * count) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
}

#[test]
fn of_a_thousand_objects_three_hundred_that_are_missing_are_held_and_the_rest_goes_on() {
    let (sozu, daemon, id) = three_hundred_missing();
    // What came in the same listing flows.
    clusters(&sozu, 101);

    // Released, exactly they go.
    let released = daemon
        .command(&["holds", "release", &id, "--yes"])
        .output()
        .unwrap();
    assert!(released.status.success(), "{released:?}");
    clusters(&sozu, 71);
    let held = sozu.held().unwrap().clusters();
    assert!((30..=100).all(|n| held.contains(&format!("l{n}"))));
    all_well(&daemon);

    // Put back later, they come back.
    write_large(&daemon, &sozu, 0..30);
    clusters(&sozu, 101);
}

#[test]
fn what_is_put_back_dissolves_the_hold_which_has_one_id_on_every_host() {
    let (sozu, this, id) = three_hundred_missing();
    // Another host: the same files before the same listeners, another database.
    let mut twin = daemon(&sozu).prepare().unwrap();
    write_large(&twin, &sozu, 0..100);
    twin.start().unwrap();
    twin.wait_ready(SOON).unwrap();
    at_rest(&twin.state_directory(), 1_000, SOON);
    twin.terminate().unwrap();
    remove_large(&twin, 0..30);
    twin.start().unwrap();
    let error = told(&twin, &["hold ", "300 removals"]);
    assert!(error.contains(&format!("hold {id} ")), "{error}");
    drop(twin);

    write_large(&this, &sozu, 0..30);
    all_well(&this);
    clusters(&sozu, 101);
    assert_eq!(held_removals(&this), Some(0.0));
}
