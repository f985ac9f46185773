//! How the configuration becomes the settings of the components that are always there.

use std::sync::Arc;

use actors::{
    admin_server,
    metrics_scraper::{self, Detail},
    socket_pool,
    state_keeper::{
        self,
        events::{Room, Settings},
        gate::Mode,
        guard::Bounds,
        store::{Limits, StateDirectory, WhenFull},
    },
};
use sozu_socket::Builder;

use crate::{
    config::{Config, tables},
    sources::{self, Source},
};

/// Whether the keeper's conditions count for `/readyz`.
pub fn keeper_counts(config: &Config) -> bool {
    !sources::of(config).is_empty() && config.reconcile.mode == tables::Mode::Apply
}

/// How Sōzu is reached. Its exchange directory is not touched before a source needs it.
pub fn pool(sozu: &tables::Sozu) -> socket_pool::Config {
    let mut pool = Builder::new(&sozu.command_socket).exchange_directory(&sozu.exchange_directory);
    if !sozu.exchange_directory_in_sozu.as_os_str().is_empty() {
        pool = pool.exchange_directory_in_sozu(&sozu.exchange_directory_in_sozu);
    }
    socket_pool::Config {
        pool: changeable(pool, sozu),
    }
}

/// With what of it can change while the daemon runs.
pub fn changeable(pool: Builder, sozu: &tables::Sozu) -> Builder {
    pool.connections(sozu.connections)
        .worker_timeout(sozu.worker_timeout)
        .max_request_bytes(sozu.max_request_bytes)
}

/// What the keeper is told.
pub fn keeper(config: &Config, state_directory: Arc<StateDirectory>) -> state_keeper::Config {
    state_keeper::Config {
        state_directory,
        instance: config.instance.clone(),
        limits: Limits {
            journal_keep: config.journal.keep,
            journal_rows: config.journal.max_rows,
            dead_letter_rows: config.dead_letters.max_rows,
            dead_letter_bytes: config.dead_letters.max_bytes.0,
            when_full: match config.dead_letters.when_full {
                tables::WhenFull::DropOldest => WhenFull::DropOldest,
                tables::WhenFull::Stop => WhenFull::Stop,
            },
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
            letter_room: (config.dead_letters.when_full == tables::WhenFull::Stop).then_some(
                Room {
                    rows: config.dead_letters.max_rows,
                    bytes: config.dead_letters.max_bytes.0,
                },
            ),
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

/// How the commands reach the daemon.
pub fn admin(config: &Config) -> admin_server::Config {
    let admin = &config.admin;
    admin_server::Config {
        socket: admin.socket.clone(),
        group: admin.group.clone(),
        group_may_write: admin.group_may_write,
    }
}

/// How Sōzu's metrics are asked.
pub fn scraper(config: &Config) -> metrics_scraper::Config {
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
