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

#[test]
fn a_frontend_goes_into_the_tree_unless_it_says_otherwise() {
    let text = "[clusters.a]\nprotocol = \"http\"\nbackends = []\nfrontends = [\n{ address = \"0.0.0.0:80\", hostname = \"tree.example\" },\n{ address = \"0.0.0.0:80\", hostname = \"pre.example\", position = \"PRE\" }]\n";
    let clusters = super::document::parse(text).unwrap();
    let positions: Vec<RulePosition> = clusters["a"]
        .frontends
        .iter()
        .map(|frontend| frontend.position)
        .collect();
    assert_eq!(positions, [RulePosition::Tree, RulePosition::Pre]);
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
fn what_is_declared_is_what_sozu_itself_would_make_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let text = with_files(dir.path(), EVERYTHING);
    let ours = read(&dir.path().join("a.toml"), &text, &Resolved::new()).unwrap();
    let ours: Vec<Request> = ours.iter().map(Object::add).collect();
    let stored = |request: Request| {
        let object = request.request_type.as_ref().and_then(Object::added_by);
        object.unwrap().canonical().add()
    };
    let theirs: Vec<Request> = by_sozu(&text).into_iter().map(stored).collect();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        // Compared as text, since these types hide themselves when they differ.
        let text = |request: &Request| serde_json::to_string_pretty(request).unwrap();
        assert_eq!(text(ours), text(theirs));
        assert_eq!(ours, theirs);
    }
}

/// Every key that the file types know stands in the text above: a new version of them that
/// knows more fails here.
#[test]
fn the_comparison_leaves_no_key_out() {
    let known = |text: &str| -> Vec<String> {
        let message = ::toml::from_str::<FileConfig>(text)
            .unwrap_err()
            .message()
            .to_owned();
        message
            .split('`')
            .skip(3)
            .step_by(2)
            .map(ToOwned::to_owned)
            .collect()
    };
    let frame = |cluster: &str, frontend: &str, backend: &str| {
        format!(
            "[clusters.a]\nprotocol = \"http\"\n{cluster}\nfrontends = [{{ address = \"1.2.3.4:80\"{frontend} }}]\nbackends = [{{ address = \"1.2.3.4:80\"{backend} }}]\n"
        )
    };
    let keys = [
        known(&frame("no_such_key = 1", "", "")),
        known(&frame("", ", no_such_key = 1", "")),
        known(&frame("", "", ", no_such_key = 1")),
    ]
    .concat();
    assert!(keys.len() > 50, "{keys:?}");
    // Sōzu takes one of the two.
    for key in keys.iter().filter(|key| *key != "affinity_cookie") {
        assert!(EVERYTHING.contains(key.as_str()), "{key} is not compared");
    }
}

#[test]
fn a_frontend_takes_the_protocol_of_its_listener() {
    let objects = toml(
        r#"
        [clusters.a]
        protocol = "http"
        frontends = [
          { address = "0.0.0.0:80", hostname = "a.example" },
          { address = "0.0.0.0:443", hostname = "a.example", hsts = { enabled = true } },
          { address = "0.0.0.0:1234", hostname = "a.example" },
        ]
        backends = []
        "#,
    )
    .unwrap();
    let kinds: Vec<Kind> = objects
        .iter()
        .map(|object| object.key().unwrap().kind())
        .collect();
    let expected = [
        Kind::Cluster,
        Kind::HttpFrontend,
        Kind::HttpsFrontend,
        Kind::HttpFrontend,
    ];
    assert_eq!(kinds, expected);
    let Object::HttpsFrontend(https) = &objects[2] else {
        panic!()
    };
    assert_eq!(https.hsts.unwrap().max_age, Some(31_536_000));
}

#[test]
fn an_empty_file_declares_nothing() {
    for text in ["", "# nothing yet\n", "[clusters]\n"] {
        assert_eq!(toml(text).unwrap(), [], "{text}");
    }
    assert_eq!(
        read(Path::new("a.json"), " \n", &Resolved::new()).unwrap(),
        []
    );
}

