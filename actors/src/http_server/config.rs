//! What the HTTP server needs.

use std::{net::TcpListener, sync::Arc};

use actix_web::web;
use sozu_socket::Sozu;
use supervisors::{Health, Ref, Reporter};
use tokio::sync::watch;

use super::{HttpServer, Truth, routes::Site};
use crate::{
    fs_watcher::pki::Board,
    metrics::{LastReload, Registry},
    metrics_scraper::MetricsScraper,
    state_keeper::report::Report,
};

/// The settings of the HTTP server beyond its address, which is bound for it: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {}

/// What the HTTP server shows and asks.
pub struct Deps {
    /// Bound once, for all lives: a restart refuses no connection. Another one takes its place
    /// without a gap.
    pub listener: watch::Receiver<Arc<TcpListener>>,
    /// The whole tree's health.
    pub health: Health,
    /// What the keeper says.
    pub report: watch::Receiver<Arc<Report>>,
    /// Whether Sōzu answers.
    pub seen: watch::Receiver<Sozu>,
    /// Whether the keeper's conditions count for `/readyz`: there is a source, and what is wanted
    /// is applied rather than only observed.
    pub keeper_counts: watch::Receiver<bool>,
    /// Who asks Sōzu at a scrape.
    pub scraper: Ref<MetricsScraper>,
    /// What was counted.
    pub metrics: Registry,
    /// What becomes of certificates.
    pub certificates: Board,
    /// How the last reload ended.
    pub reloaded: watch::Receiver<LastReload>,
}

impl Config {
    /// The factory of the actor's lives. The uptime that `/health` tells begins here.
    pub fn build(self, deps: Deps) -> impl Fn(Reporter) -> HttpServer + Send + Sync + 'static {
        let site = web::Data::new(Site {
            truth: Truth::new(deps.health, deps.report, deps.seen, deps.keeper_counts),
            scraper: deps.scraper,
            metrics: deps.metrics,
            certificates: deps.certificates,
            reloaded: deps.reloaded,
        });
        let listener = deps.listener;
        move |reporter| HttpServer::new(listener.clone(), site.clone(), reporter)
    }
}
