//! From Sōzu's own file types to objects, by Sōzu's own functions, so that no field is lost.
//!
//! Sōzu's functions are given only what they may do: frontends go one by one, so that an error
//! has a place; files and names are read before; and four of Sōzu's rules are put aside, since
//! listeners are known here: the protocol follows the listener, an HTTPS frontend needs no
//! certificate, HSTS needs an HTTPS listener, the PROXY protocol is what the listeners expect.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
};

use sozu_command_lib::{
    config::{
        ClusterConfig, ConfigError, FileClusterConfig, FileClusterFrontendConfig,
        FileClusterProtocolConfig,
    },
    proto::command::{AddCertificate, ProxyProtocolConfig, Request, request::RequestType},
};

use super::{
    document::{Step, locate},
    frontend,
    named::NamedFiles,
    resolve::Resolved,
};
use crate::{
    fs_watcher::problem::Fault,
    state_keeper::{
        key::{Key, Object},
        report::Listeners,
    },
};

/// Something in a document that cannot be, with the way to it.
#[derive(Debug)]
pub(super) struct Misfit {
    way: Vec<Step>,
    text: String,
    /// The way to what it clashes with.
    clash: Option<Vec<Step>>,
}

impl Misfit {
    pub(super) fn new(way: Vec<Step>, text: impl Into<String>) -> Self {
        Self {
            way,
            text: text.into(),
            clash: None,
        }
    }

    /// With its position in the document.
    pub(super) fn placed(self, document: &str) -> Fault {
        let clash = self.clash.and_then(|way| locate(document, &way));
        Fault {
            at: locate(document, &self.way),
            text: match clash {
                Some(clash) => format!("{} (the other one is at {clash})", self.text),
                None => self.text,
            },
        }
    }
}

/// The place of a cluster, or of something in it.
pub(super) fn within(cluster: &str, key: Option<&str>, index: Option<usize>) -> Vec<Step> {
    let mut way = vec![
        Step::Key("clusters".to_owned()),
        Step::Key(cluster.to_owned()),
    ];
    way.extend(key.map(|key| Step::Key(key.to_owned())));
    way.extend(index.map(Step::Index));
    way
}

/// What a file's clusters declare: by cluster, in Sōzu's order.
pub(super) fn objects(
    clusters: BTreeMap<String, FileClusterConfig>,
    listeners: &Listeners,
    files: &mut NamedFiles,
    resolved: &Resolved,
) -> Result<Vec<Object>, Misfit> {
    let mut objects = Vec::new();
    let mut places: HashMap<Key, (usize, Vec<Step>)> = HashMap::new();
    for (id, file) in clusters {
        for (object, way) in cluster(&id, file, listeners, files, resolved)? {
            let key = object
                .key()
                .map_err(|error| Misfit::new(way.clone(), error.to_string()))?;
            if let Some((index, first)) = places.get(&key) {
                // Many frontends of one listener share a certificate.
                if matches!(object, Object::Certificate(_)) && objects[*index] == object {
                    continue;
                }
                return Err(Misfit {
                    way,
                    text: format!("the {} {key} is declared twice; remove one", key.kind()),
                    clash: Some(first.clone()),
                });
            }
            places.insert(key, (objects.len(), way));
            objects.push(object);
        }
    }
    Ok(objects)
}

type Placed = (Object, Vec<Step>);

