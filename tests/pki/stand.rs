//! A Sōzu with HTTPS listeners, a daemon that reads a certificate directory, and clients that shake hands meanwhile.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use sozu_command_lib::proto::command::{CertificateAndKey, request::RequestType};
use tempfile::TempDir;
use testkit::{
    Daemon, SOON, Sozu, Tap,
    pki::{Authority, Issued},
    tls::{Shaking, shake},
    wait_until,
};

use crate::{support, tools::Tool};

/// The name that no test touches.
pub const UNTOUCHED: &str = "untouched.example";

/// How a stand is set up.
pub struct Setup {
    /// Of the certificates, below the stand's base.
    pub directory: &'static str,
    /// Further keys of `[pki.certs]`.
    pub settings: &'static str,
    /// As which tool the untouched name's certificate is laid out.
    pub tool: Tool,
    pub listeners: usize,
    /// Whether a tap is between the daemon and Sōzu.
    pub tapped: bool,
    /// As whom Sōzu and the daemon run; only root can choose.
    pub user: Option<u32>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            directory: "certs",
            settings: "",
            tool: crate::tools::flat,
            listeners: 1,
            tapped: false,
            user: None,
        }
    }
}

pub struct Stand {
    pub daemon: Daemon,
    pub tap: Option<Tap>,
    pub sozu: Sozu,
    pub ca: Authority,
    pub base: TempDir,
    pub directory: PathBuf,
    pub untouched: Issued,
}

pub fn stand() -> Stand {
    Setup::default().start()
}

impl Setup {
    /// The directory holds one pair, which is served.
    pub fn start(self) -> Stand {
        let base = tempfile::Builder::new()
            .prefix("certificates-")
            .tempdir()
            .unwrap();
        let directory = base.path().join(self.directory);
        self.start_in(base, directory)
    }

    /// The same in a directory that may be there already, below a base that may hold more.
    pub fn start_in(self, base: TempDir, directory: PathBuf) -> Stand {
        let ca = Authority::new().unwrap();
        fs::create_dir_all(&directory).unwrap();
        let untouched = ca.issue(&[UNTOUCHED]).unwrap();
        (self.tool)(&directory, UNTOUCHED, &untouched);
        let mut sozu = Sozu::builder()
            .http_listeners(0)
            .https_listeners(self.listeners);
        if let Some(user) = self.user {
            sozu = sozu.user(user, user);
        }
        let sozu = sozu.start().unwrap();
        let tap = self.tapped.then(|| Tap::before(&sozu).unwrap());
        let table = format!(
            "[pki.certs]\ndirectory = \"{}\"\n{}",
            directory.display(),
            self.settings
        );
        let mut daemon = support::daemon(&sozu).routes(&[]).extra_toml(&table);
        if let Some(tap) = &tap {
            let socket = tap.socket().display().to_string();
            daemon = daemon.env("SOZU_MANAGER__SOZU__COMMAND_SOCKET", &socket);
        }
        if let Some(user) = self.user {
            mode(base.path(), 0o755);
            daemon = daemon.user(user, user);
        }
        let mut daemon = daemon.start().unwrap();
        daemon.wait_ready(SOON).unwrap();
        let stand = Stand {
            daemon,
            tap,
            sozu,
            ca,
            base,
            directory,
            untouched,
        };
        stand.served(UNTOUCHED, &stand.untouched);
        stand
    }
}

