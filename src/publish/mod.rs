//! `publish`: sends what files declare, or one change, to a topic, and may wait until a daemon reports it live.
//!
//! Nothing is sent unless all of it can be: each file is read, and each change judged as a daemon with this
//! configuration would, before the broker is asked for anything.

mod arguments;
mod bar;
mod change;
mod target;
mod wait;

use std::{
    collections::HashMap,
    fmt::Display,
    io::{self, Write},
};

use actors::{
    fs_watcher::declared_by,
    messages::Position,
    pulsar_consumer::{BrokerError, Interrupted, Outgoing, Publisher},
    state_keeper::key::Keyed,
};
use sozu_command_lib::proto::command::Request;

pub(crate) use self::arguments::Publish;
use self::{
    bar::Bar,
    target::{Target, TargetError},
    wait::{WaitError, Waiting},
};
use crate::{
    cli::print,
    config::{LoadError, Loaded},
    exit::Exit,
};

/// Why it was not published, or is not live.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{}\nNothing was published.", .0.join("\n"))]
    Refused(Vec<String>),
    #[error("nothing was published: no file declares anything; correct their names or contents")]
    Nothing,
    #[error("a whole file and a single change are two commands; nothing was published")]
    Both,
    #[error("{0}")]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    #[error("{0}")]
    Wait(#[from] WaitError),
    #[error("it cannot start: {0}; raise the limit on open files")]
    Runtime(io::Error),
}

/// Does what the arguments say.
pub(crate) fn run(
    publish: &Publish,
    load: impl FnOnce() -> Result<Loaded, LoadError>,
) -> Result<Exit, LoadError> {
    match published(publish, load) {
        Ok(exit) => Ok(exit),
        Err(PublishError::Target(TargetError::Configuration(error))) => Err(error),
        Err(error) => {
            complain(&error);
            Ok(match error {
                PublishError::Wait(WaitError::Daemon(error)) => error.exit(),
                PublishError::Both => Exit::Usage,
                _ => Exit::Failed,
            })
        }
    }
}

fn published(
    publish: &Publish,
    load: impl FnOnce() -> Result<Loaded, LoadError>,
) -> Result<Exit, PublishError> {
    let target = publish.to.target(load)?;
    let requests = requests(publish)?;
    let messages = judged(&requests, &target)?;
    let socket = publish.wait.as_deref();
    let waiting = socket.map(|socket| Waiting::begin(socket, &target.topic));
    let waiting = waiting.transpose()?;
    let count = messages.len();
    let places = runtime()?.block_on(send(&target, messages, publish.batch))?;
    let printed = print(&format!("published {count} changes to {}\n", target.topic));
    let Some(waiting) = waiting else {
        return Ok(printed);
    };
    let not_live = waiting.live(&places, publish.within)?;
    for it in &not_live {
        complain(format!(
            "{}: {} {}: {}",
            it.verdict, it.kind, it.key, it.reason
        ));
    }
    let live = count - not_live.len();
    let printed = printed.or(print(&format!("live: {live} of {count}\n")));
    Ok(if not_live.is_empty() {
        printed
    } else {
        Exit::Failed
    })
}

async fn send(
    target: &Target,
    messages: Vec<Outgoing>,
    batch: u32,
) -> Result<Vec<Position>, PublishError> {
    // One change is no batch.
    let batch = if messages.len() == 1 { 1 } else { batch };
    let bar = Bar::new("published", messages.len());
    let mut publisher = Publisher::open(&target.address, &target.topic, batch).await?;
    Ok(publisher.publish(messages, |count| bar.at(count)).await?)
}

/// What is published, in its order, each with where it comes from.
fn requests(publish: &Publish) -> Result<Vec<(String, Request)>, PublishError> {
    match (&publish.change, publish.files.as_slice()) {
        (Some(_), [_, ..]) => Err(PublishError::Both),
        (Some(change), []) => match change.request() {
            Ok(request) => Ok(vec![(String::new(), request)]),
            Err(why) => Err(PublishError::Refused(vec![why])),
        },
        (None, files) => {
            let mut problems = Vec::new();
            let mut declared: Vec<(String, Keyed)> = Vec::new();
            for file in files {
                let name = file.display().to_string();
                match declared_by(file) {
                    Ok(objects) => {
                        declared.extend(objects.into_iter().map(|object| (name.clone(), object)));
                    }
                    Err(problem) => problems.push(problem),
                }
            }
            problems.extend(declared_twice(&declared));
            if !problems.is_empty() {
                return Err(PublishError::Refused(problems));
            }
            if declared.is_empty() {
                return Err(PublishError::Nothing);
            }
            // What something needs comes before it, whichever file it is in.
            declared.sort_by_key(|(_, object)| object.key.kind());
            let add = |(file, object): (String, Keyed)| (file, object.object.add());
            Ok(declared.into_iter().map(add).collect())
        }
    }
}

/// The last word on a key counts: two files that say different things of one would depend on their order.
fn declared_twice(declared: &[(String, Keyed)]) -> Vec<String> {
    let mut first = HashMap::new();
    let mut problems = Vec::new();
    for (file, object) in declared {
        match first.get(&object.key) {
            Some((other, same)) if *same != &object.object => problems.push(format!(
                "{file}: the {} {} is declared differently by {other}; remove one",
                object.key.kind(),
                object.key
            )),
            Some(_) => {}
            None => {
                first.insert(&object.key, (file, &object.object));
            }
        }
    }
    problems
}

/// The messages, if whoever reads them with this configuration would take each.
fn judged(requests: &[(String, Request)], target: &Target) -> Result<Vec<Outgoing>, PublishError> {
    let mut messages = Vec::with_capacity(requests.len());
    let mut problems = Vec::new();
    for (file, request) in requests {
        match judge(request, target) {
            Ok(message) => messages.push(message),
            Err(why) if file.is_empty() => problems.push(why),
            Err(why) => problems.push(format!("{file}: {why}")),
        }
    }
    if problems.is_empty() {
        Ok(messages)
    } else {
        Err(PublishError::Refused(problems))
    }
}

fn judge(request: &Request, target: &Target) -> Result<Outgoing, String> {
    let message = Outgoing::of(request).map_err(|error| error.to_string())?;
    let judged = match &request.request_type {
        Some(request) => target.policy.judge(request, 0),
        None => Err("it asks for nothing".to_owned()),
    };
    judged.map_err(|why| format!("{} would be refused: {why}", message.key))?;
    let (bytes, most) = (message.payload.len(), target.max_request_bytes);
    if bytes > most {
        return Err(format!(
            "{} would be refused: it has {bytes} bytes, and [sozu] max_request_bytes is {most}",
            message.key
        ));
    }
    Ok(message)
}

fn runtime() -> Result<tokio::runtime::Runtime, PublishError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(PublishError::Runtime)
}

fn complain(error: impl Display) {
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(io::stderr(), "{error}");
}
