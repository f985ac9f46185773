//! The keeper's word to the metrics scraper: which clusters Sōzu holds.

use actix::{Context, Handler, MessageResult};

use super::{StateKeeper, key::Key};
use crate::messages::ListClusters;

impl Handler<ListClusters> for StateKeeper {
    type Result = MessageResult<ListClusters>;

    fn handle(&mut self, _: ListClusters, _: &mut Context<Self>) -> Self::Result {
        let read = self
            .open
            .as_ref()
            .map(|(rules, _)| &rules.belief)
            .filter(|belief| belief.is_read());
        let clusters = read.map(|belief| {
            let keys = belief.keys();
            keys.filter_map(|key| match key {
                Key::Cluster(id) => Some(id.to_string()),
                _ => None,
            })
            .collect()
        });
        MessageResult(clusters)
    }
}
