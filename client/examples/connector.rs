//! Keeps Sōzu in step with a file of `HOSTNAME BACKEND` lines, such as `shop.example 10.0.0.1:8080`.
//!
//! `cargo run --example connector -- /etc/sozu/config.toml /run/my-connector/exchange routes.txt`

use std::{env::args, error::Error, net::SocketAddr, time::Duration};

use sozu_command_lib::{
    proto::command::{
        AddBackend, Cluster, RequestHttpFrontend, RulePosition, request::RequestType,
    },
    state::ConfigState,
};
use sozu_socket::{Builder, Pool, Sozu};
use tokio::{fs::read_to_string, time::sleep};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = args().skip(1).collect();
    let [config, exchange, routes] = arguments.as_slice() else {
        return Err("usage: connector SOZU_CONFIG EXCHANGE_DIRECTORY ROUTES".into());
    };
    let pool = Builder::with_config(config)?
        .exchange_directory(exchange)
        .build();
    let mut done = None;
    loop {
        // another life of Sōzu may have lost it all
        let now = (read_to_string(routes).await?, pool.seen().borrow().clone());
        if matches!(now.1, Sozu::Here(_)) && done.as_ref() != Some(&now) {
            match step(&pool, &now.0).await {
                Ok(()) => done = Some(now),
                Err(error) => eprintln!("not in step yet: {error}"),
            }
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Sends what differs between what Sōzu holds and what it should hold.
async fn step(pool: &Pool, routes: &str) -> Result<(), Failure> {
    let held = pool.saved_state().await?.config_state()?;
    let wanted = wanted(held.clone(), routes)?;
    let difference = held.diff(&wanted);
    if !difference.is_empty() {
        println!("sending {} requests", difference.len());
        pool.bulk(difference).await?;
    }
    Ok(())
}

/// The clusters named `file-…` are ours and follow the file; all else stays.
fn wanted(mut state: ConfigState, routes: &str) -> Result<ConfigState, Failure> {
    let ours = state.clusters.keys().filter(|id| id.starts_with("file-"));
    for id in ours.cloned().collect::<Vec<_>>() {
        state.dispatch(&RequestType::RemoveCluster(id.to_string()).into())?;
    }
    let listener = state
        .http_listeners
        .values()
        .next()
        .ok_or("Sōzu has no HTTP listener")?
        .address;
    for line in routes.lines() {
        let (hostname, backend) = line.split_once(' ').ok_or("a line is HOSTNAME BACKEND")?;
        let address: SocketAddr = backend.trim().parse()?;
        let cluster_id = format!("file-{hostname}");
        if !state.clusters.contains_key(cluster_id.as_str()) {
            let cluster = Cluster {
                cluster_id: cluster_id.clone(),
                ..Cluster::default()
            };
            let frontend = RequestHttpFrontend {
                cluster_id: Some(cluster_id.clone()),
                address: listener,
                hostname: hostname.to_owned(),
                position: RulePosition::Tree.into(),
                ..RequestHttpFrontend::default()
            };
            state.dispatch(&RequestType::AddCluster(cluster).into())?;
            state.dispatch(&RequestType::AddHttpFrontend(frontend).into())?;
        }
        let (backend_id, address) = (address.to_string(), address.into());
        let backend = AddBackend {
            cluster_id,
            backend_id,
            address,
            ..AddBackend::default()
        };
        state.dispatch(&RequestType::AddBackend(backend).into())?;
    }
    Ok(state)
}
