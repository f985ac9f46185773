//! Sessions with the broker, one after the other, for as long as it takes: connect, compare where the topic ends with
//! where we are, go there, read. Whatever ends a session, the next one is built from nothing.

use std::{sync::Arc, time::Duration};

use supervisors::{Backoff, Ref, Reporter};
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use super::{
    broker::{self, Names, Probe, Stream},
    config::Config,
    error::BrokerError,
    flow::Begin,
    word::{Standing, Word, word},
};
use crate::{
    messages::{DeclareError, Missing, Position, Subscribed, Subscribes},
    metrics,
    state_keeper::{
        StateKeeper,
        report::{Report, SourceReport},
    },
};

/// Between two tries. A broker that comes back is noticed within the longest.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(2),
};
/// Sōzu may be unread so long before that is a problem: at a start it is ordinary.
const SOZU_WITHIN: Duration = Duration::from_secs(5);
/// How long the keeper has for a word on a subscription.
const ASK_WITHIN: Duration = Duration::from_secs(30);
/// A session that lasted so long was a good one: the next try comes soon.
const GOOD_SESSION: Duration = Duration::from_secs(10);

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    /// The broker's side.
    #[error("{0}; it is tried again")]
    Broker(#[from] BrokerError),
    /// The broker ended the stream.
    #[error("the broker ended the connection; it is tried again")]
    Ended,
    /// The broker went back, or the topic is another one: where it ends has to be compared again.
    #[error("the broker began again further back; the topic is compared with our place in it")]
    Rewound,
    /// Messages are there and do not come.
    #[error("the topic has messages that the broker does not deliver; a new connection is made")]
    Stuck,
    /// A person has to decide first.
    #[error("{0}")]
    Waits(String),
    /// The keeper has begun another life, and must hear of the subscription first.
    #[error("{0}; it is tried again")]
    Keeper(String),
}

/// One life of a consumer.
pub(super) struct Work {
    pub(super) config: Config,
    pub(super) keeper: Ref<StateKeeper>,
    pub(super) report: watch::Receiver<Arc<Report>>,
    pub(super) standing: Standing,
    /// What keeps the outbox from its work, if there is one.
    pub(super) outbox: Option<watch::Receiver<Option<String>>>,
    reporter: Reporter,
    trouble: Option<String>,
    /// It waits for a person.
    waits: bool,
    /// It was told that the topic is not batched.
    pub(super) told_unbatched: bool,
    said: Option<(Word, bool)>,
}

impl Work {
    pub(super) fn new(
        config: Config,
        keeper: Ref<StateKeeper>,
        report: watch::Receiver<Arc<Report>>,
        reporter: Reporter,
        outbox: Option<watch::Receiver<Option<String>>>,
    ) -> Self {
        Self {
            config,
            keeper,
            report,
            standing: Standing::default(),
            outbox,
            reporter,
            trouble: None,
            waits: false,
            told_unbatched: false,
            said: None,
        }
    }

