//! The busiest clusters of a Sōzu, live: responses per second, by class, and bytes sent.
//!
//! `cargo run --example sozu-top -- /run/sozu/command.sock`

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::{Duration, Instant},
};

use sozu_socket::{
    Builder, ExchangeError, MetricsReader, Pool,
    sozu_command_lib::proto::command::{
        AggregatedMetrics, ClusterMetrics, filtered_metrics::Inner,
    },
};
use tokio::time::sleep;

const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];
const ROWS: usize = 20;

/// Responses by class and bytes since a worker's start, all workers together.
type Totals = BTreeMap<String, [i64; 5]>;

#[tokio::main]
async fn main() -> io::Result<()> {
    let Some(socket) = std::env::args_os().nth(1) else {
        return Err(io::Error::other("usage: sozu-top COMMAND_SOCKET"));
    };
    let pool = Builder::new(socket).build();
    let mut reader = MetricsReader::default();
    let mut before: Option<(Instant, Totals)> = None;
    loop {
        let now = Instant::now();
        match totals(&pool, &mut reader).await {
            Ok(totals) => {
                if let Some((then, before)) = &before {
                    show(&totals, before, (now - *then).as_secs_f64())?;
                }
                before = Some((now, totals));
            }
            Err(error) => eprintln!("{error}"),
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn totals(pool: &Pool, reader: &mut MetricsReader) -> Result<Totals, ExchangeError> {
    let mut totals = Totals::new();
    let add = |answer: AggregatedMetrics| {
        for (cluster, metrics) in answer.workers.into_values().flat_map(|it| it.clusters) {
            let total = totals.entry(cluster).or_default();
            for (at, class) in CLASSES.iter().enumerate() {
                total[at] += count(&metrics, &format!("http.status.{class}"));
            }
            total[4] += count(&metrics, "bytes_out");
        }
    };
    pool.query_metrics(reader, None, add).await?;
    Ok(totals)
}

fn count(metrics: &ClusterMetrics, name: &str) -> i64 {
    match metrics.cluster.get(name).and_then(|it| it.inner.as_ref()) {
        Some(Inner::Count(count)) => *count,
        _ => 0,
    }
}

#[allow(clippy::cast_precision_loss)]
fn show(totals: &Totals, before: &Totals, seconds: f64) -> io::Result<()> {
    let nothing = [0; 5];
    let mut rows: Vec<_> = totals
        .iter()
        .map(|(cluster, total)| {
            let before = before.get(cluster).unwrap_or(&nothing);
            // a worker that was started anew begins at 0
            let rate = |at: usize| (total[at] - before[at]).max(0) as f64 / seconds;
            (cluster, [0, 1, 2, 3, 4].map(rate))
        })
        .collect();
    let responses = |rates: &[f64; 5]| rates[..4].iter().sum::<f64>();
    rows.sort_by(|(_, a), (_, b)| responses(b).total_cmp(&responses(a)));

    let mut out = io::stdout().lock();
    // clears the terminal
    write!(
        out,
        "\x1b[2J\x1b[H{:<40}",
        format!("{} clusters", rows.len())
    )?;
    writeln!(
        out,
        "{:>9}/s{:>9}/s{:>9}/s{:>9}/s{:>11}/s",
        "2xx", "3xx", "4xx", "5xx", "kB"
    )?;
    for (cluster, [ok, redirect, client, server, bytes]) in rows.iter().take(ROWS) {
        // no control characters: an id may hold anything
        let id: String = cluster
            .chars()
            .filter(|c| !c.is_control())
            .take(40)
            .collect();
        let kilobytes = bytes / 1000.0;
        writeln!(
            out,
            "{id:<40}{ok:>11.1}{redirect:>11.1}{client:>11.1}{server:>11.1}{kilobytes:>13.1}"
        )?;
    }
    out.flush()
}