fn cluster(
    id: &str,
    mut file: FileClusterConfig,
    listeners: &Listeners,
    files: &mut NamedFiles,
    resolved: &Resolved,
) -> Result<Vec<Placed>, Misfit> {
    check_fields(id, &file)?;
    let answers = answers(id, &mut file, files)?;
    let answer_503 = answer_503(id, &mut file, files)?;
    let send_proxy = file.send_proxy == Some(true);
    let frontends = std::mem::take(&mut file.frontends);
    let addresses: Vec<String> = file.backends.iter().map(|b| b.address.clone()).collect();

    let lookup = |name: &str| match resolved.get(name) {
        Some(Ok(found)) => Ok(found.clone()),
        Some(Err(why)) => Err(io::Error::other(why.clone())),
        None => Err(io::Error::other("it was not asked for")),
    };
    let mut built = file
        .to_cluster_config_with(id, &HashSet::new(), Some(&lookup))
        .map_err(|error| cluster_misfit(id, &addresses, &error))?;

    let mut sides = Vec::with_capacity(frontends.len());
    match &mut built {
        ClusterConfig::Http(http) => {
            http.answers = answers;
            http.answer_503 = answer_503;
            for (index, file) in frontends.into_iter().enumerate() {
                let (frontend, side) = frontend::http(id, index, file, listeners, files)?;
                http.frontends.push(frontend);
                sides.push(side);
            }
        }
        ClusterConfig::Tcp(tcp) => {
            tcp.answers = answers;
            tcp.proxy_protocol = proxy_protocol(id, send_proxy, &frontends, listeners)?;
            let unix = tcp
                .backends
                .iter()
                .any(|backend| backend.unix_path.is_some());
            for (index, file) in frontends.into_iter().enumerate() {
                let frontend = frontend::tcp(id, index, &file, listeners)?;
                if frontend.udp && unix {
                    let way = within(id, Some("frontends"), Some(index));
                    let text =
                        "a UDP cluster cannot have backends with a `unix_path`; give addresses";
                    return Err(Misfit::new(way, text));
                }
                tcp.frontends.push(frontend);
                sides.push(frontend::Side::default());
            }
        }
    }
    let requests = built
        .generate_requests()
        .map_err(|error| cluster_misfit(id, &addresses, &error))?;
    place(id, requests, sides)
}

/// What a TCP cluster does with the PROXY protocol: whether it sends it is its own setting, whether
/// it expects it is its listeners', which must agree.
fn proxy_protocol(
    id: &str,
    send: bool,
    frontends: &[FileClusterFrontendConfig],
    listeners: &Listeners,
) -> Result<Option<ProxyProtocolConfig>, Misfit> {
    let expects = |frontend: &FileClusterFrontendConfig| {
        let listener = listeners.get(&frontend.address);
        listener.is_some_and(|listener| listener.expect_proxy)
    };
    let expect = frontends.first().is_some_and(expects);
    if let Some(index) = frontends.iter().position(|it| expects(it) != expect) {
        let mut way = within(id, Some("frontends"), Some(index));
        way.push(Step::Key("address".to_owned()));
        let text = format!(
            "of the listeners at {} and {} only one expects the PROXY protocol (`expect_proxy` in Sōzu's configuration); give each a cluster of its own",
            frontends[0].address, frontends[index].address
        );
        return Err(Misfit::new(way, text));
    }
    Ok(match (send, expect) {
        (true, true) => Some(ProxyProtocolConfig::RelayHeader),
        (true, false) => Some(ProxyProtocolConfig::SendHeader),
        (false, true) => Some(ProxyProtocolConfig::ExpectHeader),
        (false, false) => None,
    })
}

/// The objects of Sōzu's requests, with the frontends' sides: its HTTPS, its certificate.
fn place(
    id: &str,
    requests: Vec<Request>,
    sides: Vec<frontend::Side>,
) -> Result<Vec<Placed>, Misfit> {
    let mut placed = Vec::with_capacity(requests.len());
    let mut sides = sides.into_iter().enumerate();
    for request in requests {
        let object = match request.request_type {
            // The verb of a backend on a UNIX socket.
            Some(RequestType::AddUnixBackend(backend)) => Some(Object::Backend(Box::new(backend))),
            Some(request) => Object::added_by(&request),
            None => None,
        };
        match object {
            Some(Object::Cluster(cluster)) => {
                placed.push((Object::Cluster(cluster), within(id, None, None)));
            }
            Some(Object::Backend(backend)) => {
                placed.push((Object::Backend(backend), within(id, Some("backends"), None)));
            }
            Some(object) => {
                let (index, side) = sides.next().unwrap_or_default();
                let way = within(id, Some("frontends"), Some(index));
                if let Some(certificate) = side.certificate {
                    let way = [&way[..], &[Step::Key("certificate".to_owned())]].concat();
                    placed.push((certificate_object(certificate, &way)?, way));
                }
                let object = match object {
                    Object::HttpFrontend(front) if side.https => Object::HttpsFrontend(front),
                    other => other,
                };
                placed.push((object, way));
            }
            None => {
                let text = "sozu-command-lib makes a request of this cluster that is not known here; use another version of sozu-manager";
                return Err(Misfit::new(within(id, None, None), text));
            }
        }
    }
    Ok(placed)
}

