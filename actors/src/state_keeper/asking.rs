//! What the shell asks the socket pool for.

use std::{future::Future, sync::Arc, time::Duration};

use actix::Message;
use sozu_command_lib::proto::command::{
    Request, RunState, Status, request::RequestType, response_content::ContentType,
};
use sozu_socket::{Answer, ExchangeError, Prepared, Reading, StateDigest};
use supervisors::{AskError, Ref};
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};

use super::{
    answer::Outcome,
    held::{Read, What, sort_records},
};
use crate::{
    messages::{Exchange, Load, Prepare, ReadBack},
    socket_pool::SocketPool,
};

/// How long the pool is waited for beyond its own deadlines: it always answers, unless it dies.
const POOL_DEADLINE: Duration = Duration::from_mins(10);

/// The pool, and the file that is being written for the next batch.
pub(super) struct Asking {
    pool: Ref<SocketPool>,
    next: Option<(Arc<Vec<Request>>, Preparing)>,
}

type Preparing = JoinHandle<Result<Prepared, ExchangeError>>;

impl Asking {
    pub(super) fn new(pool: Ref<SocketPool>) -> Self {
        Self { pool, next: None }
    }

    /// Has the file of requests written that are probably sent next.
    pub(super) fn prepare(&mut self, requests: Arc<Vec<Request>>) {
        self.discard();
        let preparing = prepare(self.pool.clone(), requests.clone());
        self.next = Some((requests, spawn_local(preparing)));
    }

    /// The file of a batch that does not go after all is removed.
    fn discard(&mut self) {
        if let Some((_, preparing)) = self.next.take() {
            spawn_local(async move {
                if let Ok(prepared) = preparing.await {
                    spawn_blocking(move || drop(prepared));
                }
            });
        }
    }

    /// Sends requests: one goes alone, two or more as a file, which may be there already.
    pub(super) fn send(
        &mut self,
        requests: Arc<Vec<Request>>,
    ) -> impl Future<Output = Outcome> + use<> {
        let ready = self.next.take_if(|(next, _)| Arc::ptr_eq(next, &requests));
        self.discard();
        let pool = self.pool.clone();
        async move {
            let sent = match (&requests[..], ready) {
                ([alone], _) => return sent_alone(pool, alone.clone()).await,
                (_, Some((_, preparing))) => load(pool, written(preparing).await).await,
                (_, None) => load(pool.clone(), prepare(pool, requests).await).await,
            };
            match sent {
                Ok(skipped) => Outcome::Ok { skipped },
                Err(error) => Outcome::Failed(error),
            }
        }
    }

    /// Each worker's id, and whether it answers.
    pub(super) fn status(
        &self,
    ) -> impl Future<Output = Result<Vec<(u32, bool)>, ExchangeError>> + use<> {
        status(self.pool.clone())
    }

    /// Has Sōzu replace a worker.
    pub(super) fn upgrade(
        &self,
        worker: u32,
    ) -> impl Future<Output = Result<(), ExchangeError>> + use<> {
        let pool = self.pool.clone();
        let request = RequestType::UpgradeWorker(worker).into();
        async move { ask(&pool, Exchange(request)).await.map(drop) }
    }

    /// What Sōzu holds, unless it is what has this digest; and by what it is known again.
    pub(super) fn read_back(
        &self,
        known: StateDigest,
    ) -> impl Future<Output = Result<(Read, StateDigest), ExchangeError>> + use<> {
        read_back(self.pool.clone(), known)
    }
}

async fn sent_alone(pool: Ref<SocketPool>, request: Request) -> Outcome {
    match ask(&pool, Exchange(request)).await {
        Ok(_) => Outcome::Ok { skipped: 0 },
        Err(error) => Outcome::Failed(error),
    }
}

/// Nothing was sent yet, however this ends.
async fn prepare(
    pool: Ref<SocketPool>,
    requests: Arc<Vec<Request>>,
) -> Result<Prepared, ExchangeError> {
    match pool.ask(Prepare(requests), POOL_DEADLINE).await {
        Ok(result) => result,
        Err(error) => Err(ExchangeError::NotSent(format!("the socket pool: {error}"))),
    }
}

async fn written(preparing: Preparing) -> Result<Prepared, ExchangeError> {
    match preparing.await {
        Ok(result) => result,
        Err(error) => Err(ExchangeError::NotSent(error.to_string())),
    }
}

async fn load(
    pool: Ref<SocketPool>,
    prepared: Result<Prepared, ExchangeError>,
) -> Result<usize, ExchangeError> {
    Ok(ask(&pool, Load(prepared?)).await?.skipped)
}

/// A pool that died with the request leaves its outcome unknown, as a broken connection does.
async fn ask<M, T>(pool: &Ref<SocketPool>, message: M) -> Result<T, ExchangeError>
where
    M: Message<Result = Result<T, ExchangeError>> + Send + 'static,
    T: Send + 'static,
    SocketPool: actix::Handler<M>,
{
    match pool.ask(message, POOL_DEADLINE).await {
        Ok(result) => result,
        Err(AskError::Unknown) => Err(ExchangeError::Unknown(
            "the socket pool crashed meanwhile".to_owned(),
        )),
        Err(error) => Err(ExchangeError::NotSent(format!("the socket pool: {error}"))),
    }
}

async fn status(pool: Ref<SocketPool>) -> Result<Vec<(u32, bool)>, ExchangeError> {
    let asked = ask(&pool, Exchange(RequestType::Status(Status {}).into()));
    let answer: Answer = asked.await?;
    let Some(ContentType::Workers(workers)) = answer.content.and_then(|it| it.content_type) else {
        return Err(ExchangeError::Unknown(
            "Sōzu's status lists no workers".to_owned(),
        ));
    };
    let answers = |state| {
        matches!(
            RunState::try_from(state),
            Ok(RunState::Running | RunState::Stopping)
        )
    };
    let running = workers
        .vec
        .iter()
        .filter(|worker| worker.run_state != RunState::Stopped as i32);
    Ok(running
        .map(|worker| (worker.id, answers(worker.run_state)))
        .collect())
}

async fn read_back(
    pool: Ref<SocketPool>,
    known: StateDigest,
) -> Result<(Read, StateDigest), ExchangeError> {
    let (reading, life) = ask(&pool, ReadBack(known)).await?;
    let saved = match reading {
        Reading::Same { took } => {
            let what = What::Same { took };
            return Ok((Read { life, what }, known));
        }
        Reading::State(saved) => saved,
    };
    if saved.opaque > 0 {
        tracing::debug!(
            records = saved.opaque,
            "Sōzu holds records that this version cannot read; they are left alone."
        );
    }
    let digest = saved.digest;
    let state = spawn_blocking(move || sort_records(saved.requests, saved.took))
        .await
        .map_err(|error| ExchangeError::Unknown(error.to_string()))?;
    let what = What::State(state);
    Ok((Read { life, what }, digest))
}
