//! What is known of Sōzu's metrics from one reading to the next. It outlives the actor, so that no total falls when that
//! is restarted.

mod page;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use sozu_command_lib::proto::command::{
    AggregatedMetrics, ClusterMetrics, FilteredMetrics, WorkerMetrics, filtered_metrics::Inner,
};

use self::page::Page;
use super::{
    budget::{self, Candidate, Place, Sums},
    config::Detail,
    names::{Dictionary, Form, SlotId},
    object::{Object, Reading, Run, Shown, Told, collect},
    snapshot::Snapshot,
    table::Scope,
};

/// The main process: it is no worker.
const MAIN: Run = 0;

/// A worker of Sōzu: its id, and the pid that tells it from an earlier one of that id.
pub(super) type Worker = (u32, i32);

/// What is known.
#[derive(Debug)]
pub(super) struct Store {
    detail: Detail,
    max_series: usize,
    names: Dictionary,
    reading: u32,
    runs: HashMap<Worker, Run>,
    living: Vec<Run>,
    ids: HashMap<Run, Arc<str>>,
    last_run: Run,
    main: Object,
    proxy: Object,
    clusters: BTreeMap<Arc<str>, Cluster>,
    /// What clusters that are gone have left in `other`.
    left: Sums,
    /// Whatever is seen first in this reading began after this, in seconds since 1970.
    since: f64,
    unreadable: usize,
}

#[derive(Debug)]
struct Cluster {
    reading: u32,
    own: Object,
    /// Only with the detail `backend`.
    backends: BTreeMap<Arc<str>, Object>,
    place: Place,
}

/// What is told beside the metrics of one reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    /// Clusters that are shown together as `other`.
    pub(crate) clusters_in_other: usize,
    /// Series that are not shown for that.
    pub(crate) series_left_out: usize,
    /// Names that the table does not know.
    pub(crate) unknown_names: usize,
    /// Values of a kind that is unknown, or of more new names than are shown.
    pub(crate) unreadable: usize,
}

impl Store {
    pub(super) fn new(detail: Detail, max_series: usize) -> Self {
        Self {
            detail,
            max_series,
            names: Dictionary::default(),
            reading: 0,
            runs: HashMap::new(),
            living: Vec::new(),
            ids: HashMap::new(),
            last_run: MAIN,
            main: Object::default(),
            proxy: Object::default(),
            clusters: BTreeMap::new(),
            left: Sums::new(),
            since: 0.0,
            unreadable: 0,
        }
    }

    /// Begins a reading, with what the main process and the workers tell of themselves. `now` in seconds since 1970.
    pub(super) fn begin(&mut self, workers: &[Worker], metrics: &AggregatedMetrics, now: f64) {
        self.reading += 1;
        self.unreadable = 0;
        self.runs.retain(|worker, _| workers.contains(worker));
        for worker in workers {
            if !self.runs.contains_key(worker) {
                self.last_run += 1;
                self.runs.insert(*worker, self.last_run);
                self.ids.insert(self.last_run, worker.0.to_string().into());
            }
        }
        self.living = self.runs.values().copied().chain([MAIN]).collect();
        self.ids.retain(|run, _| self.living.contains(run));
        if self.reading == 1 {
            // All of it was counted since the eldest worker began.
            let eldest = metrics.workers.values().map(uptime).max().unwrap_or(0);
            self.since = now - super::object::float(eldest);
            self.main.created = self.since;
            self.proxy.created = self.since;
        }
        let reading = Reading {
            number: self.reading,
            living: &self.living,
        };
        let mut told = Told::new();
        self.unreadable += collect(&mut told, &mut self.names, Scope::Main, metrics.main.iter());
        self.main.take(MAIN, &mut told, reading);
        for (id, worker) in &metrics.workers {
            let Some(run) = run_of(&self.runs, id) else {
                continue;
            };
            self.unreadable += collect(
                &mut told,
                &mut self.names,
                Scope::Proxy,
                worker.proxy.iter(),
            );
            self.proxy.take(run, &mut told, reading);
        }
    }

    /// What is known of this reading without the clusters.
    pub(super) fn so_far(&self) -> Snapshot {
        let mut page = Page::new(&self.names, self.reading, &self.ids);
        page.object(&self.main, None, None);
        page.object(&self.proxy, None, None);
        page.finish()
    }

    /// Takes clusters, by worker.
    pub(super) fn take(&mut self, metrics: AggregatedMetrics) {
        for (id, worker) in metrics.workers {
            if let Some(run) = run_of(&self.runs, &id) {
                for (id, cluster) in worker.clusters {
                    self.take_cluster(run, &id, &cluster);
                }
            }
        }
    }

    fn take_cluster(&mut self, run: Run, id: &str, metrics: &ClusterMetrics) {
        let reading = Reading {
            number: self.reading,
            living: &self.living,
        };
        let names = &mut self.names;
        let known = match self.clusters.get_mut(id) {
            Some(known) => known,
            None => self.clusters.entry(id.into()).or_insert_with(|| Cluster {
                reading: 0,
                own: Object::new(self.since),
                backends: BTreeMap::new(),
                place: Place::new(),
            }),
        };
        known.reading = self.reading;
        let mut told = Told::new();
        self.unreadable += collect(&mut told, names, Scope::Cluster, metrics.cluster.iter());
        if self.detail != Detail::Backend {
            for backend in &metrics.backends {
                self.unreadable +=
                    collect(&mut told, names, Scope::Cluster, backend.metrics.iter());
            }
        }
        known.own.take(run, &mut told, reading);
        if self.detail == Detail::Backend {
            for backend in &metrics.backends {
                self.unreadable +=
                    collect(&mut told, names, Scope::Cluster, backend.metrics.iter());
                let object = match known.backends.get_mut(&*backend.backend_id) {
                    Some(object) => object,
                    None => known
                        .backends
                        .entry(backend.backend_id.as_str().into())
                        .or_insert_with(|| Object::new(self.since)),
                };
                object.take(run, &mut told, reading);
            }
        }
    }

