//! The pool against a peer that does what it should not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::{path::PathBuf, time::Duration};

use common::{
    peer::{Peer, frame, request},
    until, until_away, until_here,
};
use sozu_command_lib::proto::command::{
    Request, ResponseStatus, SubscribeEvents, request::RequestType,
};
use sozu_socket::{Builder, ExchangeError, Pool, Sozu};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, task::JoinHandle};

struct Ground {
    directory: TempDir,
}

impl Ground {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("sozu.sock")
    }

    fn exchange(&self) -> PathBuf {
        self.directory.path().join("exchange")
    }

    fn builder(&self, connections: usize) -> Builder {
        Builder::new(self.socket())
            .connections(connections)
            .exchange_directory(self.exchange())
    }
}

/// A peer that does nothing by itself, and a pool of so many connections to it.
fn stage(connections: usize) -> (Ground, Peer, Pool) {
    let ground = Ground::new();
    let peer = Peer::listen(&ground.socket());
    let pool = ground.builder(connections).build();
    (ground, peer, pool)
}

fn send(pool: &Pool, name: &str) -> JoinHandle<Result<String, ExchangeError>> {
    let (pool, request) = (pool.clone(), request(name));
    tokio::spawn(async move { pool.exchange(request).await.map(|answer| answer.message) })
}

#[tokio::test]
async fn a_cancelled_exchange_never_hands_its_answer_to_a_later_caller() {
    let (_ground, mut peer, pool) = stage(1);

    let first = send(&pool, "first");
    let mut call = peer.call().await;
    call.say(ResponseStatus::Processing, "half way").await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    call.hung_up().await;

    let second = send(&pool, "second");
    let later = peer.call().await;
    assert_eq!(later.name(), "second");
    // the late answer finds nobody
    let _ = call
        .stream
        .write_all(&frame(ResponseStatus::Ok, "to the first"))
        .await;
    later.answer("to the second").await;
    assert_eq!(second.await.unwrap().unwrap(), "to the second");
}

#[tokio::test(start_paused = true)]
async fn neither_does_one_that_ran_out_of_time() {
    let (_ground, mut peer, pool) = stage(1);

    let first = send(&pool, "first");
    let mut call = peer.call().await;
    let error = first.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ExchangeError::Unknown(why) if why.contains("15 s")),
        "{error}"
    );
    call.hung_up().await;

    let second = send(&pool, "second");
    peer.call().await.answer("to the second").await;
    assert_eq!(second.await.unwrap().unwrap(), "to the second");
}

#[tokio::test]
async fn an_answer_too_many_reaches_nobody() {
    let (_ground, mut peer, pool) = stage(1);
    let first = send(&pool, "first");
    let mut call = peer.call().await;
    call.say(ResponseStatus::Ok, "one").await;
    call.say(ResponseStatus::Ok, "one too many").await;
    assert_eq!(first.await.unwrap().unwrap(), "one");

    let second = send(&pool, "second");
    peer.call().await.answer("two").await;
    assert_eq!(second.await.unwrap().unwrap(), "two");
}

#[tokio::test]
async fn a_connection_is_used_again_unless_the_peer_closed_it_while_idle() {
    let (_ground, mut peer, pool) = stage(1);

    let first = send(&pool, "first");
    let mut call = peer.call().await;
    call.say(ResponseStatus::Ok, "one").await;
    assert_eq!(first.await.unwrap().unwrap(), "one");
    let second = send(&pool, "second");
    call.again().await;
    assert_eq!(call.name(), "second");
    call.say(ResponseStatus::Ok, "two").await;
    assert_eq!(second.await.unwrap().unwrap(), "two");

    drop(call);
    let third = send(&pool, "third");
    peer.call().await.answer("three").await;
    assert_eq!(third.await.unwrap().unwrap(), "three");
}

#[tokio::test]
async fn all_that_was_said_before_comes_with_the_answer() {
    let (_ground, mut peer, pool) = stage(1);
    let asking = tokio::spawn({
        let pool = pool.clone();
        async move { pool.exchange(request("a")).await }
    });
    let mut call = peer.call().await;
    for word in ["one", "two", "three"] {
        call.say(ResponseStatus::Processing, word).await;
    }
    call.say(ResponseStatus::Failure, "no").await;
    let Err(ExchangeError::Refused(refusal)) = asking.await.unwrap() else {
        panic!("not refused")
    };
    let words: Vec<_> = refusal
        .processing
        .iter()
        .map(|said| said.message.as_str())
        .collect();
    assert_eq!(
        (refusal.message.as_str(), words),
        ("no", vec!["one", "two", "three"])
    );
}

