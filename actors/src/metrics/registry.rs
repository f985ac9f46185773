//! Where the `metrics` crate counts: `metrics-exporter-prometheus`, whose text is read back, because what
//! is gone has to leave `/metrics` at once, and because two formats are written from it.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use ::metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use super::{
    RECORDED, Type,
    text::{Observations, Text},
};

/// All that was counted, shared by its clones.
#[derive(Clone)]
pub struct Registry {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    since: SystemTime,
}

/// A series' labels, in the exporter's order.
type Labels = Vec<(String, String)>;

/// What the exporter says of one series.
#[derive(Debug, Default)]
struct Series {
    /// Of a counter its value, of a histogram how many were observed.
    count: u64,
    /// Cumulative, without what is above the last bound.
    buckets: Vec<u64>,
    sum: f64,
}

impl Default for Registry {
    fn default() -> Self {
        // Only an empty list of buckets is an error, and ours are constants that a test checks.
        let recorder = recorder().unwrap_or_else(|_| PrometheusBuilder::new().build_recorder());
        Self {
            handle: recorder.handle(),
            recorder: Arc::new(recorder),
            since: SystemTime::now(),
        }
    }
}

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in RECORDED {
        if let Type::Histogram(bounds) = metric.kind {
            let name = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(name, bounds)?;
        }
    }
    Ok(builder.build_recorder())
}

impl Registry {
    /// Writes what was counted. `lives`: whether a source is still there; what belongs to another
    /// one is left out.
    pub(crate) fn write(&self, text: &mut Text, lives: impl Fn(&str) -> bool) {
        let rendered = self.handle.render();
        let created = super::seconds(self.since);
        for metric in &RECORDED {
            let mut family = text.family(metric);
            for (labels, series) in series(&rendered, metric.name) {
                if labels.iter().any(|(k, v)| k == "source" && !lives(v)) {
                    continue;
                }
                let labels: Vec<(&str, &str)> = labels
                    .iter()
                    .map(|(k, v)| (k.as_str(), v.as_str()))
                    .collect();
                match metric.kind {
                    Type::Histogram(_) => {
                        let seen = Observations {
                            buckets: &series.buckets,
                            count: series.count,
                            sum: &series.sum,
                        };
                        family.histogram(&labels, seen, created);
                    }
                    Type::Counter | Type::Gauge => family.counter(&labels, series.count, created),
                }
            }
        }
    }

    /// Sums up what the histograms observed, which costs memory until then. To be called now and then.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// The series of one metric in the exporter's text.
fn series(rendered: &str, name: &str) -> BTreeMap<Labels, Series> {
    let mut all: BTreeMap<Labels, Series> = BTreeMap::new();
    for line in rendered.lines() {
        let Some((sample, value)) = line
            .strip_prefix(name)
            .and_then(|rest| rest.rsplit_once(' '))
        else {
            continue;
        };
        let (suffix, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let mut labels = unescaped(labels);
        let bound = labels.iter().position(|(name, _)| name == "le");
        let bound = bound.map(|at| labels.remove(at).1);
        let series = all.entry(labels).or_default();
        match (suffix, value.parse::<f64>(), value.parse()) {
            ("" | "_count", _, Ok(count)) => series.count = count,
            ("_sum", Ok(sum), _) => series.sum = sum,
            ("_bucket", _, Ok(count)) if bound.is_some_and(|bound| bound != "+Inf") => {
                series.buckets.push(count);
            }
            _ => {}
        }
    }
    all
}

/// `a="b",c="d"}` as names and values.
fn unescaped(mut text: &str) -> Labels {
    let mut labels = Labels::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let mut value = String::new();
        let mut characters = rest.chars();
        while let Some(character) = characters.next() {
            match character {
                '"' => break,
                '\\' => value.extend(
                    characters
                        .next()
                        .map(|it| if it == 'n' { '\n' } else { it }),
                ),
                other => value.push(other),
            }
        }
        labels.push((name.trim_start_matches(',').to_owned(), value));
        text = characters.as_str();
    }
    labels
}

impl Recorder for Registry {
    // The help stands in the constants.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.recorder.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.recorder.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.recorder.register_histogram(key, metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_exporter_says_is_read_back_with_odd_labels_and_names_that_begin_alike() {
        let text = "# TYPE a_total counter\na_total{source=\"q\\\"u\\\\o\\nte, x=\\\"1\\\"\",b=\"\"} 3\na_total_more 7\n\
                    a_total 4\n# TYPE h histogram\nh_bucket{c=\"d\",le=\"0.5\"} 1\nh_bucket{c=\"d\",le=\"+Inf\"} 2\n\
                    h_sum{c=\"d\"} 1.5\nh_count{c=\"d\"} 2\n";
        let counters = series(text, "a_total");
        let odd = vec![
            ("source".to_owned(), "q\"u\\o\nte, x=\"1\"".to_owned()),
            ("b".to_owned(), String::new()),
        ];
        assert_eq!(counters[&odd].count, 3);
        assert_eq!(counters[&vec![]].count, 4);
        let histogram = &series(text, "h")[&vec![("c".to_owned(), "d".to_owned())]];
        assert_eq!((histogram.count, &histogram.buckets), (2, &vec![1]));
        assert!((histogram.sum - 1.5).abs() < f64::EPSILON);
    }

    #[test]
    fn every_histogram_has_the_buckets_that_its_constant_says() {
        assert!(recorder().is_ok());
    }
}
