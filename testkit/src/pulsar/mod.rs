//! A real Pulsar broker under test: started, killed, started again, stalled, asked through its admin REST API.
//!
//! It takes 16 s and more to start, so a suite starts one and gives each test a topic of its own.

mod admin;
mod builder;
mod echo;
mod reader;
mod tokens;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

pub use builder::Builder;
pub use echo::Echo;
pub use reader::{Read, read};
pub use tokens::Tokens;

use crate::{Error, Port, Result, process::Process, wait_for};

/// What a broker may take to be healthy: on a busy machine a minute is not rare.
const HEALTHY_WITHIN: Duration = Duration::from_mins(4);

/// A standalone broker on ports and in a directory of its own. It ends when this is dropped.
#[derive(Debug)]
pub struct Pulsar {
    process: Option<Process>,
    home: PathBuf,
    service: Port,
    service_tls: Option<Port>,
    web: Port,
    bookkeeper: Port,
    /// The token with which the admin API is asked.
    token: Option<String>,
    directory: TempDir,
}

impl Pulsar {
    /// Settings of a broker.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A running broker that lets everybody in.
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// The pid, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Its URL, without TLS.
    pub fn url(&self) -> String {
        format!("pulsar://{}", self.service.address())
    }

    /// Its URL with TLS, if it was built with a certificate.
    pub fn tls_url(&self) -> Option<String> {
        let port = self.service_tls.as_ref()?.number();
        Some(format!("pulsar+ssl://localhost:{port}"))
    }

    /// The directory of everything it has.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.directory().join("broker.log")
    }

    /// Starts it on its own directories, again or for the first time, and waits until it is healthy.
    pub fn start_again(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_healthy()
    }

    /// Starts it and does not wait.
    pub fn launch(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Err(Error::new("the broker runs; kill it first"));
        }
        let directory = self.directory.path();
        let mut command = Command::new(self.home.join("bin/pulsar"));
        command
            .args([
                "standalone",
                "-nfw",
                "-nss",
                "-a",
                "127.0.0.1",
                "--metadata-dir",
            ])
            .arg(directory.join("meta"))
            .arg("--bookkeeper-dir")
            .arg(directory.join("bk"))
            .args(["--bookkeeper-port", &self.bookkeeper.number().to_string()])
            .env("PULSAR_STANDALONE_CONF", directory.join("standalone.conf"))
            .env("PULSAR_LOG_DIR", directory.join("logs"))
            .env(
                "PULSAR_MEM",
                "-Xms256m -Xmx512m -XX:MaxDirectMemorySize=512m",
            )
            .env("PULSAR_GC", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1")
            .current_dir(directory);
        self.process = Some(Process::start(command, &self.log_file(), Some(directory))?);
        Ok(())
    }

    /// Waits until it is healthy and its first namespace is there.
    pub fn wait_healthy(&mut self) -> Result<()> {
        wait_for("a healthy broker", HEALTHY_WITHIN, || {
            if let Some(process) = &mut self.process
                && let Some(status) = process.exit_status()?
            {
                return Err(Error::new(format!("it ended with {status}")));
            }
            for path in [
                "/admin/v2/brokers/health",
                "/admin/v2/namespaces/public/default",
            ] {
                let (status, body) = self.admin("GET", path, "")?;
                if status != 200 {
                    return Err(Error::new(format!("{path}: {status} {body}")));
                }
            }
            Ok(())
        })
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self
            .process
            .take()
            .ok_or_else(|| Error::new("the broker does not run"))?;
        process.kill_group()
    }

    /// Stops it where it is, as a frozen machine does.
    pub fn stall(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let process = self
            .process
            .as_ref()
            .ok_or_else(|| Error::new("the broker does not run"))?;
        process.signal(signal)
    }

    /// One request to its admin REST API: the status and the body.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        admin::ask(self.web.number(), method, path, self.token.as_deref(), body)
    }

    /// As [`Pulsar::admin`], and an error unless it succeeds.
    pub fn ordered(&self, method: &str, path: &str, body: &str) -> Result<String> {
        match self.admin(method, path, body)? {
            (200..300, answer) => Ok(answer),
            (status, answer) => Err(Error::new(format!("{method} {path}: {status} {answer}"))),
        }
    }

    /// What it tells of a topic of `public/default`.
    pub fn stats(&self, topic: &str) -> Result<Value> {
        let path = format!("{}/stats?getPreciseBacklog=true", path_of(topic));
        let answer = self.ordered("GET", &path, "")?;
        serde_json::from_str(&answer).map_err(Error::while_doing("reading the stats of a topic"))
    }

    /// How many messages of a topic this subscription has not acknowledged.
    pub fn backlog(&self, topic: &str, subscription: &str) -> Result<u64> {
        let stats = self.stats(topic)?;
        stats["subscriptions"][subscription]["msgBacklog"]
            .as_u64()
            .ok_or_else(|| Error::new(format!("no subscription {subscription} in {stats}")))
    }

    /// Unloads a topic, as a broker that is relieved of it does.
    pub fn unload(&self, topic: &str) -> Result<()> {
        self.ordered("PUT", &format!("{}/unload", path_of(topic)), "")
            .map(drop)
    }

    /// Deletes a topic, whoever uses it.
    pub fn delete(&self, topic: &str) -> Result<()> {
        self.ordered("DELETE", &format!("{}?force=true", path_of(topic)), "")
            .map(drop)
    }

    /// Deletes a subscription, whoever uses it.
    pub fn delete_subscription(&self, topic: &str, subscription: &str) -> Result<()> {
        let path = format!("{}/subscription/{subscription}?force=true", path_of(topic));
        self.ordered("DELETE", &path, "").map(drop)
    }
}

/// The full name of a topic of `public/default`.
pub fn topic(name: &str) -> String {
    format!("persistent://public/default/{name}")
}

fn path_of(topic: &str) -> String {
    format!("/admin/v2/persistent/public/default/{topic}")
}
