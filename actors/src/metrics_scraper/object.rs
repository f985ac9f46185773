//! The values of one thing: the proxy, a cluster, a backend.

use sozu_command_lib::proto::command::{
    FilteredHistogram, FilteredMetrics, filtered_metrics::Inner,
};

use super::{
    names::{Dictionary, Form, SlotId},
    number::Number,
    table::{Kind, Over, Scope},
};

/// One run of a worker's process: never used again.
pub(super) type Run = u32;
/// What runs that ended have left.
const ENDED: Run = Run::MAX;

/// What is told of one thing by the workers.
#[derive(Debug, Default)]
pub(super) struct Object {
    /// By slot, then run.
    values: Vec<Value>,
    /// When it was first seen, in seconds since 1970.
    pub(super) created: f64,
}

#[derive(Debug)]
struct Value {
    slot: SlotId,
    run: Run,
    /// The reading in which it was told last.
    reading: u32,
    number: Number,
}

/// A value that is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shown {
    Number(Number),
    Gauge(f64),
    /// Of this run.
    PerWorker(Run, f64),
}

/// A reading: which one, and which runs go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    pub(super) number: u32,
    pub(super) living: &'a [Run],
}

/// What one worker tells of one thing, by slot, each slot once.
pub(super) type Told = Vec<(SlotId, Number)>;

/// Adds what stands under Sōzu's names; says how many could not be read.
pub(super) fn collect<'a>(
    told: &mut Told,
    names: &mut Dictionary,
    scope: Scope,
    metrics: impl Iterator<Item = (&'a String, &'a FilteredMetrics)>,
) -> usize {
    let mut unreadable = 0;
    for (name, metric) in metrics {
        let Some(inner) = &metric.inner else {
            unreadable += 1;
            continue;
        };
        if matches!(inner, Inner::Percentiles(_)) {
            continue;
        }
        let Some(form) = Form::of(inner) else {
            unreadable += 1;
            continue;
        };
        let Some(slot) = names.slot(scope, name, form) else {
            unreadable += 1;
            continue;
        };
        let number = match inner {
            Inner::Count(count) => Number::One((*count).max(0)),
            Inner::Gauge(gauge) => Number::One(i64::try_from(*gauge).unwrap_or(i64::MAX)),
            Inner::Histogram(histogram) => counts(histogram, scope.bounds()),
            _ => continue,
        };
        match told.binary_search_by_key(&slot, |(slot, _)| *slot) {
            // A cluster's and its backends'.
            Ok(at) => told[at].1.add(&number),
            Err(at) => told.insert(at, (slot, number)),
        }
    }
    unreadable
}

/// Sōzu's buckets (`le` in whole milliseconds, rounded down, only as many as were needed) in ours.
fn counts(histogram: &FilteredHistogram, bounds: &[f64]) -> Number {
    let mut counts = Vec::with_capacity(bounds.len() + 2);
    let mut buckets = histogram.buckets.iter().peekable();
    let mut count = 0;
    for bound in bounds {
        while let Some(bucket) = buckets.next_if(|bucket| below(bucket.le, *bound)) {
            count = bucket.count.max(count);
        }
        counts.push(count);
    }
    let total = histogram.count.max(count);
    counts.extend([total, histogram.sum]);
    Number::Many(counts.into())
}

/// Whether all that is at most so many whole milliseconds took less than the bound.
fn below(milliseconds: u64, bound: f64) -> bool {
    u32::try_from(milliseconds).is_ok_and(|le| f64::from(le) < bound * 1_000.0)
}

impl Object {
    pub(super) fn new(created: f64) -> Self {
        Self {
            values: Vec::new(),
            created,
        }
    }

    /// Takes what a run tells now.
    pub(super) fn take(&mut self, run: Run, told: &mut Told, reading: Reading<'_>) {
        for (slot, number) in told.drain(..) {
            match self.values.binary_search_by_key(&(slot, run), Value::place) {
                Ok(at) => {
                    let before = &mut self.values[at];
                    before.reading = reading.number;
                    let last = std::mem::replace(&mut before.number, number);
                    // Told anew from zero: the cluster was removed and added, or `sozu metrics clear`.
                    if before.number.events() < last.events() {
                        self.keep(slot, &last);
                    }
                }
                Err(at) => self.values.insert(
                    at,
                    Value {
                        slot,
                        run,
                        reading: reading.number,
                        number,
                    },
                ),
            }
        }
        let ended = |value: &Value| value.run != ENDED && !reading.living.contains(&value.run);
        while let Some(at) = self.values.iter().position(ended) {
            let value = self.values.remove(at);
            self.keep(value.slot, &value.number);
        }
    }

    /// What an ended run has counted stays. (Of a gauge it is never shown.)
    fn keep(&mut self, slot: SlotId, number: &Number) {
        match self
            .values
            .binary_search_by_key(&(slot, ENDED), Value::place)
        {
            Ok(at) => self.values[at].number.add(number),
            Err(at) => self.values.insert(
                at,
                Value {
                    slot,
                    run: ENDED,
                    reading: 0,
                    number: number.clone(),
                },
            ),
        }
    }

