//! Sōzu's metrics, asked in pieces that fit its buffers.
//!
//! A worker whose answer is larger than `max_command_buffer_size` (2,000,000 bytes unless configured) never answers, and
//! a main process in that case closes the connection. So clusters are asked by name, as many at a time as fit by what
//! they needed last time. Which clusters have metrics, and in which worker, is asked beforehand: a worker refuses a
//! question that names one it has nothing of (sozu-lib 2.3.3, `local_drain.rs`, `query_clusters`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::{Duration, Instant},
};

use prost::Message;
use sozu_command_lib::proto::command::{
    AggregatedMetrics, FilteredMetrics, QueryMetricsOptions, Request, filtered_metrics::Inner,
    request::RequestType, response_content::ContentType,
};

use crate::{Answer, ExchangeError, Pool};

/// So large may an answer become, by our estimate: a quarter of what Sōzu bears.
const ROOM: usize = 500_000;
/// What a list of names may need, by our estimate.
const ROOM_FOR_NAMES: usize = 1_700_000;
/// What a cluster needs in one worker's answer, until one is known.
const UNKNOWN: usize = 4_096;
/// A list of names is asked for again after this time: metrics come with the first request, too.
const LIST_FOR: Duration = Duration::from_mins(1);
/// An answer that lacks a worker and took so long was too large, or that worker hangs. (It may also take so long while
/// the main process saves its state; then it lacks nobody.)
const SLOW: Duration = Duration::from_secs(1);
/// After so many slow answers the rest is left for the next reading.
const SLOW_AT_MOST: usize = 4;
/// So many questions may be needed beyond the planned ones; what is left then is asked next time.
const EXTRA: usize = 200;
/// A name that no metric has: the answer has every cluster's name and nothing else.
const NO_METRIC: &str = "-";

/// What could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsRead {
    /// Clusters that were to be asked and were not, because their list or they themselves do not fit Sōzu's buffers, or
    /// a worker does not answer.
    pub unasked: usize,
    /// Requests that were sent.
    pub requests: usize,
}

/// Reads Sōzu's metrics again and again, and learns what fits. Keep it between two readings.
#[derive(Debug, Default)]
pub struct MetricsReader {
    clusters: Vec<Known>,
    listed: Option<(Instant, u64)>,
    /// How many workers answered last time.
    workers: usize,
    /// For so many clusters the list of names did not fit.
    too_many: Option<usize>,
}

/// A cluster that has metrics.
#[derive(Debug)]
struct Known {
    id: String,
    /// The workers that have none of it.
    lacking: BTreeSet<String>,
    /// What it needed last time, all workers together.
    bytes: Option<usize>,
}

/// The part of an answer that every reading begins with.
#[derive(Clone, Debug)]
pub struct ProxyMetrics {
    /// Of the main process, and of each worker as a whole.
    pub metrics: AggregatedMetrics,
    /// Whether a worker hangs, by all that is known.
    silent: bool,
}

impl MetricsReader {
    /// Asks the main process and the workers for what is theirs as a whole. Small, whatever Sōzu holds.
    ///
    /// # Errors
    /// As `exchange` does.
    pub async fn proxy<E: From<ExchangeError>>(
        &mut self,
        exchange: impl AsyncFn(Request) -> Result<Answer, E>,
    ) -> Result<ProxyMetrics, E> {
        let begun = Instant::now();
        let metrics = ask(&exchange, Vec::new(), Vec::new(), true).await?;
        let workers = metrics.workers.len();
        let silent = begun.elapsed() >= SLOW && workers < self.workers.max(1);
        if !silent {
            self.workers = workers;
        }
        Ok(ProxyMetrics { metrics, silent })
    }

    /// Learns which clusters have metrics, unless what is known is young and nothing was changed. `known` is the caller's
    /// own list, used if Sōzu's does not fit.
    pub async fn list<E: From<ExchangeError>>(
        &mut self,
        exchange: impl AsyncFn(Request) -> Result<Answer, E>,
        proxy: &ProxyMetrics,
        known: impl AsyncFnOnce() -> Option<Vec<String>>,
    ) {
        let print = fingerprint(proxy);
        if let Some((at, last)) = self.listed
            && last == print
            && at.elapsed() < LIST_FOR
        {
            return;
        }
        let workers = proxy.metrics.workers.len().max(1);
        if self.names_fit(proxy, workers) {
            let begun = Instant::now();
            let names = vec![NO_METRIC.to_owned()];
            match ask(&exchange, Vec::new(), names, false).await {
                Ok(answer) if answer.workers.len() >= workers => {
                    self.learn(&answer);
                    self.listed = Some((Instant::now(), print));
                    return;
                }
                // A worker came or went meanwhile: the next reading asks again.
                Ok(_) if begun.elapsed() < SLOW => return,
                // Too large for a worker, or for the main process, which then closes the connection.
                Ok(_) | Err(_) => self.too_many = Some(declared(proxy)).filter(|count| *count > 0),
            }
        }
        let mut before: HashMap<String, Known> = self.take();
        for id in known().await.unwrap_or_default() {
            // What it lacked it may have by now.
            self.clusters.push(Known {
                bytes: before.remove(&id).and_then(|known| known.bytes),
                id,
                lacking: BTreeSet::new(),
            });
        }
        self.listed = (!self.clusters.is_empty()).then(|| (Instant::now(), print));
    }

