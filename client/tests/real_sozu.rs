//! The pool against the real Sōzu.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{until, until_away, until_here};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sozu_command_lib::{
    proto::command::{
        AddBackend, Cluster, Request, RequestHttpFrontend, SocketAddress, Status, UpgradeMain,
        request::RequestType, response_content::ContentType,
    },
    state::ConfigState,
};
use sozu_socket::{Builder, ExchangeError, Sozu, requests};
use testkit::{SOON, Sozu as RealSozu};

fn builder(sozu: &RealSozu) -> Builder {
    Builder::new(sozu.command_socket())
        .worker_timeout(std::time::Duration::from_secs(2))
        .exchange_directory(sozu.directory().join("exchange"))
}

fn cluster(id: &str) -> Request {
    RequestType::AddCluster(Cluster {
        cluster_id: id.to_owned(),
        ..Cluster::default()
    })
    .into()
}

fn frontend(sozu: &RealSozu, cluster: &str, hostname: &str) -> Request {
    RequestType::AddHttpFrontend(RequestHttpFrontend {
        cluster_id: Some(cluster.to_owned()),
        address: sozu.http_address().into(),
        hostname: hostname.to_owned(),
        ..RequestHttpFrontend::default()
    })
    .into()
}

fn backend(cluster: &str) -> Request {
    RequestType::AddBackend(AddBackend {
        cluster_id: cluster.to_owned(),
        backend_id: "one".to_owned(),
        address: SocketAddress::new_v4(127, 0, 0, 1, 9),
        ..AddBackend::default()
    })
    .into()
}

#[tokio::test]
async fn status_a_bulk_with_bad_entries_and_all_of_it_read_back() {
    let sozu = RealSozu::start().unwrap();
    let pool = builder(&sozu).build();
    until_here(&mut pool.seen()).await;

    let status = pool
        .exchange(RequestType::Status(Status {}).into())
        .await
        .unwrap();
    let Some(ContentType::Workers(workers)) =
        status.content.and_then(|content| content.content_type)
    else {
        panic!("no workers")
    };
    assert_eq!(workers.vec.len(), 2);

    let before = pool.saved_state().await.unwrap();
    assert_eq!(before.opaque, 0);
    // 332 · 3 good ones, one cluster more, and three that Sōzu does not take
    let mut requests = Vec::new();
    for number in 0..332 {
        let id = format!("cluster-{number}");
        requests.extend([
            cluster(&id),
            backend(&id),
            frontend(&sozu, &id, &format!("{id}.example")),
        ]);
    }
    requests.push(cluster("one-more"));
    let good = requests.len();
    requests.push(frontend(&sozu, "cluster-0", "cluster-0.example"));
    requests.push(backend("nobody"));
    requests.push(RequestType::RemoveCluster("nobody".to_owned()).into());
    assert_eq!(requests.len(), 1000);
    let answer = pool.bulk(requests.clone()).await.unwrap();
    assert_eq!(answer.skipped, 3, "{answer:?}");

    let saved = pool.saved_state().await.unwrap();
    assert_eq!(
        (saved.requests.len(), saved.opaque),
        (before.requests.len() + good, 0)
    );
    let (mut held, mut wanted) = (ConfigState::new(), ConfigState::new());
    for request in &saved.requests {
        held.dispatch(request).unwrap();
    }
    for request in before.requests.iter().chain(&requests[..good]) {
        wanted.dispatch(request).unwrap();
    }
    assert_eq!(held.hash_state(), wanted.hash_state());
    let exchange = sozu.directory().join("exchange");
    assert_eq!(
        std::fs::read_dir(exchange).unwrap().count(),
        1, // our lock
        "files stayed"
    );
}

