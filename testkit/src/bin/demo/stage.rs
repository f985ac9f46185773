//! What the demo runs, and what it tells the person in front of it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use testkit::{Answer, Backend, Daemon, Error, Result, Sozu, daemon::Builder, get, routes};

use crate::{
    certificates::Certificates,
    source::{Kind, Source},
};

/// The host name that the demo routes.
pub(crate) const HOST: &str = "demo.example";
pub(crate) const FILE: &str = "demo.toml";

/// Everything that runs. What is dropped first stands first.
pub(crate) struct Stage {
    binary: PathBuf,
    pub(crate) daemon: Daemon,
    pub(crate) sozu: Sozu,
    pub(crate) a: Backend,
    pub(crate) b: Backend,
    pub(crate) certificates: Certificates,
    pub(crate) source: Source,
}

impl Stage {
    /// Starts a Sōzu without any route, two backends, and the daemon on an empty routes directory or topic.
    pub(crate) fn set(binary: &Path, kind: Kind) -> Result<Self> {
        let source = Source::start(kind)?;
        let begin = Instant::now();
        let sozu = Sozu::builder().https_listeners(1).start()?;
        let certificates = Certificates::new()?;
        let (a, b) = (Backend::start("A")?, Backend::start("B")?);
        let daemon = Daemon::builder(binary, &sozu)
            .prefix("sozu-manager-demo-")
            .extra_toml(&certificates.table());
        let mut daemon = source.of(daemon).start()?;
        daemon.wait_ready(Duration::from_secs(30))?;
        println!(
            "Sōzu (pid {}), backends A and B, and sozu-manager (pid {}) run; ready after {}",
            sozu.main_pid()?,
            daemon.pid().unwrap_or_default(),
            seconds(begin.elapsed()),
        );
        Ok(Self {
            binary: binary.to_owned(),
            daemon,
            sozu,
            a,
            b,
            certificates,
            source,
        })
    }

    /// Another daemon in the place of this one.
    pub(crate) fn in_its_place(&self, binary: &Path) -> Builder {
        let daemon = Daemon::builder(binary, &self.sozu)
            .directory(self.daemon.directory())
            .extra_toml(&self.certificates.table());
        self.source.of(daemon)
    }

    /// Sōzu's HTTPS listener.
    pub(crate) fn https(&self) -> std::result::Result<SocketAddr, String> {
        let first = self.sozu.https_addresses().first().copied();
        first.ok_or_else(|| "Sōzu has no HTTPS listener".to_owned())
    }

    /// The text of the demo's route file: this cluster with this backend.
    pub(crate) fn text(&self, cluster: &str, backend: &Backend) -> String {
        routes::http(
            cluster,
            self.sozu.http_address(),
            &[HOST],
            &[backend.address()],
        )
    }

    /// Writes or publishes the demo's route file.
    pub(crate) fn write(&self, text: &str) -> Result<()> {
        self.source.declare(&self.daemon, FILE, text)
    }

    /// What Sōzu answers for the demo's host.
    pub(crate) fn ask(&self) -> std::io::Result<Answer> {
        get(self.sozu.http_port(), HOST, "/")
    }

    /// 200 with this body, or what was answered instead.
    pub(crate) fn answers(&self, body: &str) -> std::result::Result<(), String> {
        match self.ask() {
            Ok(answer) if answer.status == 200 && answer.body == body => Ok(()),
            Ok(answer) => Err(format!("{} {:?}", answer.status, answer.body)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What to try, edit and open, and how to stop.
    pub(crate) fn invite(&self) -> Result<()> {
        let http = format!("http://127.0.0.1:{}", self.daemon.http_port());
        println!();
        println!("It runs until Ctrl-C, which stops everything and removes its directories.");
        println!(
            "  try   curl -H 'Host: {HOST}' http://{}/",
            self.sozu.http_address()
        );
        if let Ok(https) = self.https() {
            println!(
                "  try   curl --cacert {} --resolve {HOST}:{}:127.0.0.1 https://{HOST}:{}/",
                self.certificates.authority_file()?.display(),
                https.port(),
                https.port()
            );
        }
        let file = self.source.file(&self.daemon, FILE);
        println!(
            "  edit  {}  (backend A is {}, backend B is {})",
            file.display(),
            self.a.address(),
            self.b.address()
        );
        if let Source::Topic { .. } = self.source {
            println!(
                "  then  {} --config {} publish {} --wait {}",
                self.binary.display(),
                self.daemon.config_file().display(),
                file.display(),
                self.daemon.admin_socket().display()
            );
        }
        println!("  open  {http}/health  {http}/metrics  {http}/readyz");
        println!("  read  {}", self.daemon.config_file().display());
        println!(
            "  kill  kill -9 {}  (Sōzu; or {}, sozu-manager: each is started again, Sōzu empty)",
            self.sozu.main_pid()?,
            self.daemon.pid().unwrap_or_default()
        );
        Ok(())
    }

    /// What an init system would do: a new life for what ended.
    pub(crate) fn start_what_was_killed(&mut self) -> Result<()> {
        if self.sozu.has_ended()? {
            self.sozu.kill()?;
            self.sozu.start_again()?;
            println!(
                "Sōzu ended and was started again, empty, as pid {}",
                self.sozu.main_pid()?
            );
        }
        if let Some(status) = self.daemon.exit_status()? {
            self.daemon.wait_exit(Duration::ZERO)?;
            self.daemon.start()?;
            println!(
                "sozu-manager ended with {status} and was started again as pid {}",
                self.daemon.pid().unwrap_or_default()
            );
        }
        Ok(())
    }

    /// Stops the daemon in order, then everything else; an error if the daemon did not end well.
    pub(crate) fn end(mut self) -> Result<()> {
        let begin = Instant::now();
        let status = self.daemon.terminate()?;
        if !status.success() {
            return Err(Error::new(format!(
                "sozu-manager ended with {status}:\n{}",
                self.daemon.log()
            )));
        }
        println!(
            "stopped: sozu-manager ended with {status} after {}; everything is removed",
            seconds(begin.elapsed())
        );
        Ok(())
    }
}

/// A measured time, as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
