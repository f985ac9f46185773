//! The keeper's shell: messages become events, effects become writes and requests.

use std::{
    collections::HashMap,
    future::Future,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, SpawnHandle, WrapFuture,
};
use sozu_socket::{Sozu, StateDigest};
use supervisors::{Ref, Reporter, may_end_at};
use tokio::sync::{oneshot, watch};

use super::{
    Config,
    asking::Asking,
    events::{Acceptance, Effect, Event, Now},
    journalist::Journalist,
    keeper::Keeper,
    persons::Persons,
    report::Report,
    store::{Counts, Store, StoreError, Writer, Written},
};
use crate::{
    messages::{
        Changes, DeclareError, Declared, Listing, Missing, NotListed, OrderError, Position,
        Subscribed, Subscribes,
    },
    metrics,
    socket_pool::SocketPool,
};

/// With more than so many keys under way, a snapshot is made only now and then: it counts them all.
const FLOOD: usize = 1000;
const BETWEEN_REPORTS: Duration = Duration::from_secs(1);
/// How long a database that cannot be opened is left before the next try.
const OPEN_AGAIN: Duration = Duration::from_secs(1);
/// Before each effect and after each, for tests that kill the daemon between two of them.
const STEP: &str = "state_keeper::step";

/// Who waits for an answer.
enum Reply {
    Declared(oneshot::Sender<Result<Declared, DeclareError>>),
    GoOn(oneshot::Sender<Result<Option<Position>, DeclareError>>),
}

/// The state keeper.
pub struct StateKeeper {
    config: Config,
    asking: Asking,
    /// Of what was last read.
    digest: Option<StateDigest>,
    seen: watch::Receiver<Sozu>,
    report: watch::Sender<Arc<Report>>,
    reporter: Reporter,
    began: Instant,
    /// The rules and the writer, once the database is open.
    pub(super) open: Option<(Keeper, Writer)>,
    replies: HashMap<u64, Reply>,
    pub(super) persons: Persons,
    next_reply: u64,
    tick: Option<SpawnHandle>,
    database_bytes: u64,
    /// How many dead letters there are, if the rules have not heard of it.
    letters: Option<Arc<Counts>>,
    instance: Option<Arc<str>>,
    life: u64,
    /// When the last snapshot was made.
    published: Duration,
    journalist: Journalist,
}

impl StateKeeper {
    pub(super) fn new(
        config: Config,
        pool: Ref<SocketPool>,
        seen: watch::Receiver<Sozu>,
        report: watch::Sender<Arc<Report>>,
        reporter: Reporter,
    ) -> Self {
        Self {
            config,
            asking: Asking::new(pool),
            digest: None,
            seen,
            report,
            reporter,
            began: Instant::now(),
            open: None,
            replies: HashMap::new(),
            persons: Persons::default(),
            next_reply: 0,
            tick: None,
            database_bytes: 0,
            letters: None,
            instance: None,
            life: rand::random(),
            published: Duration::ZERO,
            journalist: Journalist::default(),
        }
    }

    fn now(&self) -> Now {
        Now {
            at: self.began.elapsed(),
            wall: SystemTime::now(),
        }
    }

