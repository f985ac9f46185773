//! The kit against the real Sōzu: what other tests rely on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{fs, net::SocketAddr};

use sozu_command_lib::proto::command::{
    AddBackend, Cluster, PathRule, RemoveBackend, RequestHttpFrontend, RulePosition, SocketAddress,
    request::RequestType,
};
use testkit::{Backend, Load, SOON, Sozu, get, wait_until};

fn route(sozu: &Sozu, cluster: &str, hostname: &str, backend: SocketAddr) -> Vec<RequestType> {
    vec![
        RequestType::AddCluster(Cluster {
            cluster_id: cluster.to_owned(),
            ..Cluster::default()
        }),
        RequestType::AddBackend(AddBackend {
            cluster_id: cluster.to_owned(),
            backend_id: format!("{cluster}-0"),
            address: SocketAddress::from(backend),
            ..AddBackend::default()
        }),
        RequestType::AddHttpFrontend(RequestHttpFrontend {
            cluster_id: Some(cluster.to_owned()),
            address: SocketAddress::from(sozu.http_address()),
            hostname: hostname.to_owned(),
            path: PathRule::prefix(String::new()),
            position: RulePosition::Tree.into(),
            ..RequestHttpFrontend::default()
        }),
    ]
}

fn status(sozu: &Sozu, host: &str) -> u16 {
    get(sozu.http_port(), host, "/").map_or(0, |answer| answer.status)
}

#[test]
fn killed_and_started_again_it_is_empty_on_the_same_port() {
    let mut sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    assert_eq!(sozu.worker_pids().len(), 2);
    assert_eq!(sozu.pids().len(), 3);
    sozu.apply(route(&sozu, "a", "a.example", backend.address()))
        .unwrap();
    wait_until("the route", SOON, || status(&sozu, "a.example") == 200);
    let held = sozu.held().unwrap();
    assert_eq!(held.clusters(), ["a"]);
    assert_eq!(held.frontends(), [("a.example".to_owned(), "a".to_owned())]);
    assert_eq!(
        held.backends(),
        [("a".to_owned(), backend.address().to_string())]
    );
    assert_eq!(held.state().unwrap().clusters.len(), 1);

    let before = sozu.pids();
    sozu.kill().unwrap();
    assert!(get(sozu.http_port(), "a.example", "/").is_err());
    sozu.start_again().unwrap();
    assert!(sozu.pids().iter().all(|pid| !before.contains(pid)));
    assert_eq!(status(&sozu, "a.example"), 404);
    assert_eq!(sozu.held().unwrap().clusters(), Vec::<String>::new());
}

#[test]
fn a_saved_state_is_served_again() {
    let mut sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    sozu.apply(route(&sozu, "a", "a.example", backend.address()))
        .unwrap();
    sozu.save_state(&sozu.saved_state()).unwrap();
    sozu.kill().unwrap();
    sozu.start_again().unwrap();
    wait_until("the route", SOON, || status(&sozu, "a.example") == 200);
    fs::remove_file(sozu.saved_state()).unwrap();
}

#[test]
fn stopped_workers_are_silent_until_they_go_on() {
    let sozu = Sozu::builder().worker_timeout(1).start().unwrap();
    let backend = Backend::start("A").unwrap();
    sozu.apply(route(&sozu, "a", "a.example", backend.address()))
        .unwrap();
    sozu.stop_workers().unwrap();
    let error = sozu
        .apply(route(&sozu, "b", "b.example", backend.address()))
        .unwrap_err();
    assert!(
        error.to_string().starts_with("Sōzu refused AddCluster"),
        "{error}"
    );
    sozu.continue_workers().unwrap();
    wait_until("the route", SOON, || status(&sozu, "a.example") == 200);
}

#[test]
fn all_kinds_of_listeners() {
    let sozu = Sozu::builder()
        .http_listeners(2)
        .https_listeners(1)
        .tcp_listeners(1)
        .workers(1)
        .start()
        .unwrap();
    assert_eq!(sozu.http_addresses().len(), 2);
    assert_eq!(sozu.https_addresses().len(), 1);
    assert_eq!(sozu.tcp_addresses().len(), 1);
    assert_eq!(sozu.worker_pids().len(), 1);
}

#[test]
fn load_goes_through_the_proxy() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    sozu.apply(route(&sozu, "a", "a.example", backend.address()))
        .unwrap();
    wait_until("the route", SOON, || status(&sozu, "a.example") == 200);
    let load = Load::start(sozu.http_port(), "a.example", "/");
    wait_until("answers", SOON, || load.tally().of(200, "A") >= 20);
    sozu.apply([RequestType::RemoveBackend(RemoveBackend {
        cluster_id: "a".to_owned(),
        backend_id: "a-0".to_owned(),
        address: SocketAddress::from(backend.address()),
    })])
    .unwrap();
    wait_until("503", SOON, || {
        load.tally()
            .answers
            .keys()
            .any(|(status, _)| *status == 503)
    });
    assert!(load.stop().failed() > 0);
}

#[test]
fn only_the_main_process_killed() {
    let mut sozu = Sozu::start().unwrap();
    let workers = sozu.worker_pids();
    sozu.kill_main().unwrap();
    wait_until("the workers' end", SOON, || {
        workers.iter().all(|pid| !sozu.pids().contains(pid))
    });
    sozu.kill().unwrap();
    sozu.start_again().unwrap();
}

#[test]
fn as_another_user() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can start a process as another user");
        return;
    }
    let sozu = Sozu::builder().user(65_534, 65_534).start().unwrap();
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(sozu.command_socket()).unwrap());
    assert_eq!(owner, 65_534);
    assert_eq!(sozu.worker_pids().len(), 2);
}
