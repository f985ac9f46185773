//! A Sōzu with an HTTPS listener, and a daemon that reads a certificate directory.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use testkit::{
    Daemon, SOON, Sozu,
    pki::{Authority, Issued},
    tls::{Shaking, shake},
    wait_until,
};

/// The name that no test touches.
pub const UNTOUCHED: &str = "untouched.example";

pub struct Stand {
    pub daemon: Daemon,
    pub sozu: Sozu,
    pub ca: Authority,
    pub base: TempDir,
}

/// With this below `[pki.certs]`. The directory holds one flat pair, which is served.
pub fn stand_with(settings: &str) -> Stand {
    let base = tempfile::Builder::new()
        .prefix("certificates-")
        .tempdir()
        .unwrap();
    let ca = Authority::new().unwrap();
    let directory = base.path().join("certs");
    fs::create_dir(&directory).unwrap();
    let untouched = ca.issue(&[UNTOUCHED]).unwrap();
    untouched
        .write(&directory, "untouched.crt", "untouched.key")
        .unwrap();
    let sozu = Sozu::builder()
        .http_listeners(0)
        .https_listeners(1)
        .start()
        .unwrap();
    let table = format!(
        "[pki.certs]\ndirectory = \"{}\"\n{settings}",
        directory.display()
    );
    let mut daemon = super::daemon(&sozu)
        .routes(&[])
        .extra_toml(&table)
        .start()
        .unwrap();
    daemon.wait_ready(SOON).unwrap();
    let stand = Stand {
        daemon,
        sozu,
        ca,
        base,
    };
    stand.served(UNTOUCHED, &untouched);
    stand
}

pub fn stand() -> Stand {
    stand_with("")
}

impl Stand {
    pub fn directory(&self) -> PathBuf {
        self.base.path().join("certs")
    }

    pub fn https(&self) -> SocketAddr {
        self.sozu.https_addresses()[0]
    }

    /// Issues a certificate for one name.
    pub fn issue(&self, name: &str) -> Issued {
        self.ca.issue(&[name]).unwrap()
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
        super::told_of(&self.daemon, "pki.certs", words)
    }

    /// Clients that shake hands while something happens: with the untouched name, and with one that
    /// is renewed.
    pub fn clients(&self, name: &str) -> Clients {
        Clients {
            untouched: Shaking::start(self.https(), UNTOUCHED),
            renewed: Shaking::start(self.https(), name),
        }
    }

    pub fn leaf_of(&self, name: &str) -> Vec<u8> {
        shake(self.https(), name).unwrap().leaf
    }
}

pub struct Clients {
    untouched: Shaking,
    renewed: Shaking,
}

impl Clients {
    /// The untouched name never failed nor changed; the other one got one of these, and nothing else.
    #[track_caller]
    pub fn end(self, allowed: &[&Issued]) {
        let (untouched, renewed) = (self.untouched.stop(), self.renewed.stop());
        assert_eq!(untouched.errors, Vec::<String>::new());
        assert_eq!(untouched.leaves.len(), 1, "the untouched name");
        assert!(untouched.total() > 0);
        assert_eq!(renewed.errors, Vec::<String>::new());
        assert!(renewed.total() > 0);
        let strange = renewed
            .leaves
            .keys()
            .filter(|leaf| !allowed.iter().any(|it| it.der == **leaf));
        assert_eq!(strange.count(), 0, "neither old nor new");
    }
}

/// No private key of these is in what the daemon says or keeps.
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
}

pub fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
