//! How a daemon under test is set up.

use std::{
    fmt::Write,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::{Error, Port, Result, Sozu, daemon::Daemon, process};

/// Settings of a daemon under test.
#[derive(Debug, Clone)]
pub struct Builder {
    binary: PathBuf,
    command_socket: PathBuf,
    worker_timeout: Duration,
    directory: Option<PathBuf>,
    prefix: String,
    routes: Vec<String>,
    extra: String,
    environment: Vec<(String, String)>,
    user: Option<(u32, u32)>,
}

impl Builder {
    pub(super) fn new(binary: PathBuf, sozu: &Sozu) -> Self {
        Self {
            binary,
            command_socket: sozu.command_socket(),
            worker_timeout: sozu.worker_timeout(),
            directory: None,
            prefix: "sozu-manager-under-test-".to_owned(),
            routes: vec!["local".to_owned()],
            extra: String::new(),
            environment: Vec::new(),
            user: None,
        }
    }

    /// Uses this directory, and leaves it where it is; default: a temporary one.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// What the name of its temporary directory begins with.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// The names of its routes sources, eldest first; default: `local`. Empty: no source at all.
    #[must_use]
    pub fn routes(mut self, names: &[&str]) -> Self {
        self.routes = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Further TOML, behind everything else: begin it with a `[table]`.
    #[must_use]
    pub fn extra_toml(mut self, toml: &str) -> Self {
        let _ = writeln!(self.extra, "{toml}");
        self
    }

    /// An environment variable, such as `SOZU_MANAGER__RECONCILE__INTERVAL`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it as another user and group, for tests of permissions; only root can.
    #[must_use]
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }

    /// Makes the directories and the configuration; nothing runs yet, so a test may write routes first.
    pub fn prepare(self) -> Result<Daemon> {
        let own = if self.directory.is_none() {
            Some(temporary(&self.prefix)?)
        } else {
            None
        };
        let directory = own
            .as_ref()
            .map(|own| own.path().to_owned())
            .or(self.directory.clone())
            .unwrap_or_default();
        make_directory(&directory, 0o755)?;
        let daemon = Daemon {
            process: None,
            binary: process::runnable_by(&self.binary, self.user, &directory)?,
            user: self.user,
            environment: self.environment.clone(),
            http: Port::free()?,
            directory,
            own_directory: own,
        };
        make_directory(&daemon.state_directory(), 0o700)?;
        make_directory(
            &daemon.exchange_directory(),
            if self.user.is_some() { 0o710 } else { 0o700 },
        )?;
        for name in &self.routes {
            make_directory(&daemon.routes_of(name), 0o755)?;
        }
        fs::write(daemon.config_file(), self.toml(&daemon))
            .map_err(Error::while_doing("writing config.toml"))?;
        if let Some((uid, gid)) = self.user {
            for path in [
                daemon.directory().to_owned(),
                daemon.state_directory(),
                daemon.exchange_directory(),
            ] {
                process::give(&path, uid, gid)?;
            }
        }
        Ok(daemon)
    }

    /// [`Builder::prepare`] and [`Daemon::start`].
    pub fn start(self) -> Result<Daemon> {
        let mut daemon = self.prepare()?;
        daemon.start()?;
        Ok(daemon)
    }

    fn toml(&self, daemon: &Daemon) -> String {
        let mut toml = format!(
            "state_directory = \"{}\"\n\n[sozu]\ncommand_socket = \"{}\"\nworker_timeout = \"{}s\"\n\
             exchange_directory = \"{}\"\n\n[http]\naddress = \"{}\"\n\n[admin]\nsocket = \"{}\"\n",
            daemon.state_directory().display(),
            self.command_socket.display(),
            self.worker_timeout.as_secs(),
            daemon.exchange_directory().display(),
            daemon.http.address(),
            daemon.admin_socket().display(),
        );
        for name in &self.routes {
            let _ = write!(
                toml,
                "\n[routes.{name}]\ndirectory = \"{}\"\n",
                daemon.routes_of(name).display()
            );
        }
        if !self.extra.is_empty() {
            let _ = write!(toml, "\n{}", self.extra);
        }
        toml
    }
}

fn temporary(prefix: &str) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir()
        .map_err(Error::while_doing("making a directory for the daemon"))
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(Error::while_doing(format!("making {}", path.display())))
}
