//! A peer that misbehaves in one way after the other, beside which a call must end in time and the next one work.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::{path::PathBuf, time::Duration};

use common::peer::{Call, Peer, frame, request};
use sozu_command_lib::proto::command::ResponseStatus;
use sozu_socket::{Builder, ExchangeError, Pool};
use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

/// `worker_timeout` and 5 s: what a call may take.
const DEADLINE: Duration = Duration::from_secs(15);

fn ground() -> (TempDir, PathBuf, Pool) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sozu.sock");
    let pool = Builder::new(&socket).connections(1).build();
    (directory, socket, pool)
}

fn send(pool: &Pool, name: &str) -> JoinHandle<Result<String, ExchangeError>> {
    let (pool, request) = (pool.clone(), request(name));
    tokio::spawn(async move { pool.exchange(request).await.map(|answer| answer.message) })
}

/// The call ends in time with an unknown outcome, and the next one gets its own answer.
async fn unknown_in_time(
    peer: &mut Peer,
    pool: &Pool,
    misbehave: impl AsyncFnOnce(Call),
) -> Duration {
    let first = send(pool, "first");
    let call = peer.call().await;
    let begin = Instant::now();
    misbehave(call).await;
    let error = first.await.unwrap().unwrap_err();
    assert!(matches!(error, ExchangeError::Unknown(_)), "{error}");
    let took = begin.elapsed();
    assert!(took <= DEADLINE + Duration::from_secs(1), "{took:?}");

    let second = send(pool, "second");
    peer.call().await.answer("to the second").await;
    assert_eq!(second.await.unwrap().unwrap(), "to the second");
    took
}

#[tokio::test(start_paused = true)]
async fn one_byte_a_second_ends_with_the_deadline() {
    let (_directory, socket, pool) = ground();
    let mut peer = Peer::listen(&socket);
    let took = unknown_in_time(&mut peer, &pool, async |mut call| {
        let bytes = frame(ResponseStatus::Ok, "an answer of more bytes than seconds");
        tokio::spawn(async move {
            for byte in bytes {
                call.send(&[byte]).await;
                sleep(Duration::from_secs(1)).await;
            }
        });
    })
    .await;
    assert!(took >= Duration::from_secs(14), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_processing_that_never_ends_does() {
    let (_directory, socket, pool) = ground();
    let mut peer = Peer::listen(&socket);
    let took = unknown_in_time(&mut peer, &pool, async |mut call| {
        tokio::spawn(async move {
            loop {
                call.say(ResponseStatus::Processing, "soon").await;
                sleep(Duration::from_secs(1)).await;
            }
        });
    })
    .await;
    assert!(took >= Duration::from_secs(14), "{took:?}");
}

#[tokio::test]
async fn lengths_that_cannot_be_end_the_call_at_once() {
    let (_directory, socket, pool) = ground();
    let mut peer = Peer::listen(&socket);
    for length in [0, 7, 8, 1 << 63, u64::MAX] {
        unknown_in_time(&mut peer, &pool, async |mut call| {
            call.send(&u64::to_le_bytes(length)).await;
            // kept open: it is not the end of the connection that ends the call
            tokio::spawn(async move { call.hung_up().await });
        })
        .await;
    }
}

#[tokio::test]
async fn a_reset_in_any_phase_ends_the_call_at_once() {
    let (_directory, socket, pool) = ground();
    let answer = frame(ResponseStatus::Ok, "fine");
    let mut peer = Peer::listen(&socket);
    for phase in 0..answer.len() {
        unknown_in_time(&mut peer, &pool, async |mut call| {
            call.send(&answer[..phase]).await;
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_to_nobody_reaches_nobody() {
    let (_directory, socket, pool) = ground();
    let mut peer = Peer::listen(&socket);
    let first = send(&pool, "first");
    let mut call = peer.call().await;
    call.say(ResponseStatus::Ok, "to the first").await;
    assert_eq!(first.await.unwrap().unwrap(), "to the first");
    for unasked in [
        frame(ResponseStatus::Ok, "to nobody"),
        vec![0],
        vec![0xff; 100],
    ] {
        call.send(&unasked).await;
        let next = send(&pool, "next");
        call = peer.call().await;
        call.say(ResponseStatus::Ok, "to the next").await;
        assert_eq!(next.await.unwrap().unwrap(), "to the next");
    }
}

#[tokio::test]
async fn a_socket_file_replaced_leads_to_who_listens_on_it_now() {
    let (_directory, socket, pool) = ground();
    let mut old = Peer::listen(&socket);
    let first = send(&pool, "first");
    let mut call = old.call().await;
    call.say(ResponseStatus::Ok, "from the old one").await;
    assert_eq!(first.await.unwrap().unwrap(), "from the old one");

    // the old one goes on, and its connection is open
    let mut new = Peer::listen(&socket);
    let second = send(&pool, "second");
    new.call().await.answer("from the new one").await;
    assert_eq!(second.await.unwrap().unwrap(), "from the new one");
}
