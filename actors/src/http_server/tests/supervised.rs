//! The server in a tree that runs, beside a real socket pool and a Sōzu that is played.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::{Context, Handler, Message};
use prost::Message as _;
use sozu_command_lib::proto::command::{
    AggregatedMetrics, Request, Response, ResponseStatus, RunState, WorkerInfo, WorkerInfos,
    request::RequestType, response_content::ContentType,
};
use supervisors::{AskError, Exit, Spec};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixListener},
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{PATIENCE, ask, ask_with, plant};
use crate::http_server::{HttpServer, scrape};

#[derive(Message)]
#[rtype(result = "()")]
struct Crash;

impl Handler<Crash> for HttpServer {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("on purpose")
    }
}

#[actix::test]
async fn under_a_supervisor_it_comes_back_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (mut root, world) = plant(directory.path());
    let address = world.address;
    let http = root.child(Spec::critical("http_server", "http_server"), world.life);
    let (stop, stopped) = oneshot::channel::<()>();
    let tree = actix::spawn(root.run(async {
        let _ = stopped.await;
    }));
    assert_eq!(ask(address, "GET", "/livez").await.0, 200);
    assert_eq!(http.ask(Crash, PATIENCE).await, Err(AskError::Unknown));

    let back = async {
        loop {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = b"GET /health HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
            let mut answer = String::new();
            // What the ending life had accepted already may be closed by it.
            let asked = stream.write_all(request).await.is_ok()
                && stream.read_to_string(&mut answer).await.is_ok();
            let Some((_, body)) = answer.split_once("\r\n\r\n").filter(|_| asked) else {
                continue;
            };
            let page: serde_json::Value = serde_json::from_str(body).unwrap();
            let components = page["components"].as_array().unwrap();
            let me = components
                .iter()
                .find(|c| c["name"] == "http_server")
                .unwrap();
            if me["state"] == "running" && me["restarts"] == 1 {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, back).await.unwrap();
    let (_, _, body) = ask(address, "GET", "/metrics").await;
    for line in [
        "sozu_manager_component_restarts_total{component=\"http_server\",reason=\"panic\"} 1",
        "sozu_manager_component_state{component=\"http_server\",state=\"running\"} 1",
        "sozu_manager_component_state{component=\"metrics_scraper\",state=\"running\"} 1",
        "sozu_manager_component_state{component=\"socket_pool\",state=\"degraded\"} 1",
        "sozu_up 0",
    ] {
        assert!(body.lines().any(|l| l == line), "no {line} in\n{body}");
    }

    stop.send(()).unwrap();
    let end = timeout(PATIENCE, tree).await.unwrap().unwrap();
    assert_eq!(
        end,
        Exit::Stopped {
            survivors: Vec::new()
        }
    );
}

/// Answers every request with two workers, as long as it is not told to be silent.
async fn sozu(socket: UnixListener, silent: Arc<AtomicBool>) {
    let workers = WorkerInfos {
        vec: (0..2)
            .map(|id| WorkerInfo {
                id,
                pid: 1,
                run_state: RunState::Running as i32,
            })
            .collect(),
    };
    let answer = |content: ContentType| {
        Response {
            status: ResponseStatus::Ok as i32,
            content: Some(content.into()),
            ..Response::default()
        }
        .encode_to_vec()
    };
    let workers = answer(ContentType::Workers(workers));
    let metrics = answer(ContentType::Metrics(AggregatedMetrics::default()));
    loop {
        let (mut stream, _) = socket.accept().await.unwrap();
        let (silent, workers, metrics) = (silent.clone(), workers.clone(), metrics.clone());
        actix::spawn(async move {
            // The length of a frame counts itself.
            while let Ok(length) = stream.read_u64_le().await {
                let mut request = vec![0; usize::try_from(length).unwrap() - 8];
                if stream.read_exact(&mut request).await.is_err() {
                    return;
                }
                if silent.load(Ordering::Relaxed) {
                    continue;
                }
                let request = Request::decode(request.as_slice()).unwrap();
                let answer = match request.request_type {
                    Some(RequestType::QueryMetrics(_)) => &metrics,
                    _ => &workers,
                };
                let length = answer.len() as u64 + 8;
                let frame = [&length.to_le_bytes(), answer.as_slice()].concat();
                if stream.write_all(&frame).await.is_err() {
                    return;
                }
            }
        });
    }
}

#[actix::test]
async fn sozu_is_up_as_long_as_it_answers_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let socket = UnixListener::bind(directory.path().join("command.sock")).unwrap();
    let silent = Arc::new(AtomicBool::new(false));
    actix::spawn(sozu(socket, silent.clone()));
    let (mut root, world) = plant(directory.path());
    let address = world.address;
    root.child(Spec::critical("http_server", "http_server"), world.life);
    let (stop, stopped) = oneshot::channel::<()>();
    let tree = actix::spawn(root.run(async {
        let _ = stopped.await;
    }));
    let scrape = async |timeout: &str| {
        let header = format!("{}: {timeout}\r\n", scrape::SCRAPE_TIMEOUT);
        ask_with(address, "GET", "/metrics", &header).await.2
    };

    let up = async {
        while !scrape("5").await.contains("\nsozu_up 1\n") {}
        scrape("5").await
    };
    let body = timeout(PATIENCE, up).await.unwrap();
    assert!(body.contains("\nsozu_workers 2\n"), "{body}");
    let (_, _, body) = ask(address, "GET", "/readyz").await;
    assert!(body.contains("[+]sozu ok\n"), "{body}");

    silent.store(true, Ordering::Relaxed);
    let down = async {
        while !scrape("0.2").await.contains("\nsozu_up 0\n") {}
        scrape("0.2").await
    };
    let body = timeout(PATIENCE, down).await.unwrap();
    assert!(!body.contains("sozu_workers"), "{body}");

    stop.send(()).unwrap();
    timeout(PATIENCE, tree).await.unwrap().unwrap();
}
