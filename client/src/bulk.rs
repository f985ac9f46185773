//! `LoadState`: many requests as one file, which Sōzu's main process opens itself.

use std::io::{self, BufWriter, Write};

use sozu_command_lib::proto::command::{Request, Response, request::RequestType};

use crate::{
    Answer, BulkAnswer, ExchangeError, Pool,
    exchange_dir::{ExchangeDirectory, ExchangeFile, Purpose},
    pool::not_sent,
    records::Records,
};

/// Requests in a file that Sōzu can load. Dropping it removes the file, which blocks for a moment.
#[derive(Debug)]
pub struct Prepared {
    file: ExchangeFile,
    entries: usize,
}

impl Pool {
    /// Sends many requests as one file. An `OK` does not mean that each was taken: see [`BulkAnswer::skipped`].
    ///
    /// # Errors
    /// As [`Pool::prepare`] and [`Pool::load`].
    pub async fn bulk(&self, requests: Vec<Request>) -> Result<BulkAnswer, ExchangeError> {
        if requests.is_empty() {
            return Ok(BulkAnswer::default());
        }
        let prepared = self.prepare(requests).await?;
        self.load(prepared).await
    }

    /// Writes the file of a [`Pool::bulk`], while Sōzu may be busy with another one. Nothing is sent yet.
    ///
    /// # Errors
    /// `NotSent` with what to do if the exchange directory is not usable by us, and `TooLarge` if a record is above
    /// `max_request_bytes`, since Sōzu would read no further than it.
    pub async fn prepare(
        &self,
        requests: impl AsRef<Vec<Request>> + Send + 'static,
    ) -> Result<Prepared, ExchangeError> {
        let limit = self.builder().max_request_bytes;
        let directory = self.exchange_directory();
        self.file_work(move || written(&directory, requests.as_ref(), limit))
            .await?
    }

    /// Asks Sōzu to load the file.
    ///
    /// # Errors
    /// As [`Pool::exchange`]; besides `NotSent` with what to do if the file is not usable by Sōzu. After `Refused`
    /// some of the requests may have been applied.
    pub async fn load(&self, prepared: Prepared) -> Result<BulkAnswer, ExchangeError> {
        let entries = prepared.entries;
        let _patience = self.patience().while_busy_with(entries);
        let request = RequestType::LoadState(prepared.file.path_in_sozu.clone()).into();
        let result = self
            .send(&request, self.builder().bulk_deadline(entries))
            .await;
        // whether or not its name could be removed, what Sōzu said stands
        let _ = self.file_work(move || drop(prepared)).await;

        let answer = result.map_err(sozu_cannot_open)?;
        Ok(BulkAnswer {
            entries,
            skipped: skipped(&answer),
            answer,
        })
    }
}

/// The file of these requests. Nothing of it stays if one is too large or the disk is full.
fn written(
    directory: &ExchangeDirectory,
    requests: &[Request],
    limit: usize,
) -> Result<Prepared, ExchangeError> {
    let mut made = directory.create(Purpose::Load).map_err(not_sent)?;
    let failed = |error: io::Error| {
        let remedy = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "; free space where the exchange directory lies"
            }
            _ => "",
        };
        ExchangeError::NotSent(format!(
            "writing {} failed: {error}{remedy}",
            made.path_in_sozu
        ))
    };
    let mut writer = BufWriter::with_capacity(1 << 16, &made.file);
    let mut records = Records::default();
    for (number, request) in requests.iter().enumerate() {
        let record = records.of(number, request).map_err(not_sent)?;
        if record.len() > limit {
            return Err(ExchangeError::TooLarge {
                size: record.len(),
                limit,
            });
        }
        writer.write_all(record).map_err(failed)?;
    }
    writer.flush().map_err(failed)?;
    drop(writer);
    made.file.flush().map_err(not_sent)?;
    Ok(Prepared {
        file: made,
        entries: requests.len(),
    })
}

/// Sōzu's count of what it did not take, which only a `PROCESSING` message tells (sozu 2.3.3, `requests.rs`).
fn skipped(answer: &Answer) -> usize {
    let count = |said: &Response| -> Option<usize> {
        said.message
            .strip_prefix("load_state: skipped ")?
            .split(' ')
            .next()?
            .parse()
            .ok()
    };
    answer.processing.iter().filter_map(count).sum()
}

