//! Many callers at once, some of whom leave, beside a peer that does something else with every request.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::time::Duration;

use common::peer::{frame, read, request};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sozu_command_lib::proto::command::{ResponseStatus, request::RequestType};
use sozu_socket::{Builder, ExchangeError};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

const CALLERS: u64 = 16;
/// A second of Sōzu's own and 5 s.
const DEADLINE: Duration = Duration::from_secs(6);
/// The wait for a connection, opening one, and the exchange.
const AT_MOST: Duration = Duration::from_secs(6 + 5 + 6 + 1);

/// Does with each request what chance says, until that ends the connection.
async fn do_anything(mut stream: UnixStream, mut chance: StdRng) {
    while let Some(request) = read(&mut stream).await {
        let name = match request.request_type {
            Some(RequestType::RemoveCluster(name)) => name,
            _ => String::new(),
        };
        let right = frame(ResponseStatus::Ok, &name);
        let half = chance.random_range(0..right.len());
        let (bytes, goes_on) = match chance.random_range(0..16) {
            0 => {
                let before = frame(ResponseStatus::Processing, "soon");
                ([before.clone(), before, right].concat(), true)
            }
            1 => (frame(ResponseStatus::Failure, &name), true),
            2 => {
                let before = frame(ResponseStatus::Processing, "never");
                ([before, right[..half].to_vec()].concat(), false)
            }
            3 => (right[..half].to_vec(), false),
            4 => (
                [right, frame(ResponseStatus::Ok, "to nobody")].concat(),
                true,
            ),
            5 => (chance.random::<[u8; 16]>().to_vec(), false),
            6 => (chance.random::<u64>().to_le_bytes().to_vec(), false),
            7 => ([&12_u64.to_le_bytes()[..], &[0xff; 4]].concat(), false),
            8 => {
                // late, and perhaps too late
                let _ = stream.write_all(&right[..half]).await;
                sleep(DEADLINE.mul_f64(chance.random_range(0.0..1.5))).await;
                (right[half..].to_vec(), true)
            }
            9 => {
                // silence, until the other side hangs up
                let _ = read(&mut stream).await;
                return;
            }
            _ => (right, true),
        };
        if stream.write_all(&bytes).await.is_err() || !goes_on {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_peer_does_each_call_ends_and_nobody_gets_the_answer_to_another_one() {
    let calls = if std::env::var_os("SOZU_MANAGER_LONG").is_some() {
        10_000
    } else {
        200
    };
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sozu.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut chance = StdRng::seed_from_u64(seed);
    let serving = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let chance = StdRng::seed_from_u64(chance.random());
            connections.spawn(do_anything(stream, chance));
        }
    });
    let pool = Builder::new(&socket)
        .connections(4)
        .worker_timeout(Duration::from_secs(1))
        .build();

    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let pool = pool.clone();
        let mut chance = StdRng::seed_from_u64(seed ^ caller);
        callers.spawn(async move {
            let mut answered = 0;
            for number in 0..calls {
                let name = format!("{caller}-{number}");
                let patience = DEADLINE.mul_f64(chance.random_range(0.0..8.0));
                let begun = Instant::now();
                let result = timeout(patience, pool.exchange(request(&name))).await;
                assert!(begun.elapsed() <= AT_MOST, "{:?}", begun.elapsed());
                match result {
                    Ok(Ok(answer)) => {
                        assert_eq!(answer.message, name);
                        answered += 1;
                    }
                    Ok(Err(ExchangeError::Refused(refusal))) => assert_eq!(refusal.message, name),
                    Ok(Err(ExchangeError::NotSent(_) | ExchangeError::Unknown(_))) | Err(_) => {}
                    Ok(Err(error)) => panic!("{error}"),
                }
            }
            answered
        });
    }
    let answered: u64 = callers.join_all().await.into_iter().sum();
    assert!(answered > 0);
    serving.abort();
}
