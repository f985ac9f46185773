//! What the demo runs, and what it tells the person in front of it.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use testkit::{Answer, Backend, Daemon, Error, Result, Sozu, get, routes};

use crate::certificates::Certificates;

/// The host name that the demo routes.
pub(crate) const HOST: &str = "demo.example";
const FILE: &str = "demo.toml";

/// Everything that runs. What is dropped first stands first.
pub(crate) struct Stage {
    pub(crate) daemon: Daemon,
    pub(crate) sozu: Sozu,
    pub(crate) a: Backend,
    pub(crate) b: Backend,
    pub(crate) certificates: Certificates,
}

impl Stage {
    /// Starts a Sōzu without any route, two backends, and the daemon on an empty routes directory.
    pub(crate) fn set(binary: &Path) -> Result<Self> {
        let begin = Instant::now();
        let sozu = Sozu::builder().https_listeners(1).start()?;
        let certificates = Certificates::new()?;
        let (a, b) = (Backend::start("A")?, Backend::start("B")?);
        let mut daemon = Daemon::builder(binary, &sozu)
            .prefix("sozu-manager-demo-")
            .extra_toml(&certificates.table())
            .start()?;
        daemon.wait_ready(Duration::from_secs(30))?;
        println!(
            "Sōzu (pid {}), backends A and B, and sozu-manager (pid {}) run; ready after {}",
            sozu.main_pid()?,
            daemon.pid().unwrap_or_default(),
            seconds(begin.elapsed()),
        );
        Ok(Self {
            daemon,
            sozu,
            a,
            b,
            certificates,
        })
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

    /// Writes the demo's route file.
    pub(crate) fn write(&self, text: &str) -> Result<()> {
        routes::write(&self.daemon.routes(), FILE, text).map(|_| ())
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
        println!(
            "  edit  {}  (backend A is {}, backend B is {})",
            self.daemon.routes().join(FILE).display(),
            self.a.address(),
            self.b.address()
        );
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