    /// Asks for the clusters' metrics, a piece at a time. Each piece has them by worker.
    ///
    /// # Errors
    /// As `exchange` does, but for an answer that was lost because it was too large.
    pub async fn clusters<E: From<ExchangeError>>(
        &mut self,
        exchange: impl AsyncFn(Request) -> Result<Answer, E>,
        proxy: &ProxyMetrics,
        mut tell: impl FnMut(AggregatedMetrics),
    ) -> Result<MetricsRead, E> {
        let workers: BTreeSet<String> = proxy.metrics.workers.keys().cloned().collect();
        let mut read = MetricsRead {
            unasked: declared(proxy).saturating_sub(self.clusters.len()),
            requests: 0,
        };
        if self.listed.is_none() {
            return Ok(read);
        }
        // A worker that was silent a moment ago would be so at each piece.
        if proxy.silent {
            read.unasked = self.clusters.len();
            return Ok(read);
        }
        read.unasked = 0;
        let mut extra = EXTRA;
        let mut slow = 0;
        let mut plan = Plan::new(&self.clusters, &workers);
        while let Some(piece) = plan.next(&self.clusters) {
            let ids: Vec<String> = piece
                .iter()
                .map(|at| self.clusters[*at].id.clone())
                .collect();
            let expected: BTreeSet<&String> = workers
                .difference(&self.clusters[piece[0]].lacking)
                .collect();
            let begun = Instant::now();
            read.requests += 1;
            let answer = match ask(&exchange, ids, Vec::new(), false).await {
                Ok(answer) => answer,
                Err(error) if piece.len() == 1 || extra == 0 => return Err(error),
                Err(_) => {
                    extra -= 1;
                    plan.halve(piece);
                    continue;
                }
            };
            let missing: Vec<String> = expected
                .into_iter()
                .filter(|worker| {
                    let told = answer.workers.get(*worker);
                    told.is_none_or(|metrics| metrics.clusters.is_empty())
                })
                .cloned()
                .collect();
            if begun.elapsed() >= SLOW {
                slow += 1;
                if slow > SLOW_AT_MOST {
                    read.unasked += piece.len() + plan.left();
                    return Ok(read);
                }
            }
            if missing.is_empty() {
                self.measure(&piece, &answer, &mut plan);
                tell(answer);
                continue;
            }
            match piece[..] {
                [alone] => {
                    self.clusters[alone].lacking.extend(missing);
                    tell(answer);
                }
                _ if extra > 0 => {
                    extra -= 1;
                    plan.halve(piece);
                }
                _ => {
                    read.unasked += piece.len();
                    tell(answer);
                }
            }
        }
        Ok(read)
    }

    fn names_fit(&self, proxy: &ProxyMetrics, workers: usize) -> bool {
        let declared = declared(proxy);
        if self.too_many.is_some_and(|count| declared >= count) {
            return false;
        }
        let known: usize = self.clusters.iter().map(|known| known.id.len()).sum();
        // A name needs its length and 6 bytes; while none is known, short ones are assumed.
        let name = known.checked_div(self.clusters.len()).unwrap_or(4) + 6;
        declared.saturating_mul(name * workers) <= ROOM_FOR_NAMES
    }

    fn take(&mut self) -> HashMap<String, Known> {
        std::mem::take(&mut self.clusters)
            .into_iter()
            .map(|known| (known.id.clone(), known))
            .collect()
    }

    fn learn(&mut self, answer: &AggregatedMetrics) {
        let before = self.take();
        let mut having: BTreeMap<&str, usize> = BTreeMap::new();
        for worker in answer.workers.values() {
            for id in worker.clusters.keys() {
                *having.entry(id).or_default() += 1;
            }
        }
        self.clusters = having
            .into_iter()
            .map(|(id, count)| Known {
                id: id.to_owned(),
                lacking: if count == answer.workers.len() {
                    BTreeSet::new()
                } else {
                    let lacks = answer
                        .workers
                        .iter()
                        .filter(|(_, worker)| !worker.clusters.contains_key(id));
                    lacks.map(|(name, _)| name.clone()).collect()
                },
                bytes: before.get(id).and_then(|known| known.bytes),
            })
            .collect();
    }

    fn measure(&mut self, piece: &[usize], answer: &AggregatedMetrics, plan: &mut Plan) {
        let mut total = 0;
        for at in piece {
            let known = &mut self.clusters[*at];
            let bytes = answer
                .workers
                .values()
                .filter_map(|worker| worker.clusters.get(&known.id))
                .map(|metrics| metrics.encoded_len() + known.id.len() + 8)
                .sum();
            known.bytes = Some(bytes);
            total += bytes;
        }
        plan.learn(piece.len(), total);
    }
}

