//! `SaveState`: Sōzu writes all that its main process holds into a file, which is read back record by record.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use sozu_command_lib::{
    proto::command::{Request, WorkerRequest, request::RequestType},
    state::{ConfigState, StateError},
};

use crate::{
    ExchangeError, Pool, Reading, SavedState, StateDigest,
    bulk::sozu_cannot_open,
    exchange_dir::{ExchangeFile, Purpose},
    pool::not_sent,
};

impl Pool {
    /// Reads what Sōzu's main process holds. During it every other request waits in Sōzu.
    ///
    /// # Errors
    /// As [`Pool::exchange`]; besides `NotSent` with what to do if the exchange directory is not usable by us or by
    /// Sōzu, and `Unknown` if what was read is not what Sōzu says that it wrote. It never changes Sōzu's state.
    pub async fn saved_state(&self) -> Result<SavedState, ExchangeError> {
        let saved = self.save(Written::parsed).await?;
        self.patience().remember(saved.requests.len());
        Ok(saved)
    }

    /// As [`Pool::saved_state`], but what is the very same as when it had this digest is not read record by record.
    ///
    /// # Errors
    /// As [`Pool::saved_state`].
    pub async fn saved_state_unless(&self, known: StateDigest) -> Result<Reading, ExchangeError> {
        let reading = self.save(move |written| written.unless(known)).await?;
        if let Reading::State(saved) = &reading {
            self.patience().remember(saved.requests.len());
        }
        Ok(reading)
    }

    /// Lets Sōzu write, and reads that.
    async fn save<T: Send + 'static>(
        &self,
        read: impl FnOnce(Written) -> Result<T, ExchangeError> + Send + 'static,
    ) -> Result<T, ExchangeError> {
        let directory = self.exchange_directory();
        let made = self
            .file_work(move || directory.create(Purpose::Save).map_err(not_sent))
            .await??;
        let ExchangeFile {
            file,
            path_in_sozu,
            link,
        } = made;

        let _patience = self.patience().while_saving();
        let request = RequestType::SaveState(path_in_sozu.clone()).into();
        let asked = Instant::now();
        let result = self.send(&request, self.builder().save_deadline()).await;
        let took = asked.elapsed();
        let read = self.file_work(move || {
            drop(link);
            let said = result.map_err(sozu_cannot_open)?;
            read(Written {
                file,
                path: path_in_sozu,
                words: said.message,
                took,
            })
        });
        read.await?
    }
}

/// What Sōzu wrote, and what it said of that.
struct Written {
    file: File,
    path: String,
    words: String,
    took: Duration,
}

impl Written {
    fn failed(&self, error: &io::Error) -> ExchangeError {
        ExchangeError::Unknown(format!("reading {} back failed: {error}", self.path))
    }

    fn parsed(mut self) -> Result<SavedState, ExchangeError> {
        let digest = digest(&mut self.file).map_err(|error| self.failed(&error))?;
        self.records(digest)
    }

    fn unless(mut self, known: StateDigest) -> Result<Reading, ExchangeError> {
        let digest = digest(&mut self.file).map_err(|error| self.failed(&error))?;
        if digest == known.sha256 && written(&self.words) == Some(known.records) {
            return Ok(Reading::Same { took: self.took });
        }
        self.records(digest).map(Reading::State)
    }

    fn records(mut self, digest: [u8; 32]) -> Result<SavedState, ExchangeError> {
        let mut saved = read(&mut self.file).map_err(|error| self.failed(&error))?;
        saved.took = self.took;
        saved.digest = StateDigest {
            sha256: digest,
            records: saved.requests.len() + saved.opaque,
        };
        complete(saved, &self.words, &self.path)
    }
}

fn digest(file: &mut File) -> io::Result<[u8; 32]> {
    file.rewind()?;
    let mut digest = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(digest.finalize().into()),
            length => digest.update(&block[..length]),
        }
    }
}

impl SavedState {
    /// The same as Sōzu's own `ConfigState`, to compare and to change. What is opaque is missing in it.
    ///
    /// # Errors
    /// A record that this version of `sozu-command-lib` does not take.
    pub fn config_state(&self) -> Result<ConfigState, StateError> {
        let mut state = ConfigState::new();
        for request in &self.requests {
            state.dispatch(request)?;
        }
        Ok(state)
    }
}

/// Reads every record. One that this version cannot read is counted and never ends the read.
pub(crate) fn read(file: &mut (impl Read + Seek)) -> io::Result<SavedState> {
    file.rewind()?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut saved = SavedState::default();
    let mut record = Vec::new();
    while reader.read_until(0, &mut record)? > 0 {
        if record.last() == Some(&0) {
            record.pop();
        }
        match request(&record) {
            Some(request) => saved.requests.push(request),
            None => saved.opaque += 1,
        }
        record.clear();
    }
    Ok(saved)
}

/// The request of one record, unless its form or its verb is unknown.
fn request(record: &[u8]) -> Option<Request> {
    let request = serde_json::from_slice::<WorkerRequest>(record)
        .ok()?
        .content;
    request.request_type.is_some().then_some(request)
}

