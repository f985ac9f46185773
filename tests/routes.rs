//! Everyday life: a file is written, changed, broken, removed, and a real Sōzu serves what the files say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{fs, net::SocketAddr};

use support::{
    Since, all_well, answer, as_held, daemon, holds_exactly, mutations_of, not_found, remove_route,
    route, route_to, served, sozu_and_daemon, told, with_status, write_route,
};
use testkit::{Backend, Load, SOON, Sozu, routes, wait_until};

#[test]
fn a_route_is_live_soon_after_it_is_written_changed_and_removed() {
    let (sozu, daemon) = sozu_and_daemon();
    let (a, b) = (Backend::start("A").unwrap(), Backend::start("B").unwrap());

    write_route(&daemon, &sozu, "shop", &a);
    served(&sozu, "shop.example", "A");

    write_route(&daemon, &sozu, "shop", &b);
    served(&sozu, "shop.example", "B");

    remove_route(&daemon, "shop");
    not_found(&sozu, "shop.example");
    wait_until("Sōzu is empty", SOON, || holds_exactly(&sozu, &[]));
    all_well(&daemon);
}

#[test]
fn a_file_is_served_however_it_is_written() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    let directory = daemon.routes();

    routes::write_in_place(&directory, "a.toml", &route(&sozu, "a", &backend)).unwrap();
    served(&sozu, "a.example", "A");

    let elsewhere = daemon.directory().join("b.toml");
    fs::write(&elsewhere, route(&sozu, "b", &backend)).unwrap();
    std::os::unix::fs::symlink(&elsewhere, directory.join("b.toml")).unwrap();
    served(&sozu, "b.example", "A");

    // What Sōzu saves itself is a route file, too.
    sozu.apply(support::requests(
        &sozu,
        "c",
        "c.example",
        backend.address(),
    ))
    .unwrap();
    sozu.save_state(&directory.join("c.json")).unwrap();
    wait_until("c.json is declared", SOON, || {
        daemon.metric("sozu_manager_foreign_objects", &[("kind", "cluster")]) == Some(0.0)
    });
    served(&sozu, "c.example", "A");
}

/// The frontend's key stays and its cluster changes: Sōzu needs a removal and an addition.
#[test]
fn a_route_is_re_pointed_under_load() {
    let (sozu, daemon) = sozu_and_daemon();
    let (a, b) = (Backend::start("A").unwrap(), Backend::start("B").unwrap());
    let pointed_at = |cluster: &str, backend: &Backend| {
        let text = routes::http(
            cluster,
            sozu.http_address(),
            &["shop.example"],
            &[backend.address()],
        );
        routes::write(&daemon.routes(), "shop.toml", &text).unwrap();
    };
    pointed_at("blue", &a);
    served(&sozu, "shop.example", "A");

    let load = Load::start(sozu.http_port(), "shop.example", "/");
    let since = Since::now(&sozu);
    let rounds = support::rounds(3, 30);
    for round in 0..rounds {
        let (cluster, backend, body) = if round % 2 == 0 {
            ("green", &b, "B")
        } else {
            ("blue", &a, "A")
        };
        let before = load.tally().of(200, body);
        pointed_at(cluster, backend);
        wait_until("answers of the new cluster", SOON, || {
            load.tally().of(200, body) > before + 20
        });
    }
    let tally = load.stop();
    println!(
        "{rounds} times re-pointed: {tally}, {} with 404",
        with_status(&tally, 404)
    );
    // Between the two Sōzu itself may answer 404, nothing else.
    assert!(tally.errors.is_empty(), "{tally:?}");
    assert_eq!(tally.failed(), with_status(&tally, 404), "{tally:?}");
    // One file, one request: no round trip lies between the removal and the addition.
    let sent = mutations_of(daemon.pid().unwrap(), &sozu, &since);
    assert_eq!(sent, vec!["state_loaded"; rounds]);
    let (cluster, backend) = if rounds % 2 == 0 {
        ("blue", a)
    } else {
        ("green", b)
    };
    let held = [(
        cluster.to_owned(),
        "shop.example".to_owned(),
        backend.address(),
    )];
    holds_exactly(&sozu, &held).unwrap();
}

#[test]
fn a_broken_file_changes_nothing_and_is_named_and_the_others_go_on() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");

    let broken = format!("{}\nfrontends = oops", route(&sozu, "a", &backend));
    let line = broken.lines().count();
    let path = routes::write(&daemon.routes(), "a.toml", &broken).unwrap();
    let place = format!("{}:{line}:", path.display());
    let error = told(&daemon, &[&place, "its last good content stays"]);
    let column = error.split(&place).nth(1).unwrap().split(':').next();
    assert!(column.unwrap().parse::<usize>().is_ok(), "{error}");
    assert!(daemon.log().contains(&place), "{}", daemon.log());
    assert_eq!(daemon.fetch("/health").unwrap().status, 200);
    assert_eq!(daemon.fetch("/readyz").unwrap().status, 200);

    write_route(&daemon, &sozu, "b", &backend);
    served(&sozu, "b.example", "A");
    assert_eq!(answer(&sozu, "a.example"), (200, "A".to_owned()));

    write_route(&daemon, &sozu, "a", &backend);
    all_well(&daemon);
}