/// What is still to be asked, in pieces.
struct Plan {
    /// Per set of workers that lack them, the clusters to be asked together; the last one first.
    groups: Vec<Vec<usize>>,
    /// Halves of pieces that did not work.
    again: Vec<Vec<usize>>,
    unknown: usize,
    asked: usize,
    bytes: usize,
}

impl Plan {
    fn new(clusters: &[Known], workers: &BTreeSet<String>) -> Self {
        let mut groups: BTreeMap<Vec<&String>, Vec<usize>> = BTreeMap::new();
        for (at, known) in clusters.iter().enumerate().rev() {
            let having: Vec<&String> = workers.difference(&known.lacking).collect();
            if !having.is_empty() {
                groups.entry(having).or_default().push(at);
            }
        }
        Self {
            groups: groups.into_values().collect(),
            again: Vec::new(),
            unknown: UNKNOWN * workers.len().max(1),
            asked: 0,
            bytes: 0,
        }
    }

    fn next(&mut self, clusters: &[Known]) -> Option<Vec<usize>> {
        if let Some(piece) = self.again.pop() {
            return Some(piece);
        }
        let group = self.groups.last_mut()?;
        let mut piece = Vec::new();
        let mut room = ROOM;
        while let Some(at) = group.last() {
            // What it needed last time, and some growth.
            let need = clusters[*at]
                .bytes
                .map_or(self.unknown, |bytes| bytes + bytes / 4 + 64);
            if need > room && !piece.is_empty() {
                break;
            }
            room = room.saturating_sub(need);
            piece.extend(group.pop());
        }
        if group.is_empty() {
            self.groups.pop();
        }
        Some(piece)
    }

    fn halve(&mut self, mut piece: Vec<usize>) {
        let second = piece.split_off(piece.len() / 2);
        self.again.extend([second, piece]);
    }

    /// What is not known yet is like the rest, four times over.
    fn learn(&mut self, clusters: usize, bytes: usize) {
        self.asked += clusters;
        self.bytes += bytes;
        self.unknown = (4 * self.bytes / self.asked.max(1)).max(64);
    }

    fn left(&self) -> usize {
        self.groups.iter().chain(&self.again).map(Vec::len).sum()
    }
}

async fn ask<E: From<ExchangeError>>(
    exchange: &impl AsyncFn(Request) -> Result<Answer, E>,
    cluster_ids: Vec<String>,
    metric_names: Vec<String>,
    no_clusters: bool,
) -> Result<AggregatedMetrics, E> {
    let question = QueryMetricsOptions {
        list: false,
        cluster_ids,
        backend_ids: Vec::new(),
        metric_names,
        no_clusters,
        workers: true,
    };
    let answer = exchange(RequestType::QueryMetrics(question).into()).await?;
    match answer.content.and_then(|content| content.content_type) {
        Some(ContentType::Metrics(metrics)) => Ok(metrics),
        _ => Err(ExchangeError::Unknown(
            "what answers on the command socket tells no metrics; is it Sōzu 2?".to_owned(),
        )
        .into()),
    }
}

/// How many clusters the main process holds, by its own word.
fn declared(proxy: &ProxyMetrics) -> usize {
    match proxy.metrics.main.get("configuration.clusters") {
        Some(FilteredMetrics {
            inner: Some(Inner::Gauge(count)),
        }) => usize::try_from(*count).unwrap_or(usize::MAX),
        _ => 0,
    }
}

/// Another one after each order that the main process carried out, and with other workers.
fn fingerprint(proxy: &ProxyMetrics) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (name, value) in &proxy.metrics.main {
        if let (true, Some(Inner::Gauge(_) | Inner::Count(_))) =
            (name.starts_with("config"), &value.inner)
        {
            name.hash(&mut hasher);
            value.encode_to_vec().hash(&mut hasher);
        }
    }
    for worker in proxy.metrics.workers.keys() {
        worker.hash(&mut hasher);
    }
    hasher.finish()
}

impl Pool {
    /// Asks for all of Sōzu's metrics, by worker, in pieces that fit its default buffers: first what belongs to the main
    /// process and to the workers as a whole, then the clusters. Only one question is under way at a time.
    ///
    /// `known`: the clusters' ids, if you know them; used where Sōzu's own list does not fit its buffers.
    ///
    /// # Errors
    /// As [`Pool::exchange`].
    pub async fn query_metrics(
        &self,
        reader: &mut MetricsReader,
        known: Option<Vec<String>>,
        mut tell: impl FnMut(AggregatedMetrics),
    ) -> Result<MetricsRead, ExchangeError> {
        let exchange = async |request| self.exchange(request).await;
        let proxy = reader.proxy(exchange).await?;
        tell(proxy.metrics.clone());
        reader.list(exchange, &proxy, async || known).await;
        reader.clusters(exchange, &proxy, tell).await
    }
}

#[cfg(test)]
mod tests;
