//! What Sōzu holds already, or others put into it or take out of it: left alone, adopted, taken over, healed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;

use sozu_command_lib::proto::command::request::RequestType;
use support::{
    NEXT_READ, Since, all_well, answer, daemon, frontend, mutations_of, requests, route, served,
    served_within, with_status, write_route,
};
use testkit::{Backend, Daemon, Load, SOON, Sozu, routes, wait_until};

fn foreign(daemon: &Daemon, kind: &str) -> Option<f64> {
    daemon.metric("sozu_manager_foreign_objects", &[("kind", kind)])
}

#[test]
fn a_foreign_object_is_left_alone_and_counted() {
    let mut sozu = Sozu::start().unwrap();
    let (a, b) = (Backend::start("A").unwrap(), Backend::start("B").unwrap());
    sozu.apply(requests(&sozu, "theirs", "theirs.example", b.address()))
        .unwrap();
    let mut daemon = daemon(&sozu)
        .extra_toml("[reconcile]\ninterval = \"1s\"")
        .start()
        .unwrap();
    daemon.wait_ready(SOON).unwrap();
    for kind in ["cluster", "backend", "http_frontend"] {
        assert_eq!(foreign(&daemon, kind), Some(1.0), "{kind}");
    }
    write_route(&daemon, &sozu, "ours", &a);
    served(&sozu, "ours.example", "A");
    assert_eq!(answer(&sozu, "theirs.example"), (200, "B".to_owned()));

    // What comes later is noticed and left alone, too.
    sozu.apply(requests(&sozu, "later", "later.example", b.address()))
        .unwrap();
    wait_until("it is counted", NEXT_READ, || {
        foreign(&daemon, "cluster") == Some(2.0)
    });
    assert_eq!(answer(&sozu, "later.example"), (200, "B".to_owned()));
    all_well(&daemon);

    // It is not ours to bring back.
    sozu.kill().unwrap();
    sozu.start_again().unwrap();
    served(&sozu, "ours.example", "A");
    wait_until("nothing foreign is left", SOON, || {
        foreign(&daemon, "cluster") == Some(0.0)
    });
    assert_eq!(answer(&sozu, "theirs.example").0, 404);
}

/// A daemon with an empty database meets exactly what its files say.
#[test]
fn an_identical_object_is_adopted_without_a_request() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    let mut first = daemon(&sozu).start().unwrap();
    write_route(&first, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    first.terminate().unwrap();

    let since = Since::now(&sozu);
    let mut second = daemon(&sozu).prepare().unwrap();
    write_route(&second, &sozu, "a", &backend);
    second.start().unwrap();
    second.wait_ready(SOON).unwrap();
    all_well(&second);
    let owned = |kind| {
        let labels = [("source", "local"), ("kind", kind)];
        second.metric("sozu_manager_objects", &labels)
    };
    assert_eq!(owned("http_frontend"), Some(1.0));
    assert_eq!(foreign(&second, "http_frontend"), Some(0.0));
    let sent = mutations_of(second.pid().unwrap(), &sozu, &since);
    assert_eq!(sent, Vec::<String>::new());

    // And it is ours now.
    support::remove_route(&second, "a");
    support::not_found(&sozu, "a.example");
}

#[test]
fn another_value_under_the_same_key_is_taken_over_without_a_gap() {
    let sozu = Sozu::start().unwrap();
    let (a, b) = (Backend::start("A").unwrap(), Backend::start("B").unwrap());
    // As a route file gives it, but to another cluster.
    let front = frontend(&sozu, "by-hand", "shop.example");
    let [cluster, backend, _] = requests(&sozu, "by-hand", "shop.example", a.address());
    sozu.apply([cluster, backend, RequestType::AddHttpFrontend(front)])
        .unwrap();
    served(&sozu, "shop.example", "A");

    let load = Load::start(sozu.http_port(), "shop.example", "/");
    wait_until("requests", SOON, || load.tally().of(200, "A") > 20);
    let mut daemon = daemon(&sozu).prepare().unwrap();
    write_route(&daemon, &sozu, "shop", &b);
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    wait_until("requests to the new one", SOON, || {
        load.tally().of(200, "B") > 20
    });
    let tally = load.stop();
    println!("taken over: {tally}");
    // Between the removal and the addition Sōzu itself may answer 404, nothing else.
    assert!(tally.errors.is_empty(), "{tally:?}");
    assert_eq!(tally.failed(), with_status(&tally, 404), "{tally:?}");
    let sent = mutations_of(daemon.pid().unwrap(), &sozu, &Since::START);
    assert_eq!(sent, ["state_loaded"]);

    let log = daemon.log();
    assert!(log.contains("taken over"), "{log}");
    let taken_over = [("source", "local"), ("verdict", "taken_over")];
    wait_until("the verdict is counted", SOON, || {
        daemon.metric("sozu_manager_changes_total", &taken_over) == Some(1.0)
    });
    // The other cluster is nobody's business.
    assert_eq!(foreign(&daemon, "cluster"), Some(1.0));
    let held = sozu.held().unwrap();
    assert_eq!(held.clusters(), ["by-hand", "shop"]);
    let pointed = ("shop.example".to_owned(), "shop".to_owned());
    assert_eq!(held.frontends(), [pointed]);
}