/// A certificate whose leaf can be read.
fn certificate_object(add: AddCertificate, way: &[Step]) -> Result<Object, Misfit> {
    let object = Object::Certificate(Box::new(add));
    match object.key() {
        Ok(_) => Ok(object),
        Err(error) => Err(Misfit::new(way.to_vec(), error.to_string())),
    }
}

/// Keys that Sōzu reads and then drops for this protocol: told, not dropped.
fn check_fields(id: &str, file: &FileClusterConfig) -> Result<(), Misfit> {
    let (protocol, without_effect) = match file.protocol {
        FileClusterProtocolConfig::Http => {
            ("http", vec![("send_proxy", file.send_proxy == Some(true))])
        }
        FileClusterProtocolConfig::Tcp => (
            "tcp",
            vec![
                ("sticky_session", file.sticky_session == Some(true)),
                ("https_redirect", file.https_redirect == Some(true)),
                ("http2", file.http2 == Some(true)),
                ("answer_503", file.answer_503.is_some()),
            ],
        ),
    };
    match without_effect.iter().find(|(_, set)| *set) {
        Some((key, _)) => Err(Misfit::new(
            within(id, Some(key), None),
            format!("`{key}` has no effect in a cluster with protocol = \"{protocol}\"; remove it"),
        )),
        None => Ok(()),
    }
}

/// `file://PATH` is read, anything else is the answer itself; an empty one is as if not written.
fn answers(
    id: &str,
    file: &mut FileClusterConfig,
    files: &mut NamedFiles,
) -> Result<BTreeMap<String, String>, Misfit> {
    let mut answers = BTreeMap::new();
    for (code, value) in file.answers.take().unwrap_or_default() {
        let answer = match value.strip_prefix("file://") {
            Some(path) => files.read(path).map_err(|text| {
                let mut way = within(id, Some("answers"), None);
                way.push(Step::Key(code.clone()));
                Misfit::new(way, text)
            })?,
            None if value.is_empty() => continue,
            None => value,
        };
        answers.insert(code, answer);
    }
    Ok(answers)
}

/// The older key names a file. Sōzu goes on without it if it cannot be read; here it is an error.
fn answer_503(
    id: &str,
    file: &mut FileClusterConfig,
    files: &mut NamedFiles,
) -> Result<Option<String>, Misfit> {
    let Some(path) = file.answer_503.take() else {
        return Ok(None);
    };
    match files.read(&path) {
        Ok(answer) => Ok(Some(answer)),
        Err(text) => Err(Misfit::new(within(id, Some("answer_503"), None), text)),
    }
}

/// What Sōzu says of a cluster, at the key that it speaks of.
fn cluster_misfit(id: &str, addresses: &[String], error: &ConfigError) -> Misfit {
    let backend = |address: &str| {
        let index = addresses.iter().position(|known| known == address);
        within(id, Some("backends"), index)
    };
    match error {
        ConfigError::BackendAddressResolution {
            address, reason, ..
        } => Misfit::new(
            backend(address),
            format!(
                "the backend {address} cannot be resolved: {reason}; write IP:PORT, or mend the name"
            ),
        ),
        ConfigError::InvalidBackendUnixPath {
            address, reason, ..
        } => Misfit::new(backend(&address.to_string()), (*reason).to_owned()),
        ConfigError::InvalidAffinityKey { reason, .. } => Misfit::new(
            within(id, Some("affinity_header"), None),
            (*reason).to_owned(),
        ),
        ConfigError::InvalidShuffleSharding { reason, .. } => Misfit::new(
            within(id, Some("shard_percent"), None),
            (*reason).to_owned(),
        ),
        ConfigError::InvalidMaxConnectionAttempts { reason, .. } => Misfit::new(
            within(id, Some("max_connection_attempts"), None),
            (*reason).to_owned(),
        ),
        ConfigError::InvalidHealthCheck { reason, .. } => {
            Misfit::new(within(id, Some("health_check"), None), (*reason).to_owned())
        }
        other => Misfit::new(within(id, None, None), other.to_string()),
    }
}
