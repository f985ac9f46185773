//! The server as its clients see it, over real connections.

mod supervised;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, Context};
use actix_web::{App, middleware, web};
use sozu_socket::{Life, Sozu};
use supervisors::{Reporter, Spec, Supervisor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{oneshot, watch},
    time::{sleep, timeout},
};

use super::{Config, Deps, HttpServer, exposition, routes};
use crate::{
    fs_watcher::pki::Board,
    metrics, metrics_scraper, socket_pool,
    state_keeper::report::{Condition, Report},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// What the others publish, and the factory of the server's lives.
struct World {
    address: SocketAddr,
    report: watch::Sender<Arc<Report>>,
    seen: watch::Sender<Sozu>,
    life: Box<dyn Fn(Reporter) -> HttpServer + Send + Sync>,
}

/// A world whose tree is never run: the server's neighbours are away.
fn world() -> World {
    plant(Path::new("/nonexistent")).1
}

/// A world and its tree, which has no HTTP server yet.
fn plant(sozu: &Path) -> (Supervisor, World) {
    let (seen, see) = watch::channel(Sozu::Unasked);
    let (report, reported) = watch::channel(Arc::default());
    let pool = socket_pool::Config {
        pool: sozu_socket::Builder::new(sozu.join("command.sock"))
            .worker_timeout(Duration::from_secs(1)),
    };
    let scraper = metrics_scraper::Config {
        share_for: Duration::from_secs(1),
        detail: metrics_scraper::Detail::Cluster,
        max_series: 1_000,
    };
    let mut root = Supervisor::new("root");
    let pool = root.child(
        Spec::critical("socket_pool", "socket_pool"),
        pool.build(seen.clone()),
    );
    let scraper = root.child(
        Spec::parking("metrics_scraper", "metrics_scraper"),
        scraper.build(pool, None),
    );
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let life = Config::default().build(Deps {
        certificates: Board::default(),
        listener: watch::channel(Arc::new(listener)).1,
        health: root.health(),
        report: reported,
        seen: see,
        keeper_counts: watch::channel(true).1,
        scraper,
        metrics: metrics::install(),
        reloaded: watch::channel(metrics::LastReload {
            succeeded: true,
            success: std::time::SystemTime::UNIX_EPOCH,
        })
        .1,
    });
    let world = World {
        address,
        report,
        seen,
        life: Box::new(life),
    };
    (root, world)
}

impl World {
    fn complete(&self) {
        self.report.send_replace(Arc::new(Report {
            sozu: Some(life()),
            conditions: vec![Condition {
                name: "complete",
                state: Ok(()),
            }],
            ..Report::default()
        }));
    }

    /// One request on a connection of its own: the status, the head, the body.
    async fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
        ask(self.address, method, path).await
    }
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    ask_with(address, method, path, "").await
}

/// `headers` are whole lines.
async fn ask_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
) -> (u16, String, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(PATIENCE, exchange).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head[9..12].parse().unwrap();
    let head = head.to_ascii_lowercase();
    let body = if head.contains("transfer-encoding: chunked") {
        unchunk(body)
    } else {
        body.to_owned()
    };
    (status, head, body)
}

/// The chunks together. Without any, as for a HEAD, nothing.
fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
        if size == 0 {
            return body;
        }
    }
    assert!(body.is_empty() && rest.is_empty(), "cut short: {rest}");
    body
}

fn life() -> Life {
    Life::from("1")
}

fn here() -> Sozu {
    Sozu::Here(life())
}

#[actix::test]
async fn readiness_follows_the_keeper_and_sozu() {
    let world = world();
    let _server = (world.life)(Reporter::detached()).start();
    let (status, head, body) = world.ask("GET", "/readyz").await;
    assert_eq!(status, 503);
    assert!(
        head.contains("content-type: text/plain; charset=utf-8"),
        "{head}"
    );
    assert_eq!(
        body,
        "[-]sozu: has not answered yet\n[-]state_keeper: has not started\n"
    );

    world.complete();
    world.seen.send_replace(here());
    let (status, _, body) = world.ask("GET", "/readyz").await;
    assert_eq!(
        (status, body.as_str()),
        (200, "[+]complete ok\n[+]sozu ok\n")
    );

    world.seen.send_replace(Sozu::Away {
        why: "connection refused".into(),
    });
    let (status, _, body) = world.ask("GET", "/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(body, "[+]complete ok\n[-]sozu: connection refused\n");
    // The absence of Sōzu is no reason to restart us.
    assert_eq!(world.ask("GET", "/livez").await.0, 200);
    for path in ["/health", "/healthz", "/status"] {
        let (status, head, body) = world.ask("GET", path).await;
        assert_eq!(status, 200);
        assert!(head.contains("content-type: application/json"), "{head}");
        let page: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(page["status"], "degraded");
        assert_eq!(page["ready"], false);
        assert_eq!(page["live"], true);
        assert!(page["uptime_seconds"].as_f64().unwrap() >= 0.0);
    }
}

#[actix::test]
async fn metrics_are_answered_while_sozu_is_away() {
    let world = world();
    let _server = (world.life)(Reporter::detached()).start();
    world.complete();
    for _ in 0..2 {
        let (status, head, body) = world.ask("GET", "/metrics").await;
        assert_eq!(status, 200);
        assert!(
            head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
            "{head}"
        );
        assert_eq!(exposition::check(&body), Ok(()), "{body}");
        assert_eq!(
            exposition::promtool(&body).unwrap_or_default(),
            "",
            "{body}"
        );
        for line in [
            "sozu_up 0",
            "sozu_manager_ready{condition=\"complete\"} 1",
            "sozu_manager_ready{condition=\"sozu\"} 0",
            "sozu_manager_database_size_bytes 0",
        ] {
            assert!(body.lines().any(|l| l == line), "no {line} in\n{body}");
        }
        assert!(body.contains("process_resident_memory_bytes "), "{body}");
        assert!(!body.contains("sozu_workers"), "{body}");
    }
    let (_, _, body) = world.ask("GET", "/metrics").await;
    assert!(
        body.contains("sozu_manager_scrape_duration_seconds_bucket{le=\"+Inf\"}"),
        "{body}"
    );
}

#[actix::test]
async fn what_is_not_there_or_not_read_is_refused_in_words() {
    let world = world();
    let _server = (world.life)(Reporter::detached()).start();
    let (status, _, body) = world.ask("GET", "/metric").await;
    assert_eq!(status, 404);
    for path in ["/metrics", "/health", "/livez", "/readyz"] {
        assert!(body.contains(path), "{body}");
        let (status, head, _) = world.ask("POST", path).await;
        assert_eq!(status, 405, "{path}");
        assert!(head.contains("allow: get, head"), "{head}");
        let (full, _, text) = world.ask("GET", path).await;
        let (status, _, body) = world.ask("HEAD", path).await;
        assert_eq!((status, body.as_str()), (full, ""), "{path}");
        assert!(!text.is_empty(), "{path}");
    }
}

#[actix::test]
async fn of_many_requests_at_once_the_first_is_answered_and_the_connection_ends() {
    let world = world();
    let _server = (world.life)(Reporter::detached()).start();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let many = "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20);
        stream.write_all(many.as_bytes()).await.unwrap();
        let mut answers = String::new();
        let reading = stream.read_to_string(&mut answers);
        timeout(PATIENCE, reading).await.unwrap().unwrap();
        assert!(answers.starts_with("HTTP/1.1 200 OK"), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 1, "{answers}");
    }
}