#[tokio::test]
async fn no_more_at_a_time_than_connections_and_who_waits_longest_is_next() {
    let (_ground, mut peer, pool) = stage(2);
    let mut waiting = Vec::new();
    for number in 0..10 {
        waiting.push(send(&pool, &number.to_string()));
        // each stands in line before the next one comes
        tokio::task::yield_now().await;
    }
    let mut open = [peer.call().await, peer.call().await].map(Some);
    open.sort_by_key(|call| call.as_ref().map(common::peer::Call::name));
    for next in 2..12 {
        tokio::task::yield_now().await;
        assert!(peer.is_quiet(), "more than two at a time");
        let call = open[next % 2].take().unwrap();
        assert_eq!(call.name(), (next - 2).to_string());
        call.answer("done").await;
        if next < 10 {
            open[next % 2] = Some(peer.call().await);
        }
    }
    for sent in waiting {
        assert_eq!(sent.await.unwrap().unwrap(), "done");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_for_a_connection_sent_nothing() {
    let ground = Ground::new();
    let mut peer = Peer::listen(&ground.socket());
    let pool = ground
        .builder(1)
        .worker_timeout(Duration::from_secs(1))
        .build();
    // a bulk may take longer than a request may wait
    let loading = tokio::spawn({
        let pool = pool.clone();
        async move { pool.bulk(vec![request("x"); 500]).await }
    });
    let call = peer.call().await;
    let error = send(&pool, "waits").await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ExchangeError::NotSent(why) if why.contains("connections")),
        "{error}"
    );
    assert!(peer.is_quiet());
    drop(call);
    assert!(matches!(
        loading.await.unwrap(),
        Err(ExchangeError::Unknown(_))
    ));
}

#[tokio::test]
async fn what_is_too_large_is_never_sent() {
    let ground = Ground::new();
    let mut peer = Peer::listen(&ground.socket());
    let pool = ground.builder(1).max_request_bytes(100).build();
    let large = "x".repeat(200);
    let alone = pool.exchange(request(&large)).await.unwrap_err();
    assert!(
        matches!(
            alone,
            ExchangeError::TooLarge {
                size: 200..,
                limit: 100
            }
        ),
        "{alone}"
    );
    let bulk = pool
        .bulk(vec![request("fine"), request(&large)])
        .await
        .unwrap_err();
    assert!(
        matches!(
            bulk,
            ExchangeError::TooLarge {
                size: 200..,
                limit: 100
            }
        ),
        "{bulk}"
    );
    let events: Request = RequestType::SubscribeEvents(SubscribeEvents {}).into();
    assert!(matches!(
        pool.exchange(events).await,
        Err(ExchangeError::NotSent(_))
    ));
    assert!(peer.is_quiet());
    let left: Vec<_> = std::fs::read_dir(ground.exchange())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != ".lock")
        .collect();
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn without_a_socket_nothing_is_sent_and_the_reason_is_told() {
    let ground = Ground::new();
    let pool = ground.builder(1).build();
    let why = until_away(&mut pool.seen()).await;
    assert!(
        why.contains("sozu.sock") && why.contains("is Sōzu running"),
        "{why}"
    );
    let error = pool.exchange(request("a")).await.unwrap_err();
    assert!(
        matches!(&error, ExchangeError::NotSent(why) if why.contains("sozu.sock")),
        "{error}"
    );
    assert!(matches!(
        pool.bulk(vec![request("a")]).await,
        Err(ExchangeError::NotSent(_))
    ));
    assert!(matches!(
        pool.saved_state().await,
        Err(ExchangeError::NotSent(_))
    ));
}

#[tokio::test]
async fn without_an_exchange_directory_the_remedy_is_told() {
    let ground = Ground::new();
    let mut peer = Peer::listen(&ground.socket());
    let pool = Builder::new(ground.socket()).build();
    let error = pool.saved_state().await.unwrap_err();
    assert!(
        matches!(&error, ExchangeError::NotSent(why) if why.contains("exchange_directory")),
        "{error}"
    );
    assert!(matches!(
        pool.bulk(vec![request("a")]).await,
        Err(ExchangeError::NotSent(_))
    ));
    assert!(peer.is_quiet());
}

