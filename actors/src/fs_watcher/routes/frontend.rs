//! One frontend of a cluster: its protocol by its listener, its certificate, its HSTS.

use std::net::SocketAddr;

use sozu_command_lib::{
    certificate::split_certificate_chain,
    config::{ConfigError, FileClusterFrontendConfig, HttpFrontendConfig, TcpFrontendConfig},
    proto::command::{AddCertificate, CertificateAndKey},
};

use super::document::DEFAULT_POSITION;
use super::{
    convert::{Misfit, within},
    document::Step,
    named::NamedFiles,
};
use crate::state_keeper::report::{Listeners, Protocol};

/// What a frontend is beside Sōzu's own type for it.
#[derive(Default)]
pub(super) struct Side {
    pub(super) https: bool,
    pub(super) certificate: Option<AddCertificate>,
}

/// The place of a frontend, or of a key of it.
struct Place<'a> {
    cluster: &'a str,
    index: usize,
}

impl Place<'_> {
    fn misfit(&self, key: &str, text: impl Into<String>) -> Misfit {
        let mut way = within(self.cluster, Some("frontends"), Some(self.index));
        way.push(Step::Key(key.to_owned()));
        Misfit::new(way, text)
    }

    /// What Sōzu says of a frontend, at the key that it speaks of.
    fn from(&self, error: &ConfigError) -> Misfit {
        let text = error.to_string();
        match error {
            ConfigError::InvalidFrontendConfig(key) => {
                let key = if key == "path_prefix" { "path" } else { key };
                let text = format!("`{key}` has no effect on this kind of frontend; remove it");
                self.misfit(key, text)
            }
            ConfigError::Missing(_) => {
                self.misfit("hostname", "an HTTP frontend needs a `hostname`; add it")
            }
            ConfigError::InvalidRedirectPolicy(_) => self.misfit(
                "redirect",
                "unknown value; write forward, permanent, unauthorized or silent_close",
            ),
            ConfigError::InvalidRedirectScheme(_) => self.misfit(
                "redirect_scheme",
                "unknown value; write use-same, use-http or use-https",
            ),
            ConfigError::InvalidHeaderPosition { .. } => self.misfit(
                "headers",
                "a header has an unknown `position`; write request, response or both",
            ),
            ConfigError::InvalidHeaderBytes { .. } => self.misfit("headers", text),
            ConfigError::InvalidHeaderPredicate { .. } => self.misfit("header_predicates", text),
            ConfigError::InvalidSniPattern { .. } | ConfigError::NonAsciiSniPattern { .. } => {
                self.misfit("hostname", text)
            }
            ConfigError::AlpnWithoutSni { .. } => self.misfit("alpn", text),
            _ => self.misfit("", text),
        }
    }

    /// Refuses keys that would be read and then dropped.
    fn without_effect(&self, keys: &[(&str, bool)], on: &str) -> Result<(), Misfit> {
        match keys.iter().find(|(_, set)| *set) {
            Some((key, _)) => {
                Err(self.misfit(key, format!("`{key}` has no effect {on}; remove it")))
            }
            None => Ok(()),
        }
    }
}

/// What the listener at an address speaks, where Sōzu has one.
fn protocol_at(address: SocketAddr, listeners: &Listeners) -> Option<Protocol> {
    listeners.get(&address).map(|listener| listener.protocol)
}

