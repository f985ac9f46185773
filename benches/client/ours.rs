//! The same through the pool; and in the plainest way that tokio has, which tells what of it is tokio's.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use sozu_command_lib::proto::command::Request;
use sozu_socket::Builder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    runtime::Runtime,
    task::JoinSet,
};

use crate::bare::{self, HEADER};

/// Exchanges per second.
pub(crate) fn rate(
    runtime: &Runtime,
    socket: &Path,
    request: fn() -> Request,
    connections: usize,
    round: Duration,
) -> f64 {
    runtime.block_on(async {
        let pool = Builder::new(socket).connections(connections).build();
        let until = Instant::now() + round;
        let mut asking = JoinSet::new();
        for _ in 0..connections {
            let pool = pool.clone();
            asking.spawn(async move {
                let mut count = 0;
                while Instant::now() < until {
                    pool.exchange(request()).await.unwrap();
                    count += 1;
                }
                count
            });
        }
        sum(asking).await / round.as_secs_f64()
    })
}

/// The same without the pool: a task for each connection.
pub(crate) fn bare_rate(
    runtime: &Runtime,
    socket: &Path,
    request: fn() -> Request,
    connections: usize,
    round: Duration,
) -> f64 {
    runtime.block_on(async {
        let until = Instant::now() + round;
        let mut asking = JoinSet::new();
        for _ in 0..connections {
            let socket = socket.to_owned();
            asking.spawn(async move {
                let mut stream = UnixStream::connect(socket).await.unwrap();
                let mut bytes = vec![0; 1 << 16];
                let mut count = 0;
                while Instant::now() < until {
                    let frame = bare::frame(&request());
                    stream.write_all(&frame).await.unwrap();
                    let (mut at, mut filled) = (0, 0);
                    'answer: loop {
                        let read = stream.read(&mut bytes[filled..]).await.unwrap();
                        assert_ne!(read, 0, "Sōzu closed the connection");
                        filled += read;
                        while let Some(message) = bare::whole(&bytes[at..filled]) {
                            if bare::is_last(message) {
                                break 'answer;
                            }
                            at += HEADER + message.len();
                        }
                    }
                    count += 1;
                }
                count
            });
        }
        sum(asking).await / round.as_secs_f64()
    })
}

async fn sum(counts: JoinSet<u32>) -> f64 {
    f64::from(counts.join_all().await.into_iter().sum::<u32>())
}

/// What each light exchange took while so many ask for much, through a pool of a connection more.
pub(crate) fn light_among(
    runtime: &Runtime,
    socket: &Path,
    heavy: usize,
    round: Duration,
) -> Vec<Duration> {
    runtime.block_on(async {
        let pool = Builder::new(socket).connections(heavy + 1).build();
        let until = Instant::now() + round;
        let mut asking = JoinSet::new();
        for _ in 0..heavy {
            let pool = pool.clone();
            asking.spawn(async move {
                while Instant::now() < until {
                    pool.exchange(crate::heavy()).await.unwrap();
                }
            });
        }
        let light = tokio::spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < until {
                let asked = Instant::now();
                pool.exchange(crate::light()).await.unwrap();
                took.push(asked.elapsed());
            }
            took
        });
        let took = light.await.unwrap();
        asking.join_all().await;
        took
    })
}
