//! The tree of components, one line per child, and what can be changed of it while it runs.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use actors::{
    admin_server::{self, Topics, socket::SocketError},
    fs_watcher::pki::Board,
    http_server::{self, Truth},
    messages::{Reconfigure, ReloadNow},
    metrics::{self, LastReload},
    metrics_scraper, socket_pool,
    socket_pool::SocketPool,
    state_keeper::{
        self, StateKeeper,
        report::Report,
        store::{StateDirectory, StoreError},
    },
};
use sozu_socket::{Sozu, directory::LockError};
use supervisors::{Children, Ref, Reporter, Spec, Supervisor};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    config::Config,
    settings,
    sources::{self, FIRST_READING_WITHIN, Source, Sources},
};

/// The keeper takes new settings within it, or with its next life.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// What is started or begins anew says its first word within it, or later: only an end is a failure.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(10);

/// The keeper, and its state directory.
type Asked = Option<(Ref<StateKeeper>, PathBuf)>;

/// What can be changed of a tree that runs. Each setting outlives the lives of its component.
pub struct Tree {
    root: Children,
    proxy: Children,
    group: Children,
    state: Arc<StateDirectory>,
    directory: PathBuf,
    pool: Ref<SocketPool>,
    certificates: Board,
    seen: watch::Receiver<Sozu>,
    report: watch::Sender<Arc<Report>>,
    pool_settings: watch::Sender<socket_pool::Config>,
    keeper_settings: watch::Sender<state_keeper::Config>,
    scraper_settings: watch::Sender<metrics_scraper::Config>,
    scraper_asks: bool,
    keeper_counts: watch::Sender<bool>,
    listener: watch::Sender<Arc<TcpListener>>,
    keeper: watch::Sender<Asked>,
    topics: watch::Sender<Topics>,
    /// How the last reload ended.
    pub reloaded: watch::Sender<LastReload>,
    /// Which sources run.
    pub sources: Sources,
}

impl Tree {
    /// The tree that the configuration asks for. Starts nothing. What is not configured is not
    /// there: without a source there is no keeper, no database and no exchange directory. With one
    /// both directories are locked before anything else is touched.
    ///
    /// Children start in this order and stop in the reverse one: nobody declares to a keeper that
    /// is gone, and the keeper's last requests still find the pool.
    ///
    /// # Errors
    /// If another process has one of the directories.
    pub fn plant(
        config: &Config,
        reload: mpsc::Sender<ReloadNow>,
        listener: impl FnOnce() -> Result<TcpListener, PlantError>,
        last: LastReload,
    ) -> Result<(Supervisor, Self), PlantError> {
        let wanted = sources::of(config);
        let state = Arc::new(StateDirectory::new(&config.state_directory));
        let (pool_settings, _) = watch::channel(settings::pool(&config.sozu));
        let (keeper_settings, _) = watch::channel(settings::keeper(config, state.clone()));
        let (scraper_settings, _) = watch::channel(settings::scraper(config));
        let (keeper_counts, counts) = watch::channel(settings::keeper_counts(config));
        let (seen, see) = watch::channel(Sozu::Unasked);
        let (report, reported) = watch::channel(Arc::new(Report::default()));
        let certificates = Board::default();
        let (keeper, asked) = watch::channel(None);
        let (topics, read) = watch::channel(Topics::new());
        let (reloaded, reloads) = watch::channel(last);
        if !wanted.is_empty() {
            lock(&state, &pool_settings.borrow())?;
        }
        let (listener, listens) = watch::channel(Arc::new(listener()?));

        let mut root = Supervisor::new("root");
        let mut proxy = Supervisor::new("proxy");
        let group = Supervisor::new("sources");
        let pool = move |config: socket_pool::Config| config.build(seen.clone());
        let pool = proxy.child(critical("socket_pool"), anew(&pool_settings, pool));
        let mut tree = Self {
            root: root.children(),
            proxy: proxy.children(),
            group: group.children(),
            state,
            directory: config.state_directory.clone(),
            pool: pool.clone(),
            certificates: certificates.clone(),
            seen: see.clone(),
            report,
            pool_settings,
            keeper_settings,
            scraper_settings,
            scraper_asks: !wanted.is_empty(),
            keeper_counts,
            listener,
            keeper,
            topics,
            reloaded,
            sources: Sources::new(),
        };
        if !wanted.is_empty() {
            tree.start_keeper();
        }
        for (component, source) in wanted {
            tree.start_source(component, source);
        }
        root.group(proxy);
        root.group(group);

        let keeper = tree.keeper.subscribe();
        let scraper = move |config: metrics_scraper::Config| {
            let keeper = keeper.borrow().as_ref().map(|(keeper, _)| keeper.clone());
            config.build(pool.clone(), keeper)
        };
        let scraper = anew(&tree.scraper_settings, scraper);
        let scraper = root.child(parking("metrics_scraper"), scraper);
        let (health, report) = (root.health(), reported.clone());
        let truth = Truth::new(health.clone(), report, see.clone(), counts.clone());
        let deps = http_server::Deps {
            listener: listens,
            health,
            report: reported,
            seen: see,
            keeper_counts: counts,
            scraper,
            metrics: metrics::install(),
            reloaded: reloads,
            certificates,
        };
        root.child(critical("http_server"), http_server::Config {}.build(deps));
        let deps = admin_server::Deps {
            truth,
            keeper: asked,
            topics: read,
            reload,
        };
        root.child(parking("admin_server"), settings::admin(config).build(deps));
        Ok((root, tree))
    }

