//! Everyday life: a route is written, changed, re-pointed, removed, and a real Sōzu serves what the files say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{collections::HashMap, fs, net::SocketAddr};

use support::{
    Since, all_well, as_held, daemon, holds_exactly, mutations_of, not_found, remove_route, route,
    served, sozu_and_daemon, told, with_status, write_route,
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

/// The frontend's key stays and its cluster changes: Sōzu needs a removal and an addition.
#[test]
fn a_route_is_re_pointed_under_load() {
    let sozu = Sozu::start().unwrap();
    // Each time the cluster before goes, and the guard adds up what goes within an hour.
    let mut daemon = daemon(&sozu)
        .extra_toml("[guard]\nremoval_minimum = 1000")
        .start()
        .unwrap();
    daemon.wait_ready(SOON).unwrap();
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
    let (cluster, backend) = if rounds.is_multiple_of(2) {
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

/// `a.example/` is fine with sozu-command-lib, and refused by Sōzu's main process.
#[test]
fn what_only_sozu_refuses_is_named_and_the_others_go_on() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    let bad = route(&sozu, "a", &backend).replace("a.example\"", "a.example/\"");
    write_route(&daemon, &sozu, "b", &backend);
    let path = routes::write(&daemon.routes(), "a.toml", &bad).unwrap();
    write_route(&daemon, &sozu, "c", &backend);

    told(&daemon, &[path.to_str().unwrap(), "a.example/", "refused"]);
    served(&sozu, "b.example", "A");
    served(&sozu, "c.example", "A");
    assert_eq!(daemon.fetch("/readyz").unwrap().status, 200);
    let refused = [("source", "local"), ("verdict", "refused")];
    wait_until("the verdict is counted", SOON, || {
        daemon.metric("sozu_manager_changes_total", &refused) == Some(1.0)
    });

    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    all_well(&daemon);
}

/// Each of two routes gets the other's cluster, and each cluster the other's backend, in one listing.
#[test]
fn two_routes_change_places() {
    let (sozu, daemon) = sozu_and_daemon();
    let (a, b) = (Backend::start("A").unwrap(), Backend::start("B").unwrap());
    let write = |file: &str, cluster: &str, backend: &Backend| {
        let host = format!("{file}.example");
        let text = routes::http(cluster, sozu.http_address(), &[&host], &[backend.address()]);
        routes::write(&daemon.routes(), &format!("{file}.toml"), &text).unwrap();
    };
    write("a", "blue", &a);
    write("b", "green", &b);
    served(&sozu, "a.example", "A");
    served(&sozu, "b.example", "B");

    write("a", "green", &b);
    write("b", "blue", &a);
    served(&sozu, "a.example", "B");
    served(&sozu, "b.example", "A");
    let held = [
        ("blue".to_owned(), "b.example".to_owned(), a.address()),
        ("green".to_owned(), "a.example".to_owned(), b.address()),
    ];
    wait_until("Sōzu holds what the files say", SOON, || {
        holds_exactly(&sozu, &held)
    });
    all_well(&daemon);
}

/// As a rolling redeploy leaves it: one id, first at one address, then at two, then at the other.
#[test]
fn one_backend_id_moves_over_two_addresses() {
    let (sozu, daemon) = sozu_and_daemon();
    let (a, b) = (Backend::start("A").unwrap(), Backend::start("B").unwrap());
    let write = |backends: &[&Backend]| {
        let backends: Vec<String> = backends
            .iter()
            .map(|backend| {
                format!(
                    "{{ backend_id = \"web\", address = \"{}\" }}",
                    backend.address()
                )
            })
            .collect();
        let text = format!(
            "[clusters.a]\nprotocol = \"http\"\nfrontends = [{{ address = \"{}\", hostname = \"a.example\" }}]\n\
             backends = [{}]\n",
            sozu.http_address(),
            backends.join(", ")
        );
        routes::write(&daemon.routes(), "a.toml", &text).unwrap();
    };
    let held = |backends: &[&Backend]| {
        let mut wanted: Vec<_> = backends
            .iter()
            .map(|backend| ("a".to_owned(), backend.address().to_string()))
            .collect();
        wanted.sort();
        wait_until("these backends", SOON, || {
            let held = sozu.held().unwrap().backends();
            if held == wanted {
                Ok(())
            } else {
                Err(format!("{held:?}"))
            }
        });
    };
    for backends in [vec![&a], vec![&a, &b], vec![&b]] {
        write(&backends);
        held(&backends);
    }
    served(&sozu, "a.example", "B");
    all_well(&daemon);
}

/// Three among three hundred that Sōzu refuses: they are named, and none of the others waits for them.
#[test]
fn a_few_refused_among_many() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    let mut daemon = daemon(&sozu).prepare().unwrap();
    let bad = [7, 150, 299];
    for n in 0..300 {
        let mut text = route(&sozu, &format!("r{n}"), &backend);
        if bad.contains(&n) {
            text = text.replace(".example\"", ".example/\"");
        }
        routes::write(&daemon.routes(), &format!("r{n}.toml"), &text).unwrap();
    }
    daemon.start().unwrap();
    daemon.wait_ready(2 * SOON).unwrap();
    told(&daemon, &["r7.toml", "r150.toml", "r299.toml"]);
    let hostnames = sozu.held().unwrap().hostnames();
    assert_eq!(hostnames.len(), 297);
    assert!(hostnames.iter().all(|name| !name.contains('/')));
    for n in [0, 8, 298] {
        served(&sozu, &format!("r{n}.example"), "A");
    }
}

/// Every kind of frontend that a route file can give, and a certificate by its files.
#[test]
fn https_and_tcp_routes() {
    let sozu = Sozu::builder()
        .https_listeners(1)
        .tcp_listeners(1)
        .start()
        .unwrap();
    let backend = Backend::start("A").unwrap();
    let mut daemon = daemon(&sozu).start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    let (https, tcp) = (sozu.https_addresses()[0], sozu.tcp_addresses()[0]);
    let data = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/actors/src/fs_watcher/testdata"
    );
    let text = format!(
        "[clusters.web]\nprotocol = \"http\"\n\
         frontends = [{{ address = \"{https}\", hostname = \"a.example\", \
         certificate = \"{data}/certificate.pem\", key = \"{data}/key.pem\" }}]\n\
         backends = [{{ address = \"{0}\" }}]\n\
         [clusters.raw]\nprotocol = \"tcp\"\nfrontends = [{{ address = \"{tcp}\" }}]\n\
         backends = [{{ address = \"{0}\" }}]\n",
        backend.address()
    );
    routes::write(&daemon.routes(), "all.toml", &text).unwrap();
    wait_until("the TCP route", SOON, || {
        testkit::get(tcp.port(), "any", "/").is_ok_and(|answer| answer.body == "A")
    });
    let held = sozu.held().unwrap();
    assert_eq!(held.clusters(), ["raw", "web"]);
    assert_eq!(held.hostnames(), ["a.example"]);
    let state = held.state().unwrap();
    assert_eq!(
        state.certificates.values().map(HashMap::len).sum::<usize>(),
        1
    );
    all_well(&daemon);

    // The key stays in its file: the database does without it, and a restart of both as well.
    daemon.terminate().unwrap();
    let mut sozu = sozu;
    sozu.kill().unwrap();
    sozu.start_again().unwrap();
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    all_well(&daemon);
    let state = sozu.held().unwrap().state().unwrap();
    assert_eq!(
        state.certificates.values().map(HashMap::len).sum::<usize>(),
        1
    );
    let key = fs::read_to_string(format!("{data}/key.pem")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    for file in fs::read_dir(daemon.state_directory()).unwrap() {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        assert!(
            !bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes()),
            "{} has the key",
            path.display()
        );
    }
}
