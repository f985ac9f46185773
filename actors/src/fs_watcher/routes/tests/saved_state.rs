//! A saved state of Sōzu: its routing requests, record by record.

use super::*;

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
