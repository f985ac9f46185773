//! The tree of components, one line per child, and how the configuration becomes their settings.

use std::{net::TcpListener, sync::Arc};

use actors::{
    admin_server,
    fs_watcher::pki::Board,
    http_server::{self, Truth},
    metrics,
    metrics_scraper::{self, Detail},
    socket_pool,
    state_keeper::{
        self,
        events::Settings,
        gate::Mode,
        guard::Bounds,
        report::Report,
        store::{Limits, StateDirectory, StoreError},
    },
};
use sozu_socket::{Builder, LockError, Sozu};
use supervisors::{Spec, Supervisor};
use tokio::sync::watch;

use crate::{
    config::{Config, tables},
    sources::{self, FIRST_READING_WITHIN, Source},
};

/// The tree that the configuration asks for. Starts nothing. What is not configured is not there:
/// without a source there is no keeper, no database and no exchange directory.
///
/// Children start in this order and stop in the reverse one: nobody declares to a keeper that is
/// gone, and the keeper's last requests still find the pool.
pub fn build(config: &Config, directories: Directories, listener: TcpListener) -> Supervisor {
    let (seen, see) = watch::channel(Sozu::Unasked);
    let (report, reported) = watch::channel(Arc::new(Report::default()));
    let mut root = Supervisor::new("root");
    let mut asked = None;
    let certificates = Board::default();

    let mut proxy = Supervisor::new("proxy");
    let pool = proxy.child(critical("socket_pool"), directories.pool.build(seen));
    if let Some(state) = directories.state {
        let keeper = keeper(config, state).build(pool.clone(), see.clone(), report);
        let spec = critical("state_keeper")
            .own_thread()
            .ready_within(FIRST_READING_WITHIN);
        let keeper = proxy.child(spec, keeper);
        root.group(proxy);

        let group = Supervisor::new("sources");
        let deps = sources::Deps {
            keeper: keeper.clone(),
            report: reported.clone(),
            pool: pool.clone(),
            board: certificates.clone(),
        };
        for (component, source) in sources::of(config) {
            source.start(&component, &group.children(), &deps);
        }
        root.group(group);
        asked = Some((keeper, config.state_directory.clone()));
    } else {
        root.group(proxy);
    }

    let keeper = asked.as_ref().map(|(keeper, _)| keeper.clone());
    let scraper = root.child(
        parking("metrics_scraper"),
        scraper(config).build(pool, keeper),
    );
    let applies = has_sources(config) && config.reconcile.mode == tables::Mode::Apply;
    let truth = Truth::new(root.health(), reported.clone(), see.clone(), applies);
    let deps = http_server::Deps {
        listener: Arc::new(listener),
        health: root.health(),
        report: reported,
        seen: see,
        keeper_counts: applies,
        scraper,
        metrics: metrics::install(),
        certificates,
    };
    root.child(critical("http_server"), http_server::Config {}.build(deps));
    let deps = admin_server::Deps {
        truth,
        keeper: asked,
    };
    root.child(parking("admin_server"), admin(config).build(deps));
    root
}

/// Its crash loop ends the daemon, and systemd starts it again.
fn critical(name: &'static str) -> Spec {
    Spec::critical(name, name)
}

/// Its crash loop parks it: it is restarted now and then, and the rest goes on.
fn parking(name: &'static str) -> Spec {
    Spec::parking(name, name)
}

/// What a daemon has for itself alone.
pub struct Directories {
    /// The state directory, where there is a source.
    state: Option<Arc<StateDirectory>>,
    /// The pool, with its exchange directory.
    pool: socket_pool::Config,
}

impl Directories {
    /// Locks both, before anything else is touched. Without a source there is nothing to lock.
    ///
    /// # Errors
    /// If another process has one of them. Whatever else is wrong may be mended while the daemon
    /// runs: each is tried again by the component that needs it, which says so.
    pub fn lock(config: &Config) -> Result<Self, LockError> {
        let pool = pool(config);
        if !has_sources(config) {
            return Ok(Self { state: None, pool });
        }
        let state = StateDirectory::new(&config.state_directory);
        if let Err(StoreError::Lock(error @ LockError::InUse { .. })) = state.lock() {
            return Err(error);
        }
        if let Err(error @ LockError::InUse { .. }) = pool.pool.lock_exchange_directory() {
            return Err(error);
        }
        let state = Some(Arc::new(state));
        Ok(Self { state, pool })
    }

    /// Waits, at the end, for the threads that outlive their actors: until the database is closed and no file is left
    /// in the exchange directory.
    pub fn done(&self) -> impl Future<Output = ()> + use<> {
        let (state, pool) = (self.state.clone(), self.pool.pool.clone());
        async move {
            if let Some(state) = state {
                state.closed().await;
            }
            pool.file_work_done().await;
        }
    }
}

fn has_sources(config: &Config) -> bool {
    !sources::of(config).is_empty()
}

fn pool(config: &Config) -> socket_pool::Config {
    let sozu = &config.sozu;
    let mut pool = Builder::new(&sozu.command_socket)
        .connections(sozu.connections)
        .worker_timeout(sozu.worker_timeout)
        .max_request_bytes(sozu.max_request_bytes);
    if has_sources(config) {
        pool = pool.exchange_directory(&sozu.exchange_directory);
        if !sozu.exchange_directory_in_sozu.as_os_str().is_empty() {
            pool = pool.exchange_directory_in_sozu(&sozu.exchange_directory_in_sozu);
        }
    }
    socket_pool::Config { pool }
}

fn keeper(config: &Config, state_directory: Arc<StateDirectory>) -> state_keeper::Config {
    state_keeper::Config {
        state_directory,
        instance: config.instance.clone(),
        limits: Limits {
            journal_keep: config.journal.keep,
            journal_rows: config.journal.max_rows,
            dead_letter_rows: config.dead_letters.max_rows,
            dead_letter_bytes: config.dead_letters.max_bytes.0,
        },
        settings: Settings {
            bounds: Bounds {
                removal_share: config.guard.removal_share,
                removal_minimum: config.guard.removal_minimum,
            },
            mode: match config.reconcile.mode {
                tables::Mode::Apply => Mode::Apply,
                tables::Mode::Observe => Mode::Observe,
            },
            interval: config.reconcile.interval,
            upgrade_workers: config.reconcile.upgrade_workers,
            worker_timeout: config.sozu.worker_timeout,
            max_request_bytes: config.sozu.max_request_bytes,
            policies: sources::policies(config),
            // A bus is not waited for: an absent broker holds up nothing else.
            sources: sources::of(config)
                .values()
                .filter(|source| !source.is_bus())
                .map(Source::name)
                .cloned()
                .collect(),
        },
    }
}

fn admin(config: &Config) -> admin_server::Config {
    let admin = &config.admin;
    admin_server::Config {
        socket: admin.socket.clone(),
        group: admin.group.clone(),
        group_may_write: admin.group_may_write,
    }
}

fn scraper(config: &Config) -> metrics_scraper::Config {
    metrics_scraper::Config {
        share_for: config.metrics.share_for,
        detail: match config.metrics.detail {
            tables::Detail::Proxy => Detail::Proxy,
            tables::Detail::Cluster => Detail::Cluster,
            tables::Detail::Backend => Detail::Backend,
        },
        max_series: config.metrics.max_series,
    }
}
