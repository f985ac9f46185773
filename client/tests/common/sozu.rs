//! A real Sōzu in a directory of its own.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

pub struct RealSozu {
    pub directory: TempDir,
    pub port: u16,
    binary: PathBuf,
    uid: Option<u32>,
    main: Option<Child>,
    /// The main process that a hot upgrade made, which is no child of ours.
    upgraded: Option<u32>,
}

impl RealSozu {
    pub fn start() -> Self {
        Self::start_as(None)
    }

    /// As another user, which only root can.
    pub fn start_as(uid: Option<u32>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut binary = binary();
        if let Some(uid) = uid {
            std::os::unix::fs::chown(directory.path(), Some(uid), Some(uid)).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(directory.path(), mode).unwrap();
            // that user may not be able to reach ours
            let copy = directory.path().join("sozu");
            std::fs::copy(&binary, &copy).expect("name the binary in SOZU_MANAGER_SOZU");
            binary = copy;
        }
        // listeners of Sōzu share their ports, so the one that found it free may end before Sōzu begins
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut sozu = Self {
            directory,
            port,
            binary,
            uid,
            main: None,
            upgraded: None,
        };
        let config = format!(
            "command_socket = \"{socket}\"\nlog_level = \"error\"\nlog_target = \"stdout\"\nworker_count = 2\n\
             worker_timeout = 2\nworker_automatic_restart = true\nmax_connections = 100\nactivate_listeners = true\n\
             [[listeners]]\nprotocol = \"http\"\naddress = \"127.0.0.1:{port}\"\n",
            socket = sozu.socket().display(),
        );
        std::fs::write(sozu.config(), config).unwrap();
        sozu.launch();
        sozu
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("sozu.sock")
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("sozu.toml")
    }

    pub fn launch(&mut self) {
        let output = std::fs::File::create(self.directory.path().join("sozu.log")).unwrap();
        let mut command = Command::new(&self.binary);
        command
            .arg("start")
            .arg("-c")
            .arg(self.config())
            .current_dir(self.directory.path());
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        if let Some(uid) = self.uid {
            std::os::unix::process::CommandExt::uid(&mut command, uid);
            std::os::unix::process::CommandExt::gid(&mut command, uid);
        }
        self.main = Some(command.spawn().expect("sozu cannot be started"));
    }

    pub fn main_pid(&self) -> i32 {
        i32::try_from(self.main.as_ref().unwrap().id()).unwrap()
    }

    /// A hot upgrade of the main process and then of its workers, to the same binary. Gives the new main's pid.
    pub fn upgrade(&mut self) -> u32 {
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(self.config()).arg("upgrade");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let pid = said
            .split_once("has pid ")
            .and_then(|(_, rest)| rest.split_whitespace().next());
        let pid = pid.unwrap_or_else(|| panic!("{output:?}")).parse().unwrap();
        self.upgraded = Some(pid);
        pid
    }

    /// Kills the main process with -9, and its workers, which would otherwise keep the port for a while.
    pub fn kill(&mut self) {
        let Some(mut main) = self.main.take() else {
            return;
        };
        let workers = children(main.id());
        let _ = main.kill();
        let _ = main.wait();
        for worker in workers {
            signal(worker, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

impl Drop for RealSozu {
    fn drop(&mut self) {
        if let Some(main) = self.upgraded {
            let workers = children(main);
            for pid in [i32::try_from(main).unwrap()].into_iter().chain(workers) {
                signal(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
        if let Some(main) = &self.main {
            // a stopped one does not reap
            signal(
                i32::try_from(main.id()).unwrap(),
                nix::sys::signal::Signal::SIGCONT,
            );
        }
        self.kill();
    }
}

pub fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

/// The processes whose parent this is, dead ones left out.
pub fn children(parent: u32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
            let mut fields = fields.split_whitespace();
            fields.next() != Some("Z") && fields.next() == Some(&parent.to_string())
        })
        .collect()
}

/// `$SOZU_MANAGER_SOZU`, else what `make peers` brought, else whatever is on the path.
fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("SOZU_MANAGER_SOZU") {
        return named.into();
    }
    let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.peers/bin/sozu");
    if peer.exists() { peer } else { "sozu".into() }
}