    /// Never ends by itself.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let begun = tokio::time::Instant::now();
            let stop = self.session().await;
            if begun.elapsed() >= GOOD_SESSION {
                failures = 0;
            }
            failures += 1;
            metrics::set_backlog(&self.config.source, None);
            self.waits = matches!(stop, Stop::Waits(_));
            if stop == Stop::Rewound {
                info!(source = %self.config.source, "The broker began again further back: a new session begins at our place.");
            } else {
                self.standing = Standing::NoSession;
                self.trouble(Some(stop.to_string()));
            }
            sleep(BACKOFF.delay(failures, rand::random())).await;
        }
    }

    async fn session(&mut self) -> Stop {
        let instance = self.sozu_is_known().await;
        match self.begin(&instance).await {
            Ok((stream, begin)) => self.read(stream, begin).await,
            Err(stop) => stop,
        }
    }

    async fn begin(&mut self, instance: &str) -> Result<(Stream, Begin), Stop> {
        let life = self.report.borrow().life;
        let Config { address, topic, .. } = &self.config;
        let names = Names {
            address: address.shown(),
            topic: topic.clone(),
            subscription: self.config.subscription_of(instance),
            consumer: format!("sozu-manager on {instance}, pid {}", std::process::id()),
        };
        self.subscribes(&names.subscription).await?;
        self.waits = false;
        let client = broker::connect_to_probe(address).await?;
        let mut probe = Probe::open(client, names.clone()).await?;
        let end = probe.end().await?;
        let from = self.subscribed(end).await?;
        let entries = probe.seek(from).await?;
        let client = broker::connect(address).await?;
        let stream = Stream::open(&client, names.clone()).await?;
        self.trouble(None);
        let shown = |position: Option<Position>| position.map(|it| it.to_string());
        info!(
            source = %self.config.source,
            topic = names.topic,
            subscription = names.subscription,
            from = shown(from),
            end = shown(end),
            "The topic is read."
        );
        let begin = Begin {
            life,
            from,
            end,
            entries,
        };
        Ok((stream, begin))
    }

    /// Asks the keeper whether this is the subscription that it always was.
    async fn subscribes(&self, subscription: &str) -> Result<(), Stop> {
        let subscribes = Subscribes {
            source: self.config.source.clone(),
            subscription: subscription.into(),
        };
        match self.keeper.ask(subscribes, ASK_WITHIN).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error @ DeclareError::OtherSubscription { .. })) => {
                Err(Stop::Waits(error.to_string()))
            }
            Ok(Err(error)) => Err(Stop::Keeper(error.to_string())),
            Err(error) => Err(Stop::Keeper(format!("the state keeper: {error}"))),
        }
    }

    /// Something of the topic is gone for good.
    pub(super) async fn missing(&self, what: &str) -> Result<(), Stop> {
        let missing = Missing {
            source: self.config.source.clone(),
            what: what.into(),
        };
        match self.keeper.ask(missing, ASK_WITHIN).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Stop::Keeper(format!("the state keeper: {error}"))),
        }
    }

    /// Tells the keeper where the topic ends. Returns where it goes on.
    async fn subscribed(&self, end: Option<Position>) -> Result<Option<Position>, Stop> {
        let subscribed = Subscribed {
            source: self.config.source.clone(),
            end,
        };
        match self.keeper.ask(subscribed, ASK_WITHIN).await {
            Ok(Ok(position)) => Ok(position),
            Ok(Err(error)) => Err(Stop::Keeper(error.to_string())),
            Err(error) => Err(Stop::Keeper(format!("the state keeper: {error}"))),
        }
    }

    /// Waits until the keeper has read Sōzu once. Returns what this host calls itself.
    async fn sozu_is_known(&mut self) -> Arc<str> {
        let overdue = sleep(SOZU_WITHIN);
        tokio::pin!(overdue);
        let mut is_overdue = false;
        loop {
            let known = {
                let report = self.report.borrow_and_update();
                report.listeners.as_ref().and(report.instance.clone())
            };
            if let Some(instance) = known {
                return instance;
            }
            tokio::select! {
                changed = self.report.changed() => if changed.is_err() {
                    // The keeper is gone for good: the program ends.
                    std::future::pending::<()>().await;
                },
                () = &mut overdue, if !is_overdue => {
                    is_overdue = true;
                    self.standing = Standing::WaitsForSozu;
                    self.trouble(Some("what Sōzu holds is not known yet; the topic is read once it has answered, see socket_pool".to_owned()));
                }
            }
        }
    }

    /// The outbox has something else to say.
    pub(super) async fn outbox_says(outbox: &mut Option<watch::Receiver<Option<String>>>) {
        let news = match outbox {
            Some(says) => says.changed().await.is_ok(),
            None => false,
        };
        if !news {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn source(&self) -> Option<SourceReport> {
        let report = self.report.borrow();
        report.sources.get(&self.config.source).cloned()
    }

    /// Something keeps it from its work, or nothing does any more.
    pub(super) fn trouble(&mut self, trouble: Option<String>) {
        if self.trouble != trouble {
            let source = &self.config.source;
            match (&self.trouble, &trouble) {
                (_, Some(error)) => warn!(%source, error, "The source has a problem."),
                (Some(was), None) => info!(%source, was, "A problem of the source is over."),
                (None, None) => {}
            }
            self.trouble = trouble;
        }
        self.say();
    }

    /// Says how it stands, if that is news.
    pub(super) fn say(&mut self) {
        let outbox = self.outbox.as_ref().and_then(|says| says.borrow().clone());
        let word = word(
            &self.standing,
            self.trouble.as_deref(),
            self.source().as_ref(),
            outbox.as_deref(),
        );
        let said = (word, self.waits);
        if self.said.as_ref() == Some(&said) {
            return;
        }
        match &said {
            ((detail, Some(error)), true) => self.reporter.parked(detail, error),
            ((detail, Some(error)), false) => self.reporter.degraded(detail, error),
            ((detail, None), _) => self.reporter.running(detail),
        }
        self.said = Some(said);
    }
}