/// A frontend of a cluster with `protocol = "http"`.
pub(super) fn http(
    cluster: &str,
    index: usize,
    mut file: FileClusterFrontendConfig,
    listeners: &Listeners,
    files: &mut NamedFiles,
) -> Result<(HttpFrontendConfig, Side), Misfit> {
    let place = Place { cluster, index };
    let certificate = file.certificate.take();
    let key = file.key.take();
    let chain = file.certificate_chain.take();
    let hsts = file.hsts.take();
    let https = match protocol_at(file.address, listeners) {
        Some(Protocol::Https) => true,
        Some(Protocol::Http) => false,
        Some(other) => return Err(other_protocol(&place, "http", &file, other)),
        // The keeper refuses it and names the addresses that there are.
        None => certificate.is_some() || hsts.is_some(),
    };
    let bare = certificate.is_none();
    place.without_effect(
        &[
            ("key", bare && key.is_some()),
            ("certificate_chain", bare && chain.is_some()),
            ("tls_versions", bare && !file.tls_versions.is_empty()),
        ],
        "without `certificate`",
    )?;
    place.without_effect(
        &[("path_type", file.path.is_none() && file.path_type.is_some())],
        "without `path`",
    )?;
    if !https {
        let on = "at an HTTP listener: TLS belongs to an HTTPS one";
        place.without_effect(&[("certificate", !bare), ("hsts", hsts.is_some())], on)?;
    }

    let mut frontend = file
        .to_http_front(cluster)
        .map_err(|error| place.from(&error))?;
    if let Some(hsts) = hsts {
        let scope = format!("frontend {cluster}/{}", frontend.hostname);
        let hsts = hsts.to_proto(&scope).map_err(|_| {
            place.misfit(
                "hsts",
                "`hsts` needs `enabled`; write enabled = true or false",
            )
        })?;
        frontend.hsts = Some(hsts);
    }
    let mut side = Side {
        https,
        certificate: None,
    };
    if let Some(certificate) = certificate {
        let Some(key) = key else {
            return Err(place.misfit("certificate", "`certificate` needs `key`; add it"));
        };
        let mut read =
            |which: &str, name: &str| files.read(name).map_err(|text| place.misfit(which, text));
        let certificate = read("certificate", &certificate)?;
        let key = read("key", &key)?;
        let chain = chain
            .map(|chain| read("certificate_chain", &chain))
            .transpose()?;
        check_key(&key).map_err(|text| place.misfit("key", text))?;
        side.certificate = Some(AddCertificate {
            address: frontend.address.into(),
            certificate: CertificateAndKey {
                certificate,
                certificate_chain: chain.map(split_certificate_chain).unwrap_or_default(),
                key,
                versions: frontend.tls_versions.iter().map(|v| *v as i32).collect(),
                // Names given here would replace those in the certificate.
                names: Vec::new(),
            },
            expired_at: None,
        });
    }
    Ok((frontend, side))
}

/// A half-written key must not replace a good one.
fn check_key(key: &str) -> Result<(), &'static str> {
    if key.contains("ENCRYPTED PRIVATE KEY") || key.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(
            "the key is encrypted, and nobody is there to type its pass phrase; decrypt it",
        );
    }
    let whole = key.contains("PRIVATE KEY-----")
        && key.trim_end().ends_with("-----")
        && key.contains("-----END");
    if whole {
        Ok(())
    } else {
        Err("the key is no whole PEM private key; write it again")
    }
}

/// A frontend of a cluster with `protocol = "tcp"`; at a UDP listener it is a UDP one.
pub(super) fn tcp(
    cluster: &str,
    index: usize,
    file: &FileClusterFrontendConfig,
    listeners: &Listeners,
) -> Result<TcpFrontendConfig, Misfit> {
    let place = Place { cluster, index };
    let udp = match protocol_at(file.address, listeners) {
        Some(Protocol::Udp) => true,
        Some(Protocol::Tcp) | None => false,
        Some(other) => return Err(other_protocol(&place, "tcp", file, other)),
    };
    place.without_effect(
        &[
            ("path_type", file.path_type.is_some()),
            ("method", file.method.is_some()),
            ("key", file.key.is_some()),
            ("tls_versions", !file.tls_versions.is_empty()),
            ("position", file.position != DEFAULT_POSITION),
            ("redirect", file.redirect.is_some()),
            ("redirect_scheme", file.redirect_scheme.is_some()),
            ("redirect_template", file.redirect_template.is_some()),
            ("rewrite_host", file.rewrite_host.is_some()),
            ("rewrite_path", file.rewrite_path.is_some()),
            ("rewrite_port", file.rewrite_port.is_some()),
            ("required_auth", file.required_auth.is_some()),
            ("headers", file.headers.is_some()),
            ("hsts", file.hsts.is_some()),
        ],
        "on a TCP frontend",
    )?;
    let mut frontend = file.to_tcp_front().map_err(|error| place.from(&error))?;
    if udp {
        let keys = [
            ("hostname", frontend.sni.is_some()),
            ("alpn", !frontend.alpn.is_empty()),
        ];
        place.without_effect(&keys, "at a UDP listener")?;
        frontend.udp = true;
    }
    Ok(frontend)
}

fn other_protocol(
    place: &Place<'_>,
    cluster: &str,
    file: &FileClusterFrontendConfig,
    listener: Protocol,
) -> Misfit {
    let (listener, protocol) = match listener {
        Protocol::Http => ("HTTP", "http"),
        Protocol::Https => ("HTTPS", "http"),
        Protocol::Tcp => ("TCP", "tcp"),
        Protocol::Udp => ("UDP", "tcp"),
    };
    place.misfit(
        "address",
        format!(
            "the cluster has protocol = \"{cluster}\", and Sōzu's listener at {} speaks {listener}; write protocol = \"{protocol}\", or the address of another listener",
            file.address
        ),
    )
}
