//! Each mistake in a file: told with its place, and never with its value.

use super::*;

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