    /// Waits, at the end, for the threads that outlive their actors: until the database is closed and
    /// no file is left in the exchange directory.
    pub fn done(&self) -> impl Future<Output = ()> + use<> {
        let state = self.state.clone();
        let pool = self.pool_settings.borrow().pool.clone();
        async move {
            state.closed().await;
            pool.file_work_done().await;
        }
    }

    /// Locks what the first source needs.
    ///
    /// # Errors
    /// If another process has it.
    pub fn lock(&self) -> Result<(), LockError> {
        lock(&self.state, &self.pool_settings.borrow())
    }

    /// With the first source. It stays when the last one goes, for what that left behind.
    fn start_keeper(&self) {
        let spec = critical("state_keeper")
            .own_thread()
            .ready_within(FIRST_READING_WITHIN);
        let (pool, seen, report) = (self.pool.clone(), self.seen.clone(), self.report.clone());
        let build = move |config: state_keeper::Config| {
            config.build(pool.clone(), seen.clone(), report.clone())
        };
        let keeper = self.proxy.start(spec, anew(&self.keeper_settings, build));
        self.keeper
            .send_replace(Some((keeper, self.directory.clone())));
    }

    /// Starts a source's component.
    pub fn start_source(&mut self, component: String, source: Source) {
        if self.keeper.borrow().is_none() {
            self.start_keeper();
        }
        let Some((keeper, _)) = self.keeper.borrow().clone() else {
            return;
        };
        let report = self.report.subscribe();
        let deps = sources::Deps {
            keeper,
            report,
            pool: self.pool.clone(),
            board: self.certificates.clone(),
        };
        if let Some(topic) = source.topic() {
            let (name, topic) = (source.name().clone(), topic.to_owned());
            self.topics
                .send_modify(|topics| drop(topics.insert(name, topic)));
        }
        source.clone().start(&component, &self.group, &deps);
        self.sources.insert(component, source);
    }

    /// Waits until what was started has said something.
    ///
    /// # Errors
    /// If its life ended instead.
    pub async fn first_word(&self, component: &str) -> Result<(), String> {
        said(component, self.group.first_word(component)).await
    }

    /// Stops a source's component; what it declared stays.
    pub async fn stop_source(&mut self, component: &str) {
        self.group.stop(component).await;
        if let Some(source) = self.sources.remove(component) {
            self.certificates.remove(source.name());
            self.topics
                .send_modify(|topics| drop(topics.remove(source.name())));
        }
    }

