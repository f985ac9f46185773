//! Sōzu's own configuration file: where its command socket is, and what our deadlines and limits follow from.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sozu_command_lib::config::{ConfigError, FileConfig};

use crate::Builder;

/// Why Sōzu's configuration file does not tell how to reach it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SozuConfigError {
    /// It cannot be read, or Sōzu would not understand it.
    #[error("Sōzu's configuration {path} cannot be used: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// Sōzu's own words.
        error: ConfigError,
    },
    /// It leaves out the socket, which is then `sozu.sock` in the directory in which Sōzu was started.
    #[error(
        "Sōzu's configuration {0} names no command_socket: set it there, or give its path yourself"
    )]
    NoSocket(PathBuf),
}

impl Builder {
    /// The settings that follow from Sōzu's own configuration file: the socket (a relative path is relative to the
    /// file, as for `sozu` itself), [`Builder::worker_timeout`], and
    /// [`Builder::max_request_bytes`] a twentieth below its `max_command_buffer_size`. Blocks.
    ///
    /// # Errors
    /// [`SozuConfigError`] says what is wrong with the file.
    pub fn with_config(path: impl AsRef<Path>) -> Result<Self, SozuConfigError> {
        let path = path.as_ref();
        let file = FileConfig::load_from_path(&path.to_string_lossy()).map_err(|error| {
            SozuConfigError::File {
                path: path.to_owned(),
                error,
            }
        })?;
        let Some(socket) = &file.command_socket else {
            return Err(SozuConfigError::NoSocket(path.to_owned()));
        };
        let mut builder = Self::new(path.parent().unwrap_or(Path::new("")).join(socket));
        if let Some(seconds) = file.worker_timeout {
            builder.worker_timeout = Duration::from_secs(seconds.into());
        }
        if let Some(size) = file.max_command_buffer_size {
            builder.max_request_bytes = usize::try_from(size / 20 * 19).unwrap_or(usize::MAX);
        }
        Ok(builder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Builder, SozuConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sozu.toml");
        std::fs::write(&path, text).unwrap();
        Builder::with_config(&path).map(|mut builder| {
            builder.command_socket = builder
                .command_socket
                .strip_prefix(directory.path())
                .unwrap_or(&builder.command_socket)
                .to_owned();
            builder
        })
    }

    #[test]
    fn what_the_file_says_is_used_and_the_rest_is_the_default() {
        let builder = config(
            "command_socket = \"run/sozu.sock\"\nworker_timeout = 3\nmax_command_buffer_size = 4000000\n",
        )
        .unwrap();
        assert_eq!(builder.command_socket, Path::new("run/sozu.sock"));
        assert_eq!(builder.worker_timeout, Duration::from_secs(3));
        assert_eq!(builder.max_request_bytes, 3_800_000);

        let builder = config("command_socket = \"/run/sozu.sock\"\n").unwrap();
        let default = Builder::new("/run/sozu.sock");
        assert_eq!(builder.command_socket, default.command_socket);
        assert_eq!(builder.worker_timeout, default.worker_timeout);
        assert_eq!(builder.max_request_bytes, default.max_request_bytes);
    }

    #[test]
    fn a_file_that_does_not_say_is_told_by_name() {
        let error = config("worker_timeout = 3\n").unwrap_err().to_string();
        assert!(
            error.contains("sozu.toml names no command_socket"),
            "{error}"
        );
        let error = config("command_socket = 3\n").unwrap_err().to_string();
        assert!(error.contains("sozu.toml cannot be used"), "{error}");
        let error = Builder::with_config("/no/such/sozu.toml")
            .unwrap_err()
            .to_string();
        assert!(error.contains("/no/such/sozu.toml"), "{error}");
    }
}
