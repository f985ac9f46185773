//! The socket pool's shell: a message in, an exchange out.

use std::future::Future;

use actix::{Actor, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};
use sozu_socket::{
    Answer, Builder, BulkAnswer, ExchangeError, Life, Pool, Prepared, Reading, Sozu,
};
use supervisors::Reporter;
use tokio::sync::watch;

use crate::{
    messages::{Exchange, Load, Prepare, ReadBack},
    metrics::{self, Outcome},
};

/// The socket pool. Its handlers run beside each other: the pool bounds the connections, the
/// mailbox what waits for one. What is under way ends with the actor: its connection is closed, its
/// file in the exchange directory removed.
pub struct SocketPool {
    pool: Pool,
    seen: watch::Sender<Sozu>,
    reporter: Reporter,
}

impl SocketPool {
    pub(super) fn new(pool: Builder, seen: watch::Sender<Sozu>, reporter: Reporter) -> Self {
        Self {
            pool: pool.build(),
            seen,
            reporter,
        }
    }
}

impl Actor for SocketPool {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        let follow = follow(self.pool.seen(), self.seen.clone(), self.reporter.clone());
        context.spawn(follow.into_actor(self));
    }
}

/// Passes on what the pool sees of Sōzu, and says so of this component, as long as the pool lives.
async fn follow(mut pool: watch::Receiver<Sozu>, seen: watch::Sender<Sozu>, reporter: Reporter) {
    loop {
        let now = pool.borrow_and_update().clone();
        match &now {
            // Nothing to say yet: an answer, or that there is none, comes within seconds.
            Sozu::Unasked => {}
            Sozu::Away { why } => reporter.degraded("Sōzu is away", why.clone()),
            Sozu::Here(_) => reporter.running("Sōzu answers"),
        }
        pass_on(&seen, now);
        if pool.changed().await.is_err() {
            return;
        }
    }
}

/// A fresh pool that has asked nothing yet knows less than the one before it: its `Unasked` is not
/// news, or a crash of ours would look like an outage of Sōzu.
fn pass_on(seen: &watch::Sender<Sozu>, now: Sozu) {
    if now != Sozu::Unasked {
        seen.send_if_modified(|last| {
            let news = *last != now;
            *last = now;
            news
        });
    }
}

/// Waits for an exchange and counts how it ended.
async fn counted<T>(
    exchange: impl Future<Output = Result<T, ExchangeError>>,
) -> Result<T, ExchangeError> {
    let result = exchange.await;
    metrics::sozu_request(outcome(&result));
    result
}

fn outcome<T>(result: &Result<T, ExchangeError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Ok,
        Err(ExchangeError::Refused(_)) => Outcome::Refused,
        Err(ExchangeError::Unknown(_)) => Outcome::Unknown,
        Err(ExchangeError::NotSent(_) | ExchangeError::TooLarge { .. }) => Outcome::NotSent,
    }
}

impl Handler<Exchange> for SocketPool {
    type Result = ResponseActFuture<Self, Result<Answer, ExchangeError>>;

    fn handle(&mut self, Exchange(request): Exchange, _: &mut Context<Self>) -> Self::Result {
        let pool = self.pool.clone();
        Box::pin(async move { counted(pool.exchange(request)).await }.into_actor(self))
    }
}

impl Handler<Prepare> for SocketPool {
    type Result = ResponseActFuture<Self, Result<Prepared, ExchangeError>>;

    /// Only what fails counts as an exchange here: it would have been one.
    fn handle(&mut self, Prepare(requests): Prepare, _: &mut Context<Self>) -> Self::Result {
        let pool = self.pool.clone();
        let prepare = async move {
            let result = pool.prepare(requests).await;
            if result.is_err() {
                metrics::sozu_request(outcome(&result));
            }
            result
        };
        Box::pin(prepare.into_actor(self))
    }
}

impl Handler<Load> for SocketPool {
    type Result = ResponseActFuture<Self, Result<BulkAnswer, ExchangeError>>;

    fn handle(&mut self, Load(prepared): Load, _: &mut Context<Self>) -> Self::Result {
        let pool = self.pool.clone();
        Box::pin(async move { counted(pool.load(prepared)).await }.into_actor(self))
    }
}

impl Handler<ReadBack> for SocketPool {
    type Result = ResponseActFuture<Self, Result<(Reading, Life), ExchangeError>>;

