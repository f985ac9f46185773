//! The task that watches Sōzu on a connection of its own: the connection's end tells at once that Sōzu went, and a
//! question every few seconds tells that it hangs.
//!
//! The question is `ListWorkers`: the main process answers it alone, whatever its workers do.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use sozu_command_lib::proto::command::{
    ListWorkers, Request, ResponseContent, RunState, request::RequestType,
    response_content::ContentType,
};
use tokio::{
    select,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use crate::{
    Answer, ExchangeError, Sozu, backoff::Backoff, connection::Connection, frame, life::Seen,
    pool::Shared,
};

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(2);
/// When a question is given up for lost, and the connection with it.
const GIVE_UP: Duration = Duration::from_mins(1);

/// Watches until it is aborted.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut backoff = Backoff::new();
    let mut seen = None;
    loop {
        let look = shared.looks.begin();
        let why = match Connection::open(&shared.builder.command_socket).await {
            Ok(connection) => stay(connection, &shared, &mut seen, &mut backoff).await,
            Err(why) => why,
        };
        away(&shared, &why);
        shared.looks.end(look);
        select! {
            () = sleep(backoff.pause()) => {}
            () = shared.looks.wanted() => {}
        }
    }
}

/// Asks on this connection until it ends, and says why it did.
async fn stay(
    mut connection: Connection,
    shared: &Shared,
    seen: &mut Option<Seen>,
    backoff: &mut Backoff,
) -> String {
    let mut looked = false;
    loop {
        let look = shared.looks.begin();
        let workers;
        (workers, connection) = match ask(connection, shared).await {
            Ok(answered) => answered,
            Err(why) => return why,
        };
        let socket = shared.builder.command_socket.clone();
        let before = seen.clone();
        let next = spawn_blocking(move || Seen::next(before.as_ref(), &socket, &workers));
        let next = next.await.unwrap_or_else(|error| Err(error.into()));
        match (next, seen.as_ref()) {
            (Ok(next), _) => {
                here(shared, &next);
                *seen = Some(next);
                looked = true;
            }
            // the connection has not ended since: whoever answered on it still does
            (Err(_), Some(before)) if looked => here(shared, before),
            (Err(error), _) => return format!("finding out which Sōzu answers failed: {error}"),
        }
        shared.looks.end(look);
        *backoff = Backoff::new();
        select! {
            why = connection.ended() => return why,
            () = sleep(INTERVAL) => {}
            () = shared.looks.wanted() => {}
        }
    }
}

/// Asks for the workers. A Sōzu that stays silent too long is away, until its answer comes after all.
async fn ask(
    connection: Connection,
    shared: &Shared,
) -> Result<(BTreeMap<u32, i32>, Connection), String> {
    let builder = &shared.builder;
    let question: Request = RequestType::ListWorkers(ListWorkers {}).into();
    let frame = frame::encode(&question, usize::MAX)
        .map_err(|size| format!("{size} bytes are too many"))?;
    let mut asking = pin!(connection.exchange(&frame, GIVE_UP, builder.max_answer_bytes));
    let asked = Instant::now();
    let (result, connection) = loop {
        // asked anew each time, since Sōzu may have got more to do meanwhile
        let patience = shared.patience.now();
        match timeout(patience.saturating_sub(asked.elapsed()), &mut asking).await {
            Ok(answered) => break answered,
            Err(_) if shared.patience.now() > asked.elapsed() => {}
            Err(_) => {
                let seconds = patience.as_secs();
                let why = format!("Sōzu took the connection, but has not answered for {seconds} s");
                away(shared, &why);
                break asking.await;
            }
        }
    };
    let answer = result.map_err(|error| match error {
        ExchangeError::NotSent(why) | ExchangeError::Unknown(why) => why,
        other => other.to_string(),
    })?;
    let workers = workers(answer).ok_or("Sōzu's answer to ListWorkers names no workers")?;
    let connection = connection.ok_or("the connection to Sōzu broke")?;
    Ok((workers, connection))
}

/// The workers that live, with their pids.
fn workers(answer: Answer) -> Option<BTreeMap<u32, i32>> {
    let Some(ResponseContent {
        content_type: Some(ContentType::Workers(workers)),
    }) = answer.content
    else {
        return None;
    };
    let lives = workers
        .vec
        .into_iter()
        .filter(|worker| worker.run_state() != RunState::Stopped);
    Some(lives.map(|worker| (worker.id, worker.pid)).collect())
}

fn here(shared: &Shared, now: &Seen) {
    if tell(shared, &Sozu::Here(now.life.clone())) {
        tracing::debug!(life = %now.life, "Sōzu answers.");
    }
}

fn away(shared: &Shared, why: &str) {
    shared.close_idle();
    let away = Sozu::Away {
        why: why.to_owned(),
    };
    if tell(shared, &away) {
        tracing::debug!(error = why, "Sōzu is away.");
    }
}

/// Wakes those who look on only if something changed.
fn tell(shared: &Shared, value: &Sozu) -> bool {
    shared.seen.send_if_modified(|seen| {
        let changed = seen != value;
        seen.clone_from(value);
        changed
    })
}
