//! A real Sōzu under test: started, killed, started again, stalled, asked.

mod builder;
mod held;
pub(crate) mod wire;

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use sozu_command_lib::proto::command::{
    Request, Response, ResponseStatus, RunState, Status, request::RequestType,
    response_content::ContentType,
};
use tempfile::TempDir;

pub use builder::Builder;
pub use held::Held;

use crate::{
    Error, Port, Result,
    process::{Process, signal_to},
    wait_for,
};

/// Sōzu with its listeners, in a directory and on ports of its own. It ends, with its workers, when this is dropped.
#[derive(Debug)]
pub struct Sozu {
    // before the directory: what is dropped first must end first
    process: Option<Process>,
    binary: PathBuf,
    user: Option<(u32, u32)>,
    http: Vec<Port>,
    https: Vec<Port>,
    tcp: Vec<Port>,
    workers: u16,
    worker_timeout: Duration,
    dump: PathBuf,
    directory: TempDir,
}

impl Sozu {
    /// Two workers, `worker_timeout` 2 s, one HTTP listener.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A running Sōzu as the builder makes it without further settings.
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// The directory of everything it has.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its command socket.
    pub fn command_socket(&self) -> PathBuf {
        self.directory().join("command.sock")
    }

    /// The file that it reads at its start: there only if a test puts it there, see [`Sozu::save_state`].
    pub fn saved_state(&self) -> PathBuf {
        self.directory().join("saved_state.json")
    }

    /// The port of its first HTTP listener, 0 if it has none.
    pub fn http_port(&self) -> u16 {
        self.http.first().map_or(0, Port::number)
    }

