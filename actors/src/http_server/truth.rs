//! What is live, ready and healthy at the moment, from what the others publish.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use sozu_socket::Sozu;
use supervisors::{Component, Health};
use tokio::sync::watch;

use super::{
    health::{Entry, Page, Status, status},
    live::livez,
    ready,
};
use crate::state_keeper::report::Report;

/// Where the truth is read.
#[derive(Clone)]
pub struct Truth {
    begun: Instant,
    health: Health,
    report: watch::Receiver<Arc<Report>>,
    seen: watch::Receiver<Sozu>,
    keeper_counts: watch::Receiver<bool>,
}

impl Truth {
    /// From the whole tree's health, the keeper's word, and whether Sōzu answers.
    /// `keeper_counts`: whether the keeper's conditions count for readiness. The uptime begins here.
    pub fn new(
        health: Health,
        report: watch::Receiver<Arc<Report>>,
        seen: watch::Receiver<Sozu>,
        keeper_counts: watch::Receiver<bool>,
    ) -> Self {
        Self {
            begun: Instant::now(),
            health,
            report,
            seen,
            keeper_counts,
        }
    }

    pub(crate) fn report(&self) -> Arc<Report> {
        self.report.borrow().clone()
    }

    pub(super) fn components(&self) -> Vec<Component> {
        self.health.components()
    }

    pub(super) fn conditions(&self) -> Vec<ready::Line> {
        let keeper_counts = *self.keeper_counts.borrow();
        ready::conditions(&self.report(), &self.seen.borrow(), keeper_counts)
    }

    pub(super) fn live(&self) -> Result<(), String> {
        self.lives(&self.components())
    }

    fn lives(&self, components: &[Component]) -> Result<(), String> {
        livez(components, self.health.last_turn(), SystemTime::now())
    }

    /// What `/health` says, in one word and in JSON.
    pub(crate) fn page(&self) -> Result<(Status, String), serde_json::Error> {
        let components = self.components();
        let live = self.lives(&components).is_ok();
        let ready = ready::holds(&self.conditions());
        let status = status(live, ready, &components);
        let page = Page {
            status,
            ready,
            live,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.begun.elapsed().as_secs_f64(),
            components: components.iter().map(Entry::from).collect(),
        };
        Ok((status, serde_json::to_string(&page)?))
    }
}
