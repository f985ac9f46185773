//! What is shown of one reading, while it is put together.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::Cluster;
use crate::metrics_scraper::{
    budget::{self, OTHER, Sums},
    names::{Dictionary, SlotId},
    object::{Object, Run, Shown},
    snapshot::{self, Sample, Snapshot},
};

/// What is shown of one reading, while it is put together.
pub(super) struct Page<'a> {
    names: &'a Dictionary,
    reading: u32,
    ids: &'a HashMap<Run, Arc<str>>,
    samples: Vec<Vec<Sample>>,
    /// How many series it has so far.
    pub(super) series: usize,
}

impl<'a> Page<'a> {
    pub(super) fn new(
        names: &'a Dictionary,
        reading: u32,
        ids: &'a HashMap<Run, Arc<str>>,
    ) -> Self {
        Self {
            names,
            reading,
            ids,
            samples: names.families().iter().map(|_| Vec::new()).collect(),
            series: 0,
        }
    }

    pub(super) fn object(
        &mut self,
        object: &Object,
        cluster: Option<&Arc<str>>,
        backend: Option<&Arc<str>>,
    ) {
        let names = self.names;
        let created = object.created;
        object.show(names, self.reading, |slot, shown| {
            self.push(slot, shown, cluster, backend, created);
        });
    }

    fn push(
        &mut self,
        slot: SlotId,
        shown: Shown,
        cluster: Option<&Arc<str>>,
        backend: Option<&Arc<str>>,
        created: f64,
    ) {
        let Some(slot) = self.names.get(slot) else {
            return;
        };
        let Some(samples) = self.samples.get_mut(slot.family) else {
            return;
        };
        let (value, worker) = match shown {
            Shown::Number(number) => (snapshot::Reading::Number(number, created), None),
            Shown::Gauge(value) => (snapshot::Reading::Gauge(value), None),
            Shown::PerWorker(run, value) => {
                // The main process has no number.
                let worker = self.ids.get(&run).cloned();
                (snapshot::Reading::Gauge(value), worker)
            }
        };
        self.series += budget::series(match &value {
            snapshot::Reading::Number(number, _) => Some(number),
            snapshot::Reading::Gauge(_) => None,
        });
        samples.push(Sample {
            cluster: cluster.cloned(),
            backend: backend.cloned(),
            labels: slot.labels.clone(),
            worker,
            value,
        });
    }

    pub(super) fn cluster(&mut self, id: &Arc<str>, cluster: &Cluster) {
        let Some(elsewhere) = &cluster.place.elsewhere else {
            self.object(&cluster.own, Some(id), None);
            for (backend, object) in &cluster.backends {
                self.object(object, Some(id), Some(backend));
            }
            return;
        };
        // Once it was in `other`, where backends are not told apart.
        let mut sums = cluster.total(self.names);
        for (slot, less) in elsewhere.iter() {
            if let Some(sum) = sums.get_mut(slot) {
                sum.subtract(less);
            }
        }
        let mut gauges: BTreeMap<SlotId, f64> = BTreeMap::new();
        cluster.show(self.names, self.reading, |slot, shown| {
            if let Shown::Gauge(value) = shown {
                *gauges.entry(slot).or_default() += value;
            }
        });
        self.sums(id, sums, gauges, cluster.own.created);
    }

    pub(super) fn other(&mut self, sums: Sums, gauges: BTreeMap<SlotId, f64>, created: f64) {
        self.sums(&OTHER.into(), sums, gauges, created);
    }

    fn sums(&mut self, id: &Arc<str>, sums: Sums, gauges: BTreeMap<SlotId, f64>, created: f64) {
        for (slot, sum) in sums {
            self.push(slot, Shown::Number(sum), Some(id), None, created);
        }
        for (slot, value) in gauges {
            self.push(slot, Shown::Gauge(value), Some(id), None, created);
        }
    }

    pub(super) fn finish(self) -> Snapshot {
        let families = self.names.families().iter().cloned();
        let mut families: Vec<_> = families
            .zip(self.samples)
            .filter(|(_, samples)| !samples.is_empty())
            .collect();
        families.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        Snapshot { families }
    }
}
