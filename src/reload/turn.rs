//! Turning what runs to another configuration, or back: only what differs is touched.

use super::Reloader;
use crate::{config::Config, sources::Sources};

/// What was changed, for people.
#[derive(Default)]
pub(super) struct Turned {
    pub(super) said: Vec<String>,
}

impl Turned {
    pub(super) fn say(&mut self, what: String) {
        self.said.push(what);
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.said.is_empty()
    }
}

impl Reloader {
    /// Sources that leave stop first, so that nobody declares what the keeper has let go; then the
    /// keeper is told; then those that come start. What they declared stays all the time.
    ///
    /// # Errors
    /// With the first that failed. What was turned by then is turned.
    pub(super) async fn turn_to(
        &mut self,
        config: &Config,
        sources: &Sources,
        renewed: &[String],
    ) -> Result<Turned, String> {
        let mut turned = Turned::default();
        let tree = &mut self.tree;
        let running: Vec<String> = tree.sources.keys().cloned().collect();
        for component in running {
            let stays = tree.sources.get(&component) == sources.get(&component);
            if !stays || renewed.contains(&component) {
                tree.stop_source(&component).await;
                if !sources.contains_key(&component) {
                    turned.say(format!(
                        "{component} has left; what it declared stays, orphaned"
                    ));
                }
            }
        }
        if tree.set_keeper(config).await {
            turned.say("state_keeper has new settings".to_owned());
        }
        let mut started = Vec::new();
        for (component, source) in sources {
            if !tree.sources.contains_key(component) {
                tree.start_source(component.clone(), source.clone());
                started.push(component);
            }
        }
        for component in started {
            tree.first_word(component).await?;
            turned.say(format!("{component} is started"));
        }
        if self.pool != config.sozu {
            self.pool.clone_from(&config.sozu);
            tree.set_pool(config).await?;
            turned.say("socket_pool has new settings".to_owned());
        }
        if tree.set_scraper(config).await? {
            turned.say("metrics_scraper has new settings".to_owned());
        }
        if self.level != config.log.level {
            self.log
                .set_level(config.log.level)
                .map_err(|error| error.to_string())?;
            self.level = config.log.level;
            turned.say("the log has another level".to_owned());
        }
        Ok(turned)
    }
}