/// What was read counts only if it is all that Sōzu wrote: into the same file, and to its end.
///
/// Sōzu that writes elsewhere (another container's directory of the same name) would look like one that holds nothing.
fn complete(saved: SavedState, words: &str, path: &str) -> Result<SavedState, ExchangeError> {
    let read = saved.requests.len() + saved.opaque;
    match written(words) {
        Some(written) if written == read => Ok(saved),
        Some(written) => Err(ExchangeError::Unknown(format!(
            "Sōzu says that it saved {written} requests to {path}, but {read} are in our file: it must see the same \
             exchange directory; if it lives in another container, check exchange_directory_in_sozu"
        ))),
        // another version's words: an empty file proves nothing then
        None if read > 0 => Ok(saved),
        None => Err(ExchangeError::Unknown(format!(
            "Sōzu says {words:?}, but nothing is in our file {path}"
        ))),
    }
}

/// `Saved N config messages to PATH` (sozu 2.3.3, `requests.rs`, `save_state`).
fn written(words: &str) -> Option<usize> {
    words
        .strip_prefix("Saved ")?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use sozu_command_lib::proto::command::{AddBackend, Cluster, SocketAddress};

    use super::*;

    fn state(clusters: usize) -> ConfigState {
        let mut state = ConfigState::new();
        for number in 0..clusters {
            let id = format!("cluster-{number}");
            let cluster = Cluster {
                cluster_id: id.clone(),
                ..Cluster::default()
            };
            state
                .dispatch(&RequestType::AddCluster(cluster).into())
                .unwrap();
            let backend = AddBackend {
                cluster_id: id,
                backend_id: "b".to_owned(),
                address: SocketAddress::new_v4(127, 0, 0, 1, 80),
                ..AddBackend::default()
            };
            state
                .dispatch(&RequestType::AddBackend(backend).into())
                .unwrap();
        }
        state
    }

    #[test]
    fn what_sozu_writes_is_what_is_read() {
        let state = state(30);
        let mut file = tempfile::tempfile().unwrap();
        let count = state.write_requests_to_file(&mut file).unwrap();
        let saved = read(&mut file).unwrap();
        assert_eq!((saved.requests.len(), saved.opaque), (count, 0));
        assert_eq!(saved.config_state().unwrap(), state);
    }

    #[test]
    fn what_cannot_be_read_is_counted_and_ends_nothing() {
        let mut file = tempfile::tempfile().unwrap();
        for unknown in [
            "{\"id\":\"SAVE-0\",\"content\":{\"request_type\":{\"AddWormhole\":{\"to\":\"b\"}}}}\n\0",
            "{\"id\":\"SAVE-1\",\"content\":{\"request_type\":null}}\n\0",
            "\n\0",
            "\u{fffd} not even JSON\n\0",
        ] {
            file.write_all(unknown.as_bytes()).unwrap();
            state(1).write_requests_to_file(&mut file).unwrap();
        }
        file.write_all(b"{\"id\":\"SAVE-9\",\"cont").unwrap();
        let saved = read(&mut file).unwrap();
        assert_eq!((saved.requests.len(), saved.opaque), (8, 5));
    }

    #[test]
    fn the_very_same_state_is_known_again_and_any_other_is_read() {
        let write = |clusters: usize, words: &str| {
            let mut file = tempfile::tempfile().unwrap();
            state(clusters).write_requests_to_file(&mut file).unwrap();
            Written {
                file,
                path: "/x".to_owned(),
                words: words.to_owned(),
                took: Duration::from_secs(1),
            }
        };
        let six = "Saved 6 config messages to /x";
        let known = write(3, six).parsed().unwrap().digest;
        let same = write(3, six).unless(known).unwrap();
        let took = Duration::from_secs(1);
        assert_eq!(same, Reading::Same { took });
        let other = write(4, "Saved 8 config messages to /x").unless(known);
        assert!(matches!(other, Ok(Reading::State(state)) if state.requests.len() == 8));
        // Sōzu that writes elsewhere has not written this
        assert!(
            write(3, "Saved 7 config messages to /x")
                .unless(known)
                .is_err()
        );
    }

    #[test]
    fn less_or_more_than_sozu_says_is_not_what_it_holds() {
        let saved = SavedState {
            requests: vec![],
            opaque: 2,
            ..SavedState::default()
        };
        assert!(complete(saved.clone(), "Saved 2 config messages to /x", "/x").is_ok());
        for words in [
            "Saved 0 config messages to /x",
            "Saved 3 config messages to /x",
        ] {
            let error = complete(saved.clone(), words, "/x").unwrap_err();
            assert!(matches!(error, ExchangeError::Unknown(_)), "{error}");
        }
        assert!(complete(saved, "other words", "/x").is_ok());
        assert!(complete(SavedState::default(), "other words", "/x").is_err());
        assert!(complete(SavedState::default(), "Saved 0 config messages to /x", "/x").is_ok());
    }
}