impl Stand {
    pub fn at(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn https(&self) -> SocketAddr {
        self.sozu.https_addresses()[0]
    }

    /// Issues a certificate for one name.
    pub fn issue(&self, name: &str) -> Issued {
        self.ca.issue(&[name]).unwrap()
    }

    /// Issues one, writes it as `STEM.crt` and `STEM.key`, and waits until it is served.
    #[track_caller]
    pub fn add(&self, stem: &str, name: &str) -> Issued {
        let issued = self.issue(name);
        self.write(stem, &issued);
        self.served(name, &issued);
        issued
    }

    /// Writes `STEM.crt` and `STEM.key`, each by rename.
    pub fn write(&self, stem: &str, issued: &Issued) {
        issued
            .write(
                &self.directory,
                &format!("{stem}.crt"),
                &format!("{stem}.key"),
            )
            .unwrap();
    }

    /// Removes them.
    pub fn remove(&self, stem: &str) {
        for ending in ["crt", "key"] {
            fs::remove_file(self.at(&format!("{stem}.{ending}"))).unwrap();
        }
    }

    /// Waits until a handshake for the name shows this certificate.
    #[track_caller]
    pub fn served(&self, name: &str, issued: &Issued) {
        wait_until(&format!("{name} is served"), SOON, || {
            let shown = shake(self.https(), name).map_err(|error| error.to_string())?;
            if shown.leaf == issued.der {
                Ok(())
            } else {
                Err("another certificate".to_owned())
            }
        });
    }

    /// Whether a handshake for the name shows this certificate now.
    pub fn shows(&self, name: &str, issued: &Issued) -> bool {
        shake(self.https(), name).is_ok_and(|shown| shown.leaf == issued.der)
    }

    /// Waits until `/health` says these words of the directory.
    #[track_caller]
    pub fn told(&self, words: &[&str]) -> String {
        support::told_of(&self.daemon, "pki.certs", words)
    }

    /// Waits until the component says this of itself in short.
    #[track_caller]
    pub fn says(&self, words: &str) {
        wait_until(words, SOON, || {
            let component = self.daemon.component("pki.certs");
            let component = component.map_err(|error| error.to_string())?;
            let detail = component["detail"].to_string();
            if detail.contains(words) {
                Ok(())
            } else {
                Err(detail)
            }
        });
    }

    /// What `/metrics` says of the directory's certificates in one state.
    pub fn counted(&self, state: &str) -> Option<f64> {
        let labels = [("source", "certs"), ("state", state)];
        self.daemon.metric("sozu_manager_certificates", &labels)
    }

    /// Waits until so many certificates are in one state.
    #[track_caller]
    pub fn counts(&self, state: &str, count: f64) {
        wait_until(&format!("{count} {state}"), SOON, || {
            let seen = self.counted(state);
            if seen == Some(count) {
                Ok(())
            } else {
                Err(format!("{seen:?}"))
            }
        });
    }

    /// The certificates that Sōzu's main process holds.
    pub fn held(&self) -> Vec<CertificateAndKey> {
        let requests = self.sozu.held().unwrap().requests.into_iter();
        requests
            .filter_map(|request| match request.request_type {
                Some(RequestType::AddCertificate(add)) => Some(add.certificate),
                _ => None,
            })
            .collect()
    }

    /// The one that it holds for a name.
    pub fn held_for(&self, name: &str) -> CertificateAndKey {
        let mut held = self.held();
        held.retain(|it| it.names.iter().any(|it| it == name));
        assert_eq!(held.len(), 1, "certificates for {name}");
        held.remove(0)
    }

    /// Clients that shake hands while something happens: with the untouched name, and with those that
    /// are renewed.
    pub fn clients(&self, names: &[&str]) -> Clients {
        Clients {
            untouched: Shaking::start(self.https(), &[UNTOUCHED]),
            renewed: Shaking::start(self.https(), names),
            is: self.untouched.der.clone(),
        }
    }
}

pub struct Clients {
    untouched: Shaking,
    renewed: Shaking,
    is: Vec<u8>,
}

impl Clients {
    /// The untouched name never failed nor changed; each other one got one of its own, and nothing
    /// else, never nothing.
    #[track_caller]
    pub fn end(self, renewed: &[(&str, &[&Issued])]) {
        let untouched = self.untouched.stop().remove(UNTOUCHED).unwrap();
        assert_eq!(untouched.errors, Vec::<String>::new(), "{UNTOUCHED}");
        let leaves: Vec<&Vec<u8>> = untouched.leaves.keys().collect();
        assert_eq!(leaves, [&self.is], "{UNTOUCHED}");
        let seen = self.renewed.stop();
        let names: Vec<&str> = seen.keys().map(String::as_str).collect();
        assert_eq!(names.len(), renewed.len(), "{names:?}");
        for (name, allowed) in renewed {
            let seen = &seen[*name];
            assert_eq!(seen.errors, Vec::<String>::new(), "{name}");
            assert!(seen.total() > 0, "{name}");
            let strange = seen
                .leaves
                .keys()
                .filter(|leaf| !allowed.iter().any(|it| it.der == **leaf));
            assert_eq!(strange.count(), 0, "{name}: neither old nor new");
        }
    }
}

/// No private key of these is in what the daemon says or keeps, and no file for Sōzu is left.
#[track_caller]
pub fn no_key_in(daemon: &Daemon, issued: &[&Issued]) {
    let mut texts = vec![
        daemon.log(),
        daemon.health().unwrap().to_string(),
        daemon.metrics().unwrap(),
    ];
    for entry in fs::read_dir(daemon.state_directory()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        texts.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    for issued in issued {
        let body = issued.key.lines().nth(1).unwrap();
        for text in &texts {
            assert!(!text.contains(body), "a private key lies around");
        }
    }
    wait_until("no file for Sōzu is left", SOON, || {
        let left = support::exchanged(daemon);
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

/// Puts another file at a path in one step.
pub fn put(path: &Path, make: impl FnOnce(&Path)) {
    let new = path.with_file_name(".made");
    make(&new);
    fs::rename(new, path).unwrap();
}

pub fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
