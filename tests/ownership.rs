//! What Sōzu holds already, or others put into it or take out of it: left alone, adopted, taken over, healed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use sozu_command_lib::proto::command::request::RequestType;
use support::{
    Since, all_well, answer, daemon, frontend, mutations_of, requests, route, served, with_status,
    write_route,
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
    wait_until("it is counted", SOON, || {
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
    let front = support::pre(frontend(&sozu, "by-hand", "shop.example"));
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
    let changes = daemon.metric("sozu_manager_changes_total", &taken_over);
    assert_eq!(changes, Some(1.0));
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
    sozu.apply([RequestType::RemoveCluster("a".to_owned())])
        .unwrap();
    assert_eq!(sozu.held().unwrap().clusters(), ["b"]);
    served(&sozu, "a.example", "A");

    // A frontend pointed elsewhere.
    let ours = support::pre(frontend(&sozu, "a", "a.example"));
    let theirs = support::pre(frontend(&sozu, "b", "a.example"));
    sozu.apply([
        RequestType::RemoveHttpFrontend(ours),
        RequestType::AddHttpFrontend(theirs),
    ])
    .unwrap();
    served(&sozu, "a.example", "A");
    let frontends = sozu.held().unwrap().frontends();
    assert!(frontends.contains(&("a.example".to_owned(), "a".to_owned())));
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
    let _ = route(&sozu, "x", &a);
}
