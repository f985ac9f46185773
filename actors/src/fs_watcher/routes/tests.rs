use std::{collections::BTreeMap, fs, sync::Arc};

use proptest::prelude::*;
use sozu_command_lib::{
    config::{ClusterConfig, ConfigBuilder, FileConfig},
    proto::command::{Request, RulePosition, WorkerRequest, request::RequestType},
};

use super::*;
use crate::{
    fs_watcher::problem::Position,
    state_keeper::{
        examples::keyed,
        key::Kind,
        report::{Listener, Protocol},
    },
};

mod declared;
mod mistakes;
mod saved_state;

const CERTIFICATE: &str = include_str!("../testdata/certificate.pem");
const KEY: &str = include_str!("../testdata/key.pem");

const EXPECTS_PROXY: &str = "0.0.0.0:9002";

fn listeners() -> Listeners {
    [
        ("0.0.0.0:80", Protocol::Http),
        ("0.0.0.0:443", Protocol::Https),
        ("0.0.0.0:9000", Protocol::Tcp),
        ("0.0.0.0:9001", Protocol::Tcp),
        ("0.0.0.0:53", Protocol::Udp),
        (EXPECTS_PROXY, Protocol::Tcp),
    ]
    .into_iter()
    .map(|(address, protocol)| {
        let listener = Listener {
            protocol,
            expect_proxy: address == EXPECTS_PROXY,
        };
        (address.parse().unwrap(), listener)
    })
    .collect()
}

fn read(path: &Path, text: &str, resolved: &Resolved) -> Result<Vec<Object>, Fault> {
    let mut files = NamedFiles::of(path);
    let keyed =
        parse(path, text.as_bytes().to_vec())?.objects(&listeners(), &mut files, resolved)?;
    Ok(keyed
        .into_iter()
        .map(|keyed| keyed.object.as_ref().clone())
        .collect())
}

fn toml(text: &str) -> Result<Vec<Object>, Fault> {
    read(Path::new("/nowhere/a.toml"), text, &Resolved::new())
}

/// What Sōzu's own code makes of the same clusters, given the same listeners.
fn by_sozu(text: &str) -> Vec<Request> {
    let listeners = r#"
        command_socket = "/nowhere/sock"
        [[listeners]]
        protocol = "http"
        address = "0.0.0.0:80"
        [[listeners]]
        protocol = "https"
        address = "0.0.0.0:443"
        [[listeners]]
        protocol = "tcp"
        address = "0.0.0.0:9000"
        [[listeners]]
        protocol = "tcp"
        address = "0.0.0.0:9001"
        [[listeners]]
        protocol = "udp"
        address = "0.0.0.0:53"
        [[listeners]]
        protocol = "tcp"
        address = "0.0.0.0:9002"
        expect_proxy = true
    "#;
    let mut file = with_positions(text);
    file.extend(::toml::from_str::<::toml::Table>(listeners).unwrap());
    let file: FileConfig = file.try_into().unwrap();
    let config = ConfigBuilder::new(file, "/nowhere/sozu.toml")
        .into_config()
        .unwrap();
    let clusters: BTreeMap<String, ClusterConfig> = config.clusters.into_iter().collect();
    clusters
        .values()
        .flat_map(|cluster| cluster.generate_requests().unwrap())
        .collect()
}

/// The text with our default of a frontend's position written out.
fn with_positions(text: &str) -> ::toml::Table {
    let mut root: ::toml::Table = ::toml::from_str(text).unwrap();
    let clusters = root.get_mut("clusters").and_then(|it| it.as_table_mut());
    for (_, cluster) in clusters.into_iter().flatten() {
        let is_http = cluster.get("protocol").and_then(|it| it.as_str()) == Some("http");
        let frontends = cluster
            .get_mut("frontends")
            .and_then(|it| it.as_array_mut());
        for frontend in frontends.into_iter().flatten().filter(|_| is_http) {
            let frontend = frontend.as_table_mut().unwrap();
            frontend.entry("position").or_insert("TREE".into());
        }
    }
    root
}

/// Every key of a cluster, a frontend and a backend that both sides accept.
const EVERYTHING: &str = r#"
[clusters.full]
protocol = "http"
sticky_session = true
https_redirect = true
https_redirect_port = 8443
load_balancing = "HRW"
load_metric = "REQUESTS"
http2 = true
answer_503 = "ANSWER"
authorized_hashes = ["admin:8c6976e5b5410415bde908bd4dee15dfb167a9c873fc4bb8a81f6f2ab448a918"]
www_authenticate = "realm"
max_connections_per_ip = 10
max_connections_per_subnet = 100
retry_after = 30
affinity_header = "X-Tenant"
shard_percent = 25
shard_min_backends = 4
shard_mode = "STRICT"
max_connection_attempts = 2
answers = { 404 = "HTTP/1.1 404 Not Found\r\n\r\n", 502 = "file://ANSWER", 401 = "" }
health_check = { uri = "/health", interval = 3, timeout = 2, healthy_threshold = 2, unhealthy_threshold = 4, accepted_statuses = ["2xx", "301-302"], port = 8081, mode = "HTTP" }

[[clusters.full.frontends]]
address = "0.0.0.0:80"
hostname = "full.example"
path = "/api/[a-z]+"
path_type = "REGEX"
method = "GET"
position = "PRE"
tags = { owner = "team", id = "1" }
redirect = "permanent"
redirect_scheme = "use-https"
redirect_template = "moved"
rewrite_host = "other.example"
rewrite_path = "/other"
rewrite_port = 8080
required_auth = true
headers = [{ position = "request", key = "X-A", value = "b" }, { position = "both", key = "X-C", value = "" }]
header_predicates = [{ name = "X-Version", match = "exact", value = "2" }, { name = "X-Any", match = "present" }]

