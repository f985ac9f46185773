//! The examples, run as anyone would, beside the real Sōzu.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sozu_command_lib::proto::command::{
    AddBackend, Cluster, RequestHttpFrontend, request::RequestType,
};
use sozu_socket::{Builder, Pool};
use testkit::Sozu as RealSozu;

/// A running example, killed when dropped, and the file with all that it said.
struct Example {
    process: Child,
    said: PathBuf,
}

impl Example {
    fn start(name: &str, sozu: &RealSozu, arguments: &[&OsStr]) -> Self {
        let built = Command::new(env!("CARGO"))
            // the whole workspace: the same features, so nothing is built again
            .args([
                "build",
                "--quiet",
                "--locked",
                "--workspace",
                "--example",
                name,
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.unwrap().success());
        let ours = std::env::current_exe().unwrap();
        let binary = ours.ancestors().nth(2).unwrap().join("examples").join(name);
        let said = sozu.directory().join(format!("{name}.out"));
        let output = File::create(&said).unwrap();
        let process = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { process, said }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    async fn until_said(&self, words: &str) {
        until(&format!("{words:?} is said"), async || {
            self.said().contains(words)
        })
        .await;
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("{} holds: {}", self.said.display(), self.said());
        }
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn pool(sozu: &RealSozu) -> Pool {
    Builder::new(sozu.command_socket())
        .worker_timeout(Duration::from_secs(2))
        .build()
}

async fn backends(pool: &Pool, cluster: &str) -> Option<Vec<String>> {
    let cluster = pool.cluster(cluster).await.ok()??;
    cluster.configuration.as_ref()?;
    let ids = cluster
        .backends
        .into_iter()
        .map(|backend| backend.backend_id);
    let mut ids: Vec<_> = ids.collect();
    ids.sort();
    Some(ids)
}

#[tokio::test]
async fn the_connector_follows_its_file_and_a_new_sozu() {
    let mut sozu = RealSozu::start().unwrap();
    let pool = pool(&sozu);
    let theirs = Cluster {
        cluster_id: "theirs".to_owned(),
        ..Cluster::default()
    };
    common::until_here(&mut pool.seen()).await;
    pool.exchange(RequestType::AddCluster(theirs).into())
        .await
        .unwrap();

    let here = |name: &str| sozu.directory().join(name);
    let (routes, exchange, config) = (here("routes.txt"), here("exchange"), here("sozu.toml"));
    let write = |lines: &str| {
        // never half of it
        fs::write(here("new"), lines).unwrap();
        fs::rename(here("new"), &routes).unwrap();
    };
    write("a.example 127.0.0.1:9\nb.example 127.0.0.1:9\nb.example 127.0.0.1:10\n");
    let arguments = [config.as_os_str(), exchange.as_os_str(), routes.as_os_str()];
    let _connector = Example::start("connector", &sozu, &arguments);
    let two = Some(vec!["127.0.0.1:10".to_owned(), "127.0.0.1:9".to_owned()]);
    until("b.example has two backends", async || {
        backends(&pool, "file-b.example").await == two
    })
    .await;
    assert_eq!(
        backends(&pool, "file-a.example").await,
        Some(vec!["127.0.0.1:9".to_owned()])
    );

    write("b.example 127.0.0.1:10\n");
    until("a.example is gone", async || {
        backends(&pool, "file-a.example").await.is_none()
    })
    .await;
    let one = Some(vec!["127.0.0.1:10".to_owned()]);
    until("b.example has one backend", async || {
        backends(&pool, "file-b.example").await == one
    })
    .await;
    assert_eq!(backends(&pool, "theirs").await, Some(vec![]));

    sozu.kill().unwrap();
    sozu.start_again().unwrap();
    until("b.example is back", async || {
        backends(&pool, "file-b.example").await == one
    })
    .await;
}

#[tokio::test]
async fn the_event_logger_prints_what_happens() {
    let sozu = RealSozu::start().unwrap();
    let pool = pool(&sozu);
    common::until_here(&mut pool.seen()).await;
    let logger = Example::start("events", &sozu, &[sozu.command_socket().as_os_str()]);
    logger.until_said("listening").await;
    let shop = Cluster {
        cluster_id: "shop".to_owned(),
        ..Cluster::default()
    };
    pool.exchange(RequestType::AddCluster(shop).into())
        .await
        .unwrap();
    logger.until_said("main: CLUSTER_ADDED shop").await;
}

/// A backend that answers every request with 200, until the test's process ends.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                while stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(answer);
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn the_top_shows_who_is_busy() {
    let sozu = RealSozu::start().unwrap();
    let pool = pool(&sozu);
    common::until_here(&mut pool.seen()).await;
    let http = sozu.http_address();
    let requests = [
        RequestType::AddCluster(Cluster {
            cluster_id: "shop".to_owned(),
            ..Cluster::default()
        }),
        RequestType::AddHttpFrontend(RequestHttpFrontend {
            cluster_id: Some("shop".to_owned()),
            hostname: "shop.example".to_owned(),
            address: http.into(),
            ..RequestHttpFrontend::default()
        }),
        RequestType::AddBackend(AddBackend {
            cluster_id: "shop".to_owned(),
            backend_id: "one".to_owned(),
            address: backend().into(),
            ..AddBackend::default()
        }),
    ];
    for request in requests {
        pool.exchange(request.into()).await.unwrap();
    }
    let top = Example::start("sozu-top", &sozu, &[sozu.command_socket().as_os_str()]);
    until("the top shows responses of the shop", async || {
        let asked = TcpStream::connect(http).is_ok_and(|mut stream| {
            let question = b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
            stream.write_all(question).is_ok() && stream.read_to_end(&mut Vec::new()).is_ok()
        });
        let said = top.said();
        let rates = said.lines().filter_map(|line| line.strip_prefix("shop "));
        let ok = rates.filter_map(|rates| rates.split_whitespace().next()?.parse::<f64>().ok());
        asked && ok.max_by(f64::total_cmp).is_some_and(|rate| rate > 0.0)
    })
    .await;
}

#[test]
fn the_readme_shows_the_connector_as_it_is() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(here.join("README.md")).unwrap();
    let example = fs::read_to_string(here.join("examples/connector.rs")).unwrap();
    assert!(readme.contains(&format!("```rust,no_run\n{example}```\n")));
}
