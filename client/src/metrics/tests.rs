use std::cell::RefCell;

use sozu_command_lib::proto::command::{ClusterMetrics, WorkerMetrics};

use super::*;

/// Sōzu as it answers questions for metrics: a worker refuses what it has not, and what is too large is not answered.
struct Played {
    /// What each worker has of each cluster, in bytes.
    workers: BTreeMap<String, BTreeMap<String, usize>>,
    limit: usize,
    asked: RefCell<Vec<QueryMetricsOptions>>,
}

impl Played {
    fn new(limit: usize) -> Self {
        Self {
            workers: BTreeMap::from([
                ("0".to_owned(), BTreeMap::new()),
                ("1".to_owned(), BTreeMap::new()),
            ]),
            limit,
            asked: RefCell::default(),
        }
    }

    fn has(
        mut self,
        workers: &[&str],
        clusters: impl IntoIterator<Item = (String, usize)>,
    ) -> Self {
        for (id, bytes) in clusters {
            for worker in workers {
                self.workers
                    .get_mut(*worker)
                    .unwrap()
                    .insert(id.clone(), bytes);
            }
        }
        self
    }

    fn answer(&self, request: Request) -> Result<Answer, ExchangeError> {
        let Some(RequestType::QueryMetrics(question)) = request.request_type else {
            panic!("{request:?}");
        };
        let mut metrics = AggregatedMetrics::default();
        let all: BTreeSet<&String> = self.workers.values().flat_map(BTreeMap::keys).collect();
        let gauge = FilteredMetrics {
            inner: Some(Inner::Gauge(all.len() as u64)),
        };
        metrics
            .main
            .insert("configuration.clusters".to_owned(), gauge);
        for (worker, has) in &self.workers {
            let ids: Vec<&String> = match (&question.cluster_ids[..], question.no_clusters) {
                (_, true) => Vec::new(),
                ([], false) => has.keys().collect(),
                (ids, false) => ids.iter().collect(),
            };
            if !ids.iter().all(|id| has.contains_key(*id)) {
                continue;
            }
            let mut told = WorkerMetrics::default();
            for id in ids {
                let mut cluster = ClusterMetrics::default();
                if question.metric_names.is_empty() {
                    let name = "x".repeat(has[id]);
                    cluster.cluster.insert(name, FilteredMetrics::default());
                }
                told.clusters.insert(id.clone(), cluster);
            }
            metrics.workers.insert(worker.clone(), told);
        }
        self.asked.borrow_mut().push(question);
        if metrics.encoded_len() > self.limit {
            return Err(ExchangeError::Unknown(
                "Sōzu closed the connection".to_owned(),
            ));
        }
        Ok(Answer {
            content: Some(ContentType::Metrics(metrics).into()),
            ..Answer::default()
        })
    }

    /// One reading: how often each worker's clusters were told, and what is said of it.
    async fn read(
        &self,
        reader: &mut MetricsReader,
        known: Option<Vec<String>>,
    ) -> (BTreeMap<(String, String), usize>, MetricsRead) {
        let exchange = async |request| self.answer(request);
        let mut told = BTreeMap::new();
        let proxy = reader.proxy(exchange).await.unwrap();
        reader.list(exchange, &proxy, async || known).await;
        let read = reader.clusters(exchange, &proxy, |metrics| {
            for (worker, metrics) in metrics.workers {
                for id in metrics.clusters.into_keys() {
                    *told.entry((worker.clone(), id)).or_default() += 1;
                }
            }
        });
        let read = read.await.unwrap();
        (told, read)
    }

    fn all(&self) -> BTreeMap<(String, String), usize> {
        let each = self
            .workers
            .iter()
            .flat_map(|(worker, has)| has.keys().map(move |id| ((worker.clone(), id.clone()), 1)));
        each.collect()
    }
}

fn many(name: &str, count: usize, bytes: usize) -> Vec<(String, usize)> {
    (0..count).map(|n| (format!("{name}{n}"), bytes)).collect()
}

#[tokio::test]
async fn everything_is_told_once_whatever_its_size_and_whoever_has_it() {
    let sozu = Played::new(2_000_000)
        .has(&["0", "1"], many("idle", 5_000, 80))
        .has(&["0", "1"], many("busy", 300, 20_000))
        .has(&["0"], many("here", 50, 100))
        .has(&["1"], many("there", 50, 100))
        .has(&["0", "1"], many("huge", 3, 700_000));
    let mut reader = MetricsReader::default();
    for _ in 0..2 {
        let (told, read) = sozu.read(&mut reader, None).await;
        assert_eq!(told, sozu.all());
        assert_eq!(read.unasked, 0);
    }
    // The second time it knows what fits: nothing is asked in vain, and nothing is listed again.
    sozu.asked.borrow_mut().clear();
    let (_, read) = sozu.read(&mut reader, None).await;
    let asked = sozu.asked.borrow();
    assert_eq!(asked.len(), read.requests + 1);
    assert!(read.requests < 60, "{read:?}");
}

#[tokio::test]
async fn where_the_names_do_not_fit_the_callers_list_is_taken() {
    let sozu = Played::new(60_000)
        .has(&["0", "1"], many("cluster-", 3_000, 10))
        .has(&["1"], many("one-", 3, 10));
    let mut reader = MetricsReader::default();
    let (told, read) = sozu.read(&mut reader, None).await;
    assert_eq!((told.len(), read.unasked), (0, 3_003));

    let ids = ["cluster-", "one-", "never-used-"].iter().flat_map(|name| {
        let count = if *name == "cluster-" { 3_000 } else { 3 };
        (0..count).map(move |n| format!("{name}{n}"))
    });
    let (told, read) = sozu.read(&mut reader, Some(ids.collect())).await;
    assert_eq!(told, sozu.all());
    assert_eq!(read.unasked, 0);
}

#[tokio::test]
async fn what_was_removed_since_the_list_hides_nothing_else() {
    let sozu = Played::new(2_000_000).has(&["0", "1"], many("c", 100, 80));
    let mut reader = MetricsReader::default();
    sozu.read(&mut reader, None).await;
    let mut sozu = sozu;
    for has in sozu.workers.values_mut() {
        has.remove("c42");
    }
    // As if the main process had not counted the order yet.
    let proxy = ProxyMetrics {
        metrics: AggregatedMetrics {
            workers: sozu
                .workers
                .keys()
                .map(|id| (id.clone(), WorkerMetrics::default()))
                .collect(),
            ..AggregatedMetrics::default()
        },
        silent: false,
    };
    let mut told = BTreeSet::new();
    let exchange = async |request| sozu.answer(request);
    let read = reader.clusters(exchange, &proxy, |metrics| {
        for (worker, metrics) in metrics.workers {
            told.extend(metrics.clusters.into_keys().map(|id| (worker.clone(), id)));
        }
    });
    read.await.unwrap();
    assert_eq!(told.len(), 198);
}
