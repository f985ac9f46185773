//! The event stream, against a scripted peer and the real Sōzu.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::time::Duration;

use common::peer::{Call, Peer, event, frame};
use sozu_command_lib::proto::command::{
    Cluster, EventKind, Request, ResponseStatus, request::RequestType,
};
use sozu_socket::{Builder, Events, Heard};
use testkit::Sozu as RealSozu;
use tokio::{io::AsyncWriteExt, time::timeout};

async fn next(events: &mut Events) -> Heard {
    let next = timeout(Duration::from_secs(20), events.next()).await;
    next.expect("nothing was heard")
}

fn what(heard: Heard) -> (Option<u32>, EventKind, Option<String>) {
    match heard {
        Heard::Event { worker, event } => (worker, event.kind(), event.cluster_id),
        other => panic!("{other:?}"),
    }
}

async fn subscription(peer: &mut Peer) -> Call {
    let call = peer.call().await;
    let verb = &call.request.request_type;
    assert!(
        matches!(verb, Some(RequestType::SubscribeEvents(_))),
        "{verb:?}"
    );
    call
}

#[tokio::test]
async fn a_gap_is_told_once_and_ends_when_sozu_has_answered_again() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sozu.sock");
    let mut events = Builder::new(&socket).build().events();
    let Heard::Lost { why } = next(&mut events).await else {
        panic!()
    };
    assert!(why.contains("is Sōzu running"), "{why}");

    let mut peer = Peer::listen(&socket);
    for end in [
        "cut in the middle of a frame",
        "an end",
        "a refusal",
        "nonsense",
    ] {
        let listening = tokio::spawn(async move { (next(&mut events).await, events) });
        let mut call = subscription(&mut peer).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(
            !listening.is_finished(),
            "a question is no subscription yet"
        );
        call.send(&event("main", EventKind::EventsSubscribed, None))
            .await;
        let heard;
        (heard, events) = listening.await.unwrap();
        assert_eq!(heard, Heard::Subscribed);
        assert_eq!(
            what(next(&mut events).await),
            (None, EventKind::EventsSubscribed, None)
        );

        call.say(ResponseStatus::Processing, "no event at all")
            .await;
        call.send(&event("3", EventKind::BackendDown, Some("shop")))
            .await;
        let shop = Some("shop".to_owned());
        assert_eq!(
            what(next(&mut events).await),
            (Some(3), EventKind::BackendDown, shop)
        );

        match end {
            "cut in the middle of a frame" => {
                let half = &event("main", EventKind::BackendUp, None)[..12];
                call.stream.write_all(half).await.unwrap();
            }
            "a refusal" => call.say(ResponseStatus::Failure, "no more").await,
            "nonsense" => call.stream.write_all(&[0xff; 64]).await.unwrap(),
            _ => {}
        }
        drop(call);
        let lost = next(&mut events).await;
        assert!(matches!(lost, Heard::Lost { .. }), "{end}: {lost:?}");
    }
}

#[tokio::test]
async fn whoever_leaves_in_the_middle_of_a_frame_hears_it_later() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sozu.sock");
    let mut peer = Peer::listen(&socket);
    let mut events = Builder::new(&socket).build().events();
    let listening = tokio::spawn(async move { (next(&mut events).await, events) });
    let mut call = subscription(&mut peer).await;
    call.send(&frame(ResponseStatus::Processing, "")).await;
    let (heard, mut events) = listening.await.unwrap();
    assert_eq!(heard, Heard::Subscribed);

    let bytes = event("1", EventKind::BackendUp, Some("a"));
    for byte in &bytes[..bytes.len() - 1] {
        call.send(&[*byte]).await;
        assert!(
            timeout(Duration::from_millis(1), events.next())
                .await
                .is_err()
        );
    }
    call.send(&bytes[bytes.len() - 1..]).await;
    assert_eq!(
        what(next(&mut events).await),
        (Some(1), EventKind::BackendUp, Some("a".to_owned()))
    );
}

#[tokio::test]
async fn the_real_sozu_tells_of_a_cluster_and_of_its_restart() {
    let mut sozu = RealSozu::start().unwrap();
    let pool = Builder::new(sozu.command_socket())
        .worker_timeout(Duration::from_secs(2))
        .build();
    common::until_here(&mut pool.seen()).await;
    let mut events = pool.events();
    assert_eq!(next(&mut events).await, Heard::Subscribed);

    let cluster = Cluster {
        cluster_id: "shop".to_owned(),
        ..Cluster::default()
    };
    let request: Request = RequestType::AddCluster(cluster).into();
    pool.exchange(request).await.unwrap();
    loop {
        let (worker, kind, cluster) = what(next(&mut events).await);
        if kind == EventKind::ClusterAdded {
            assert_eq!((worker, cluster.as_deref()), (None, Some("shop")));
            break;
        }
    }

    sozu.kill().unwrap();
    let lost = next(&mut events).await;
    assert!(matches!(lost, Heard::Lost { .. }), "{lost:?}");
    sozu.start_again().unwrap();
    assert_eq!(next(&mut events).await, Heard::Subscribed);
}