    /// Ends a reading. What was not told is gone, if everything was asked.
    pub(super) fn end(&mut self, everything: bool, now: f64) -> (Snapshot, Notes) {
        if everything {
            self.forget();
        }
        self.since = now;
        let mut notes = Notes {
            unknown_names: self.names.unknown_names(),
            unreadable: self.unreadable,
            ..Notes::default()
        };
        let mut page = Page::new(&self.names, self.reading, &self.ids);
        page.object(&self.main, None, None);
        page.object(&self.proxy, None, None);
        self.place(page.series, &mut notes);

        let mut page = Page::new(&self.names, self.reading, &self.ids);
        page.object(&self.main, None, None);
        page.object(&self.proxy, None, None);
        let mut other = self.left.clone();
        let mut gauges: BTreeMap<SlotId, f64> = BTreeMap::new();
        for (id, cluster) in &self.clusters {
            let told = cluster.reading == self.reading;
            if !cluster.place.named || cluster.place.elsewhere.is_some() {
                budget::add(
                    &mut other,
                    cluster.place.in_other(cluster.total(&self.names)),
                );
            }
            if told && cluster.place.named {
                page.cluster(id, cluster);
            } else if told {
                notes.clusters_in_other += 1;
                cluster.show(&self.names, self.reading, |slot, shown| {
                    if let Shown::Gauge(value) = shown {
                        *gauges.entry(slot).or_default() += value;
                    }
                });
            }
        }
        if notes.clusters_in_other > 0 || !other.is_empty() {
            page.other(other, gauges, self.proxy.created);
        }
        (page.finish(), notes)
    }

    fn forget(&mut self) {
        let (reading, names) = (self.reading, &self.names);
        let left = &mut self.left;
        self.clusters.retain(|_, cluster| {
            let stays = cluster.reading == reading;
            if !stays && (!cluster.place.named || cluster.place.elsewhere.is_some()) {
                budget::add(left, cluster.place.in_other(cluster.total(names)));
            }
            stays
        });
    }

    /// Decides who is shown by name.
    fn place(&mut self, fixed: usize, notes: &mut Notes) {
        let traffic = self
            .names
            .slot(Scope::Cluster, "access_logs.count", Form::Count);
        for cluster in self.clusters.values_mut() {
            let mut total = 0;
            cluster.show(&self.names, self.reading, |slot, shown| {
                if let (true, Shown::Number(number)) = (Some(slot) == traffic, shown) {
                    total += number.events();
                }
            });
            cluster.place.traffic(total);
        }
        let candidates: Vec<Candidate<'_>> = self
            .clusters
            .iter()
            .map(|(id, cluster)| Candidate {
                id,
                place: &cluster.place,
                series: cluster.series(&self.names),
            })
            .collect();
        let room = self.max_series.saturating_sub(fixed);
        let chosen = budget::choose(&candidates, room);
        let hidden = candidates
            .iter()
            .zip(&chosen)
            .filter(|(_, chosen)| !**chosen);
        notes.series_left_out = hidden.map(|(candidate, _)| candidate.series).sum();
        drop(candidates);
        let totals: Vec<Option<Sums>> = self
            .clusters
            .values()
            .zip(&chosen)
            .map(|(cluster, named)| {
                (cluster.place.named != *named).then(|| cluster.total(&self.names))
            })
            .collect();
        for ((cluster, named), total) in self.clusters.values_mut().zip(chosen).zip(totals) {
            cluster.place.put(named, || total.unwrap_or_default());
        }
    }
}

impl Cluster {
    /// Everything of it, its backends' too.
    fn show(&self, names: &Dictionary, reading: u32, mut show: impl FnMut(SlotId, Shown)) {
        for object in std::iter::once(&self.own).chain(self.backends.values()) {
            object.show(names, reading, &mut show);
        }
    }

    fn total(&self, names: &Dictionary) -> Sums {
        let mut sums = Sums::new();
        self.show(names, self.reading, |slot, shown| {
            if let Shown::Number(number) = shown {
                budget::add(&mut sums, Sums::from([(slot, number)]));
            }
        });
        sums
    }

    fn series(&self, names: &Dictionary) -> usize {
        let mut series = 0;
        self.show(names, self.reading, |_, shown| {
            series += budget::series(match &shown {
                Shown::Number(number) => Some(number),
                Shown::Gauge(_) | Shown::PerWorker(..) => None,
            });
        });
        series
    }
}

fn run_of(runs: &HashMap<Worker, Run>, id: &str) -> Option<Run> {
    let id: u32 = id.parse().ok()?;
    runs.iter()
        .find(|((worker, _), _)| *worker == id)
        .map(|(_, run)| *run)
}

fn uptime(worker: &WorkerMetrics) -> i64 {
    match worker.proxy.get("process.uptime_seconds") {
        Some(FilteredMetrics {
            inner: Some(Inner::Gauge(seconds)),
        }) => i64::try_from(*seconds).unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
