//! Where the demo's routes come from: a directory of files, or a topic of a real Pulsar broker, to which
//! `sozu-manager publish` sends the same files.

use std::{fs, net::SocketAddr, path::PathBuf, process::Output, time::Instant};

use tempfile::TempDir;
use testkit::{Daemon, Error, Pulsar, Result, daemon::Builder, pulsar::topic, routes};

use crate::stage::seconds;

/// What a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Files,
    Pulsar,
}

/// Where routes are declared.
pub(crate) enum Source {
    /// A file is written.
    Files,
    /// A file is published.
    Topic { broker: Box<Pulsar>, files: TempDir },
}

impl Source {
    /// Starts the broker, if it is one.
    pub(crate) fn start(kind: Kind) -> Result<Self> {
        if kind == Kind::Files {
            return Ok(Self::Files);
        }
        println!("a Pulsar broker starts on free ports and in a directory of its own: some 20 s");
        let begin = Instant::now();
        let broker = Box::new(Pulsar::start()?);
        let files = tempfile::Builder::new()
            .prefix("sozu-manager-demo-published-")
            .tempdir()
            .map_err(|error| Error::new(format!("making a directory: {error}")))?;
        println!(
            "Pulsar runs at {}; healthy after {}",
            broker.url(),
            seconds(begin.elapsed())
        );
        Ok(Self::Topic { broker, files })
    }

    /// A daemon with it.
    pub(crate) fn of(&self, daemon: Builder) -> Builder {
        match self {
            Self::Files => daemon,
            Self::Topic { broker, .. } => daemon.routes(&[]).extra_toml(&format!(
                "[pulsar.platform]\nurl = \"{}\"\ntopic = \"{}\"\n",
                broker.url(),
                topic("demo")
            )),
        }
    }

    /// What is done with a file: `written` or `published`.
    pub(crate) fn done(&self) -> &'static str {
        match self {
            Self::Files => "written",
            Self::Topic { .. } => "published",
        }
    }

    /// Where this file is.
    pub(crate) fn file(&self, daemon: &Daemon, name: &str) -> PathBuf {
        match self {
            Self::Files => daemon.routes().join(name),
            Self::Topic { files, .. } => files.path().join(name),
        }
    }

    /// A file that is published says which listeners speak TLS: nobody asks a Sōzu for it.
    pub(crate) fn with_listener(&self, https: SocketAddr, text: &str) -> String {
        match self {
            Self::Files => text.to_owned(),
            Self::Topic { .. } => {
                format!("[[listeners]]\naddress = \"{https}\"\nprotocol = \"https\"\n\n{text}")
            }
        }
    }

    /// Writes a file, or publishes it and waits until it is live.
    pub(crate) fn declare(&self, daemon: &Daemon, name: &str, text: &str) -> Result<()> {
        match self {
            Self::Files => routes::write(&daemon.routes(), name, text).map(drop),
            Self::Topic { .. } => {
                let output = self.publish(daemon, name, text)?;
                if output.status.success() {
                    return Ok(());
                }
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                Err(Error::new(format!("publish {name}: {said}")))
            }
        }
    }

    /// `sozu-manager publish FILE --wait SOCKET`.
    pub(crate) fn publish(&self, daemon: &Daemon, name: &str, text: &str) -> Result<Output> {
        let file = self.file(daemon, name);
        fs::write(&file, text)
            .map_err(|error| Error::new(format!("writing {}: {error}", file.display())))?;
        let mut command = daemon.command(&["publish"]);
        command.arg(file).arg("--wait").arg(daemon.admin_socket());
        command
            .output()
            .map_err(|error| Error::new(format!("starting publish: {error}")))
    }
}