#[test]
fn the_file_of_the_readme_is_one_route() {
    let objects = toml(include_str!("../testdata/readme.toml")).unwrap();
    let objects: Vec<String> = objects.iter().map(|object| format!("{object:?}")).collect();
    assert_eq!(
        objects,
        [
            "cluster website",
            "http_frontend 0.0.0.0:80;www.example.com;P/",
            "backend website;website-0-127.0.0.1:8000;127.0.0.1:8000",
        ]
    );
}

#[test]
fn names_are_resolved_as_sozu_names_backends() {
    let text = r#"
        [clusters.a]
        protocol = "http"
        frontends = []
        backends = [
          { address = "app.example:80", sticky_id = "s" },
          { address = "app.example:80", backend_id = "mine" },
          { address = "10.0.0.1:80" },
        ]
    "#;
    let parsed = parse(Path::new("a.toml"), text.as_bytes().to_vec()).unwrap();
    assert_eq!(parsed.names(), ["app.example:80".to_owned()].into());
    let addresses = vec![
        "10.0.0.3:80".parse().unwrap(),
        "10.0.0.2:80".parse().unwrap(),
    ];
    let resolved = [("app.example:80".to_owned(), Ok(addresses))].into();
    let objects = read(Path::new("a.toml"), text, &resolved).unwrap();
    let keys: Vec<String> = objects[1..]
        .iter()
        .map(|object| object.key().unwrap().to_string())
        .collect();
    assert_eq!(
        keys,
        [
            "a;a-app.example:80-10.0.0.2:80;10.0.0.2:80",
            "a;a-app.example:80-10.0.0.3:80;10.0.0.3:80",
            "a;mine-10.0.0.2:80;10.0.0.2:80",
            "a;mine-10.0.0.3:80;10.0.0.3:80",
            "a;a-2-10.0.0.1:80;10.0.0.1:80",
        ]
    );
}

