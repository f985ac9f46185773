//! What is known of Sōzu's metrics from one reading to the next. It outlives the actor, so that no total falls when that
//! is restarted.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use sozu_command_lib::proto::command::{
    AggregatedMetrics, ClusterMetrics, FilteredMetrics, WorkerMetrics, filtered_metrics::Inner,
};

use super::{
    budget::{self, Candidate, OTHER, Place, Sums},
    config::Detail,
    names::{Dictionary, Form, SlotId},
    object::{Object, Reading, Run, Shown, Told, collect},
    snapshot::{self, Sample, Snapshot},
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

/// What is shown of one reading, while it is put together.
struct Page<'a> {
    names: &'a Dictionary,
    reading: u32,
    ids: &'a HashMap<Run, Arc<str>>,
    samples: Vec<Vec<Sample>>,
    series: usize,
}

impl<'a> Page<'a> {
    fn new(names: &'a Dictionary, reading: u32, ids: &'a HashMap<Run, Arc<str>>) -> Self {
        Self {
            names,
            reading,
            ids,
            samples: names.families().iter().map(|_| Vec::new()).collect(),
            series: 0,
        }
    }

    fn object(&mut self, object: &Object, cluster: Option<&Arc<str>>, backend: Option<&Arc<str>>) {
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

    fn cluster(&mut self, id: &Arc<str>, cluster: &Cluster) {
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

    fn other(&mut self, sums: Sums, gauges: BTreeMap<SlotId, f64>, created: f64) {
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

    fn finish(self) -> Snapshot {
        let families = self.names.families().iter().cloned();
        let mut families: Vec<_> = families
            .zip(self.samples)
            .filter(|(_, samples)| !samples.is_empty())
            .collect();
        families.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        Snapshot { families }
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
mod tests {
    use sozu_command_lib::proto::command::BackendMetrics;

    use super::*;

    const WORKERS: [Worker; 2] = [(0, 10), (1, 11)];

    fn count(name: &str, n: i64) -> (String, FilteredMetrics) {
        let inner = Some(Inner::Count(n));
        (name.to_owned(), FilteredMetrics { inner })
    }

    /// One reading in which each worker tells the same of every cluster.
    fn read(store: &mut Store, clusters: &[(&str, i64)]) -> (Snapshot, Notes) {
        let worker = WorkerMetrics {
            proxy: BTreeMap::new(),
            clusters: BTreeMap::new(),
        };
        let mut metrics = AggregatedMetrics {
            workers: BTreeMap::from([("0".to_owned(), worker.clone()), ("1".to_owned(), worker)]),
            ..AggregatedMetrics::default()
        };
        store.begin(&WORKERS, &metrics, 1_000.0);
        for worker in metrics.workers.values_mut() {
            for (id, n) in clusters {
                let backend = BackendMetrics {
                    backend_id: "b".to_owned(),
                    metrics: BTreeMap::from([count("requests", *n)]),
                };
                let cluster = ClusterMetrics {
                    cluster: BTreeMap::from([count("access_logs.count", *n)]),
                    backends: vec![backend],
                };
                worker.clusters.insert((*id).to_owned(), cluster);
            }
        }
        store.take(metrics);
        store.end(true, 1_001.0)
    }

    /// `cluster|backend` and its value, of one family.
    fn values(snapshot: &Snapshot, family: &str) -> BTreeMap<String, i64> {
        let family = snapshot.families.iter().find(|(f, _)| f.name == family);
        let samples = family.map_or(&[][..], |(_, samples)| samples);
        samples
            .iter()
            .map(|sample| {
                let cluster = sample.cluster.as_deref().unwrap_or_default();
                let backend = sample.backend.as_deref().unwrap_or_default();
                let value = match &sample.value {
                    snapshot::Reading::Number(number, _) => number.events(),
                    snapshot::Reading::Gauge(_) => panic!("a gauge"),
                };
                (format!("{cluster}|{backend}"), value)
            })
            .collect()
    }

    fn of(pairs: &[(&str, i64)]) -> BTreeMap<String, i64> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect()
    }

    #[test]
    fn a_backend_is_told_apart_only_where_that_is_asked_for() {
        let requests = "sozu_cluster_requests_total";
        let mut store = Store::new(Detail::Cluster, 1_000);
        let (snapshot, _) = read(&mut store, &[("a", 3)]);
        assert_eq!(values(&snapshot, requests), of(&[("a|", 6)]));
        let mut store = Store::new(Detail::Backend, 1_000);
        let (snapshot, _) = read(&mut store, &[("a", 3)]);
        assert_eq!(values(&snapshot, requests), of(&[("a|b", 6)]));
    }

    #[test]
    fn what_does_not_fit_is_in_other_and_moves_without_a_fall() {
        let logs = "sozu_cluster_access_logs_total";
        // Room for one cluster of two series beside the reserve.
        let mut store = Store::new(Detail::Cluster, 253);
        let many: Vec<(String, i64)> = (0..140).map(|n| (format!("c{n:03}"), 1)).collect();
        let with = |busy: i64, gone: bool| {
            let skip = usize::from(gone);
            let mut clusters: Vec<(&str, i64)> = many
                .iter()
                .skip(skip)
                .map(|(id, n)| (id.as_str(), *n))
                .collect();
            clusters.push(("busy", busy));
            clusters
        };
        let (snapshot, notes) = read(&mut store, &with(0, false));
        let first = values(&snapshot, logs);
        assert_eq!(notes.clusters_in_other, 140);
        assert_eq!(first.values().sum::<i64>(), 280);
        assert_eq!(first.len(), 2, "{first:?}");
        assert!(snapshot.series() <= 253);

        // It gets busy: what it counted in `other` stays there.
        let (snapshot, _) = read(&mut store, &with(5, false));
        let second = values(&snapshot, logs);
        assert!(second["other|"] >= first["other|"], "{first:?} {second:?}");
        let (snapshot, _) = read(&mut store, &with(50, false));
        let third = values(&snapshot, logs);
        assert_eq!(third["busy|"], 90, "{third:?}");
        assert!(third["other|"] >= second["other|"], "{second:?} {third:?}");

        // One of the rest is removed: what it counted stays in `other`.
        let (snapshot, _) = read(&mut store, &with(50, true));
        let fourth = values(&snapshot, logs);
        assert!(fourth["other|"] >= third["other|"], "{third:?} {fourth:?}");
        assert!(!fourth.contains_key("c000|"));
    }

    #[test]
    fn what_is_gone_leaves() {
        let mut store = Store::new(Detail::Cluster, 1_000);
        read(&mut store, &[("a", 3), ("b", 4)]);
        let (snapshot, _) = read(&mut store, &[("b", 4)]);
        let family = "sozu_cluster_access_logs_total";
        assert_eq!(values(&snapshot, family), of(&[("b|", 8)]));
    }
}
