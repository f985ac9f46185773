//! The typed questions, asked of the real Sōzu.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::time::Duration;

use common::until_here;
use sozu_command_lib::proto::command::{
    AddBackend, Cluster, RequestHttpFrontend, SocketAddress, request::RequestType,
};
use sozu_socket::{Builder, ExchangeError};
use testkit::Sozu as RealSozu;

#[tokio::test]
async fn each_question_has_its_answer() {
    let sozu = RealSozu::start().unwrap();
    let pool = Builder::new(sozu.command_socket())
        .worker_timeout(Duration::from_secs(2))
        .build();
    until_here(&mut pool.seen()).await;
    let http = SocketAddress::new_v4(127, 0, 0, 1, sozu.http_port());

    let workers = pool.workers().await.unwrap();
    assert_eq!(workers.len(), 2);

    let listeners = pool.listeners().await.unwrap();
    let addresses: Vec<_> = listeners
        .http_listeners
        .values()
        .map(|listener| listener.address)
        .collect();
    assert_eq!(addresses, [http]);

    assert_eq!(pool.clusters().await.unwrap().len(), 0);
    assert_eq!(pool.cluster("shop").await.unwrap(), None);
    let requests = [
        RequestType::AddCluster(Cluster {
            cluster_id: "shop".to_owned(),
            ..Cluster::default()
        }),
        RequestType::AddHttpFrontend(RequestHttpFrontend {
            cluster_id: Some("shop".to_owned()),
            hostname: "shop.example".to_owned(),
            address: http,
            ..RequestHttpFrontend::default()
        }),
    ];
    for request in requests {
        pool.exchange(request.into()).await.unwrap();
    }
    let before = pool.clusters().await.unwrap();
    assert_eq!(before.keys().collect::<Vec<_>>(), ["shop"]);
    let backend = RequestType::AddBackend(AddBackend {
        cluster_id: "shop".to_owned(),
        backend_id: "one".to_owned(),
        address: SocketAddress::new_v4(127, 0, 0, 1, 9),
        ..AddBackend::default()
    });
    pool.exchange(backend.into()).await.unwrap();
    assert_ne!(
        pool.clusters().await.unwrap(),
        before,
        "another content, another hash"
    );

    let shop = pool.cluster("shop").await.unwrap().unwrap();
    assert_eq!(shop.http_frontends[0].hostname, "shop.example");
    assert_eq!(shop.backends[0].backend_id, "one");
    assert!(shop.configuration.is_some());

    let certificates = pool.certificates().await.unwrap();
    assert_eq!(certificates.keys().collect::<Vec<_>>(), [&0, &1]);

    // a worker that hangs holds up those that are asked of it, and no others
    sozu.stop_one_worker().unwrap();
    assert_eq!(pool.workers().await.unwrap().len(), 2);
    assert_eq!(pool.listeners().await.unwrap().http_listeners.len(), 1);
    let error = pool.cluster("shop").await.unwrap_err();
    assert!(matches!(error, ExchangeError::Refused(_)), "{error}");
    sozu.continue_workers().unwrap();
}