#[test]
fn a_misspelt_table_is_an_error_and_removes_nothing() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");

    let since = Since::now(&sozu);
    let text = route(&sozu, "a", &backend).replace("[clusters.a]", "[cluster.a]");
    let path = routes::write(&daemon.routes(), "a.toml", &text).unwrap();
    told(&daemon, &[&format!("{}:1:", path.display()), "cluster"]);

    // Another file's change shows that the listing was taken.
    write_route(&daemon, &sozu, "b", &backend);
    served(&sozu, "b.example", "A");
    assert_eq!(answer(&sozu, "a.example"), (200, "A".to_owned()));
    let sent = mutations_of(daemon.pid().unwrap(), &sozu, &since);
    assert_eq!(sent, ["state_loaded"]);
}

#[test]
fn a_thousand_files() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    let mut daemon = daemon(&sozu).prepare().unwrap();
    let names: Vec<String> = (0..1000).map(|n| format!("r{n}")).collect();
    for name in &names {
        write_route(&daemon, &sozu, name, &backend);
    }
    daemon.start().unwrap();
    // Ready means complete.
    daemon.wait_ready(3 * SOON).unwrap();
    let mut held: Vec<_> = names
        .iter()
        .map(|name| as_held(name, backend.address()))
        .collect();
    holds_exactly(&sozu, &held).unwrap();
    served(&sozu, "r0.example", "A");
    served(&sozu, "r999.example", "A");
    let objects = |kind| {
        daemon.metric(
            "sozu_manager_objects",
            &[("source", "local"), ("kind", kind)],
        )
    };
    assert_eq!(objects("http_frontend"), Some(1000.0));

    // One more among them, one less, one changed.
    let other = Backend::start("B").unwrap();
    write_route(&daemon, &sozu, "new", &backend);
    write_route(&daemon, &sozu, "r500", &other);
    remove_route(&daemon, "r999");
    served(&sozu, "new.example", "A");
    served(&sozu, "r500.example", "B");
    not_found(&sozu, "r999.example");
    held[999] = as_held("new", backend.address());
    held[500] = as_held("r500", other.address());
    wait_until("Sōzu holds what the files say", SOON, || {
        holds_exactly(&sozu, &held)
    });
}

#[test]
fn a_frontend_without_a_listener_is_refused_with_the_addresses_that_there_are() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    let nowhere: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let text = routes::http("a", nowhere, &["a.example"], &[backend.address()]);
    let path = routes::write(&daemon.routes(), "a.toml", &text).unwrap();
    told(
        &daemon,
        &[
            path.to_str().unwrap(),
            "127.0.0.1:1",
            &sozu.http_address().to_string(),
        ],
    );

    write_route(&daemon, &sozu, "b", &backend);
    served(&sozu, "b.example", "A");

    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    all_well(&daemon);
}

/// `a.example/` in the tree of host names is fine with sozu-command-lib, and refused by Sōzu's main process.
#[test]
fn what_only_sozu_refuses_is_named_and_the_others_go_on() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    let bad = route(&sozu, "a", &backend).replace(
        "hostname = \"a.example\"",
        "position = \"TREE\", hostname = \"a.example/\"",
    );
    write_route(&daemon, &sozu, "b", &backend);
    let path = routes::write(&daemon.routes(), "a.toml", &bad).unwrap();
    write_route(&daemon, &sozu, "c", &backend);

    told(&daemon, &[path.to_str().unwrap(), "a.example/", "refused"]);
    served(&sozu, "b.example", "A");
    served(&sozu, "c.example", "A");
    assert_eq!(daemon.fetch("/readyz").unwrap().status, 200);
    let refused = [("source", "local"), ("verdict", "refused")];
    assert_eq!(
        daemon.metric("sozu_manager_changes_total", &refused),
        Some(1.0)
    );

    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    all_well(&daemon);
}

#[test]
fn a_directory_that_is_gone_declares_nothing_until_it_is_back() {
    let (sozu, daemon) = sozu_and_daemon();
    let (a, b) = (Backend::start("A").unwrap(), Backend::start("B").unwrap());
    write_route(&daemon, &sozu, "a", &a);
    served(&sozu, "a.example", "A");

    let (directory, away) = (daemon.routes(), daemon.directory().join("away"));
    let since = Since::now(&sozu);
    fs::rename(&directory, &away).unwrap();
    told(&daemon, &[directory.to_str().unwrap(), "stays"]);
    assert_eq!(answer(&sozu, "a.example"), (200, "A".to_owned()));
    assert_eq!(daemon.fetch("/readyz").unwrap().status, 200);
    let sent = mutations_of(daemon.pid().unwrap(), &sozu, &since);
    assert_eq!(sent, Vec::<String>::new());

    // A new one, with another content.
    let made = daemon.directory().join("made");
    fs::create_dir(&made).unwrap();
    routes::write(&made, "a.toml", &route(&sozu, "a", &b)).unwrap();
    fs::rename(&made, &directory).unwrap();
    served(&sozu, "a.example", "B");
    all_well(&daemon);

    // And it is watched again.
    write_route(&daemon, &sozu, "b", &b);
    served(&sozu, "b.example", "B");
}

#[test]
fn a_route_that_moves_to_another_file_is_not_touched() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");

    let since = Since::now(&sozu);
    let directory = daemon.routes();
    fs::rename(directory.join("a.toml"), directory.join("z.toml")).unwrap();
    let other: SocketAddr = "127.0.0.1:9".parse().unwrap();
    routes::write(&directory, "b.toml", &route_to(&sozu, "b", other)).unwrap();
    wait_until("b is held", SOON, || {
        let held = [as_held("a", backend.address()), as_held("b", other)];
        holds_exactly(&sozu, &held)
    });
    let sent = mutations_of(daemon.pid().unwrap(), &sozu, &since);
    assert_eq!(sent, ["state_loaded"]);
}
