//! A model of the disk: what transactions have written survives; one can fail as a whole.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use sozu_command_lib::proto::command::request::RequestType;

use super::super::{
    declared::Declaration,
    events::{Acceptance, Loaded, Mark},
    gate::Pause,
    key::Key,
    log::{Admission, Entry},
    verdict::Verdict,
};
use crate::messages::{Position, SourceName};

/// The disk, with what its transactions have written. A private key that a file has is none of that.
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
    /// The dead letters that were tried again.
    pub(super) retried: BTreeSet<u64>,
    /// When so many take-overs of a bus passed.
    pub(super) taken_over: Vec<(SourceName, SystemTime, usize)>,
}

impl Disk {
    pub(super) fn load(&self, now: SystemTime) -> Loaded {
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
            subscriptions: HashMap::new(),
            gaps: HashMap::new(),
            removed_lately: self.removed_lately(now - Duration::from_hours(1)),
        }
    }

    fn removed_lately(&self, since: SystemTime) -> HashMap<SourceName, usize> {
        let rows = self.journal.iter().map(|(entry, _)| entry);
        let removals = rows
            .filter(|entry| entry.admission == Admission::Conclusion)
            .map(|entry| (&entry.source, entry.at, 1));
        let taken_over = self.taken_over.iter();
        let taken_over = taken_over.map(|(source, at, objects)| (source, *at, *objects));
        let mut removed = HashMap::new();
        for (source, at, objects) in removals.chain(taken_over) {
            if at >= since {
                *removed.entry(source.clone()).or_default() += objects;
            }
        }
        removed
    }

    pub(super) fn append(&mut self, entries: Vec<Arc<Entry>>, mark: Option<(SourceName, Mark)>) {
        for entry in entries {
            let mut stored = entry.as_ref().clone();
            if stored.origin.is_some() {
                match &mut Arc::make_mut(&mut stored.request).request_type {
                    Some(RequestType::AddCertificate(add)) => add.certificate.key.clear(),
                    Some(RequestType::ReplaceCertificate(replace)) => {
                        replace.new_certificate.key.clear();
                    }
                    _ => {}
                }
            }
            self.journal.push((Arc::new(stored), None));
        }
        match mark {
            Some((source, Mark::Device(device))) => {
                self.devices.insert(source, device);
            }
            Some((source, Mark::Position(position))) => {
                self.positions.insert(source, position);
            }
            None => {}
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
                Some(says) => {
                    let mut says = says.clone();
                    let object = says.object.as_ref().filter(|_| says.origin.is_some());
                    if let Some(object) = object.map(|object| object.without_private_key()) {
                        says.object = Some(Arc::new(object));
                    }
                    self.objects.insert(place, says)
                }
                None => self.objects.remove(&place),
            };
        }
        self.caught_up.extend(acceptance.caught_up.iter().cloned());
        self.taken_over
            .extend(acceptance.taken_over.iter().cloned());
        if let Some(life) = &acceptance.complete_life {
            self.complete_life = Some(life.clone());
        }
    }
}
