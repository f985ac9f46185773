//! What a TOML file declares, compared with what Sōzu's own code makes of it.

use super::*;

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
    let objects = toml(include_str!("../../testdata/readme.toml")).unwrap();
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