#[test]
fn what_others_changed_behind_our_back_is_healed() {
    let sozu = Sozu::start().unwrap();
    let (a, b) = (Backend::start("A").unwrap(), Backend::start("B").unwrap());
    let mut daemon = daemon(&sozu)
        .extra_toml("[reconcile]\ninterval = \"1s\"")
        .start()
        .unwrap();
    daemon.wait_ready(SOON).unwrap();
    write_route(&daemon, &sozu, "a", &a);
    write_route(&daemon, &sozu, "b", &b);
    served(&sozu, "a.example", "A");
    served(&sozu, "b.example", "B");

    // The whole cluster removed, with all that is in it.
    let since = Since::now(&sozu);
    sozu.apply([RequestType::RemoveCluster("a".to_owned())])
        .unwrap();
    wait_until("it is there again", NEXT_READ, || {
        sozu.held().unwrap().clusters() == ["a", "b"]
    });
    served(&sozu, "a.example", "A");
    let sent = mutations_of(daemon.pid().unwrap(), &sozu, &since);
    assert_eq!(sent, ["state_loaded"]);

    // A frontend pointed elsewhere. Whoever reads between the two requests heals the first of them.
    let ours = frontend(&sozu, "a", "a.example");
    let theirs = frontend(&sozu, "b", "a.example");
    sozu.apply([RequestType::RemoveHttpFrontend(ours)]).unwrap();
    let _ = sozu.apply([RequestType::AddHttpFrontend(theirs)]);
    served_within(NEXT_READ, &sozu, "a.example", "A");
    let pointed = ("a.example".to_owned(), "a".to_owned());
    assert!(sozu.held().unwrap().frontends().contains(&pointed));
    all_well(&daemon);
}

/// The elder keeps a route that both declare differently; the younger is told, and takes over when it is let go.
#[test]
fn two_sources_of_one_route() {
    let sozu = Sozu::start().unwrap();
    let (a, b) = (Backend::start("A").unwrap(), Backend::start("B").unwrap());
    let mut daemon = daemon(&sozu).routes(&["one", "two"]).start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    let write = |source: &str, backend: &Backend, cluster: &str| {
        let text = routes::http(
            cluster,
            sozu.http_address(),
            &["shop.example"],
            &[backend.address()],
        );
        routes::write(&daemon.routes_of(source), "shop.toml", &text).unwrap();
    };
    write("one", &a, "shop-one");
    served(&sozu, "shop.example", "A");
    write("two", &b, "shop-two");
    support::told_of(&daemon, "routes.two", &["shop.example", "one"]);
    assert_eq!(answer(&sozu, "shop.example"), (200, "A".to_owned()));

    routes::remove(&daemon.routes_of("one"), "shop.toml").unwrap();
    served(&sozu, "shop.example", "B");
    all_well(&daemon);
}

