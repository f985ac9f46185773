//! `SaveState`: Sōzu writes all that its main process holds into a file, which is read back record by record.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Seek},
    time::Instant,
};

use sozu_command_lib::{
    proto::command::{Request, WorkerRequest, request::RequestType},
    state::{ConfigState, StateError},
};

use crate::{
    ExchangeError, Pool, SavedState,
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
            let mut saved = read(file).map_err(|error| {
                ExchangeError::Unknown(format!("reading {path_in_sozu} back failed: {error}"))
            })?;
            saved.took = took;
            complete(saved, &said.message, &path_in_sozu)
        });
        let saved = read.await??;
        self.patience().remember(saved.requests.len());
        Ok(saved)
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
fn read(mut file: File) -> io::Result<SavedState> {
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
    use std::{io::Write, time::Duration};

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
        let saved = read(file).unwrap();
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
        let saved = read(file).unwrap();
        assert_eq!((saved.requests.len(), saved.opaque), (8, 5));
    }

    #[test]
    fn less_or_more_than_sozu_says_is_not_what_it_holds() {
        let saved = SavedState {
            requests: vec![],
            opaque: 2,
            took: Duration::ZERO,
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
