//! Where the `metrics` crate counts: a small recorder of our own, because what is gone has to leave
//! `/metrics` at once, and because two formats are written from it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use ::metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

use super::{
    RECORDED, Type,
    text::{Observations, Text},
};

/// All that was counted, shared by its clones.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Mutex<Families>>);

type Families = BTreeMap<String, BTreeMap<Labels, Arc<Cell>>>;
type Labels = Vec<(String, String)>;

/// One series.
#[derive(Debug)]
struct Cell {
    created: SystemTime,
    value: Mutex<Value>,
}

#[derive(Clone, Debug)]
enum Value {
    Counter(u64),
    Histogram {
        bounds: &'static [f64],
        /// Not cumulative, one more than there are bounds.
        buckets: Vec<u64>,
        sum: f64,
    },
}

impl Registry {
    /// Writes what was counted. `lives`: whether a source is still there; what belongs to another
    /// one is left out.
    pub(crate) fn write(&self, text: &mut Text, lives: impl Fn(&str) -> bool) {
        for metric in &RECORDED {
            let series = lock(&self.0).get(metric.name).cloned().unwrap_or_default();
            let mut family = text.family(metric);
            for (labels, cell) in series {
                if labels.iter().any(|(k, v)| k == "source" && !lives(v)) {
                    continue;
                }
                let labels: Vec<(&str, &str)> = labels
                    .iter()
                    .map(|(k, v)| (k.as_str(), v.as_str()))
                    .collect();
                let created = super::seconds(cell.created);
                let value = lock(&cell.value).clone();
                match value {
                    Value::Counter(count) => family.counter(&labels, count, created),
                    Value::Histogram { buckets, sum, .. } => {
                        let mut count = 0;
                        let buckets: Vec<u64> = buckets
                            .iter()
                            .map(|more| {
                                count += more;
                                count
                            })
                            .collect();
                        let seen = Observations {
                            buckets: &buckets,
                            count,
                            sum: &sum,
                        };
                        family.histogram(&labels, seen, created);
                    }
                }
            }
        }
    }

    fn cell(&self, key: &Key, first: impl FnOnce() -> Value) -> Arc<Cell> {
        let labels = key
            .labels()
            .map(|label| (label.key().to_owned(), label.value().to_owned()))
            .collect();
        let mut families = lock(&self.0);
        let family = families.entry(key.name().to_owned()).or_default();
        let cell = family.entry(labels).or_insert_with(|| {
            Arc::new(Cell {
                created: SystemTime::now(),
                value: Mutex::new(first()),
            })
        });
        cell.clone()
    }
}

impl Recorder for Registry {
    // The help stands in the constants.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key, || Value::Counter(0)))
    }

    /// None is recorded: a gauge is written at the scrape.
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let cell = self.cell(key, || {
            let bounds = RECORDED
                .iter()
                .find(|metric| metric.name == key.name())
                .map_or(&[][..], |metric| match metric.kind {
                    Type::Histogram(bounds) => bounds,
                    Type::Counter | Type::Gauge => &[],
                });
            Value::Histogram {
                bounds,
                buckets: vec![0; bounds.len() + 1],
                sum: 0.0,
            }
        });
        Histogram::from_arc(cell)
    }
}

impl CounterFn for Cell {
    fn increment(&self, more: u64) {
        if let Value::Counter(count) = &mut *lock(&self.value) {
            *count += more;
        }
    }

    fn absolute(&self, now: u64) {
        if let Value::Counter(count) = &mut *lock(&self.value) {
            *count = now.max(*count);
        }
    }
}

impl HistogramFn for Cell {
    fn record(&self, value: f64) {
        if let Value::Histogram {
            bounds,
            buckets,
            sum,
        } = &mut *lock(&self.value)
        {
            let at = bounds.partition_point(|bound| *bound < value);
            if let Some(bucket) = buckets.get_mut(at) {
                *bucket += 1;
            }
            *sum += value;
        }
    }
}

/// Nothing here panics while it holds a lock, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
