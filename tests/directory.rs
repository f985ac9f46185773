//! What may become of a directory and its files: half written, broken, misspelt, moved, gone and back again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{fs, net::SocketAddr};

use support::{
    Since, all_well, answer, as_held, holds_exactly, mutations_of, not_found, route, route_to,
    served, sozu_and_daemon, told, write_route,
};
use testkit::{Backend, SOON, routes, wait_until};

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
fn a_directory_that_is_removed_is_no_removal_of_its_routes() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    write_route(&daemon, &sozu, "b", &backend);
    served(&sozu, "a.example", "A");
    served(&sozu, "b.example", "A");

    fs::remove_dir_all(daemon.routes()).unwrap();
    told(&daemon, &[daemon.routes().to_str().unwrap(), "stays"]);
    assert_eq!(answer(&sozu, "a.example"), (200, "A".to_owned()));
    assert_eq!(answer(&sozu, "b.example"), (200, "A".to_owned()));

    fs::create_dir(daemon.routes()).unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    write_route(&daemon, &sozu, "c", &backend);
    served(&sozu, "c.example", "A");
    not_found(&sozu, "b.example");
    served(&sozu, "a.example", "A");
    all_well(&daemon);
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

/// The first file by name is the one that counts; the other is told, and takes its place.
#[test]
fn two_files_of_one_cluster() {
    let (sozu, daemon) = sozu_and_daemon();
    let (a, b) = (Backend::start("A").unwrap(), Backend::start("B").unwrap());
    let directory = daemon.routes();
    routes::write(&directory, "1.toml", &route(&sozu, "shop", &a)).unwrap();
    served(&sozu, "shop.example", "A");
    let second = routes::write(&directory, "2.toml", &route(&sozu, "shop", &b)).unwrap();
    told(&daemon, &[second.to_str().unwrap(), "1.toml", "shadowed"]);
    assert_eq!(answer(&sozu, "shop.example"), (200, "A".to_owned()));

    routes::remove(&directory, "1.toml").unwrap();
    served(&sozu, "shop.example", "B");
    wait_until("Sōzu holds what the file says", SOON, || {
        holds_exactly(&sozu, &[as_held("shop", b.address())])
    });
    all_well(&daemon);
}

/// What may lie in a directory beside files that can be read.
#[test]
fn strange_files_hold_up_nothing() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    let directory = daemon.routes();
    nix::unistd::mkfifo(&directory.join("fifo.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(directory.join("directory.toml")).unwrap();
    fs::write(directory.join("latin1.toml"), b"# caf\xe9\n").unwrap();
    std::os::unix::fs::symlink("nowhere", directory.join("dangling.toml")).unwrap();
    fs::write(directory.join("notes.txt"), "not a route").unwrap();
    fs::write(directory.join("empty.toml"), "").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    told(&daemon, &["latin1.toml", "dangling.toml"]);

    for name in ["fifo.toml", "latin1.toml", "dangling.toml"] {
        routes::remove(&directory, name).unwrap();
    }
    fs::remove_dir(directory.join("directory.toml")).unwrap();
    all_well(&daemon);
    assert_eq!(answer(&sozu, "a.example"), (200, "A".to_owned()));
}
