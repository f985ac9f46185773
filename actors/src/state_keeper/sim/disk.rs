//! A model of the disk: what transactions have written survives; one can fail as a whole.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::super::{
    declared::Declaration,
    events::{Acceptance, Loaded},
    gate::Pause,
    key::Key,
    log::Entry,
    verdict::Verdict,
};
use crate::messages::{Position, SourceName};

/// The disk, with what its transactions have written.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) journal: Vec<(Arc<Entry>, Option<Verdict>)>,
    pub(super) objects: BTreeMap<(Key, SourceName), Declaration>,
    pub(super) devices: HashMap<SourceName, u64>,
    pub(super) positions: HashMap<SourceName, Position>,
    pub(super) caught_up: HashSet<SourceName>,
    pub(super) complete_life: Option<Arc<str>>,
    pub(super) pause: Option<Pause>,
    pub(super) full: bool,
}

impl Disk {
    pub(super) fn load(&self) -> Loaded {
        let objects = self.objects.iter();
        Loaded {
            declarations: objects
                .map(|((key, source), says)| (key.clone(), source.clone(), says.clone()))
                .collect(),
            tail: self
                .journal
                .iter()
                .filter(|(_, verdict)| verdict.is_none())
                .map(|(entry, _)| entry.as_ref().clone())
                .collect(),
            last_seq: self.journal.last().map_or(0, |(entry, _)| entry.seq),
            devices: self.devices.clone(),
            positions: self.positions.clone(),
            caught_up: self.caught_up.clone(),
            complete_life: self.complete_life.clone(),
            pause: self.pause,
            letters: Arc::default(),
            removed_lately: HashMap::new(),
        }
    }

    pub(super) fn accept(&mut self, acceptance: &Acceptance) {
        for verdict in &acceptance.verdicts {
            let row = self
                .journal
                .iter_mut()
                .find(|(entry, _)| entry.seq == verdict.seq);
            row.expect("a verdict is about an entry of the log").1 = Some(verdict.verdict.clone());
        }
        for (key, source, says) in &acceptance.declarations {
            let place = (key.clone(), source.clone());
            match says {
                Some(says) => self.objects.insert(place, says.clone()),
                None => self.objects.remove(&place),
            };
        }
        self.caught_up.extend(acceptance.caught_up.iter().cloned());
        if let Some(life) = &acceptance.complete_life {
            self.complete_life = Some(life.clone());
        }
    }
}
