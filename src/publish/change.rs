//! Single changes, with the words of Sōzu's own command line. What they do not offer goes into a file.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, value_parser};
use sozu_command_lib::{
    certificate::split_certificate_chain,
    proto::command::{
        AddBackend, AddCertificate, CertificateAndKey, Cluster, HealthCheckConfig,
        LoadBalancingAlgorithms, LoadBalancingParams, PathRule, ProxyProtocolConfig, RemoveBackend,
        RemoveCertificate, ReplaceCertificate, Request, RequestHttpFrontend, RequestTcpFrontend,
        RequestUdpFrontend, RulePosition, SetHealthCheck, request::RequestType,
    },
};

/// One change.
#[derive(Debug, Subcommand)]
pub(crate) enum Change {
    /// Add a cluster, or set it anew
    AddCluster(AddClusterArguments),
    /// Remove a cluster with its frontends and backends
    RemoveCluster(ClusterId),
    /// Set the health check of a cluster
    SetHealthCheck(HealthCheckArguments),
    /// Remove the health check of a cluster
    RemoveHealthCheck(ClusterId),
    /// Add a backend to a cluster, or set it anew
    AddBackend(AddBackendArguments),
    /// Remove a backend
    RemoveBackend(BackendId),
    /// Route a host name of an HTTP listener
    AddHttpFrontend(HttpFrontend),
    /// Remove a route of an HTTP listener
    RemoveHttpFrontend(HttpRoute),
    /// Route a host name of an HTTPS listener
    AddHttpsFrontend(HttpFrontend),
    /// Remove a route of an HTTPS listener
    RemoveHttpsFrontend(HttpRoute),
    /// Route a TCP listener, or a server name of it
    AddTcpFrontend(TcpFrontend),
    /// Remove a route of a TCP listener
    RemoveTcpFrontend(TcpFrontend),
    /// Route a UDP listener
    AddUdpFrontend(UdpFrontend),
    /// Remove the route of a UDP listener
    RemoveUdpFrontend(UdpFrontend),
    /// Add a certificate to an HTTPS listener; its private key goes over the topic
    AddCertificate(NewCertificate),
    /// Put a certificate in the place of another one; its private key goes over the topic
    ReplaceCertificate(ReplaceArguments),
    /// Remove a certificate from an HTTPS listener
    RemoveCertificate(RemoveCertificateArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ClusterId {
    /// The cluster
    #[arg(short, long, value_name = "CLUSTER")]
    id: String,
}

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "flags, as Sōzu has them")]
pub(crate) struct AddClusterArguments {
    #[command(flatten)]
    cluster: ClusterId,
    /// Keep a client with its backend, by a cookie
    #[arg(short, long)]
    sticky_session: bool,
    /// Answer HTTP requests with the HTTPS address
    #[arg(short = 'r', long)]
    https_redirect: bool,
    /// Speak HTTP/2 with the backends
    #[arg(long)]
    http2: bool,
    /// Begin each connection to a backend with a PROXY protocol header
    #[arg(long)]
    send_proxy: bool,
    /// Clients begin their connections with a PROXY protocol header
    #[arg(long)]
    expect_proxy: bool,
    /// round_robin, random, power_of_two, least_loaded, hrw or maglev
    #[arg(long, value_name = "POLICY", default_value = "round_robin")]
    load_balancing_policy: LoadBalancingAlgorithms,
}

#[derive(Debug, Args)]
pub(crate) struct HealthCheckArguments {
    #[command(flatten)]
    cluster: ClusterId,
    /// What is asked of each backend
    #[arg(long, default_value = "/")]
    uri: String,
    /// Seconds between two questions
    #[arg(long, default_value_t = 10)]
    interval: u32,
    /// Seconds within which a backend has to answer
    #[arg(long, default_value_t = 5)]
    timeout: u32,
    /// So many good answers make it healthy
    #[arg(long, default_value_t = 3)]
    healthy_threshold: u32,
    /// So many bad ones make it unhealthy
    #[arg(long, default_value_t = 3)]
    unhealthy_threshold: u32,
    /// The status of a good answer; 0: any 2xx
    #[arg(long, default_value_t = 0)]
    expected_status: u32,
}

