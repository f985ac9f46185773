//! What Sōzu is asked, and what its answer means.

use std::time::Duration;

use sozu_command_lib::proto::command::{
    ListWorkers, Request, RunState, request::RequestType, response_content::ContentType,
};
use sozu_socket::{Answer, ExchangeError};
use supervisors::{AskError, Ref};

use crate::{
    messages::{Exchange, Scrape},
    socket_pool::SocketPool,
};

/// Longer than any deadline that the pool gives a single request: the pool ends a query, so that
/// none is in flight when the next one begins.
const PATIENCE: Duration = Duration::from_mins(2);

/// Why Sōzu said nothing that could be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// The socket pool gave no answer.
    #[error("the socket pool does not answer: {0}")]
    Pool(#[from] AskError),
    /// Sōzu gave no answer.
    #[error(transparent)]
    Sozu(#[from] ExchangeError),
    /// Sōzu answered something else.
    #[error("what answers on the command socket lists no workers; is it Sōzu 2?")]
    NoWorkers,
}

/// Its main process answers this one by itself, so that a worker which hangs delays nothing.
fn request() -> Request {
    RequestType::ListWorkers(ListWorkers {}).into()
}

/// Asks Sōzu once.
pub(super) async fn ask(pool: Ref<SocketPool>) -> Result<Scrape, NoAnswer> {
    read(&pool.ask(Exchange(request()), PATIENCE).await??)
}

fn read(answer: &Answer) -> Result<Scrape, NoAnswer> {
    let content = answer
        .content
        .as_ref()
        .and_then(|c| c.content_type.as_ref());
    let Some(ContentType::Workers(workers)) = content else {
        return Err(NoAnswer::NoWorkers);
    };
    let running = workers
        .vec
        .iter()
        .filter(|worker| worker.run_state == RunState::Running as i32);
    Ok(Scrape {
        up: true,
        workers: running.count(),
    })
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::proto::command::{WorkerInfo, WorkerInfos};

    use super::*;

    #[test]
    fn only_workers_that_run_are_counted() {
        let worker = |id, run_state| WorkerInfo {
            id,
            pid: 100,
            run_state: run_state as i32,
        };
        let answer = Answer {
            content: Some(
                ContentType::Workers(WorkerInfos {
                    vec: vec![
                        worker(0, RunState::Stopped),
                        worker(1, RunState::Running),
                        worker(2, RunState::NotAnswering),
                        worker(3, RunState::Running),
                        worker(4, RunState::Stopping),
                    ],
                })
                .into(),
            ),
            ..Answer::default()
        };
        let expected = Scrape {
            up: true,
            workers: 2,
        };
        assert_eq!(read(&answer), Ok(expected));
    }

    #[test]
    fn an_answer_without_workers_is_none() {
        assert_eq!(read(&Answer::default()), Err(NoAnswer::NoWorkers));
    }
}
