//! How a Sōzu under test is set up, and where its binary is found.

use std::{
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Error, Port, Result, process, sozu::Sozu};

/// Settings of a Sōzu under test.
#[derive(Debug, Clone)]
pub struct Builder {
    workers: u16,
    worker_timeout: u32,
    http: usize,
    https: usize,
    tcp: usize,
    https_extra: String,
    extra: String,
    user: Option<(u32, u32)>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            workers: 2,
            worker_timeout: 2,
            http: 1,
            https: 0,
            tcp: 0,
            https_extra: String::new(),
            extra: String::new(),
            user: None,
        }
    }
}

impl Builder {
    /// How many workers; default: 2.
    #[must_use]
    pub fn workers(mut self, workers: u16) -> Self {
        self.workers = workers;
        self
    }

    /// Sōzu's `worker_timeout` in seconds; default: 2, which keeps stalls short.
    #[must_use]
    pub fn worker_timeout(mut self, seconds: u32) -> Self {
        self.worker_timeout = seconds;
        self
    }

    /// How many HTTP listeners, each on a free port; default: 1.
    #[must_use]
    pub fn http_listeners(mut self, count: usize) -> Self {
        self.http = count;
        self
    }

    /// How many HTTPS listeners, each on a free port and without a certificate; default: none.
    #[must_use]
    pub fn https_listeners(mut self, count: usize) -> Self {
        self.https = count;
        self
    }

    /// Further lines for each HTTPS listener, such as `expect_proxy = true`.
    #[must_use]
    pub fn https_toml(mut self, lines: &str) -> Self {
        let _ = writeln!(self.https_extra, "{lines}");
        self
    }

    /// How many TCP listeners, each on a free port; default: none.
    #[must_use]
    pub fn tcp_listeners(mut self, count: usize) -> Self {
        self.tcp = count;
        self
    }

    /// Further lines for the top of `sozu.toml`, such as `command_socket_mode = "0660"`.
    #[must_use]
    pub fn extra_toml(mut self, lines: &str) -> Self {
        let _ = writeln!(self.extra, "{lines}");
        self
    }

    /// Runs it as another user and group, for tests of permissions; only root can.
    #[must_use]
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }

    /// Prepares its directory and ports without starting it: [`Sozu::start_again`] does.
    pub fn prepare(self) -> Result<Sozu> {
        let directory = tempfile::Builder::new()
            .prefix("sozu-under-test-")
            .tempdir()
            .map_err(Error::while_doing("making a directory for Sōzu"))?;
        super::open_to_all(directory.path())?;
        let binary = process::runnable_by(&binary()?, self.user, directory.path())?;
        if let Some((uid, gid)) = self.user {
            process::give(directory.path(), uid, gid)?;
        }
        let ports = |count| (0..count).map(|_| Port::free()).collect::<Result<Vec<_>>>();
        let sozu = Sozu {
            process: None,
            binary,
            user: self.user,
            http: ports(self.http)?,
            https: ports(self.https)?,
            tcp: ports(self.tcp)?,
            workers: self.workers,
            worker_timeout: Duration::from_secs(self.worker_timeout.into()),
            dump: directory.path().join("held.json"),
            directory,
        };
        fs::write(sozu.config_file(), self.toml(&sozu))
            .map_err(Error::while_doing("writing sozu.toml"))?;
        Ok(sozu)
    }

    /// Starts it, and waits until its command socket answers, every worker runs and every listener accepts.
    pub fn start(self) -> Result<Sozu> {
        let mut sozu = self.prepare()?;
        sozu.start_again()?;
        Ok(sozu)
    }

    fn toml(&self, sozu: &Sozu) -> String {
        let mut toml = format!(
            "command_socket = \"{}\"\nsaved_state = \"{}\"\nautomatic_state_save = false\nlog_level = \"info\"\n\
             log_target = \"stdout\"\nworker_count = {}\nworker_automatic_restart = true\nworker_timeout = {}\n\
             handle_process_affinity = false\nmax_connections = 500\nmax_buffers = 500\nactivate_listeners = true\n{}",
            sozu.command_socket().display(),
            sozu.saved_state().display(),
            self.workers,
            self.worker_timeout,
            self.extra,
        );
        for (protocol, ports, lines) in [
            ("http", &sozu.http, ""),
            ("https", &sozu.https, self.https_extra.as_str()),
            ("tcp", &sozu.tcp, ""),
        ] {
            for port in ports {
                let _ = write!(
                    toml,
                    "\n[[listeners]]\nprotocol = \"{protocol}\"\naddress = \"{}\"\n{lines}",
                    port.address()
                );
            }
        }
        toml
    }
}

/// `$SOZU_MANAGER_SOZU`, else what `make peers` brought.
fn binary() -> Result<PathBuf> {
    if let Some(binary) = env::var_os("SOZU_MANAGER_SOZU") {
        return Ok(binary.into());
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."));
    let cache = env::var_os("SOZU_MANAGER_PEERS")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache/sozu-manager-peers")));
    [Some(workspace.join(".peers")), cache]
        .into_iter()
        .flatten()
        .map(|peers| peers.join("bin/sozu"))
        .find(|binary| binary.is_file())
        .ok_or_else(|| {
            Error::new(
                "no Sōzu to test against: run `make peers`, which brings it to .peers/bin/sozu, \
                 or name one in $SOZU_MANAGER_SOZU",
            )
        })
}