    /// What the keeper is told by the configuration. Whether that is news.
    pub async fn set_keeper(&self, config: &Config) -> bool {
        let wanted = settings::keeper(config, self.state.clone());
        let is_news = {
            let now = self.keeper_settings.borrow();
            (&now.settings, now.limits) != (&wanted.settings, wanted.limits)
        };
        self.keeper_counts.send_if_modified(|counts| {
            let wanted = settings::keeper_counts(config);
            std::mem::replace(counts, wanted) != wanted
        });
        if is_news {
            self.keeper_settings.send_replace(wanted.clone());
            let keeper = self.keeper.borrow().clone();
            if let Some((keeper, _)) = keeper {
                // One that does not run begins its next life with them.
                let _ = keeper.ask(Reconfigure(wanted), TOLD_WITHIN).await;
            }
        }
        is_news
    }

    /// How Sōzu is reached.
    ///
    /// # Errors
    /// If the pool ends with it.
    pub async fn set_pool(&self, config: &Config) -> Result<(), String> {
        self.pool_settings.send_modify(|now| {
            now.pool = settings::changeable(now.pool.clone(), &config.sozu);
        });
        said("socket_pool", self.proxy.renew("socket_pool")).await
    }

    /// How metrics are shown. Whether that is news.
    ///
    /// # Errors
    /// If the scraper ends with it.
    pub async fn set_scraper(&mut self, config: &Config) -> Result<bool, String> {
        let wanted = settings::scraper(config);
        // it asks the keeper, too, once there is one
        let has_keeper = self.keeper.borrow().is_some();
        let keeper_is_news = has_keeper != std::mem::replace(&mut self.scraper_asks, has_keeper);
        let is_news = keeper_is_news
            | self.scraper_settings.send_if_modified(|now| {
                let is_news = *now != wanted;
                *now = wanted;
                is_news
            });
        if is_news {
            said("metrics_scraper", self.root.renew("metrics_scraper")).await?;
        }
        Ok(is_news)
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.borrow().local_addr().ok()
    }

    /// Serves there from now on. The listener before is closed once this one answers.
    pub fn listen(&self, listener: TcpListener) {
        self.listener.send_replace(Arc::new(listener));
    }
}

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
pub enum PlantError {
    /// Another process has a directory.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// Another daemon has the admin socket.
    #[error(transparent)]
    Admin(#[from] SocketError),
    /// The address cannot be listened on.
    #[error("{0}")]
    Bind(String),
}

/// Whatever else is wrong with a directory may be mended while the daemon runs: it is tried again by
/// the component that needs it, which says so.
fn lock(state: &StateDirectory, pool: &socket_pool::Config) -> Result<(), LockError> {
    if let Err(StoreError::Lock(error @ LockError::InUse { .. })) = state.lock() {
        return Err(error);
    }
    match pool.pool.lock_exchange_directory() {
        Err(error @ LockError::InUse { .. }) => Err(error),
        _ => Ok(()),
    }
}

/// Its crash loop ends the daemon, and systemd starts it again.
fn critical(name: &'static str) -> Spec {
    Spec::critical(name, name)
}

/// Its crash loop parks it: it is restarted now and then, and the rest goes on.
fn parking(name: &'static str) -> Spec {
    Spec::parking(name, name)
}

/// The factory of a child whose settings may change: each life is made with those of its time.
fn anew<C, A, F>(
    settings: &watch::Sender<C>,
    build: impl Fn(C) -> F + Send + Sync + 'static,
) -> impl Fn(Reporter) -> A + Send + Sync + 'static
where
    C: Clone + Send + Sync + 'static,
    F: Fn(Reporter) -> A,
{
    let settings = settings.subscribe();
    move |reporter| {
        let config = settings.borrow().clone();
        build(config)(reporter)
    }
}

/// One that is slow is not failed.
async fn said(
    component: &str,
    word: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    match timeout(FIRST_WORD_WITHIN, word).await {
        Ok(word) => word.map_err(|error| format!("{component}: {error}")),
        Err(_) => Ok(()),
    }
}