#[actix::test]
async fn a_client_that_sends_no_headers_is_sent_away() {
    let world = world();
    let _server = (world.life)(Reporter::detached()).start();
    let slow = |sent: &'static str| async move {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let end = timeout(2 * PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "after {sent:?} the connection is still open");
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    };
    tokio::join!(slow(""), slow("GET /livez HTTP/1.1\r\nX-Slow: "));
}

/// Runs a life until it is told to stop in order.
async fn run_until(server: HttpServer, stop: oneshot::Receiver<()>) {
    let mut life = Context::new().into_future(server);
    tokio::select! {
        () = &mut life => panic!("the server ended by itself"),
        _ = stop => {}
    }
    life.ctx().stop();
    life.await;
}

#[actix::test]
async fn a_stop_is_in_order_and_the_next_life_answers_at_the_same_address() {
    let world = world();
    for _ in 0..2 {
        let (stop, stopped) = oneshot::channel();
        let server = (world.life)(Reporter::detached());
        let site = server.site().into_inner();
        let before = Arc::strong_count(&site);
        let life = actix::spawn(run_until(server, stopped));
        assert_eq!(world.ask("GET", "/livez").await.0, 200);
        stop.send(()).unwrap();
        timeout(PATIENCE, life).await.unwrap().unwrap();
        // Between two lives nobody is refused: whoever connects waits for the next one.
        TcpStream::connect(world.address).await.unwrap();
        gone(&site, before).await;
    }
}

#[actix::test]
async fn a_life_that_ends_without_a_word_takes_its_threads_along() {
    let world = world();
    let server = (world.life)(Reporter::detached());
    let site = server.site().into_inner();
    let before = Arc::strong_count(&site);
    let mut life = Context::new().into_future(server);
    // As a supervisor ends an actor that panicked: no callback runs on it.
    tokio::select! {
        () = &mut life => panic!("the server ended by itself"),
        (status, ..) = world.ask("GET", "/livez") => assert_eq!(status, 200),
    }
    assert!(Arc::strong_count(&site) > before);
    life.ctx().terminate();
    drop(life);
    gone(&site, before).await;
    let _next = (world.life)(Reporter::detached()).start();
    assert_eq!(world.ask("GET", "/livez").await.0, 200);
}

/// Waits until no thread of a life holds the site any more.
async fn gone<T>(site: &Arc<T>, before: usize) {
    let end = async {
        while Arc::strong_count(site) >= before {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, end).await.unwrap();
}

#[actix::test]
async fn a_handler_that_panics_answers_500_and_its_connection_lives_on() {
    async fn broken() -> &'static str {
        panic!("on purpose")
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = actix_web::HttpServer::new(|| {
        App::new()
            .wrap(middleware::from_fn(routes::panic_is_500))
            .route("/broken", web::get().to(broken))
            .route("/fine", web::get().to(async || "fine"))
    })
    .workers(1)
    .disable_signals()
    .listen(listener)
    .unwrap()
    .run();
    let handle = server.handle();
    let server = actix::spawn(server);
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut answers = String::new();
        for (path, end) in [("/broken", "see the log\n"), ("/fine", "\r\n\r\nfine")] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            while !answers.ends_with(end) {
                let mut part = [0; 1_024];
                let length = stream.read(&mut part).await.unwrap();
                assert!(length > 0, "closed after {answers}");
                answers.push_str(std::str::from_utf8(&part[..length]).unwrap());
            }
        }
        answers
    };
    let answers = timeout(PATIENCE, exchange).await.unwrap();
    assert!(answers.starts_with("HTTP/1.1 500 "), "{answers}");
    handle.stop(true).await;
    server.await.unwrap().unwrap();
}
