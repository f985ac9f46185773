use sozu_command_lib::proto::command::BackendMetrics;

use super::*;
use crate::metrics_scraper::snapshot;

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