#[tokio::test]
async fn an_update_sends_the_difference_until_there_is_none() {
    let sozu = RealSozu::start().unwrap();
    let pool = builder(&sozu).build();
    until_here(&mut pool.seen()).await;
    let route = |hostname| {
        let listener = sozu.http_address();
        move |state: &mut ConfigState| -> Result<(), Box<dyn std::error::Error>> {
            if state.clusters.contains_key("shop") {
                state.dispatch(&requests::remove_cluster("shop"))?;
            }
            state.dispatch(&requests::add_cluster("shop"))?;
            state.dispatch(&requests::add_http_frontend("shop", listener, hostname))?;
            Ok(state.dispatch(&requests::add_backend("shop", "127.0.0.1:9".parse()?))?)
        }
    };
    let sent = pool.update(route("shop.example")).await.unwrap();
    assert_eq!((sent.entries, sent.skipped), (3, 0), "{sent:?}");
    let sent = pool.update(route("shop.example")).await.unwrap();
    assert_eq!(sent.entries, 0, "{sent:?}");
    // a removal and an addition
    let sent = pool.update(route("www.shop.example")).await.unwrap();
    assert_eq!((sent.entries, sent.skipped), (2, 0), "{sent:?}");
    let shop = pool.cluster("shop").await.unwrap().unwrap();
    let hostnames: Vec<_> = shop.http_frontends.iter().map(|it| &it.hostname).collect();
    assert_eq!(hostnames, ["www.shop.example"]);

    // what Sōzu does not take, though its `ConfigState` does, is counted
    let sent = pool.update(route("a.example/")).await.unwrap();
    assert_eq!((sent.entries, sent.skipped), (2, 1), "{sent:?}");
    // and what the change itself refuses is told, and sends nothing
    let before = pool.saved_state().await.unwrap();
    let refused = pool
        .update(|state| -> Result<(), Box<dyn std::error::Error>> {
            state.dispatch(&requests::remove_cluster("shop"))?;
            Err("not today".into())
        })
        .await;
    assert_eq!(refused.unwrap_err().to_string(), "not today");
    assert_eq!(pool.saved_state().await.unwrap().digest, before.digest);
}

