//! The daemon under test: the built binary with a configuration, directories and a port of its own.

mod builder;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

pub use builder::Builder;

use crate::{
    Answer, Error, Port, Result, Sozu, get, metrics_text,
    process::{self, Process},
    wait_for,
};

/// A `sozu-manager` beside a [`Sozu`]. It ends when this is dropped; start it again as often as a test needs.
#[derive(Debug)]
pub struct Daemon {
    process: Option<Process>,
    binary: PathBuf,
    user: Option<(u32, u32)>,
    environment: Vec<(String, String)>,
    http: Port,
    directory: PathBuf,
    // dropped last; none if the directory was given
    own_directory: Option<TempDir>,
}

impl Daemon {
    /// A daemon of that binary (`env!("CARGO_BIN_EXE_sozu-manager")`), attached to that Sōzu, with `[routes.local]`.
    pub fn builder(binary: impl Into<PathBuf>, sozu: &Sozu) -> Builder {
        Builder::new(binary.into(), sozu)
    }

    /// The directory of everything it has.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory of `[routes.local]`.
    pub fn routes(&self) -> PathBuf {
        self.routes_of("local")
    }

    /// The directory of a named routes source.
    pub fn routes_of(&self, name: &str) -> PathBuf {
        self.directory.join("routes").join(name)
    }

    /// The state directory.
    pub fn state_directory(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// The exchange directory.
    pub fn exchange_directory(&self) -> PathBuf {
        self.directory.join("exchange")
    }

    /// The configuration file; a test may change it between two lives.
    pub fn config_file(&self) -> PathBuf {
        self.directory.join("config.toml")
    }

    /// The admin socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.directory.join("admin.sock")
    }

    /// The port of `[http]`.
    pub fn http_port(&self) -> u16 {
        self.http.number()
    }

    /// The pid, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(Process::pid)
    }

    /// What it logged, over all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// A command of this binary with this configuration, as this user, for what runs beside the daemon (`check`, `status`).
    pub fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = process::command_as(&self.binary, self.user);
        command
            .arg("--config")
            .arg(self.config_file())
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory);
        command
    }

    /// Starts `run`; returns at once. [`Daemon::wait_ready`] waits for it.
    pub fn start(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Err(Error::new(
                "the daemon is running; end it before it is started again",
            ));
        }
        let directory = self.own_directory.as_ref().map(TempDir::path);
        self.process = Some(Process::start(
            self.command(&["run"]),
            &self.log_file(),
            directory,
        )?);
        Ok(())
    }

    /// SIGKILL, and waits for its end.
    pub fn kill9(&mut self) -> Result<()> {
        self.taken()?.kill_group()
    }

    /// SIGTERM, and the exit status; an error if it takes longer than 30 s.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let mut process = self.taken()?;
        process.signal(Signal::SIGTERM)?;
        process.wait(Duration::from_secs(30))
    }

    /// The exit status, if it has ended by itself.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.running()?.exit_status()
    }

    /// Waits until it ends by itself.
    pub fn wait_exit(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.taken()?.wait(deadline)
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.running()?.signal(signal)
    }

    /// Waits until `/readyz` says 200; an error at once if the daemon ends.
    pub fn wait_ready(&mut self, deadline: Duration) -> Result<()> {
        self.wait_status("/readyz", 200, deadline)
    }

    /// Waits until a path answers with this status; an error at once if the daemon ends.
    pub fn wait_status(&mut self, path: &str, status: u16, deadline: Duration) -> Result<()> {
        let what = format!("{status} from {path}");
        let ended = wait_for(&what, deadline, || {
            if let Ok(Some(end)) = self.running().and_then(Process::exit_status) {
                return Ok(Some(end));
            }
            match self.fetch(path) {
                Ok(answer) if answer.status == status => Ok(None),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.body)),
                Err(error) => Err(error.to_string()),
            }
        })
        .map_err(|error| Error::new(format!("{error}\n{}", self.log())))?;
        match ended {
            None => Ok(()),
            Some(end) => Err(Error::new(format!(
                "the daemon ended with {end}:\n{}",
                self.log()
            ))),
        }
    }

    /// A path's answer as it is.
    pub fn fetch(&self, path: &str) -> Result<Answer> {
        get(self.http_port(), "localhost", path)
            .map_err(Error::while_doing(format!("asking the daemon for {path}")))
    }

    /// A path's status and JSON.
    pub fn get(&self, path: &str) -> Result<(u16, Value)> {
        let answer = self.fetch(path)?;
        let value = serde_json::from_str(&answer.body).map_err(Error::while_doing(format!(
            "reading {path} as JSON: {:?}",
            answer.body
        )))?;
        Ok((answer.status, value))
    }

    /// `/health`.
    pub fn health(&self) -> Result<Value> {
        self.get("/health").map(|(_, value)| value)
    }

    /// A component of `/health` by its name, such as `routes.local`.
    pub fn component(&self, name: &str) -> Result<Value> {
        let health = self.health()?;
        health["components"]
            .as_array()
            .and_then(|components| {
                components
                    .iter()
                    .find(|component| component["name"] == name)
            })
            .cloned()
            .ok_or_else(|| Error::new(format!("no component {name} in {health}")))
    }

    /// `/metrics`.
    pub fn metrics(&self) -> Result<String> {
        self.fetch("/metrics").map(|answer| answer.body)
    }

    /// The value of the first series of that name with these labels, and perhaps more; `None` if there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        metrics_text::value(&self.metrics().ok()?, name, labels)
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("daemon.log")
    }

    fn running(&mut self) -> Result<&mut Process> {
        self.process.as_mut().ok_or_else(not_running)
    }

    fn taken(&mut self) -> Result<Process> {
        self.process.take().ok_or_else(not_running)
    }
}

fn not_running() -> Error {
    Error::new("the daemon is not running")
}