/// What two sources declare alike stays untouched when the elder lets go.
#[test]
fn a_route_moves_from_one_source_to_another_without_a_request() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    let mut daemon = daemon(&sozu).routes(&["one", "two"]).start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    let text = route(&sozu, "a", &backend);
    routes::write(&daemon.routes_of("one"), "a.toml", &text).unwrap();
    served(&sozu, "a.example", "A");

    let since = Since::now(&sozu);
    let owned = |source| {
        let labels = [("source", source), ("kind", "http_frontend")];
        daemon.metric("sozu_manager_objects", &labels)
    };
    routes::write(&daemon.routes_of("two"), "a.toml", &text).unwrap();
    wait_until("the second one declared it", SOON, || {
        let two = daemon.component("routes.two").unwrap();
        two["detail"] == "1 file, 3 objects"
    });
    assert_eq!(owned("one"), Some(1.0));
    routes::remove(&daemon.routes_of("one"), "a.toml").unwrap();
    wait_until("the second one owns it", SOON, || owned("two") == Some(1.0));
    let sent = mutations_of(daemon.pid().unwrap(), &sozu, &since);
    assert_eq!(sent, Vec::<String>::new());
    assert_eq!(answer(&sozu, "a.example"), (200, "A".to_owned()));
    all_well(&daemon);
}

/// A source that leaves the configuration takes nothing with it.
#[test]
fn what_a_source_leaves_behind_is_orphaned_and_served() {
    let mut sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    let mut daemon = daemon(&sozu).routes(&["one", "two"]).start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    for source in ["one", "two"] {
        let text = route(&sozu, source, &backend);
        routes::write(&daemon.routes_of(source), "a.toml", &text).unwrap();
        served(&sozu, &format!("{source}.example"), "A");
    }
    daemon.terminate().unwrap();
    let config = fs::read_to_string(daemon.config_file()).unwrap();
    let (without, _) = config.split_once("[routes.two]").unwrap();
    fs::write(daemon.config_file(), without).unwrap();

    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    let orphaned = |source| daemon.metric("sozu_manager_orphaned_objects", &[("source", source)]);
    assert_eq!(orphaned("two"), Some(3.0));
    assert_eq!(orphaned("one"), Some(0.0));
    assert_eq!(answer(&sozu, "two.example"), (200, "A".to_owned()));
    // It is still ours to bring back.
    sozu.kill().unwrap();
    sozu.start_again().unwrap();
    served(&sozu, "two.example", "A");
    served(&sozu, "one.example", "A");
}

/// Removed by its file, then put there again by hand in the same life of Sōzu: that was on purpose.
#[test]
fn what_was_removed_and_is_put_there_by_hand_stays() {
    let sozu = Sozu::start().unwrap();
    let (a, b) = (Backend::start("A").unwrap(), Backend::start("B").unwrap());
    let mut daemon = daemon(&sozu)
        .extra_toml("[reconcile]\ninterval = \"1s\"")
        .start()
        .unwrap();
    daemon.wait_ready(SOON).unwrap();
    write_route(&daemon, &sozu, "a", &a);
    served(&sozu, "a.example", "A");
    support::remove_route(&daemon, "a");
    support::not_found(&sozu, "a.example");
    // A read that began after the removal, and so saw Sōzu without it.
    let proof = || daemon.metric("sozu_manager_last_proof_timestamp_seconds", &[]);
    let before = proof();
    wait_until("two more reads", NEXT_READ, || {
        proof() > before.map(|at| at + 1.5)
    });

    sozu.apply(requests(&sozu, "a", "a.example", b.address()))
        .unwrap();
    wait_until("it is counted as foreign", NEXT_READ, || {
        foreign(&daemon, "cluster") == Some(1.0)
    });
    assert_eq!(answer(&sozu, "a.example"), (200, "B".to_owned()));
    all_well(&daemon);
}

/// A foreign frontend uses our cluster: it keeps it until it is gone itself.
#[test]
fn a_cluster_that_others_use_stays_as_long_as_they_do() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    let mut daemon = daemon(&sozu)
        .extra_toml("[reconcile]\ninterval = \"1s\"")
        .start()
        .unwrap();
    daemon.wait_ready(SOON).unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    let theirs = frontend(&sozu, "a", "theirs.example");
    sozu.apply([RequestType::AddHttpFrontend(theirs.clone())])
        .unwrap();
    wait_until("it is counted", NEXT_READ, || {
        foreign(&daemon, "http_frontend") == Some(1.0)
    });

    support::remove_route(&daemon, "a");
    support::not_found(&sozu, "a.example");
    let held = sozu.held().unwrap();
    assert_eq!(held.clusters(), ["a"]);
    assert_eq!(held.hostnames(), ["theirs.example"]);

    sozu.apply([RequestType::RemoveHttpFrontend(theirs)])
        .unwrap();
    wait_until("the cluster is gone as well", NEXT_READ, || {
        sozu.held().unwrap().clusters().is_empty()
    });
}