    fn handle(&mut self, ReadBack(known): ReadBack, _: &mut Context<Self>) -> Self::Result {
        let pool = self.pool.clone();
        let read = async move {
            let reading = counted(pool.saved_state_unless(known)).await?;
            match pool.look().await {
                Sozu::Here(life) => Ok((reading, life)),
                Sozu::Away { why } => Err(ExchangeError::Unknown(why)),
                Sozu::Unasked => Err(ExchangeError::Unknown(
                    "nobody knows which Sōzu was read".to_owned(),
                )),
            }
        };
        Box::pin(read.into_actor(self))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use sozu_command_lib::proto::command::{ListWorkers, request::RequestType};

    use super::*;
    use crate::socket_pool::Config;

    fn away(why: &str) -> Sozu {
        Sozu::Away { why: why.into() }
    }

    #[test]
    fn every_end_of_an_exchange_has_its_outcome() {
        let table: [(Result<(), ExchangeError>, Outcome); 5] = [
            (Ok(()), Outcome::Ok),
            (
                Err(ExchangeError::Refused(Box::default())),
                Outcome::Refused,
            ),
            (
                Err(ExchangeError::Unknown("no answer".into())),
                Outcome::Unknown,
            ),
            (Err(ExchangeError::NotSent("away".into())), Outcome::NotSent),
            (
                Err(ExchangeError::TooLarge { size: 2, limit: 1 }),
                Outcome::NotSent,
            ),
        ];
        for (result, expected) in table {
            assert_eq!(outcome(&result), expected, "{result:?}");
        }
    }

    #[test]
    fn a_fresh_pool_takes_nothing_back_and_repeats_nothing() {
        let (seen, mut watcher) = watch::channel(Sozu::Unasked);
        pass_on(&seen, away("refused"));
        assert!(watcher.has_changed().unwrap());
        assert_eq!(*watcher.borrow_and_update(), away("refused"));
        pass_on(&seen, Sozu::Unasked);
        pass_on(&seen, away("refused"));
        assert!(!watcher.has_changed().unwrap());
        pass_on(&seen, away("no such file"));
        assert_eq!(*watcher.borrow(), away("no such file"));
    }

    #[tokio::test]
    async fn what_a_pool_sees_is_passed_on_until_it_ends() {
        let (seen, mut watcher) = watch::channel(Sozu::Unasked);
        let (pool, pool_seen) = watch::channel(Sozu::Unasked);
        let following = tokio::spawn(follow(pool_seen, seen, Reporter::detached()));
        pool.send(away("no such file")).unwrap();
        watcher.changed().await.unwrap();
        assert_eq!(*watcher.borrow(), away("no such file"));
        drop(pool);
        tokio::time::timeout(Duration::from_secs(10), following)
            .await
            .unwrap()
            .unwrap();
    }

    /// A stop must not leave a file with secrets behind, however long Sōzu would take.
    #[actix::test]
    async fn what_is_under_way_ends_with_the_pool() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, exchange) = (
            directory.path().join("s.sock"),
            directory.path().join("exchange"),
        );
        // It is connected to, and never answers.
        let _silent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let config = Config {
            pool: Builder::new(socket)
                .worker_timeout(Duration::from_mins(1))
                .exchange_directory(&exchange),
        };
        let (seen, _watcher) = watch::channel(Sozu::Unasked);
        let pool = config.build(seen)(Reporter::detached()).start();
        let request = || RequestType::RemoveCluster("a".to_owned()).into();
        let two = Arc::new(vec![request(), request()]);
        let prepared = pool.send(Prepare(two)).await.unwrap().unwrap();
        let answer = actix::spawn(pool.send(Load(prepared)));
        let is_ours = |name: &std::ffi::OsStr| name != ".lock";
        let files = || {
            std::fs::read_dir(&exchange).map_or(0, |entries| {
                entries
                    .filter(|entry| is_ours(&entry.as_ref().unwrap().file_name()))
                    .count()
            })
        };
        assert_eq!(files(), 1);
        pool.send(Stop).await.unwrap();
        assert!(answer.await.unwrap().is_err());
        assert_eq!(files(), 0);
    }

    struct Stop;

    impl actix::Message for Stop {
        type Result = ();
    }

    impl Handler<Stop> for SocketPool {
        type Result = ();

        fn handle(&mut self, _: Stop, context: &mut Context<Self>) {
            use actix::ActorContext;
            context.stop();
        }
    }

    #[actix::test]
    async fn without_sozu_a_request_is_not_sent_and_counted_as_such() {
        let recorder = metrics::Registry::default();
        let _guard = ::metrics::set_default_local_recorder(&recorder);
        let directory = tempfile::tempdir().unwrap();
        let config = Config {
            pool: Builder::new(directory.path().join("command.sock"))
                .worker_timeout(Duration::from_secs(1)),
        };
        let (seen, _watcher) = watch::channel(Sozu::Unasked);
        let pool = config.build(seen)(Reporter::detached()).start();
        let question = RequestType::ListWorkers(ListWorkers {}).into();
        let answer = pool.send(Exchange(question)).await.unwrap();
        assert!(
            matches!(answer, Err(ExchangeError::NotSent(_))),
            "{answer:?}"
        );
        let mut text = metrics::text::Text::default();
        recorder.write(&mut text, |_| true);
        let text = text.finish();
        assert!(
            text.contains("sozu_manager_sozu_requests_total{outcome=\"not_sent\"} 1"),
            "{text}"
        );
    }
}
