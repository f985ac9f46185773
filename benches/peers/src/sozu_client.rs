//! The work of `benches/client` through the published `sozu-client`, on tokio's runtime as it is by default, too.
//!
//! `sozu-client questions|changes|light-among SOCKET COUNT SECONDS` prints its figures, one a line: exchanges per second
//! on so many connections; or what each light exchange took, in seconds, while so many ask for much.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use bb8::Pool;
use sozu_client::{
    Client, Sender,
    channel::{ConnectionManager, ConnectionProperties},
};
use sozu_command_lib::proto::command::{
    Cluster, FrontendFilters, ListWorkers, request::RequestType,
};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, what, socket, count, seconds] = &arguments[..] else {
        return Err("usage: sozu-client questions|changes|light-among SOCKET COUNT SECONDS".into());
    };
    let count: usize = count.parse()?;
    let round = Duration::from_secs_f64(seconds.parse()?);
    match what.as_str() {
        "questions" => {
            let client = client(socket, count).await?;
            println!("{}", rate(&client, light, count, round).await?);
        }
        "changes" => {
            let client = client(socket, count).await?;
            println!("{}", rate(&client, change, count, round).await?);
        }
        "light-among" => {
            let client = client(socket, count + 1).await?;
            for took in light_among(&client, count, round).await? {
                println!("{}", took.as_secs_f64());
            }
        }
        _ => return Err(format!("it cannot do {what:?}").into()),
    }
    Ok(())
}

/// Its pool, with Sōzu's default buffers.
async fn client(socket: &str, connections: usize) -> Result<Client, Failure> {
    let manager = ConnectionManager::new(ConnectionProperties {
        socket: socket.into(),
        buffer_size: 1_000_000,
        max_buffer_size: 2_000_000,
    });
    let pool = Pool::builder().max_size(u32::try_from(connections)?);
    Ok(Client::from(pool.build(manager).await?))
}

async fn rate(
    client: &Client,
    request: fn() -> RequestType,
    connections: usize,
    round: Duration,
) -> Result<f64, Failure> {
    let until = Instant::now() + round;
    let mut asking = JoinSet::new();
    for _ in 0..connections {
        let client = client.clone();
        asking.spawn(async move {
            let mut count = 0_u32;
            while Instant::now() < until {
                client.send(request()).await?;
                count += 1;
            }
            Ok::<_, Failure>(count)
        });
    }
    let mut count = 0;
    while let Some(counted) = asking.join_next().await {
        count += counted??;
    }
    Ok(f64::from(count) / round.as_secs_f64())
}

async fn light_among(
    client: &Client,
    heavy: usize,
    round: Duration,
) -> Result<Vec<Duration>, Failure> {
    let until = Instant::now() + round;
    let mut asking = JoinSet::new();
    for _ in 0..heavy {
        let client = client.clone();
        asking.spawn(async move {
            while Instant::now() < until {
                client.send(list()).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    let client = client.clone();
    let mut asked = Instant::now();
    let light = tokio::spawn(async move {
        let mut all = Vec::new();
        // once in any case: it may get its first turn when the heavy ones are over
        loop {
            client.send(light()).await?;
            all.push(asked.elapsed());
            asked = Instant::now();
            if asked >= until {
                return Ok::<_, Failure>(all);
            }
        }
    });
    let all = light.await??;
    while let Some(asked) = asking.join_next().await {
        asked??;
    }
    Ok(all)
}

fn light() -> RequestType {
    RequestType::ListWorkers(ListWorkers {})
}

fn change() -> RequestType {
    RequestType::AddCluster(Cluster {
        cluster_id: "changed".to_owned(),
        ..Cluster::default()
    })
}

fn list() -> RequestType {
    RequestType::ListFrontends(FrontendFilters::default())
}
