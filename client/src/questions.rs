//! What connectors ask most, with an answer of its own type.
//!
//! Each is one [`Pool::exchange`]; whatever else Sōzu can be asked goes by that.

use std::collections::BTreeMap;

use sozu_command_lib::proto::command::{
    CertificatesByAddress, ClusterInformation, ListListeners, ListWorkers, ListenersList,
    QueryCertificatesFilters, QueryClustersHashes, ResponseContent, WorkerInfo,
    request::RequestType, response_content::ContentType,
};

use crate::{ExchangeError, Pool};

/// The name under which Sōzu's main process answers beside its workers (sozu 2.3.3, `requests.rs`, `query_clusters`).
const MAIN: &str = "main";

impl Pool {
    /// The workers that the main process has or had, with their pids and what they do. It answers alone, so a worker
    /// that hangs delays nothing.
    ///
    /// # Errors
    /// As [`Pool::exchange`]; `Unknown` if what answers is no Sōzu of this version.
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>, ExchangeError> {
        match self.ask(RequestType::ListWorkers(ListWorkers {})).await? {
            ContentType::Workers(workers) => Ok(workers.vec),
            _ => Err(another_kind("ListWorkers")),
        }
    }

    /// The listeners, by protocol and address, as the main process holds them. It answers alone.
    ///
    /// # Errors
    /// As [`Pool::workers`].
    pub async fn listeners(&self) -> Result<ListenersList, ExchangeError> {
        match self
            .ask(RequestType::ListListeners(ListListeners {}))
            .await?
        {
            ContentType::ListenersList(listeners) => Ok(listeners),
            _ => Err(another_kind("ListListeners")),
        }
    }

    /// One cluster with its frontends and backends, as the main process holds them; `None` if it holds nothing of it.
    ///
    /// Sōzu asks its workers too, so it takes as long as the slowest of them.
    ///
    /// # Errors
    /// As [`Pool::workers`]; besides `Refused` while a worker is silent.
    pub async fn cluster(
        &self,
        cluster_id: &str,
    ) -> Result<Option<ClusterInformation>, ExchangeError> {
        let question = RequestType::QueryClusterById(cluster_id.to_owned());
        match self.ask_all(question).await?.remove(MAIN) {
            Some(ContentType::Clusters(clusters)) => Ok(clusters.vec.into_iter().next()),
            _ => Err(another_kind("QueryClusterById")),
        }
    }

    /// The ids of all clusters that the main process holds, each with a hash of the cluster, its frontends and its
    /// backends: another hash is another content. The hash is good within one version of Sōzu.
    ///
    /// Every worker answers too, with at most 16 bytes and the id for each cluster. All of it must fit Sōzu's
    /// `max_command_buffer_size` (2 MB unless set): a Sōzu with many clusters is read by [`Pool::saved_state`].
    ///
    /// # Errors
    /// As [`Pool::cluster`].
    pub async fn clusters(&self) -> Result<BTreeMap<String, u64>, ExchangeError> {
        let question = RequestType::QueryClustersHashes(QueryClustersHashes {});
        match self.ask_all(question).await?.remove(MAIN) {
            Some(ContentType::ClusterHashes(hashes)) => Ok(hashes.map),
            _ => Err(another_kind("QueryClustersHashes")),
        }
    }

    /// The certificates that each worker can serve: by the worker's id, then by listener, a name and a fingerprint for
    /// each name of each certificate. No private key comes with it. All workers say the same, unless one differs from
    /// the others.
    ///
    /// # Errors
    /// As [`Pool::cluster`].
    pub async fn certificates(
        &self,
    ) -> Result<BTreeMap<u32, Vec<CertificatesByAddress>>, ExchangeError> {
        let question =
            RequestType::QueryCertificatesFromWorkers(QueryCertificatesFilters::default());
        let mut certificates = BTreeMap::new();
        for (worker, content) in self.ask_all(question).await? {
            match (worker.parse(), content) {
                (Ok(worker), ContentType::CertificatesByAddress(list)) => {
                    certificates.insert(worker, list.certificates);
                }
                _ => return Err(another_kind("QueryCertificatesFromWorkers")),
            }
        }
        Ok(certificates)
    }

    /// Asks, and gives the content of the answer.
    async fn ask(&self, question: RequestType) -> Result<ContentType, ExchangeError> {
        let answer = self.exchange(question.into()).await?;
        content(answer.content).ok_or_else(|| {
            ExchangeError::Unknown(format!(
                "Sōzu answered {:?} without any content",
                answer.message
            ))
        })
    }

    /// Asks what each process answers by itself: contents by worker id, and `main`.
    async fn ask_all(
        &self,
        question: RequestType,
    ) -> Result<BTreeMap<String, ContentType>, ExchangeError> {
        match self.ask(question).await? {
            ContentType::WorkerResponses(responses) => Ok(responses
                .map
                .into_iter()
                .filter_map(|(who, said)| Some((who, content(Some(said))?)))
                .collect()),
            _ => Err(another_kind("a question to every process")),
        }
    }
}

fn content(content: Option<ResponseContent>) -> Option<ContentType> {
    content.and_then(|content| content.content_type)
}

/// What came is left out of the message: it may be anything, secrets included.
fn another_kind(question: &str) -> ExchangeError {
    ExchangeError::Unknown(format!(
        "Sōzu's answer to {question} is not of the kind that 2.3 gives; is this another version?"
    ))
}