    /// The address of its first HTTP listener, as a frontend names it.
    pub fn http_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.http_port()))
    }

    /// The addresses of all its HTTP listeners.
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        self.http.iter().map(Port::address).collect()
    }

    /// The addresses of all its HTTPS listeners.
    pub fn https_addresses(&self) -> Vec<SocketAddr> {
        self.https.iter().map(Port::address).collect()
    }

    /// The addresses of all its TCP listeners.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().map(Port::address).collect()
    }

    /// What its configuration says.
    pub fn worker_timeout(&self) -> Duration {
        self.worker_timeout
    }

    /// The pid of the main process that was started; an upgraded one has another.
    pub fn main_pid(&self) -> Result<i32> {
        self.running().map(Process::pid)
    }

    /// The pids of all its processes, the main process among them.
    pub fn pids(&self) -> Vec<i32> {
        self.process
            .as_ref()
            .map(Process::members)
            .unwrap_or_default()
    }

    /// The pids of its workers.
    pub fn worker_pids(&self) -> Vec<i32> {
        self.pids()
            .into_iter()
            .filter(|pid| is_worker(*pid))
            .collect()
    }

    /// What it logged, over all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory().join("sozu.log")).unwrap_or_default()
    }

    /// SIGKILL to the main process and all workers, and waits for their end.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().ok_or_else(not_running)?;
        process.kill_group()
    }

    /// Whether its main process has ended by itself or by somebody's signal; it then still needs [`Sozu::kill`].
    pub fn has_ended(&mut self) -> Result<bool> {
        let process = self.process.as_mut().ok_or_else(not_running)?;
        process.exit_status().map(|status| status.is_some())
    }

    /// SIGKILL to the main process alone, as an operator's `kill -9` does; [`Sozu::kill`] then ends what is left.
    pub fn kill_main(&mut self) -> Result<()> {
        let process = self.process.as_mut().ok_or_else(not_running)?;
        process.signal(Signal::SIGKILL)?;
        process.wait(Duration::from_secs(10)).map(|_| ())
    }

    /// Starts a new life after [`Sozu::kill`]: same ports, same directory; empty, unless [`Sozu::saved_state`] is there.
    pub fn start_again(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Err(Error::new(
                "Sōzu is running; kill it before it is started again",
            ));
        }
        let mut command = crate::process::command_as(&self.binary, self.user);
        command
            .arg("--config")
            .arg(self.config_file())
            .arg("start")
            .current_dir(self.directory());
        self.launch(command)
    }

    /// SIGSTOP to every worker: Sōzu's main process answers, the workers are silent.
    pub fn stop_workers(&self) -> Result<()> {
        self.worker_pids()
            .into_iter()
            .try_for_each(|pid| signal_to(pid, Signal::SIGSTOP))
    }

    /// SIGSTOP to one worker, the first.
    pub fn stop_one_worker(&self) -> Result<()> {
        let first = self
            .worker_pids()
            .into_iter()
            .next()
            .ok_or_else(not_running)?;
        signal_to(first, Signal::SIGSTOP)
    }

    /// SIGCONT to every worker.
    pub fn continue_workers(&self) -> Result<()> {
        self.worker_pids()
            .into_iter()
            .try_for_each(|pid| signal_to(pid, Signal::SIGCONT))
    }

    /// SIGSTOP to the main process: the command socket is silent, the traffic goes on.
    pub fn stop_main(&self) -> Result<()> {
        signal_to(self.main_pid()?, Signal::SIGSTOP)
    }

    /// SIGCONT to the main process.
    pub fn continue_main(&self) -> Result<()> {
        signal_to(self.main_pid()?, Signal::SIGCONT)
    }

    /// Sends a request on a connection of its own; the final answer, which may be a FAILURE.
    pub fn request(&self, request: impl Into<Request>) -> Result<Response> {
        self.exchange(request).and_then(|mut answers| {
            answers
                .pop()
                .ok_or_else(|| Error::new("Sōzu closed without an answer"))
        })
    }

    /// As [`Sozu::request`], with all `PROCESSING` answers before the final one.
    pub fn exchange(&self, request: impl Into<Request>) -> Result<Vec<Response>> {
        wire::exchange(&self.command_socket(), &request.into())
    }

    /// Sends requests one after the other; an error if one of them is refused. This is how a test makes foreign objects.
    pub fn apply<R: Into<Request>>(&self, requests: impl IntoIterator<Item = R>) -> Result<()> {
        for request in requests {
            let request = request.into();
            let verb = wire::verb(&request);
            let answer = self.request(request)?;
            if answer.status != ResponseStatus::Ok as i32 {
                return Err(Error::new(format!(
                    "Sōzu refused {verb}: {}",
                    answer.message
                )));
            }
        }
        Ok(())
    }

    /// Writes what Sōzu holds to a file, as `sozu state save` does.
    pub fn save_state(&self, path: &Path) -> Result<()> {
        let path = path
            .to_str()
            .ok_or_else(|| Error::new("a path that is not UTF-8"))?
            .to_owned();
        self.apply([RequestType::SaveState(path)])
    }

    /// What Sōzu holds now, read from a state that it saves.
    pub fn held(&self) -> Result<Held> {
        self.save_state(&self.dump)?;
        let held = Held::read(&self.dump)?;
        let _ = fs::remove_file(&self.dump);
        Ok(held)
    }

    fn config_file(&self) -> PathBuf {
        self.directory().join("sozu.toml")
    }

    fn running(&self) -> Result<&Process> {
        self.process.as_ref().ok_or_else(not_running)
    }

    fn launch(&mut self, command: Command) -> Result<()> {
        let log = self.directory().join("sozu.log");
        self.process = Some(Process::start(command, &log, Some(self.directory()))?);
        let ended = wait_for(
            "Sōzu's answer on its command socket, with all workers",
            Duration::from_secs(20),
            || match self
                .process
                .as_mut()
                .and_then(|process| process.exit_status().ok())
                .flatten()
            {
                Some(status) => Ok(Some(status)),
                None => self.all_workers_run().map(|()| None),
            },
        )?;
        if let Some(status) = ended {
            return Err(Error::new(format!(
                "Sōzu ended with {status}:\n{}",
                self.log()
            )));
        }
        for address in self
            .http
            .iter()
            .chain(&self.https)
            .chain(&self.tcp)
            .map(Port::address)
        {
            wait_for(
                &format!("a listener at {address}"),
                Duration::from_secs(10),
                || std::net::TcpStream::connect(address),
            )?;
        }
        Ok(())
    }

    fn all_workers_run(&self) -> std::result::Result<(), String> {
        let answer = self
            .request(RequestType::Status(Status {}))
            .map_err(|error| error.to_string())?;
        let Some(ContentType::Workers(workers)) =
            answer.content.and_then(|content| content.content_type)
        else {
            return Err(format!("an answer without workers: {}", answer.message));
        };
        let running = workers
            .vec
            .iter()
            .filter(|worker| worker.run_state == RunState::Running as i32)
            .count();
        if running == usize::from(self.workers) {
            Ok(())
        } else {
            Err(format!("{running} of {} workers run", self.workers))
        }
    }
}

fn not_running() -> Error {
    Error::new("Sōzu is not running")
}

/// Sōzu starts its workers as `sozu worker --id …`.
fn is_worker(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
        line.split(|byte| *byte == 0)
            .nth(1)
            .is_some_and(|word| word == b"worker")
    })
}

/// Readable and passable for another user, who may run Sōzu or the daemon in it.
fn open_to_all(directory: &Path) -> Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).map_err(Error::while_doing(
        format!("opening {} to other users", directory.display()),
    ))
}