/// What Sōzu says of a file, followed by the system's words: the first two for `LoadState`, the others for `SaveState`
/// (sozu 2.3.3, `requests.rs`).
const SOZU_CANNOT: [&str; 4] = [
    "Cannot find file",
    "Cannot open file",
    "Cannot create file",
    "Failed writing state to file",
];

/// A file that Sōzu cannot use changed nothing: that is a matter of the directory, not of the requests.
pub(crate) fn sozu_cannot_open(error: ExchangeError) -> ExchangeError {
    let ExchangeError::Refused(refusal) = error else {
        return error;
    };
    let said = &refusal.message;
    if !SOZU_CANNOT.iter().any(|words| said.starts_with(words)) {
        return ExchangeError::Refused(refusal);
    }
    let remedy = if said.contains("ermission denied") {
        "the exchange directory's group must be one of which Sōzu's user is a member, and each directory above it \
         must be passable for it"
    } else if said.starts_with("Cannot find file") || said.contains("No such file") {
        "it must see the same exchange directory (no PrivateTmp); if it lives in another container, set \
         exchange_directory_in_sozu"
    } else if said.contains("No space left") || said.contains("quota exceeded") {
        "free space where the exchange directory lies"
    } else {
        "look at the exchange directory"
    };
    ExchangeError::NotSent(format!("Sōzu cannot use our file ({said}): {remedy}"))
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::proto::command::Cluster;

    use super::*;
    use crate::Refusal;

    fn cluster(id: &str) -> Request {
        let cluster = Cluster {
            cluster_id: id.to_owned(),
            ..Cluster::default()
        };
        RequestType::AddCluster(cluster).into()
    }

    #[test]
    fn a_record_above_the_limit_leaves_no_file() {
        let ground = tempfile::tempdir().unwrap();
        let socket = ground.path().join("sock");
        std::fs::write(&socket, "").unwrap();
        let exchange = ground.path().join("exchange");
        let directory = ExchangeDirectory::new(
            Some(exchange.clone()),
            None,
            socket,
            std::sync::Arc::default(),
        );
        let requests = vec![cluster("a"), cluster(&"b".repeat(1000))];
        let error = written(&directory, &requests, 1000).unwrap_err();
        assert!(
            matches!(
                error,
                ExchangeError::TooLarge {
                    size: 1001..,
                    limit: 1000
                }
            ),
            "{error}"
        );
        let left: Vec<_> = std::fs::read_dir(exchange)
            .unwrap()
            .map(|it| it.unwrap().file_name())
            .collect();
        assert_eq!(left, [".lock"]);
    }

    #[test]
    fn the_skipped_are_counted_from_what_sozu_said_before() {
        let said = |message: &str| Response {
            message: message.to_owned(),
            ..Response::default()
        };
        let answer = Answer {
            processing: vec![
                said("Parsing state file from x..."),
                said("load_state: skipped 3 invalid entries — see the main process warnings"),
                said("Applying state file..."),
            ],
            ..Answer::default()
        };
        assert_eq!(skipped(&answer), 3);
        assert_eq!(skipped(&Answer::default()), 0);
    }

    #[test]
    fn a_file_that_sozu_cannot_open_was_not_sent() {
        let refused = |message: &str| {
            ExchangeError::Refused(Box::new(Refusal {
                message: message.to_owned(),
                ..Refusal::default()
            }))
        };
        let judge = |message| sozu_cannot_open(refused(message));
        let missing = judge("Cannot find file at path /x");
        assert!(
            matches!(&missing, ExchangeError::NotSent(why) if why.contains("exchange_directory_in_sozu"))
        );
        assert!(matches!(
            judge("Cannot open file at path /x: no"),
            ExchangeError::NotSent(_)
        ));
        let full = judge("Failed writing state to file: No space left on device (os error 28)");
        assert!(matches!(&full, ExchangeError::NotSent(why) if why.contains("free space")));
        assert!(matches!(
            judge("loading state: 1 ok messages"),
            ExchangeError::Refused(_)
        ));
    }
}