    fn open_database(&mut self, context: &mut Context<Self>) {
        let config = self.config.clone();
        let opening = tokio::task::spawn_blocking(move || {
            let now = SystemTime::now();
            let (mut store, loaded) = Store::open(&config.state_directory, config.limits, now)?;
            let instance = store.instance(&config.instance)?;
            Ok::<_, StoreError>((loaded, instance, store))
        });
        let then = opening.into_actor(self).map(|result, keeper, context| {
            let opened = match result {
                Ok(Ok((loaded, instance, store))) => {
                    keeper.database_bytes = store.bytes();
                    Writer::start(store)
                        .map(|writer| (loaded, instance, writer))
                        .map_err(|error| error.to_string())
                }
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match opened {
                Ok((loaded, instance, writer)) => {
                    tracing::info!(
                        instance,
                        objects = loaded.declarations.len(),
                        unfinished = loaded.tail.len(),
                        "The database is open."
                    );
                    keeper.instance = Some(instance.into());
                    let rules = Keeper::new(keeper.config.settings.clone(), loaded, keeper.now());
                    keeper.open = Some((rules, writer));
                    keeper.follow_sozu(context);
                }
                Err(error) => {
                    keeper
                        .reporter
                        .degraded("the database cannot be used", error.clone());
                    keeper.journalist.trouble(&error);
                    context.run_later(OPEN_AGAIN, Self::open_database);
                }
            }
        });
        context.spawn(then);
    }

    /// Passes on what is seen of Sōzu, now and from now on.
    fn follow_sozu(&mut self, context: &mut Context<Self>) {
        let sozu = self.seen.borrow_and_update().clone();
        self.on(Event::Sozu(sozu), context);
        let mut seen = self.seen.clone();
        let changed = async move { seen.changed().await };
        let then = changed.into_actor(self).map(|result, keeper, context| {
            // The channel outlives every actor; its end is the program's end.
            if result.is_ok() {
                keeper.follow_sozu(context);
            }
        });
        context.spawn(then);
    }

    pub(super) fn on(&mut self, event: Event, context: &mut Context<Self>) {
        let now = self.now();
        let Some((rules, _)) = &mut self.open else {
            return;
        };
        let effects = rules.on(now, event);
        for effect in effects {
            self.carry_out(effect, context);
        }
        self.publish(now);
        self.wake(now, context);
    }

    fn carry_out(&mut self, effect: Effect, context: &mut Context<Self>) {
        may_end_at(STEP);
        match effect {
            Effect::Append { entries, mark } => {
                let written = self.writer(|writer| writer.append(entries, mark));
                self.then(written, context, |result, keeper| {
                    Event::Appended(keeper.written(result))
                });
            }
            Effect::EndLetters(ending) => {
                let written = self.writer(|writer| writer.end_letters(ending));
                self.then(written, context, |result, keeper| {
                    Event::LettersEnded(keeper.ended(result))
                });
            }
            Effect::KeepPause { pause, reply } => {
                let written = self.writer(move |writer| writer.keep_pause(pause));
                self.then(written, context, move |result, keeper| Event::PauseKept {
                    reply,
                    result: keeper.written(result),
                });
            }
            Effect::PauseEnded(pause) => {
                tracing::info!(uid = pause.uid, "The pause has ended by itself.");
            }
            Effect::Answer(to, answer) => self.persons.answer(to, answer),
            Effect::Accept(acceptance) => {
                let writing = acceptance.clone();
                let written = self.writer(|writer| writer.accept(writing));
                self.then(written, context, move |result, keeper| {
                    let result = keeper.written(result);
                    if result.is_ok() {
                        keeper.tell_verdicts(&acceptance);
                    }
                    Event::Accepted(result)
                });
            }
            Effect::Prepare(requests) => self.asking.prepare(requests),
            Effect::Send(requests) => {
                let answer = self.asking.send(requests);
                self.then(answer, context, |outcome, _| Event::Sent(outcome));
            }
            Effect::AskStatus => {
                let answer = self.asking.status();
                self.then(answer, context, |workers, _| Event::Status(workers));
            }
            Effect::UpgradeWorker(id) => {
                let answer = self.asking.upgrade(id);
                self.then(answer, context, |result, _| Event::Upgraded(result));
            }
            Effect::ReadBack => self.read_back(None, context),
            Effect::ReadAgain => self.read_back(self.digest, context),
            // Whoever went away meanwhile asks again.
            Effect::Reply(to, result) => {
                if let Some(Reply::Declared(reply)) = self.replies.remove(&to) {
                    let _ = reply.send(result);
                }
            }
            Effect::GoOn(to, result) => {
                if let Some(Reply::GoOn(reply)) = self.replies.remove(&to) {
                    let _ = reply.send(result);
                }
            }
            Effect::Redelivered(source, count) => metrics::changes(&source, "duplicate", count),
            Effect::Skipped(source, count) => metrics::changes(&source, "skipped", count),
            Effect::Restored { took } => {
                metrics::restoration("new_life", took);
                let seconds = took.as_secs_f64();
                tracing::info!(
                    seconds,
                    "Sōzu holds all that is wanted, in this life of it."
                );
            }
        }
    }

    /// `known`: what is the very same need not be read.
    fn read_back(&mut self, known: Option<StateDigest>, context: &mut Context<Self>) {
        let read = self.asking.read_back(known.unwrap_or_default());
        self.then(read, context, |read, keeper| {
            let read = read.map(|(read, digest)| {
                keeper.digest = Some(digest);
                read
            });
            Event::Read(read)
        });
    }

    /// Waits for `future` and takes what it says as the next event.
    fn then<F>(
        &self,
        future: F,
        context: &mut Context<Self>,
        event: impl FnOnce(F::Output, &mut Self) -> Event + 'static,
    ) where
        F: Future + 'static,
    {
        let then = future.into_actor(self).map(|output, keeper, context| {
            may_end_at(STEP);
            let event = event(output, keeper);
            // First: what is on disk counts before what is not waits no more.
            keeper.tell_letters(context);
            keeper.on(event, context);
        });
        context.spawn(then);
    }

    /// The rules hear how many dead letters there are, if that is news.
    pub(super) fn tell_letters(&mut self, context: &mut Context<Self>) {
        if let Some(letters) = self.letters.take() {
            self.on(Event::Letters(letters), context);
        }
    }

    pub(super) fn state_directory(&self) -> PathBuf {
        self.config.state_directory.path().to_owned()
    }

    pub(super) fn writer<A>(&self, ask: A) -> impl Future<Output = Written> + use<A>
    where
        A: FnOnce(&Writer) -> oneshot::Receiver<Written>,
    {
        let written = self.open.as_ref().map(|(_, writer)| ask(writer));
        async move {
            match written {
                Some(written) => written.await.unwrap_or(Err(StoreError::Closed)),
                None => Err(StoreError::Closed),
            }
        }
    }

    pub(super) fn written(&mut self, result: Written) -> Result<(), String> {
        match result {
            Ok(done) => {
                self.database_bytes = done.bytes;
                if done.letters.is_some() {
                    self.letters = done.letters;
                }
                Ok(())
            }
            Err(error) => {
                let text = error.to_string();
                self.journalist.trouble(&text);
                if error.ends_this_life() {
                    self.reporter.failed(text.clone());
                }
                Err(text)
            }
        }
    }

    fn ended(&mut self, result: Written) -> Result<usize, OrderError> {
        match result {
            Err(StoreError::NoSuchLetter(letter)) => Err(OrderError::NoSuchLetter(letter)),
            Err(StoreError::Overtaken { letter, by }) => Err(OrderError::Overtaken { letter, by }),
            result => {
                let ended = result.as_ref().map_or(0, |done| done.ended);
                self.written(result).map_err(OrderError::Disk)?;
                Ok(usize::try_from(ended).unwrap_or(usize::MAX))
            }
        }
    }

    /// From now on this configuration counts; the state directory and the name stay what they are.
    pub(super) fn reconfigure(&mut self, config: Config, context: &mut Context<Self>) {
        let settings = config.settings.clone();
        if let Some((_, writer)) = &self.open {
            writer.set_limits(config.limits);
        }
        self.config = config;
        self.on(Event::Settings(settings), context);
    }

    fn tell_verdicts(&mut self, acceptance: &Acceptance) {
        for verdict in &acceptance.verdicts {
            self.journalist.verdict(verdict);
        }
    }

    fn publish(&mut self, now: Now) {
        let Some((rules, _)) = &self.open else {
            return;
        };
        let is_flood = rules.waiting() > FLOOD;
        if is_flood && now.at < self.published + BETWEEN_REPORTS {
            return;
        }
        self.published = now.at;
        let mut report = rules.report(now);
        report.database_bytes = self.database_bytes;
        report.instance.clone_from(&self.instance);
        report.life = self.life;
        let word = rules.word(now);
        self.journalist.report(&report);
        match word {
            Some((detail, Some(error))) => self.reporter.degraded(detail, error),
            Some((detail, None)) => self.reporter.running(detail),
            None => {}
        }
        self.report.send_if_modified(|last| {
            let news = **last != report;
            if news {
                *last = Arc::new(report);
            }
            news
        });
    }

    fn wake(&mut self, now: Now, context: &mut Context<Self>) {
        if let Some(tick) = self.tick.take() {
            context.cancel_future(tick);
        }
        let Some((rules, _)) = &self.open else {
            return;
        };
        let pause = rules
            .wake_at(now)
            .saturating_sub(now.at)
            .max(Duration::from_millis(1));
        self.tick = Some(context.run_later(pause, |keeper, context| {
            keeper.tick = None;
            keeper.reporter.tick();
            keeper.on(Event::Tick, context);
        }));
    }
}

impl Actor for StateKeeper {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.open_database(context);
    }
}

