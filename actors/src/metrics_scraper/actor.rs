//! The metrics scraper's shell.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, WrapFuture};
use supervisors::Reporter;

use super::{
    desk::{Desk, Told},
    question::{NoAnswer, SoFar},
};
use crate::messages::{Scrape, ScrapeNow};

type Query = Pin<Box<dyn Future<Output = Result<Scrape, NoAnswer>>>>;

/// The metrics scraper. Whoever cannot wait for the whole answer gets what is known by then, and the
/// query in flight goes on for the others.
pub struct MetricsScraper {
    desk: Desk,
    ask_sozu: Box<dyn Fn(SoFar) -> Query>,
    /// Of the query in flight.
    so_far: SoFar,
    reporter: Reporter,
    /// Why there was no answer last time, so that a lasting outage is one line of the log.
    trouble: Option<NoAnswer>,
}

impl MetricsScraper {
    pub(super) fn new(
        share_for: Duration,
        ask_sozu: impl Fn(SoFar) -> Query + 'static,
        reporter: Reporter,
    ) -> Self {
        Self {
            desk: Desk::new(share_for),
            ask_sozu: Box::new(ask_sozu),
            so_far: SoFar::default(),
            reporter,
            trouble: None,
        }
    }

    fn answered(&mut self, result: Result<Scrape, NoAnswer>) {
        let scrape = match result {
            Ok(scrape) => {
                if self.trouble.take().is_some() {
                    tracing::info!(workers = scrape.workers, "Sōzu answers scrapes again.");
                }
                scrape
            }
            Err(error) => {
                if self.trouble.is_none() {
                    tracing::warn!(%error, "Sōzu does not answer scrapes: sozu_up is 0.");
                }
                self.trouble = Some(error);
                Scrape::default()
            }
        };
        self.desk.answered(Instant::now(), &scrape);
    }
}

impl Actor for MetricsScraper {
    type Context = Context<Self>;

    /// Sōzu's absence is the socket pool's to tell. It is not this component's state, which would
    /// be as old as the last scrape.
    fn started(&mut self, _: &mut Context<Self>) {
        self.reporter.running("asks Sōzu when scraped");
    }
}

impl Handler<ScrapeNow> for MetricsScraper {
    type Result = ResponseFuture<Scrape>;

    fn handle(&mut self, scrape: ScrapeNow, context: &mut Context<Self>) -> Self::Result {
        match self.desk.asked(Instant::now()) {
            Told::Answer(scrape) => Box::pin(async { scrape }),
            Told::Wait { answer, start } => {
                if start {
                    self.so_far = SoFar::default();
                    let query = (self.ask_sozu)(self.so_far.clone()).into_actor(self);
                    context.spawn(query.map(|result, actor, _| actor.answered(result)));
                }
                let so_far = self.so_far.clone();
                Box::pin(async move {
                    match timeout(scrape.within, answer).await {
                        Ok(Ok(scrape)) => scrape,
                        // The sender is lost only with this actor: nobody knows then, so it is not up.
                        Ok(Err(_)) => Scrape::default(),
                        Err(_) => so_far.borrow().clone(),
                    }
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use futures_util::future::join_all;
    use supervisors::AskError;
    use tokio::sync::Notify;

    use super::*;

    fn up() -> Scrape {
        Scrape {
            up: true,
            workers: 2,
            complete: true,
            ..Scrape::default()
        }
    }

    const NOW: ScrapeNow = ScrapeNow {
        within: Duration::from_mins(1),
    };

    #[actix::test]
    async fn two_hundred_scrapes_are_one_query() {
        let asked = Rc::new(Cell::new(0));
        let go = Rc::new(Notify::new());
        let (count, gate) = (asked.clone(), go.clone());
        let scraper = MetricsScraper::new(
            Duration::from_mins(1),
            move |_| {
                count.set(count.get() + 1);
                let gate = gate.clone();
                Box::pin(async move {
                    gate.notified().await;
                    Ok(up())
                })
            },
            Reporter::detached(),
        )
        .start();
        let scrapes = join_all((0..200).map(|_| scraper.send(NOW)));
        let (answers, ()) = tokio::join!(scrapes, async {
            tokio::task::yield_now().await;
            go.notify_one();
        });
        assert_eq!(answers.len(), 200);
        assert!(answers.iter().all(|answer| *answer == Ok(up())));
        assert_eq!(scraper.send(NOW).await, Ok(up()));
        assert_eq!(asked.get(), 1);
    }

    #[actix::test]
    async fn an_outage_is_told_and_ends_with_the_next_query() {
        let here = Rc::new(Cell::new(false));
        let answers = here.clone();
        let scraper = MetricsScraper::new(
            Duration::ZERO,
            move |_| {
                let here = answers.get();
                Box::pin(async move {
                    if here {
                        Ok(up())
                    } else {
                        Err(AskError::NotRunning.into())
                    }
                })
            },
            Reporter::detached(),
        )
        .start();
        assert_eq!(scraper.send(NOW).await, Ok(Scrape::default()));
        here.set(true);
        assert_eq!(scraper.send(NOW).await, Ok(up()));
        here.set(false);
        assert_eq!(scraper.send(NOW).await, Ok(Scrape::default()));
    }

    #[actix::test]
    async fn whoever_cannot_wait_gets_what_is_known_by_then() {
        let scraper = MetricsScraper::new(
            Duration::ZERO,
            |so_far| {
                Box::pin(async move {
                    so_far.replace(Scrape {
                        up: true,
                        workers: 1,
                        ..Scrape::default()
                    });
                    std::future::pending().await
                })
            },
            Reporter::detached(),
        )
        .start();
        let hurried = ScrapeNow {
            within: Duration::from_millis(50),
        };
        let answer = scraper.send(hurried).await.unwrap();
        assert!(answer.up && !answer.complete && answer.workers == 1);
    }
}
