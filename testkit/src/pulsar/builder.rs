//! How a broker under test is set up.

use std::{
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use super::Pulsar;
use crate::{Error, Port, Result};

/// Settings of a broker under test.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    settings: Vec<(String, String)>,
    tls: bool,
    token: Option<String>,
}

impl Builder {
    /// A key of its `standalone.conf`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Listens with TLS too, with this certificate and key (PEM files).
    #[must_use]
    pub fn tls(mut self, certificate: &Path, key: &Path) -> Self {
        self.tls = true;
        self.set("tlsCertificateFilePath", &certificate.display().to_string())
            .set("tlsKeyFilePath", &key.display().to_string())
    }

    /// Lets nobody in without a token (JWT, HS256) that is signed with this key file; `token` is the admin's own.
    #[must_use]
    pub fn tokens(mut self, key: &Path, token: &str) -> Self {
        self.token = Some(token.to_owned());
        let parameters = format!("{{\"token\":\"{token}\"}}");
        self.set("authenticationEnabled", "true")
            .set(
                "authenticationProviders",
                "org.apache.pulsar.broker.authentication.AuthenticationProviderToken",
            )
            .set("tokenSecretKey", &format!("file://{}", key.display()))
            .set(
                "brokerClientAuthenticationPlugin",
                "org.apache.pulsar.client.impl.auth.AuthenticationToken",
            )
            .set("brokerClientAuthenticationParameters", &parameters)
    }

    /// Makes its directory and configuration, and starts it.
    pub fn start(self) -> Result<Pulsar> {
        let mut pulsar = self.prepare()?;
        pulsar.start_again()?;
        Ok(pulsar)
    }

    /// Makes its directory and configuration; nothing runs yet.
    pub fn prepare(self) -> Result<Pulsar> {
        let directory = tempfile::Builder::new()
            .prefix("pulsar-under-test-")
            .tempdir()
            .map_err(Error::while_doing("making a directory for Pulsar"))?;
        let pulsar = Pulsar {
            process: None,
            home: home()?,
            service: Port::free()?,
            service_tls: if self.tls { Some(Port::free()?) } else { None },
            web: Port::free()?,
            bookkeeper: Port::free()?,
            token: self.token.clone(),
            directory,
        };
        let shipped = pulsar.home.join("conf/standalone.conf");
        let shipped = fs::read_to_string(&shipped)
            .map_err(Error::while_doing(format!("reading {}", shipped.display())))?;
        let text = self.configured(&shipped, &pulsar);
        fs::write(pulsar.directory().join("standalone.conf"), text)
            .map_err(Error::while_doing("writing standalone.conf"))?;
        Ok(pulsar)
    }

    /// The shipped text with our keys set.
    fn configured(&self, shipped: &str, pulsar: &Pulsar) -> String {
        let port = |port: &Port| port.number().to_string();
        let mut settings = vec![
            ("bindAddress".to_owned(), "127.0.0.1".to_owned()),
            ("advertisedAddress".to_owned(), "localhost".to_owned()),
            ("brokerServicePort".to_owned(), port(&pulsar.service)),
            ("webServicePort".to_owned(), port(&pulsar.web)),
            (
                "brokerDeleteInactiveTopicsEnabled".to_owned(),
                "false".to_owned(),
            ),
            // by default a disk that is 99 % full ends all writing, however large the rest is
            ("diskUsageThreshold".to_owned(), "0.9999".to_owned()),
            ("diskUsageWarnThreshold".to_owned(), "0.9999".to_owned()),
            // five errors, as a frozen machine makes them, would end all writing to the only bookie for half an hour
            (
                "bookkeeperClientHealthCheckEnabled".to_owned(),
                "false".to_owned(),
            ),
        ];
        if let Some(tls) = &pulsar.service_tls {
            settings.push(("brokerServicePortTls".to_owned(), port(tls)));
        }
        settings.extend(self.settings.iter().cloned());
        let mut text = String::with_capacity(shipped.len());
        for line in shipped.lines() {
            let key = line.split('=').next().unwrap_or("").trim();
            if !settings.iter().any(|(set, _)| set == key) {
                text.push_str(line);
                text.push('\n');
            }
        }
        for (key, value) in settings {
            let _ = writeln!(text, "{key}={value}");
        }
        text
    }
}

/// What `make peers` brought.
fn home() -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."));
    let cache = env::var_os("SOZU_MANAGER_PEERS")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache/sozu-manager-peers")));
    [Some(workspace.join(".peers")), cache]
        .into_iter()
        .flatten()
        .map(|peers| peers.join("pulsar"))
        .find(|home| home.join("bin/pulsar").is_file())
        .ok_or_else(|| {
            Error::new(
                "no Pulsar to test against: run `make peers`, which brings it to .peers/pulsar",
            )
        })
}
