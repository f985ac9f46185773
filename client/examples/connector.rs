//! Keeps Sōzu in step with a file of `HOSTNAME BACKEND` lines, such as `shop.example 10.0.0.1:8080`. Replace it
//! by a rename: half a file would count as all of it.
//!
//! `cargo run --example connector -- /etc/sozu/config.toml /run/my-connector/exchange routes.txt`

use std::{env::args, error::Error, fs::read_to_string, time::Duration};

use sozu_socket::{Builder, Sozu, requests, sozu_command_lib::state::ConfigState};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let [_, config, exchange, routes] = &args().collect::<Vec<_>>()[..] else {
        return Err("usage: connector SOZU_CONFIG EXCHANGE_DIRECTORY ROUTES".into());
    };
    let pool = Builder::with_config(config)?
        .exchange_directory(exchange)
        .build();
    let mut proven = None;
    loop {
        // another life of Sōzu may hold nothing of it
        let life = pool.seen().wait_for(Sozu::is_here).await?.clone();
        let now = (life, read_to_string(routes)?);
        if proven.as_ref() != Some(&now) {
            match pool.update(|state| follow(state, &now.1)).await {
                Ok(sent) if sent.entries == 0 => proven = Some(now),
                Ok(sent) => println!("sent {} requests, {} not taken", sent.entries, sent.skipped),
                Err(error) => eprintln!("not in step: {error}"),
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The clusters named `file-…` are ours and follow the file; all else stays.
fn follow(state: &mut ConfigState, routes: &str) -> Result<(), Failure> {
    let listener = state.http_listeners.values().next();
    let listener = listener.ok_or("Sōzu has no HTTP listener")?.address;
    for id in state.clusters.clone().into_keys() {
        if id.starts_with("file-") {
            state.dispatch(&requests::remove_cluster(&id))?;
        }
    }
    for line in routes.lines() {
        let (hostname, backend) = line.split_once(' ').ok_or("a line is HOSTNAME BACKEND")?;
        let cluster = format!("file-{hostname}");
        if !state.clusters.contains_key(cluster.as_str()) {
            state.dispatch(&requests::add_cluster(&cluster))?;
            state.dispatch(&requests::add_http_frontend(&cluster, listener, hostname))?;
        }
        state.dispatch(&requests::add_backend(&cluster, backend.trim().parse()?))?;
    }
    Ok(())
}
