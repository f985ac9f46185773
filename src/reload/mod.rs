//! A reload: the configuration is read again, and what differs is changed, while the rest runs on.
//!
//! 1. All is read and judged first (`read`): the file as `check` does, what cannot change while the
//!    daemon runs, the secret files, the port. Whatever is wrong there, nothing is changed.
//! 2. What differs is changed, component by component (`turn`). What fails on the way puts back what
//!    was before.
//!
//! Reloads follow each other. Whatever asks meanwhile is answered by one more, which begins after it.

mod read;
mod turn;

use std::{path::PathBuf, rc::Rc, sync::Arc, time::SystemTime};

use actors::{
    messages::{ReloadNow, Reloaded},
    metrics::{self, LastReload, ReloadOutcome},
};
use tokio::{
    sync::{Mutex, mpsc, watch},
    task::{spawn_blocking, spawn_local},
};
use tracing::{error, info, warn};

use crate::{
    config::{Config, tables},
    log,
    sources::{self, Secrets},
    systemd::Notifier,
    tree::Tree,
};

/// What runs, and all that is needed to change it.
pub struct Reloader {
    file: PathBuf,
    config: Config,
    secrets: Secrets,
    /// With which settings the pool runs.
    pool: tables::Sozu,
    /// With which level the log is written.
    level: tables::Level,
    tree: Tree,
    log: log::Handle,
    systemd: Option<Arc<Notifier>>,
}

/// How a reload ended.
type Ended = Result<Reloaded, String>;

impl Reloader {
    /// Of a tree that was planted with this configuration, from this file. Reads the secret files.
    pub fn new(
        file: PathBuf,
        config: Config,
        tree: Tree,
        log: log::Handle,
        systemd: Option<Arc<Notifier>>,
    ) -> Self {
        let secrets = sources::secrets(&sources::of(&config));
        Self {
            file,
            pool: config.sozu.clone(),
            level: config.log.level,
            config,
            secrets,
            tree,
            log,
            systemd,
        }
    }

    /// Reloads whenever a signal or a person asks, for ever.
    pub async fn serve(
        self,
        mut hangups: watch::Receiver<u64>,
        mut asked: mpsc::Receiver<ReloadNow>,
    ) {
        let reloader = Rc::new(Mutex::new(self));
        loop {
            let mut persons = Vec::new();
            tokio::select! {
                Ok(()) = hangups.changed() => {}
                Some(person) = asked.recv() => persons.push(person),
                else => return,
            }
            // one reload for all who asked until it begins
            hangups.mark_unchanged();
            while let Ok(person) = asked.try_recv() {
                persons.push(person);
            }
            let uids: Vec<u32> = persons.iter().map(|person| person.uid).collect();
            info!(?uids, "The configuration is read again.");
            let reloader = Rc::clone(&reloader);
            let reload = spawn_local(async move { reloader.lock().await.reload().await });
            let ended = reload.await.unwrap_or_else(|crash| {
                error!(error = %crash, "The reload crashed: please report it.");
                Err(
                    "the reload crashed; see the log, then reload again, or restart the daemon"
                        .to_owned(),
                )
            });
            for person in persons {
                // one who went away meanwhile asks again, or not
                let _ = person.reply.send(ended.clone());
            }
        }
    }

    async fn reload(&mut self) -> Ended {
        if let Some(systemd) = &self.systemd {
            systemd.reloading();
        }
        let (outcome, ended) = self.attempt().await;
        metrics::reloaded(outcome);
        self.tree.reloaded.send_modify(|last: &mut LastReload| {
            last.succeeded = outcome.succeeded();
            if last.succeeded {
                last.success = SystemTime::now();
            }
        });
        match &ended {
            Ok(reloaded) => {
                let changed = reloaded.changed.join("; ");
                info!(
                    outcome = outcome.name(),
                    changed, "The configuration was reloaded."
                );
                for note in &reloaded.notes {
                    warn!(
                        error = note,
                        "The configuration names something that is not well; it is tried again by itself."
                    );
                }
            }
            Err(why) => error!(
                outcome = outcome.name(),
                error = why,
                "The configuration was not reloaded: what ran before runs on."
            ),
        }
        if let Some(systemd) = &self.systemd {
            systemd.reloaded(ended.as_ref().err().map(String::as_str));
        }
        ended
    }

    async fn attempt(&mut self) -> (ReloadOutcome, Ended) {
        let (file, running, secrets) =
            (self.file.clone(), self.config.clone(), self.secrets.clone());
        let reading = spawn_blocking(move || read::read(&file, &running, &secrets));
        let read = match reading.await {
            Ok(Ok(read)) => read,
            Ok(Err(why)) => return (ReloadOutcome::Refused, Err(why)),
            Err(crash) => return (ReloadOutcome::Refused, Err(crash.to_string())),
        };
        if self.tree.sources.is_empty()
            && !read.sources.is_empty()
            && let Err(error) = self.tree.lock()
        {
            return (ReloadOutcome::Refused, Err(error.to_string()));
        }
        match self
            .turn_to(&read.config, &read.sources, &read.renewed)
            .await
        {
            Ok(mut turned) => {
                if let Some(listener) = read.listener {
                    turned.say(format!(
                        "http_server listens on {}",
                        read.config.http.address
                    ));
                    self.tree.listen(listener);
                }
                self.config = read.config;
                self.secrets = read.secrets;
                let outcome = if turned.is_nothing() {
                    ReloadOutcome::Unchanged
                } else {
                    ReloadOutcome::Applied
                };
                let (changed, notes) = (turned.said, read.notes);
                (outcome, Ok(Reloaded { changed, notes }))
            }
            Err(why) => (ReloadOutcome::RolledBack, Err(self.put_back(why).await)),
        }
    }

    /// Puts back what was before. Both errors, if that fails too.
    async fn put_back(&mut self, why: String) -> String {
        let before = self.config.clone();
        let sources = sources::of(&before);
        match self.turn_to(&before, &sources, &[]).await {
            Ok(_) => format!("{why}; what was before was put back"),
            Err(error) => format!(
                "{why}; and what was before could not be put back: {error}; restart the daemon"
            ),
        }
    }
}