[[clusters.full.frontends]]
address = "0.0.0.0:443"
hostname = "test.example"
path = "/exact"
path_type = "EQUALS"
position = "POST"
certificate = "CERTIFICATE"
key = "KEY"
certificate_chain = "CERTIFICATE"
tls_versions = ["TLS_V12", "TLS_V13"]
hsts = { enabled = true, include_subdomains = true, preload = true, max_age = 31536000, force_replace_backend = true }

[[clusters.full.frontends]]
address = "0.0.0.0:80"
hostname = "full.example"
redirect = "silent_close"

[[clusters.full.backends]]
address = "10.0.0.1:8080"
weight = 50
sticky_id = "one"
backup = true
backend_id = "first"

[[clusters.full.backends]]
address = "[::1]:8080"

[clusters.tcp]
protocol = "tcp"
send_proxy = true
load_balancing = "RANDOM"
load_metric = "CONNECTIONS"
frontends = [
  { address = "0.0.0.0:9000", tags = { a = "b" } },
  { address = "0.0.0.0:9001", hostname = "*.Tcp.example", alpn = ["h2", "http/1.1"] },
]
backends = [{ address = "10.0.0.2:9000", weight = 1 }, { address = "10.0.0.3:9000" }]

[clusters.udp]
protocol = "tcp"
frontends = [{ address = "0.0.0.0:53" }]
backends = [{ address = "10.0.0.4:53" }]
[clusters.udp.udp]
affinity_key = "SOURCE_IP_PORT"
responses = 1
requests = 2
send_proxy_protocol = true
proxy_protocol_every_datagram = true
health = { mode = "UDP_PROBE", tcp_port = 1, rise = 2, fall = 3, fail_open = true, udp_probe_payload = "x", probe_interval_seconds = 4, probe_timeout_seconds = 5 }

[clusters.expects_proxy]
protocol = "tcp"
frontends = [{ address = "0.0.0.0:9002", hostname = "expects.example" }]
backends = [{ address = "10.0.0.5:9000" }]

[clusters.relays_proxy]
protocol = "tcp"
send_proxy = true
frontends = [{ address = "0.0.0.0:9002", hostname = "relays.example" }]
backends = [{ address = "10.0.0.6:9000" }]

[clusters.unix]
protocol = "http"
frontends = [{ address = "0.0.0.0:80", hostname = "unix.example", path = "/" }]
backends = [{ address = "127.0.0.9:1", unix_path = "/run/app.sock" }]
"#;

fn with_files(dir: &Path, text: &str) -> String {
    for (name, content) in [
        ("CERTIFICATE", CERTIFICATE),
        ("KEY", KEY),
        ("ANSWER", "HTTP/1.1 503 No\r\n\r\n"),
    ] {
        fs::write(dir.join(name), content).unwrap();
    }
    ["CERTIFICATE", "KEY", "ANSWER"]
        .iter()
        .fold(text.to_owned(), |text, name| {
            text.replace(&format!("\"{name}\""), &format!("{:?}", dir.join(name)))
                .replace(
                    &format!("file://{name}"),
                    &format!("file://{}", dir.join(name).display()),
                )
        })
}

#[test]
fn the_first_file_in_path_order_has_what_two_declare() {
    let claim = |name: &str, ids: &[&str]| {
        let table = |id: &&str| {
            format!("[clusters.{id}]\nprotocol = \"http\"\nfrontends = []\nbackends = []\n")
        };
        let text = ids.iter().map(table).collect::<Vec<_>>().concat();
        claims::Claim {
            path: Arc::new(name.into()),
            objects: keyed(&toml(&text).unwrap()),
        }
    };
    let (kept, problems) = claims::settle(vec![
        claim("/a", &["x", "y"]),
        claim("/b", &["y", "z", "x"]),
        claim("/c", &["q"]),
    ]);
    let names: Vec<String> = kept.iter().map(|objects| format!("{objects:?}")).collect();
    assert_eq!(
        names,
        ["[cluster x, cluster y]", "[cluster z]", "[cluster q]"]
    );
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "/b: the cluster x and 1 more are shadowed by /a, which comes first; remove one of the two"
        ]
    );
}

proptest! {
    /// Whatever stands in a file: no panic, and twice the same.
    #[test]
    fn reading_is_deterministic_and_never_panics(
        cuts in proptest::collection::vec((0..EVERYTHING.len(), any::<u8>()), 0..4),
        end in 0..EVERYTHING.len(),
        ending in prop_oneof![Just("a.toml"), Just("a.json")],
    ) {
        let mut bytes = EVERYTHING.as_bytes().to_vec();
        for (at, byte) in cuts {
            bytes[at] = byte;
        }
        bytes.truncate(EVERYTHING.len() - end / 8);
        let twice = [(); 2].map(|()| {
            let path = Path::new(ending);
            parse(path, bytes.clone()).and_then(|parsed| {
                parsed.objects(&listeners(), &mut NamedFiles::of(path), &Resolved::new())
            })
        });
        prop_assert_eq!(&twice[0], &twice[1]);
    }

    #[test]
    fn a_state_file_of_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(Path::new("a.json"), bytes);
    }
}
