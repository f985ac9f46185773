//! What Sōzu is asked, and what its answer means.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use sozu_command_lib::proto::command::{
    ListWorkers, Request, RunState, WorkerInfo, request::RequestType, response_content::ContentType,
};
use sozu_socket::{Answer, ExchangeError, MetricsReader};
use supervisors::{AskError, Ref};

use super::{
    config::Detail,
    store::{Store, Worker},
};
use crate::{
    messages::{Exchange, ListClusters, Scrape},
    metrics::seconds,
    socket_pool::SocketPool,
    state_keeper::StateKeeper,
};

/// Longer than any deadline that the pool gives a single request: the pool ends a query, so that
/// none is in flight when the next one begins.
const PATIENCE: Duration = Duration::from_mins(2);
/// The keeper is asked for its clusters at most so long: it may be busy, and the next scrape comes.
const KEEPER_WITHIN: Duration = Duration::from_secs(2);

/// What is known before the whole answer is there.
pub(super) type SoFar = Rc<RefCell<Scrape>>;

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

/// Who is asked, and what is remembered.
pub(super) struct Asking {
    pub(super) pool: Ref<SocketPool>,
    pub(super) keeper: Option<Ref<StateKeeper>>,
    pub(super) detail: Detail,
    pub(super) store: Mutex<Store>,
    /// Locked for as long as a query lasts: never two at once, even if an actor ended in between.
    pub(super) reader: tokio::sync::Mutex<MetricsReader>,
}

/// Asks Sōzu once: its main process for the workers, which it answers by itself, so that a worker which hangs does not
/// hide that it is there; then the workers as a whole; then the clusters.
pub(super) async fn ask(asking: Arc<Asking>, so_far: SoFar) -> Result<Scrape, NoAnswer> {
    let mut reader = asking.reader.lock().await;
    let exchange = async |request: Request| -> Result<Answer, NoAnswer> {
        Ok(asking.pool.ask(Exchange(request), PATIENCE).await??)
    };
    let list = RequestType::ListWorkers(ListWorkers {});
    let workers = running(&exchange(list.into()).await?)?;
    let mut scrape = Scrape {
        up: true,
        workers: workers.len(),
        ..Scrape::default()
    };
    so_far.replace(scrape.clone());

    let proxy = reader.proxy(exchange).await?;
    let begin = || {
        let mut store = lock(&asking.store);
        store.begin(&workers, &proxy.metrics, seconds(SystemTime::now()));
        store.so_far()
    };
    scrape.metrics = Arc::new(begin());
    let whole = proxy.metrics.workers.len() >= workers.len();
    so_far.replace(scrape.clone());

    if asking.detail != Detail::Proxy {
        let keeper = asking.keeper.clone();
        let known = async || {
            keeper?
                .ask(ListClusters, KEEPER_WITHIN)
                .await
                .ok()
                .flatten()
        };
        reader.list(exchange, &proxy, known).await;
        let tell = |metrics| lock(&asking.store).take(metrics);
        let read = reader.clusters(exchange, &proxy, tell).await?;
        scrape.unasked = read.unasked;
    }
    scrape.complete = whole && scrape.unasked == 0;
    let (everything, now) = (scrape.unasked == 0, seconds(SystemTime::now()));
    // With many clusters it takes long.
    let of_all = asking.clone();
    let end = tokio::task::spawn_blocking(move || lock(&of_all.store).end(everything, now));
    let Ok((metrics, notes)) = end.await else {
        return Err(AskError::NotRunning.into());
    };
    scrape.metrics = Arc::new(metrics);
    scrape.notes = notes;
    Ok(scrape)
}

fn running(answer: &Answer) -> Result<Vec<Worker>, NoAnswer> {
    let content = answer
        .content
        .as_ref()
        .and_then(|c| c.content_type.as_ref());
    let Some(ContentType::Workers(workers)) = content else {
        return Err(NoAnswer::NoWorkers);
    };
    let running = |worker: &&WorkerInfo| worker.run_state == RunState::Running as i32;
    Ok(workers
        .vec
        .iter()
        .filter(running)
        .map(|worker| (worker.id, worker.pid))
        .collect())
}

/// Nothing here panics while it holds the lock, so a poisoned one is as good as any.
fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::proto::command::WorkerInfos;

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
        assert_eq!(running(&answer), Ok(vec![(1, 100), (3, 100)]));
    }

    #[test]
    fn an_answer_without_workers_is_none() {
        assert_eq!(running(&Answer::default()), Err(NoAnswer::NoWorkers));
    }
}
