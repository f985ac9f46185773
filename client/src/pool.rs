//! The pool: as many exchanges at a time as there are connections, the others wait their turn.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sozu_command_lib::proto::command::{Request, request::RequestType};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep, timeout},
};

use crate::{
    Answer, Builder, ExchangeError, Sozu,
    backoff::Backoff,
    connection::{Connection, OPEN_DEADLINE},
    exchange_dir::ExchangeDirectory,
    frame,
    looks::Looks,
    monitor,
    patience::Patience,
};

/// How long a look at Sōzu may take: the watcher gives one up after this long.
const LOOK_DEADLINE: Duration = Duration::from_mins(1);

/// A pool of connections to one Sōzu. Clones share it; it closes when the last one is dropped.
///
/// Build it and use it in one tokio runtime, which drives its connections.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// tokio's is fair: who waits longest is next.
    slots: Semaphore,
    exchange_directory: Arc<ExchangeDirectory>,
    monitor: Mutex<Option<JoinHandle<()>>>,
}

/// What the pool shares with the task that watches Sōzu.
pub(crate) struct Shared {
    pub(crate) builder: Builder,
    pub(crate) seen: watch::Sender<Sozu>,
    pub(crate) patience: Patience,
    pub(crate) looks: Looks,
    idle: Mutex<Vec<Connection>>,
}

impl Shared {
    /// Closes what nobody uses: after an end of Sōzu these are of no more use.
    pub(crate) fn close_idle(&self) {
        lock(&self.idle).clear();
    }
}

impl Pool {
    pub(crate) fn new(builder: Builder) -> Self {
        let exchange_directory = ExchangeDirectory::new(
            builder.exchange_directory.clone(),
            builder.exchange_directory_in_sozu.clone(),
            builder.command_socket.clone(),
            Arc::clone(&builder.exchange_lock),
        );
        let pool = Self {
            inner: Arc::new(Inner {
                slots: Semaphore::new(builder.connections.clamp(1, Semaphore::MAX_PERMITS)),
                exchange_directory: Arc::new(exchange_directory),
                monitor: Mutex::new(None),
                shared: Arc::new(Shared {
                    builder,
                    seen: watch::channel(Sozu::Unasked).0,
                    patience: Patience::default(),
                    looks: Looks::default(),
                    idle: Mutex::new(Vec::new()),
                }),
            }),
        };
        pool.watch();
        pool
    }

    /// Sends one request and waits for its whole answer: at most `worker_timeout` and 5 s, after at most as long a wait
    /// for a free connection.
    ///
    /// Dropping the future closes the connection: nobody can get this answer for another one. Sōzu may still act.
    ///
    /// # Errors
    /// [`ExchangeError`] sorts them by what the caller must know: nothing was sent, sent with an unknown outcome, or
    /// refused with Sōzu's words.
    pub async fn exchange(&self, request: Request) -> Result<Answer, ExchangeError> {
        if matches!(request.request_type, Some(RequestType::SubscribeEvents(_))) {
            return Err(ExchangeError::NotSent(
                "SubscribeEvents never ends: it needs a connection of its own".to_owned(),
            ));
        }
        self.send(&request, self.builder().request_deadline()).await
    }

    /// Whether Sōzu answers, and which life of it. The newest value; it changes within 10 s of an outage.
    pub fn seen(&self) -> watch::Receiver<Sozu> {
        self.watch();
        self.inner.shared.seen.subscribe()
    }

    /// Looks at Sōzu now: what is returned was seen after this was called. Who has an answer and finds the same life
    /// before and after it knows whose answer it is.
    ///
    /// It takes as long as Sōzu's main process does to answer, a minute at most.
    pub async fn look(&self) -> Sozu {
        self.watch();
        let shared = &self.inner.shared;
        match timeout(LOOK_DEADLINE, shared.looks.ask()).await {
            Ok(()) => shared.seen.borrow().clone(),
            Err(_) => Sozu::Away {
                why: "Sōzu did not say within a minute who it is".to_owned(),
            },
        }
    }

    /// One exchange, within this deadline from its first byte to its last.
    pub(crate) async fn send(
        &self,
        request: &Request,
        deadline: Duration,
    ) -> Result<Answer, ExchangeError> {
        let builder = self.builder();
        let limit = builder.max_request_bytes;
        let frame = frame::encode(request, limit)
            .map_err(|size| ExchangeError::TooLarge { size, limit })?;
        self.watch();

        let Ok(Ok(_slot)) = timeout(deadline, self.inner.slots.acquire()).await else {
            return Err(ExchangeError::NotSent(format!(
                "none of the {} connections was free within {} s",
                builder.connections,
                deadline.as_secs()
            )));
        };
        let connection = match self.idle_connection() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let (result, connection) = connection
            .exchange(&frame, deadline, builder.max_answer_bytes)
            .await;
        lock(&self.inner.shared.idle).extend(connection);
        result
    }

    pub(crate) fn builder(&self) -> &Builder {
        &self.inner.shared.builder
    }

    pub(crate) fn patience(&self) -> &Patience {
        &self.inner.shared.patience
    }

    pub(crate) fn exchange_directory(&self) -> Arc<ExchangeDirectory> {
        Arc::clone(&self.inner.exchange_directory)
    }

    /// Work on files, away from the runtime's threads. It ends early only when the runtime does.
    pub(crate) async fn file_work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ExchangeError> {
        let under_way = self.builder().file_work.subscribe();
        // behind the result: a file that nobody takes any more is removed before the work counts as done
        let (done, _) = spawn_blocking(move || (work(), under_way))
            .await
            .map_err(|error| not_sent(format!("work on a file ended early: {error}")))?;
        Ok(done)
    }

    /// The connection used last that is still of use. The others are closed.
    fn idle_connection(&self) -> Option<Connection> {
        loop {
            let connection = lock(&self.inner.shared.idle).pop()?;
            if connection.is_quiet() && connection.leads_to(&self.builder().command_socket) {
                return Some(connection);
            }
        }
    }

    /// Opens a connection, again and again for a while; once only if Sōzu is known to be away.
    async fn open(&self) -> Result<Connection, ExchangeError> {
        let until = Instant::now() + OPEN_DEADLINE;
        let mut backoff = Backoff::new();
        loop {
            let why = match Connection::open(&self.builder().command_socket).await {
                Ok(connection) => return Ok(connection),
                Err(why) => why,
            };
            let pause = backoff.pause();
            let away = matches!(*self.inner.shared.seen.borrow(), Sozu::Away { .. });
            if away || Instant::now() + pause >= until {
                return Err(ExchangeError::NotSent(why));
            }
            sleep(pause).await;
        }
    }

    /// Starts the task that watches Sōzu, unless it runs or there is no runtime yet.
    fn watch(&self) {
        let mut running = lock(&self.inner.monitor);
        if running.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            *running = Some(runtime.spawn(monitor::watch(Arc::clone(&self.inner.shared))));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.monitor).take() {
            task.abort();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("builder", self.builder())
            .finish_non_exhaustive()
    }
}

/// Nothing here panics while it holds a lock, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn not_sent(why: impl fmt::Display) -> ExchangeError {
    ExchangeError::NotSent(why.to_string())
}