type Answer<T> = ResponseFuture<Result<T, DeclareError>>;

impl StateKeeper {
    /// Takes what a source says as an event, and promises the answer that an effect will bring.
    fn hear<T: 'static>(
        &mut self,
        context: &mut Context<Self>,
        reply: impl FnOnce(oneshot::Sender<Result<T, DeclareError>>) -> Reply,
        event: impl FnOnce(u64) -> Event,
    ) -> Answer<T> {
        if self.open.is_none() {
            return Box::pin(async { Err(DeclareError::Starting) });
        }
        let (sender, receiver) = oneshot::channel();
        let number = self.next_reply;
        self.next_reply += 1;
        self.replies.insert(number, reply(sender));
        self.on(event(number), context);
        Box::pin(async move { receiver.await.unwrap_or(Err(DeclareError::Starting)) })
    }
}

impl Handler<Listing> for StateKeeper {
    type Result = Answer<Declared>;

    fn handle(&mut self, listing: Listing, context: &mut Context<Self>) -> Self::Result {
        self.hear(context, Reply::Declared, |reply| Event::Listing {
            listing,
            reply,
        })
    }
}

impl Handler<Changes> for StateKeeper {
    type Result = Answer<Declared>;

    fn handle(&mut self, changes: Changes, context: &mut Context<Self>) -> Self::Result {
        self.hear(context, Reply::Declared, |reply| Event::Changes {
            changes,
            reply,
        })
    }
}

impl Handler<Subscribed> for StateKeeper {
    type Result = Answer<Option<Position>>;

    fn handle(&mut self, subscribed: Subscribed, context: &mut Context<Self>) -> Self::Result {
        self.hear(context, Reply::GoOn, |reply| Event::Subscribed {
            subscribed,
            reply,
        })
    }
}

impl Handler<Subscribes> for StateKeeper {
    type Result = Answer<Declared>;

    fn handle(&mut self, subscribes: Subscribes, context: &mut Context<Self>) -> Self::Result {
        self.hear(context, Reply::Declared, |reply| Event::Subscribes {
            subscribes,
            reply,
        })
    }
}

impl Handler<Missing> for StateKeeper {
    type Result = Answer<Declared>;

    fn handle(&mut self, missing: Missing, context: &mut Context<Self>) -> Self::Result {
        self.hear(context, Reply::Declared, |reply| Event::Missing {
            missing,
            reply,
        })
    }
}

impl Handler<NotListed> for StateKeeper {
    type Result = ();

    fn handle(&mut self, message: NotListed, context: &mut Context<Self>) {
        self.on(Event::NotListed(message.source), context);
    }
}
