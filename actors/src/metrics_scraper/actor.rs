//! The metrics scraper's shell.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, WrapFuture};
use supervisors::Reporter;

use super::{
    desk::{Desk, Told},
    question::NoAnswer,
};
use crate::messages::{Scrape, ScrapeNow};

type Query = Pin<Box<dyn Future<Output = Result<Scrape, NoAnswer>>>>;

/// The metrics scraper. The deadline of a scrape is its caller's: whoever stops waiting hears no
/// answer, and the query in flight goes on for the others.
pub struct MetricsScraper {
    desk: Desk,
    ask_sozu: Box<dyn Fn() -> Query>,
    reporter: Reporter,
    /// Why there was no answer last time, so that a lasting outage is one line of the log.
    trouble: Option<NoAnswer>,
}

impl MetricsScraper {
    pub(super) fn new(
        share_for: Duration,
        ask_sozu: impl Fn() -> Query + 'static,
        reporter: Reporter,
    ) -> Self {
        Self {
            desk: Desk::new(share_for),
            ask_sozu: Box::new(ask_sozu),
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

    fn handle(&mut self, _: ScrapeNow, context: &mut Context<Self>) -> Self::Result {
        match self.desk.asked(Instant::now()) {
            Told::Answer(scrape) => Box::pin(async { scrape }),
            Told::Wait { answer, start } => {
                if start {
                    let query = (self.ask_sozu)().into_actor(self);
                    context.spawn(query.map(|result, actor, _| actor.answered(result)));
                }
                // The sender is lost only with this actor: nobody knows then, so it is not up.
                Box::pin(async { answer.await.unwrap_or_default() })
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

    const UP: Scrape = Scrape {
        up: true,
        workers: 2,
    };

    #[actix::test]
    async fn two_hundred_scrapes_are_one_query() {
        let asked = Rc::new(Cell::new(0));
        let go = Rc::new(Notify::new());
        let (count, gate) = (asked.clone(), go.clone());
        let scraper = MetricsScraper::new(
            Duration::from_mins(1),
            move || {
                count.set(count.get() + 1);
                let gate = gate.clone();
                Box::pin(async move {
                    gate.notified().await;
                    Ok(UP)
                })
            },
            Reporter::detached(),
        )
        .start();
        let scrapes = join_all((0..200).map(|_| scraper.send(ScrapeNow)));
        let (answers, ()) = tokio::join!(scrapes, async {
            tokio::task::yield_now().await;
            go.notify_one();
        });
        assert_eq!(answers.len(), 200);
        assert!(answers.iter().all(|answer| *answer == Ok(UP)));
        assert_eq!(scraper.send(ScrapeNow).await, Ok(UP));
        assert_eq!(asked.get(), 1);
    }

    #[actix::test]
    async fn an_outage_is_told_and_ends_with_the_next_query() {
        let here = Rc::new(Cell::new(false));
        let answers = here.clone();
        let scraper = MetricsScraper::new(
            Duration::ZERO,
            move || {
                let here = answers.get();
                Box::pin(async move {
                    if here {
                        Ok(UP)
                    } else {
                        Err(AskError::NotRunning.into())
                    }
                })
            },
            Reporter::detached(),
        )
        .start();
        assert_eq!(scraper.send(ScrapeNow).await, Ok(Scrape::default()));
        here.set(true);
        assert_eq!(scraper.send(ScrapeNow).await, Ok(UP));
        here.set(false);
        assert_eq!(scraper.send(ScrapeNow).await, Ok(Scrape::default()));
    }
}