#[derive(Debug, Args)]
pub(crate) struct BackendId {
    #[command(flatten)]
    cluster: ClusterId,
    /// The backend's own id
    #[arg(long = "backend-id", value_name = "ID")]
    own_id: String,
    /// Where it listens
    #[arg(short, long, value_name = "IP:PORT")]
    address: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct AddBackendArguments {
    #[command(flatten)]
    backend: BackendId,
    /// What the cookie of a sticky session says
    #[arg(long)]
    sticky_id: Option<String>,
    /// Its share of the load, from 0
    #[arg(long, default_value_t = 100, value_parser = value_parser!(i32).range(0..))]
    weight: i32,
    /// Only while the others are away
    #[arg(long)]
    backup: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HttpRoute {
    /// The listener
    #[arg(short, long, value_name = "IP:PORT")]
    address: SocketAddr,
    /// The host name
    #[arg(long)]
    hostname: String,
    /// Paths that begin with this [default: all]
    #[arg(short, long, group = "path")]
    path_prefix: Option<String>,
    /// Paths that match this regular expression
    #[arg(long, group = "path")]
    path_regex: Option<String>,
    /// This path alone
    #[arg(long, group = "path")]
    path_equals: Option<String>,
    /// This method alone
    #[arg(short, long)]
    method: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct HttpFrontend {
    #[command(flatten)]
    route: HttpRoute,
    /// The cluster that serves it
    #[arg(short, long, value_name = "CLUSTER", required_unless_present = "deny")]
    id: Option<String>,
    /// Answer 401 to all of it
    #[arg(long, conflicts_with = "id")]
    deny: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TcpFrontend {
    #[command(flatten)]
    cluster: ClusterId,
    /// The listener
    #[arg(short, long, value_name = "IP:PORT")]
    address: SocketAddr,
    /// This server name alone
    #[arg(long)]
    sni: Option<String>,
    /// These ALPN protocols alone
    #[arg(long)]
    alpn: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UdpFrontend {
    #[command(flatten)]
    cluster: ClusterId,
    /// The listener
    #[arg(short, long, value_name = "IP:PORT")]
    address: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct NewCertificate {
    /// The listener
    #[arg(short, long, value_name = "IP:PORT")]
    address: SocketAddr,
    /// The certificate (PEM), with its chain or without
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// Its chain (PEM), if that is another file
    #[arg(long, value_name = "FILE")]
    certificate_chain: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ReplaceArguments {
    #[command(flatten)]
    new: NewCertificate,
    #[command(flatten)]
    old: OldCertificate,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveCertificateArguments {
    /// The listener
    #[arg(short, long, value_name = "IP:PORT")]
    address: SocketAddr,
    #[command(flatten)]
    old: OldCertificate,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct OldCertificate {
    /// The certificate that goes (PEM)
    #[arg(long, value_name = "FILE")]
    old_certificate: Option<PathBuf>,
    /// Or its SHA-256, in hexadecimal
    #[arg(short, long, value_name = "HEX")]
    fingerprint: Option<String>,
}

impl Change {
    /// As Sōzu takes it.
    ///
    /// # Errors
    /// A file that cannot be used, with what to do.
    pub(super) fn request(&self) -> Result<Request, String> {
        Ok(match self {
            Self::AddCluster(it) => RequestType::AddCluster(it.cluster()),
            Self::RemoveCluster(it) => RequestType::RemoveCluster(it.id.clone()),
            Self::SetHealthCheck(it) => RequestType::SetHealthCheck(it.health_check()),
            Self::RemoveHealthCheck(it) => RequestType::RemoveHealthCheck(it.id.clone()),
            Self::AddBackend(it) => RequestType::AddBackend(it.backend()),
            Self::RemoveBackend(it) => RequestType::RemoveBackend(RemoveBackend {
                cluster_id: it.cluster.id.clone(),
                backend_id: it.own_id.clone(),
                address: it.address.into(),
            }),
            Self::AddHttpFrontend(it) => RequestType::AddHttpFrontend(it.frontend()),
            Self::RemoveHttpFrontend(it) => RequestType::RemoveHttpFrontend(it.frontend(None)),
            Self::AddHttpsFrontend(it) => RequestType::AddHttpsFrontend(it.frontend()),
            Self::RemoveHttpsFrontend(it) => RequestType::RemoveHttpsFrontend(it.frontend(None)),
            Self::AddTcpFrontend(it) => RequestType::AddTcpFrontend(it.frontend()),
            Self::RemoveTcpFrontend(it) => RequestType::RemoveTcpFrontend(it.frontend()),
            Self::AddUdpFrontend(it) => RequestType::AddUdpFrontend(it.frontend()),
            Self::RemoveUdpFrontend(it) => RequestType::RemoveUdpFrontend(it.frontend()),
            Self::AddCertificate(it) => RequestType::AddCertificate(AddCertificate {
                address: it.address.into(),
                certificate: it.read()?,
                expired_at: None,
            }),
            Self::ReplaceCertificate(it) => RequestType::ReplaceCertificate(ReplaceCertificate {
                address: it.new.address.into(),
                new_certificate: it.new.read()?,
                old_fingerprint: it.old.fingerprint()?,
                new_expired_at: None,
            }),
            Self::RemoveCertificate(it) => RequestType::RemoveCertificate(RemoveCertificate {
                address: it.address.into(),
                fingerprint: it.old.fingerprint()?,
            }),
        }
        .into())
    }
}

impl AddClusterArguments {
    fn cluster(&self) -> Cluster {
        let proxy = match (self.send_proxy, self.expect_proxy) {
            (true, true) => Some(ProxyProtocolConfig::RelayHeader),
            (true, false) => Some(ProxyProtocolConfig::SendHeader),
            (false, true) => Some(ProxyProtocolConfig::ExpectHeader),
            (false, false) => None,
        };
        Cluster {
            cluster_id: self.cluster.id.clone(),
            sticky_session: self.sticky_session,
            https_redirect: self.https_redirect,
            proxy_protocol: proxy.map(Into::into),
            load_balancing: self.load_balancing_policy.into(),
            http2: self.http2.then_some(true),
            ..Cluster::default()
        }
    }
}

impl HealthCheckArguments {
    fn health_check(&self) -> SetHealthCheck {
        SetHealthCheck {
            cluster_id: self.cluster.id.clone(),
            config: HealthCheckConfig {
                uri: self.uri.clone(),
                interval: self.interval,
                timeout: self.timeout,
                healthy_threshold: self.healthy_threshold,
                unhealthy_threshold: self.unhealthy_threshold,
                expected_status: self.expected_status,
                ..HealthCheckConfig::default()
            },
        }
    }
}

impl AddBackendArguments {
    fn backend(&self) -> AddBackend {
        AddBackend {
            cluster_id: self.backend.cluster.id.clone(),
            backend_id: self.backend.own_id.clone(),
            address: self.backend.address.into(),
            sticky_id: self.sticky_id.clone(),
            load_balancing_parameters: Some(LoadBalancingParams {
                weight: self.weight,
            }),
            backup: self.backup.then_some(true),
            ..AddBackend::default()
        }
    }
}

impl HttpRoute {
    fn frontend(&self, cluster: Option<String>) -> RequestHttpFrontend {
        RequestHttpFrontend {
            cluster_id: cluster,
            address: self.address.into(),
            hostname: self.hostname.clone(),
            path: PathRule::from_cli_options(
                self.path_prefix.clone(),
                self.path_regex.clone(),
                self.path_equals.clone(),
            ),
            method: self.method.clone(),
            position: RulePosition::Tree.into(),
            ..RequestHttpFrontend::default()
        }
    }
}

impl HttpFrontend {
    fn frontend(&self) -> RequestHttpFrontend {
        self.route.frontend(self.id.clone())
    }
}

impl TcpFrontend {
    fn frontend(&self) -> RequestTcpFrontend {
        RequestTcpFrontend {
            cluster_id: self.cluster.id.clone(),
            address: self.address.into(),
            sni: self.sni.clone(),
            alpn: self.alpn.clone(),
            ..RequestTcpFrontend::default()
        }
    }
}

impl UdpFrontend {
    fn frontend(&self) -> RequestUdpFrontend {
        RequestUdpFrontend {
            cluster_id: self.cluster.id.clone(),
            address: self.address.into(),
            ..RequestUdpFrontend::default()
        }
    }
}

impl NewCertificate {
    fn read(&self) -> Result<CertificateAndKey, String> {
        let mut certificates = certificates(&self.certificate)?.into_iter();
        let leaf = certificates.next().unwrap_or_default();
        let chain = match &self.certificate_chain {
            Some(chain) => self::certificates(chain)?,
            None => certificates.collect(),
        };
        let key = text(&self.key)?;
        if !key.contains("PRIVATE KEY-----") {
            return Err(format!(
                "{}: it holds no private key in PEM; name the file that does",
                self.key.display()
            ));
        }
        let mut read = CertificateAndKey {
            certificate: leaf,
            certificate_chain: chain,
            key,
            ..CertificateAndKey::default()
        };
        // Its own names; what may be sent is judged by them.
        read.apply_overriding_names()
            .map_err(|error| format!("{}: {error}", self.certificate.display()))?;
        Ok(read)
    }
}

impl OldCertificate {
    fn fingerprint(&self) -> Result<String, String> {
        if let Some(fingerprint) = &self.fingerprint {
            return Ok(fingerprint.to_ascii_lowercase());
        }
        let path = self.old_certificate.clone().unwrap_or_default();
        let certificate = CertificateAndKey {
            certificate: certificates(&path)?.into_iter().next().unwrap_or_default(),
            ..CertificateAndKey::default()
        };
        let fingerprint = certificate.fingerprint();
        fingerprint
            .map(|fingerprint| fingerprint.to_string())
            .map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// The certificates in a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<String>, String> {
    let found = split_certificate_chain(text(path)?);
    if found.is_empty() {
        let path = path.display();
        return Err(format!(
            "{path}: it holds no certificate in PEM; name the file that does"
        ));
    }
    Ok(found)
}

fn text(path: &Path) -> Result<String, String> {
    let read = fs::read_to_string(path);
    read.map_err(|error| {
        format!(
            "{}: {error}; correct its name, or let this user read it",
            path.display()
        )
    })
}
