//! (c) A steady flow: publish → live of each change, and what it does to memory.

use std::{
    collections::HashMap,
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use actors::messages::Position;
use rusqlite::{Connection, OpenFlags};
use sozu_command_lib::proto::command::{
    AddBackend, LoadBalancingParams, Request, SocketAddress, request::RequestType,
};
use testkit::Daemon;

use crate::{
    ground::{self, resident},
    table::Table,
    topic::{Topic, percentiles},
};

/// So many are published at once: one receipt is waited for in between.
const AT_ONCE: usize = 10;
/// The backends that change in turn, again and again.
const BACKENDS: usize = 1_000;
/// What is under way and what a reading takes grow to their size until then.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);

pub(crate) fn on(daemon: &Daemon, topic: &mut Topic, table: &mut Table) {
    let rate = ground::number("RATE", 1_000);
    let span = Duration::from_secs(ground::number("SECONDS_STEADY", 60) as u64);
    let count = rate * span.as_secs() as usize;
    let pid = daemon.pid().unwrap();
    let began = Instant::now();
    let mut published: Vec<(Position, SystemTime)> = Vec::with_capacity(count);
    let mut memory = Vec::new();
    while published.len() < count {
        let due = Duration::from_secs_f64(published.len() as f64 / rate as f64);
        sleep(due.saturating_sub(began.elapsed()));
        let requests: Vec<Request> = (published.len()..published.len() + AT_ONCE)
            .map(change)
            .collect();
        let now = SystemTime::now();
        let places = topic.publish(&requests);
        published.extend(places.into_iter().map(|place| (place, now)));
        if memory.len() < began.elapsed().as_secs() as usize {
            memory.push(resident(pid));
        }
    }
    let took = began.elapsed();
    let last = published.last().unwrap().0;
    let mut live = None;
    ground::when(|| {
        live = verdicts(daemon, published[0].0, last);
        live.is_some()
    });
    let live = live.unwrap();
    let times: Vec<Duration> = published
        .iter()
        .map(|(place, at)| {
            live[&place.to_string()]
                .duration_since(*at)
                .unwrap_or_default()
        })
        .collect();
    let [p50, p99] = percentiles(times);
    table.shown(
        &format!("(c) {rate} changes a second for {span:?}: publish → verdict"),
        format!("p50 {p50:.0?}, p99 {p99:.0?}"),
        format!(
            "published at {:.0} a second",
            count as f64 / took.as_secs_f64()
        ),
    );
    let settled = memory.split_off((SETTLES_WITHIN.as_secs() as usize).min(memory.len() / 2));
    let mb = |bytes: f64| format!("{:.1} MB", bytes / 1e6);
    let [first, last] = [settled.first(), settled.last()].map(|it| it.copied().unwrap_or(0.0));
    table.judged(
        "(c) resident memory meanwhile, once it has begun and at its end",
        format!("{} → {}", mb(first), mb(last)),
        "–",
        &format!("{:+.1} %", (last / first - 1.0) * 100.0),
        "flat (within 5 %)",
        last <= first * 1.05,
    );
}

/// The nth change: a backend's weight, another one each time round.
fn change(n: usize) -> Request {
    let port = 20_000 + (n % BACKENDS) as u16;
    RequestType::AddBackend(AddBackend {
        cluster_id: "one".to_owned(),
        backend_id: format!("steady-{}", n % BACKENDS),
        address: SocketAddress::new_v4(127, 0, 0, 2, port),
        load_balancing_parameters: Some(LoadBalancingParams {
            weight: i32::from((n / BACKENDS % 100) as u8) + 1,
        }),
        ..AddBackend::default()
    })
    .into()
}

/// When each change got its verdict, by its place; nothing until the last one has it.
fn verdicts(
    daemon: &Daemon,
    first: Position,
    last: Position,
) -> Option<HashMap<String, SystemTime>> {
    let path = daemon.state_directory().join("state.db");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).ok()?;
    let seq = |place: Position| -> Option<u64> {
        let sql = "SELECT seq FROM journal WHERE position = ?1";
        connection
            .query_row(sql, [place.to_string()], |row| row.get(0))
            .ok()
    };
    let (first, last) = (seq(first)?, seq(last)?);
    let sql = "SELECT position, verdict_at FROM journal WHERE seq BETWEEN ?1 AND ?2";
    let mut statement = connection.prepare(sql).ok()?;
    let rows = statement.query_map([first, last], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Option<u64>>(1)?))
    });
    let at = |millis: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    rows.ok()?
        .map(|row| {
            let (place, verdict_at) = row.ok()?;
            Some((place, at(verdict_at?)))
        })
        .collect()
}