/// What is wrong, with a § where it is, and the words that must be in the message.
const WRONG: &[(&str, &str)] = &[
    (
        "[§cluster.a]\nprotocol = \"http\"\n",
        "unknown table `cluster`; did you mean `clusters`?",
    ),
    (
        "\n  §metrics = 1\n",
        "unknown key `metrics`; a routes file holds [clusters.ID]",
    ),
    ("§clusters = 1\n", "write [clusters.ID]"),
    ("[clusters.a§\n", ""),
    (
        "[clusters.a]\nprotocol = \"http\"\nfrontends = []\nbackends = []\n§sticky_sesion = true\n",
        "unknown key `sticky_sesion`; did you mean `sticky_session`?",
    ),
    (
        "§[clusters.a]\nprotocol = \"http\"\nfrontends = []\n",
        "the key `backends` is missing",
    ),
    (
        "[clusters.a]\nprotocol = §\"hunter2\"\nfrontends = []\nbackends = []\n",
        "unknown value; known here: http, tcp",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nfrontends = []\nbackends = []\nretry_after = §\"hunter2\"\n",
        "no fit value (string)",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nfrontends = []\nbackends = [\n  { address = \"1.1.1.1:1\", §wieght = 1 },\n]\n",
        "did you mean `weight`?",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nbackends = []\n[[clusters.a.frontends]]\naddress = §\"hunter2\"\n",
        "write IP:PORT",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nbackends = []\n§[[clusters.a.frontends]]\naddress = \"0.0.0.0:80\"\n",
        "needs a `hostname`",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nbackends = []\nfrontends = [{ §address = \"0.0.0.0:9000\", hostname = \"a\" }]\n",
        "speaks TCP",
    ),
    (
        "[clusters.a]\nprotocol = \"tcp\"\nbackends = []\nfrontends = [{ §address = \"0.0.0.0:443\" }]\n",
        "speaks HTTPS",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nbackends = []\nfrontends = [{ address = \"0.0.0.0:80\", hostname = \"a\", §hsts = { enabled = true } }]\n",
        "`hsts` has no effect at an HTTP listener",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nbackends = []\nfrontends = [{ address = \"0.0.0.0:443\", hostname = \"a\", §hsts = {} }]\n",
        "needs `enabled`",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nbackends = []\nfrontends = [{ address = \"0.0.0.0:80\", hostname = \"a\", §redirect = \"hunter2\" }]\n",
        "write forward, permanent",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nbackends = []\nfrontends = [{ address = \"0.0.0.0:80\", hostname = \"a\", §headers = [{ position = \"hunter2\", key = \"a\", value = \"hunter2\" }] }]\n",
        "write request, response or both",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nbackends = []\nfrontends = [{ address = \"0.0.0.0:80\", hostname = \"a\", §alpn = [\"h2\"] }]\n",
        "`alpn` has no effect",
    ),
    (
        "[clusters.a]\nprotocol = \"tcp\"\nbackends = []\nfrontends = [{ address = \"0.0.0.0:9000\", §method = \"GET\" }]\n",
        "`method` has no effect on a TCP frontend",
    ),
    (
        "[clusters.a]\nprotocol = \"tcp\"\nbackends = []\nfrontends = [{ address = \"0.0.0.0:53\", §hostname = \"a.example\" }]\n",
        "at a UDP listener",
    ),
    (
        "[clusters.a]\nprotocol = \"tcp\"\nbackends = []\nfrontends = [{ address = \"0.0.0.0:9000\" }, { §address = \"0.0.0.0:9002\" }]\n",
        "only one expects the PROXY protocol",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\n§send_proxy = true\nbackends = []\nfrontends = []\n",
        "`send_proxy` has no effect",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nfrontends = []\nbackends = [\n  §{ address = \"gone.invalid:80\" },\n]\n",
        "gone.invalid:80 cannot be resolved",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nfrontends = []\nbackends = [\n  §{ address = \"010.0.0.1:80\" },\n]\n",
        "numeric shorthand",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nfrontends = []\nbackends = []\n§health_check = { uri = \"no\" }\n",
        "must start with '/'",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nfrontends = []\nbackends = []\n§health_check = { headers = [{ name = \"a\", value_file = \"/b\" }] }\n",
        "",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nfrontends = []\nbackends = []\n§answer_503 = \"nothing.http\"\n",
        "/nowhere/nothing.http that it names: it is not there",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nfrontends = []\nbackends = []\n[clusters.a.answers]\n§502 = \"file:///nowhere/x\"\n",
        "/nowhere/x that it names",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nbackends = []\nfrontends = [{ address = \"0.0.0.0:443\", hostname = \"a\", §key = \"k\" }]\n",
        "`key` has no effect without `certificate`",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nbackends = []\nfrontends = [{ address = \"0.0.0.0:443\", hostname = \"a\", §certificate = \"c\" }]\n",
        "`certificate` needs `key`",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nbackends = []\nfrontends = [{ address = \"0.0.0.0:80\", hostname = \"a\", §certificate = \"c\", key = \"k\" }]\n",
        "TLS belongs to an HTTPS one",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nbackends = []\nfrontends = [{ address = \"0.0.0.0:443\", hostname = \"a\", §certificate = \"c\", key = \"k\" }]\n",
        "/nowhere/c that it names: it is not there",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nbackends = []\nfrontends = [\n  { address = \"0.0.0.0:80\", hostname = \"a\" },\n  §{ address = \"0.0.0.0:80\", hostname = \"a\" },\n]\n",
        "declared twice; remove one (the other one is at 5:3)",
    ),
    (
        "[clusters.a]\nprotocol = \"http\"\nfrontends = []\nbackends = []\n[clusters.§a]\n",
        "duplicate",
    ),
    (
        "[clusters.§\"\"]\nprotocol = \"http\"\nfrontends = []\nbackends = []\n",
        "empty id",
    ),
];

#[test]
fn each_mistake_is_told_with_its_place_and_without_its_value() {
    for (marked, words) in WRONG {
        let place = Position::of(marked, marked.find('§').unwrap());
        let text = &marked.replace('§', "");
        let resolved = [("gone.invalid:80".to_owned(), Err("no such host".to_owned()))].into();
        let fault = read(Path::new("/nowhere/a.toml"), text, &resolved).unwrap_err();
        assert_eq!(fault.at, Some(place), "{text}\n{}", fault.text);
        assert!(fault.text.contains(words), "{text}\n{}", fault.text);
        assert!(!fault.text.contains("hunter2"), "{}", fault.text);
        assert!(!fault.text.contains('\n'), "{}", fault.text);
    }
}

#[test]
fn what_is_not_utf8_is_told_with_its_place() {
    let fault = parse(Path::new("a.toml"), b"# a\n# \xff\n".to_vec())
        .err()
        .unwrap();
    assert_eq!(fault.at, Some(Position { line: 2, column: 3 }));
}

#[test]
fn a_certificate_half_written_is_an_error_at_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let text = with_files(
        dir.path(),
        "[clusters.a]\nprotocol = \"http\"\nbackends = []\n[[clusters.a.frontends]]\naddress = \"0.0.0.0:443\"\nhostname = \"a\"\ncertificate = \"CERTIFICATE\"\nkey = \"KEY\"\n",
    );
    let path = dir.path().join("a.toml");
    assert_eq!(read(&path, &text, &Resolved::new()).unwrap().len(), 3);
    for (file, content, line, words) in [
        ("CERTIFICATE", &CERTIFICATE[..100], 7, "cannot be read"),
        ("CERTIFICATE", "", 7, "cannot be read"),
        ("KEY", &KEY[..60], 8, "no whole PEM"),
        (
            "KEY",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nx\n-----END ENCRYPTED PRIVATE KEY-----\n",
            8,
            "encrypted",
        ),
    ] {
        with_files(dir.path(), "");
        fs::write(dir.path().join(file), content).unwrap();
        let fault = read(&path, &text, &Resolved::new()).unwrap_err();
        assert_eq!(fault.at.unwrap().line, line, "{}", fault.text);
        assert!(fault.text.contains(words), "{}", fault.text);
    }
}

#[test]
fn a_certificate_that_two_frontends_share_is_declared_once() {
    let dir = tempfile::tempdir().unwrap();
    let front = |host: &str| {
        format!(
            "[[clusters.a.frontends]]\naddress = \"0.0.0.0:443\"\nhostname = \"{host}\"\ncertificate = \"CERTIFICATE\"\nkey = \"KEY\"\n"
        )
    };
    let text = format!(
        "[clusters.a]\nprotocol = \"http\"\nbackends = []\n{}{}",
        front("a"),
        front("b")
    );
    let text = with_files(dir.path(), &text);
    let objects = read(&dir.path().join("a.toml"), &text, &Resolved::new()).unwrap();
    let certificates = objects
        .iter()
        .filter(|object| matches!(object, Object::Certificate(_)));
    assert_eq!((objects.len(), certificates.count()), (4, 1));
}

fn state_file(requests: &[Request]) -> String {
    let records = requests.iter().enumerate().map(|(n, request)| {
        let record = WorkerRequest::new(format!("SAVE-{n}"), request.clone());
        format!("{}\n\0", serde_json::to_string(&record).unwrap())
    });
    records.collect()
}

fn json(text: &str) -> Result<Vec<Object>, Fault> {
    read(Path::new("/nowhere/a.json"), text, &Resolved::new())
}

#[test]
fn a_state_file_declares_its_routing_requests() {
    let dir = tempfile::tempdir().unwrap();
    let text = with_files(dir.path(), EVERYTHING);
    let ours = read(&dir.path().join("a.toml"), &text, &Resolved::new()).unwrap();
    let saved = state_file(&by_sozu(&text));
    let objects = json(&saved).unwrap();
    let routing = |object: &&Object| !matches!(object, Object::Certificate(_));
    let expected: Vec<Object> = ours.iter().filter(routing).cloned().collect();
    assert_eq!(objects, expected);
}

#[test]
fn a_health_check_is_folded_into_its_cluster() {
    let cluster = r#"{"id":"1","content":{"request_type":{"ADD_CLUSTER":{"cluster_id":"a","sticky_session":false,"https_redirect":false,"load_balancing":0}}}}"#;
    let check = r#"{"id":"2","content":{"request_type":{"SET_HEALTH_CHECK":{"cluster_id":"a","config":{"uri":"/h","interval":1,"timeout":1,"healthy_threshold":1,"unhealthy_threshold":1,"expected_status":0}}}}}"#;
    let objects = json(&format!("{cluster}\n\0{check}\n\0")).unwrap();
    let [Object::Cluster(cluster)] = &objects[..] else {
        panic!("{objects:?}")
    };
    assert_eq!(cluster.health_check.as_ref().unwrap().uri, "/h");
    let fault = json(&format!("{check}\n\0")).unwrap_err();
    assert!(
        fault
            .text
            .contains("record 1: a health check of the cluster `a`"),
        "{}",
        fault.text
    );
}

#[test]
fn each_broken_record_is_told_with_its_number_and_place() {
    let cluster = r#"{"id":"1","content":{"request_type":{"ADD_CLUSTER":{"cluster_id":"a","sticky_session":false,"https_redirect":false,"load_balancing":0}}}}"#;
    let unknown = cluster.replace("\"load_balancing\"", "\"hunter2\":1,\"load_balancing\"");
    for (second, line, words) in [
        (cluster.replace("}}}}", "}}}"), 2, ""),
        (
            cluster.replace("ADD_CLUSTER", "ADD_KLUSTER"),
            2,
            "unknown verb",
        ),
        (cluster.replace("\"a\"", "7"), 2, "no fit value (integer)"),
        (unknown, 2, "unknown key `hunter2`"),
        (r#"{"id":"1","content":{}}"#.to_owned(), 2, "no request"),
        (
            r#"{"id":"1","content":{"request_type":{"REMOVE_CLUSTER":"a"}}}"#.to_owned(),
            2,
            "REMOVE_CLUSTER declares nothing",
        ),
        (cluster.to_owned(), 2, "declared twice (first by record 1)"),
    ] {
        let fault = json(&format!("{cluster}\n\0{second}\n\0")).unwrap_err();
        assert!(fault.text.starts_with("record 2: "), "{}", fault.text);
        assert!(fault.text.contains(words), "{second}: {}", fault.text);
        assert_eq!(fault.at.unwrap().line, line, "{}", fault.text);
    }
    // Cut off, even at the end of a record.
    let fault = json(&format!("{cluster}\n\0{cluster}\n")).unwrap_err();
    assert!(
        fault.text.contains("record 2: it has no end"),
        "{}",
        fault.text
    );
}

#[test]
fn listeners_of_a_state_file_are_skipped() {
    let activate = r#"{"id":"1","content":{"request_type":{"ACTIVATE_LISTENER":{"address":{"ip":{"inner":{"V4":0}},"port":80},"proxy":0,"from_scm":false}}}}"#;
    assert_eq!(json(&format!("{activate}\n\0")).unwrap(), []);
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

/// The verbs that `state save` writes and the reading must know; see `records`.
#[test]
fn everything_that_sozu_saves_is_taken_or_skipped() {
    use sozu_command_lib::{config::ListenerBuilder, state::ConfigState};
    let address: std::net::SocketAddr = "127.0.0.1:80".parse().unwrap();
    let mut state = ConfigState::new();
    let http = ListenerBuilder::new_http(address.into())
        .to_http(None)
        .unwrap();
    state
        .dispatch(&RequestType::AddHttpListener(http).into())
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    for request in by_sozu(&with_files(dir.path(), EVERYTHING)) {
        state.dispatch(&request).unwrap();
    }
    let path = dir.path().join("saved.json");
    state
        .write_requests_to_file(&mut fs::File::create(&path).unwrap())
        .unwrap();
    let objects = json(&fs::read_to_string(&path).unwrap()).unwrap();
    let (clusters, frontends, backends) = (6, 3 + 2 + 1 + 1 + 1 + 1, 2 + 2 + 1 + 1 + 1 + 1);
    assert_eq!(objects.len(), clusters + frontends + backends);
}
