//! The admin server's lives, over real connections.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use actix::{Context, Handler, Message};
use sozu_socket::Sozu;
use supervisors::{AskError, Exit, Ref, Spec, Supervisor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{oneshot, watch},
    time::{sleep, timeout},
};

use super::{AdminServer, Config, Deps};
use crate::http_server::Truth;

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Message)]
#[rtype(result = "()")]
struct Crash;

impl Handler<Crash> for AdminServer {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("on purpose")
    }
}

/// A tree with nothing but an admin server, without a source.
fn tree(socket: PathBuf) -> (Supervisor, Ref<AdminServer>) {
    let (_, report) = watch::channel(Arc::default());
    let (_, seen) = watch::channel(Sozu::Unasked);
    let mut root = Supervisor::new("root");
    let truth = Truth::new(root.health(), report, seen, watch::channel(false).1);
    let config = Config {
        socket,
        group: String::new(),
        group_may_write: false,
    };
    let life = config.build(Deps {
        truth,
        keeper: watch::channel(None).1,
        topics: watch::channel(BTreeMap::new()).1,
        reload: tokio::sync::mpsc::channel(1).0,
    });
    let server = root.child(Spec::parking("admin_server", "admin_server"), life);
    (root, server)
}

/// The whole answer, or nothing if there is none just now.
async fn try_ask(socket: &Path, request: &str) -> Option<String> {
    let mut stream = UnixStream::connect(socket).await.ok()?;
    let request = format!("{request} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    (!answer.is_empty()).then_some(answer)
}

async fn ask(socket: &Path, request: &str) -> String {
    let answered = async {
        loop {
            match try_ask(socket, request).await {
                Some(answer) => return answer,
                None => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(PATIENCE, answered).await.unwrap()
}

#[actix::test]
async fn it_comes_back_on_the_same_socket_and_removes_it_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let (root, server) = tree(socket.clone());
    let health = root.health();
    let (stop, stopped) = oneshot::channel::<()>();
    let root = actix::spawn(root.run(async {
        let _ = stopped.await;
    }));
    ask(&socket, "GET /v1/status").await;
    let before = socket.metadata().unwrap().ino();
    assert_eq!(server.ask(Crash, PATIENCE).await, Err(AskError::Unknown));
    let again = async {
        while health.components()[0].restarts.is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
        ask(&socket, "GET /v1/status").await
    };
    let answer = timeout(PATIENCE, again).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(socket.metadata().unwrap().ino(), before);
    stop.send(()).unwrap();
    let ended = timeout(PATIENCE, root).await.unwrap().unwrap();
    assert!(matches!(ended, Exit::Stopped { survivors } if survivors.is_empty()));
    assert!(!socket.exists());
}

#[actix::test]
async fn without_a_source_there_is_nothing_to_show_and_an_error_is_json() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let (root, _server) = tree(socket.clone());
    let (_stop, stopped) = oneshot::channel::<()>();
    actix::spawn(root.run(async {
        let _ = stopped.await;
    }));
    for (request, code, body) in [
        ("GET /v1/holds", 200, "[]"),
        ("GET /v1/orphans", 200, "[]"),
        ("GET /v1/diff", 200, "[]"),
        (
            "GET /v1/journal?limit=3&since=2026-01-01T00:00:00Z",
            200,
            "[]",
        ),
        ("GET /v1/journal?since=yesterday", 400, "{\"error\":"),
        ("GET /v1/journal?sauce=local", 400, "{\"error\":"),
        (
            "POST /v1/holds/1f2e/release",
            404,
            "{\"error\":\"there is no hold 1f2e;",
        ),
        (
            "POST /v1/orphans/a%2Fb/remove",
            404,
            "{\"error\":\"source a/b left nothing",
        ),
        ("GET /v1/holds/1f2e/release", 404, "{\"error\":"),
        ("GET /", 404, "{\"error\":"),
    ] {
        let answer = ask(&socket, request).await;
        let (head, found) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {code} ")),
            "{request}: {answer}"
        );
        assert!(head.contains("content-type: application/json"), "{head}");
        assert!(found.starts_with(body), "{request}: {found}");
    }
}