#[tokio::test]
async fn what_sozu_refuses_is_told_in_its_words() {
    let sozu = RealSozu::start().unwrap();
    let pool = builder(&sozu).build();
    until_here(&mut pool.seen()).await;
    let Err(ExchangeError::Refused(refusal)) = pool.exchange(backend("nobody")).await else {
        panic!("not refused")
    };
    assert!(
        refusal
            .message
            .starts_with("could not apply request on the main process state"),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn a_frame_above_sozus_limit_is_an_unknown_outcome() {
    let sozu = RealSozu::start().unwrap();
    let pool = builder(&sozu).max_request_bytes(10_000_000).build();
    until_here(&mut pool.seen()).await;
    let error = pool
        .exchange(cluster(&"x".repeat(3_000_000)))
        .await
        .unwrap_err();
    assert!(matches!(error, ExchangeError::Unknown(_)), "{error}");
    pool.exchange(cluster("small")).await.unwrap();
}

#[tokio::test]
async fn a_relaunched_worker_is_the_same_life_and_a_restarted_main_process_another() {
    let mut sozu = RealSozu::start().unwrap();
    let pool = builder(&sozu).build();
    let mut seen = pool.seen();
    let first = until_here(&mut seen).await;
    assert!(
        first
            .as_str()
            .contains(&format!("main {} start", sozu.main_pid().unwrap())),
        "{first:?}"
    );

    let workers = sozu.worker_pids();
    kill(Pid::from_raw(workers[0]), Signal::SIGKILL).unwrap();
    testkit::until("a worker was relaunched", SOON, async || {
        let now = sozu.worker_pids();
        now.len() == workers.len() && now != workers
    })
    .await
    .unwrap();
    let again = builder(&sozu).build();
    assert_eq!(until_here(&mut again.seen()).await, first);
    assert_eq!(*seen.borrow(), Sozu::Here(first.clone()));

    sozu.kill().unwrap();
    let why = until_away(&mut seen).await;
    assert!(
        matches!(
            pool.exchange(cluster("a")).await,
            Err(ExchangeError::NotSent(_))
        ),
        "{why}"
    );
    sozu.start_again().unwrap();
    let second = until_here(&mut seen).await;
    assert_ne!(second, first);
    pool.exchange(cluster("a")).await.unwrap();
}

#[tokio::test]
async fn a_hot_upgrade_is_another_life_and_breaks_no_exchange() {
    let sozu = RealSozu::start().unwrap();
    let pool = builder(&sozu).build();
    let mut seen = pool.seen();
    let first = until_here(&mut seen).await;
    pool.exchange(cluster("before")).await.unwrap();

    let old = sozu.main_pid().unwrap();
    sozu.apply([RequestType::UpgradeMain(UpgradeMain {})])
        .unwrap();
    let new = testkit::until("a new main process", SOON, async || {
        let workers = sozu.worker_pids();
        let mains = sozu.pids().into_iter().filter(|pid| !workers.contains(pid));
        mains.filter(|pid| *pid != old).max()
    })
    .await
    .unwrap();
    for worker in 0..2 {
        sozu.apply([RequestType::UpgradeWorker(worker)]).unwrap();
    }
    let expected = format!("main {new} start");
    let second = until(
        &mut seen,
        |sozu| matches!(sozu, Sozu::Here(life) if life.as_str().contains(&expected)),
    )
    .await;
    assert_ne!(second, Sozu::Here(first));
    pool.exchange(cluster("after")).await.unwrap();
    let saved = pool.saved_state().await.unwrap();
    assert!(saved.requests.contains(&cluster("before")), "{saved:?}");
}

#[tokio::test]
async fn a_main_process_that_hangs_is_away_and_the_same_life_when_it_goes_on() {
    let sozu = RealSozu::start().unwrap();
    let pool = builder(&sozu).build();
    let mut seen = pool.seen();
    let first = until_here(&mut seen).await;
    sozu.stop_main().unwrap();
    let why = until_away(&mut seen).await;
    assert!(why.contains("has not answered"), "{why}");
    sozu.continue_main().unwrap();
    assert_eq!(until_here(&mut seen).await, first);
}

#[tokio::test]
async fn a_stalled_worker_does_not_make_sozu_away() {
    let sozu = RealSozu::start().unwrap();
    let pool = builder(&sozu).build();
    let mut seen = pool.seen();
    until_here(&mut seen).await;
    sozu.stop_one_worker().unwrap();
    let error = pool.exchange(cluster("a")).await.unwrap_err();
    sozu.continue_workers().unwrap();
    assert!(matches!(error, ExchangeError::Refused(_)), "{error}");
    assert!(!seen.has_changed().unwrap());
}

/// Sōzu's main process does one thing at a time: while it loads or saves much it is busy, not away.
#[tokio::test]
async fn much_to_load_and_to_save_does_not_make_sozu_away() {
    // half a minute; a small state is part of every run
    let long = std::env::var_os("SOZU_MANAGER_LONG").is_some();
    let clusters = if long { 100_000 } else { 2_000 };
    let sozu = RealSozu::start().unwrap();
    let pool = builder(&sozu).build();
    let mut seen = pool.seen();
    until_here(&mut seen).await;
    let requests = (0..clusters).flat_map(|number| {
        let id = format!("cluster-{number}");
        [
            cluster(&id),
            backend(&id),
            frontend(&sozu, &id, &format!("{id}.example")),
        ]
    });
    let requests: Vec<_> = requests.collect();
    let count = requests.len();
    assert_eq!(pool.bulk(requests).await.unwrap().skipped, 0);
    for _ in 0..3 {
        let saved = pool.saved_state().await.unwrap();
        assert!(saved.requests.len() >= count && saved.opaque == 0);
    }
    assert!(!seen.has_changed().unwrap(), "{:?}", *seen.borrow());
}

/// The exchange between two users: we are root here, Sōzu is not.
#[tokio::test]
async fn another_users_sozu_reads_and_writes_through_the_group() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can start a Sōzu of another user");
        return;
    }
    let sozu = RealSozu::builder().user(65_534, 65_534).start().unwrap();
    let pool = builder(&sozu).build();
    until_here(&mut pool.seen()).await;
    assert_eq!(
        pool.bulk(vec![cluster("a"), cluster("b")])
            .await
            .unwrap()
            .skipped,
        0
    );
    let saved = pool.saved_state().await.unwrap();
    assert!(saved.requests.contains(&cluster("a")), "{saved:?}");
}
