//! Ten thousand calls, most of them cancelled at random. Alone in its process, since it counts descriptors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::{sync::Arc, time::Duration};

use common::peer::{frame, read, request};
use rand::RngExt;
use sozu_command_lib::proto::command::{ResponseStatus, request::RequestType};
use sozu_socket::Builder;
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

const CALLS: usize = 10_000;

/// Answers each request with its own name, most of them in two pieces and a little later.
async fn echo(mut stream: UnixStream) {
    while let Some(request) = read(&mut stream).await {
        let name = match request.request_type {
            Some(RequestType::RemoveCluster(name)) => name,
            _ => String::new(),
        };
        let answer = frame(ResponseStatus::Ok, &name);
        let (cut, pause) = {
            let mut random = rand::rng();
            (
                random.random_range(0..answer.len()),
                random.random_range(0..1500),
            )
        };
        if stream.write_all(&answer[..cut]).await.is_err() {
            return;
        }
        sleep(Duration::from_micros(pause)).await;
        if stream.write_all(&answer[cut..]).await.is_err() {
            return;
        }
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_cancelled_at_random_leave_the_pool_whole_and_no_descriptor_behind() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sozu.sock");
    let before = descriptors();
    let listener = UnixListener::bind(&socket).unwrap();
    let serving = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(echo(stream));
        }
    });
    let pool = Builder::new(&socket).connections(8).build();

    // so many at a time that some wait for a connection, and are cancelled there
    let crowd = Arc::new(Semaphore::new(24));
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let place = Arc::clone(&crowd).acquire_owned().await.unwrap();
        let pool = pool.clone();
        calls.spawn(async move {
            let patience = Duration::from_micros(rand::rng().random_range(0..4000));
            let name = number.to_string();
            let answered = timeout(patience, pool.exchange(request(&name))).await;
            drop(place);
            match answered {
                Ok(answer) => assert_eq!(answer.unwrap().message, name),
                Err(_) => return 0,
            }
            1
        });
    }
    let answered: usize = calls.join_all().await.into_iter().sum();
    assert!(
        (1..CALLS).contains(&answered),
        "{answered} of {CALLS} were answered"
    );

    // whole: as many at a time as before
    let mut last = JoinSet::new();
    for number in 0..8 {
        let pool = pool.clone();
        last.spawn(async move {
            let name = number.to_string();
            assert_eq!(pool.exchange(request(&name)).await.unwrap().message, name);
        });
    }
    last.join_all().await;

    drop(pool);
    serving.abort();
    let _ = serving.await;
    let gone = timeout(Duration::from_secs(10), async {
        // the runtime closes what the aborted tasks held
        while descriptors() > before {
            sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(
        gone.await.is_ok(),
        "{} descriptors, {before} before",
        descriptors()
    );
}