#[tokio::test]
async fn a_peer_that_came_back_is_found_and_its_other_life_told() {
    let ground = Ground::new();
    let peer = Peer::listen(&ground.socket());
    peer.set_workers(&[(0, 10), (1, 11)]);
    let pool = ground.builder(2).build();
    let mut seen = pool.seen();
    let first = until_here(&mut seen).await;
    drop(peer);
    until_away(&mut seen).await;

    // the same pids: what a container that restarts shows
    let mut peer = Peer::listen(&ground.socket());
    peer.set_workers(&[(0, 10), (1, 11)]);
    let second = until_here(&mut seen).await;
    assert_ne!(first, second);
    let sent = send(&pool, "again");
    peer.call().await.answer("fine").await;
    assert_eq!(sent.await.unwrap().unwrap(), "fine");
}

#[tokio::test(start_paused = true)]
async fn a_worker_relaunched_is_no_other_life_and_other_workers_are() {
    let ground = Ground::new();
    let peer = Peer::listen(&ground.socket());
    peer.set_workers(&[(0, 10), (1, 11)]);
    let pool = ground.builder(2).build();
    let mut seen = pool.seen();
    let first = until_here(&mut seen).await;
    for relaunched in [[(1, 11), (2, 12)], [(2, 12), (3, 13)]] {
        peer.set_workers(&relaunched);
        peer.asked_twice_more().await;
        assert_eq!(*seen.borrow(), Sozu::Here(first.clone()));
    }
    peer.set_workers(&[(4, 14), (5, 15)]);
    until(
        &mut seen,
        |sozu| matches!(sozu, Sozu::Here(life) if *life != first),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_connections_and_says_nothing_is_away() {
    let ground = Ground::new();
    let listener = tokio::net::UnixListener::bind(ground.socket()).unwrap();
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let pool = ground.builder(1).build();
    let why = until_away(&mut pool.seen()).await;
    assert!(why.contains("has not answered"), "{why}");
    holding.abort();
}

#[tokio::test]
async fn a_cancelled_bulk_leaves_no_file_and_the_watcher_ends_with_the_pool() {
    let (_ground, mut peer, pool) = stage(1);
    let mut seen = pool.seen();
    until_here(&mut seen).await;
    let loading = tokio::spawn(async move { pool.bulk(vec![request("x"); 10]).await });
    let mut call = peer.call().await;
    let Some(RequestType::LoadState(path)) = call.request.request_type.clone() else {
        panic!("no LoadState")
    };
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written.matches("\n\0").count(), 10);
    loading.abort();
    assert!(loading.await.is_err());
    call.hung_up().await;
    assert!(!std::path::Path::new(&path).exists());
    // the sender lives in the watcher and the pool alone
    while seen.changed().await.is_ok() {}
}

#[tokio::test]
async fn what_was_saved_is_read_from_the_file_we_made() {
    let (_ground, mut peer, pool) = stage(1);
    let reading = tokio::spawn({
        let pool = pool.clone();
        async move { pool.saved_state().await }
    });
    let call = peer.call().await;
    let Some(RequestType::SaveState(path)) = call.request.request_type.clone() else {
        panic!("no SaveState")
    };
    let record =
        |verb: &str| format!("{{\"id\":\"SAVE\",\"content\":{{\"request_type\":{verb}}}}}\n\0");
    let file = record("{\"REMOVE_CLUSTER\":\"a\"}") + &record("{\"OPEN_WORMHOLE\":{}}") + "{";
    std::fs::write(&path, file).unwrap();
    call.answer("Saved 3 config messages to x").await;
    let saved = reading.await.unwrap().unwrap();
    assert_eq!(saved.requests.len() + saved.opaque, 3);
    assert!(!std::path::Path::new(&path).exists());

    // written elsewhere: nothing in our file is not "Sōzu holds nothing"
    let reading = tokio::spawn(async move { pool.saved_state().await });
    peer.call()
        .await
        .answer("Saved 3 config messages to x")
        .await;
    let error = reading.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ExchangeError::Unknown(why) if why.contains("in_sozu")),
        "{error}"
    );
}