    /// Everything that is shown of it in this reading.
    pub(super) fn show(
        &self,
        names: &Dictionary,
        reading: u32,
        mut show: impl FnMut(SlotId, Shown),
    ) {
        for values in self.values.chunk_by(|a, b| a.slot == b.slot) {
            let slot = values[0].slot;
            let Some(kind) = names.get(slot).map(|slot| slot.kind) else {
                continue;
            };
            let now = values
                .iter()
                .filter(|value| value.reading == reading && value.run != ENDED)
                .map(|value| (value.run, value.number.events()));
            match kind {
                Kind::Counter | Kind::Time => {
                    let mut sum = values[0].number.zero_like();
                    for value in values {
                        sum.add(&value.number);
                    }
                    show(slot, Shown::Number(sum));
                }
                Kind::Percent => {
                    for (run, value) in now {
                        show(slot, Shown::PerWorker(run, float(value) / 100.0));
                    }
                }
                Kind::Gauge(Over::PerWorker) => {
                    for (run, value) in now {
                        show(slot, Shown::PerWorker(run, float(value)));
                    }
                }
                Kind::Gauge(over) => {
                    let values = now.map(|(_, value)| value);
                    let one = match over {
                        Over::Least => values.min(),
                        Over::Most => values.max(),
                        Over::Sum | Over::PerWorker => values.reduce(i64::saturating_add),
                    };
                    if let Some(value) = one {
                        show(slot, Shown::Gauge(float(value)));
                    }
                }
            }
        }
    }
}

impl Value {
    fn place(&self) -> (SlotId, Run) {
        (self.slot, self.run)
    }
}

/// Exact up to 2^53, as every value of Prometheus.
#[expect(clippy::cast_precision_loss, reason = "Prometheus knows nothing else")]
pub(super) fn float(value: i64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::proto::command::Bucket;

    use super::*;

    fn count(n: i64) -> FilteredMetrics {
        FilteredMetrics {
            inner: Some(Inner::Count(n)),
        }
    }

    fn gauge(n: u64) -> FilteredMetrics {
        FilteredMetrics {
            inner: Some(Inner::Gauge(n)),
        }
    }

    struct World {
        names: Dictionary,
        object: Object,
        reading: u32,
    }

    impl World {
        fn new() -> Self {
            Self {
                names: Dictionary::default(),
                object: Object::new(1.0),
                reading: 0,
            }
        }

        /// A reading in which these runs live, each with its metrics.
        fn read(
            &mut self,
            told: &[(Run, &[(&str, FilteredMetrics)])],
            living: &[Run],
        ) -> Vec<Shown> {
            self.reading += 1;
            let reading = Reading {
                number: self.reading,
                living,
            };
            for (run, metrics) in told {
                let metrics: Vec<(String, FilteredMetrics)> = metrics
                    .iter()
                    .map(|(name, metric)| ((*name).to_owned(), metric.clone()))
                    .collect();
                let mut told = Told::new();
                let pairs = metrics.iter().map(|(name, metric)| (name, metric));
                collect(&mut told, &mut self.names, Scope::Cluster, pairs);
                self.object.take(*run, &mut told, reading);
            }
            let mut shown = Vec::new();
            self.object
                .show(&self.names, self.reading, |_, value| shown.push(value));
            shown
        }
    }

    fn one(n: i64) -> Vec<Shown> {
        vec![Shown::Number(Number::One(n))]
    }

    #[test]
    fn totals_are_summed_over_workers_and_never_fall() {
        let mut world = World::new();
        let told = world.read(
            &[
                (1, &[("requests", count(5))]),
                (2, &[("requests", count(7))]),
            ],
            &[1, 2],
        );
        assert_eq!(told, one(12));
        // Run 2 ended; the new one has not counted yet.
        assert_eq!(
            world.read(&[(1, &[("requests", count(6))])], &[1, 3]),
            one(13)
        );
        let told = world.read(
            &[
                (1, &[("requests", count(6))]),
                (3, &[("requests", count(9))]),
            ],
            &[1, 3],
        );
        assert_eq!(told, one(22));
        // Silent, not ended.
        assert_eq!(
            world.read(&[(1, &[("requests", count(8))])], &[1, 3]),
            one(24)
        );
        // Told anew from zero.
        assert_eq!(
            world.read(&[(1, &[("requests", count(1))])], &[1, 3]),
            one(25)
        );
    }

    #[test]
    fn gauges_are_of_now() {
        let mut world = World::new();
        let available = |n| [("cluster.available_backends", gauge(n))];
        let told = world.read(&[(1, &available(3)), (2, &available(2))], &[1, 2]);
        assert_eq!(told, [Shown::Gauge(2.0)]);
        assert_eq!(
            world.read(&[(1, &available(3))], &[1, 2]),
            [Shown::Gauge(3.0)]
        );
        assert_eq!(world.read(&[], &[1, 2]), []);
    }

    #[test]
    fn sozus_buckets_become_the_fixed_ones() {
        let bucket = |le, count| Bucket { count, le };
        let histogram = FilteredHistogram {
            sum: 100,
            count: 9,
            buckets: vec![
                bucket(0, 2),
                bucket(1, 3),
                bucket(3, 5),
                bucket(7, 5),
                bucket(15, 9),
            ],
        };
        // 1, 2, 4, 8 and 16 ms
        assert_eq!(
            counts(&histogram, &[0.001, 0.002, 0.004, 0.008, 0.016, 0.032]),
            Number::Many(vec![2, 3, 5, 5, 9, 9, 9, 100].into())
        );
        let none = FilteredHistogram {
            sum: 0,
            count: 0,
            buckets: Vec::new(),
        };
        assert_eq!(counts(&none, &[0.001]), Number::Many(vec![0, 0, 0].into()));
    }

    #[test]
    fn an_unknown_kind_is_counted_and_harmless() {
        let mut names = Dictionary::default();
        let nothing = FilteredMetrics { inner: None };
        let name = "odd".to_owned();
        let mut told = Told::new();
        let unreadable = collect(
            &mut told,
            &mut names,
            Scope::Proxy,
            [(&name, &nothing)].into_iter(),
        );
        assert_eq!((unreadable, told.len()), (1, 0));
    }
}
