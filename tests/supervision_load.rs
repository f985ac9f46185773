//! What the machine and people do to the whole process, under a steady load of requests through Sōzu: told to stop in the
//! middle of a batch, killed, frozen and thawed, without a file descriptor left. Not one request fails, nothing is applied by
//! half, and it recovers by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread::sleep,
    time::Duration,
};

use nix::sys::signal::Signal;
use support::{
    all_well, exchanged, open_files, restarts, rounds, route, served, systemd::Systemd, write_route,
};
use testkit::{Backend, Daemon, Load, SOON, Sozu, daemon::Builder, routes, wait_until};
use tokio::io::AsyncWriteExt;

/// A Sōzu that serves `steady.example` from A, under load, and the daemon that put it there.
struct Stage {
    sozu: Sozu,
    daemon: Daemon,
    backend: Backend,
    load: Load,
}

impl Stage {
    fn new() -> Self {
        Self::of(|daemon| daemon)
    }

    fn of(settings: impl Fn(Builder) -> Builder) -> Self {
        let sozu = Sozu::start().unwrap();
        let mut daemon = settings(support::daemon(&sozu)).start().unwrap();
        daemon.wait_ready(SOON).unwrap();
        let backend = Backend::start("A").unwrap();
        write_route(&daemon, &sozu, "steady", &backend);
        served(&sozu, "steady.example", "A");
        let load = Load::start(sozu.http_port(), "steady.example", "/");
        Self {
            sozu,
            daemon,
            backend,
            load,
        }
    }

    /// One file with so many routes.
    fn write_many(&self, name: &str, count: usize) {
        let one = |number: usize| route(&self.sozu, &format!("{name}-{number}"), &self.backend);
        let text: String = (0..count).map(one).collect::<Vec<_>>().join("\n");
        routes::write(&self.daemon.routes(), &format!("{name}.toml"), &text).unwrap();
    }

    /// How many of them Sōzu holds: clusters, frontends, backends.
    fn held(&self, name: &str) -> [usize; 3] {
        let held = self.sozu.held().unwrap();
        let begin = format!("{name}-");
        let count = |names: Vec<String>| names.iter().filter(|it| it.starts_with(&begin)).count();
        [
            count(held.clusters()),
            count(held.frontends().into_iter().map(|it| it.1).collect()),
            count(held.backends().into_iter().map(|it| it.0).collect()),
        ]
    }

    /// Nothing of the traffic was lost, and nothing that the supervisor would have had to mend.
    fn unharmed(self) {
        all_well(&self.daemon);
        assert_eq!(restarts(&self.daemon), Ok([].into()));
        self.no_request_failed();
    }

    fn no_request_failed(self) {
        let tally = self.load.stop();
        assert!(tally.total() > 100, "{tally}");
        assert_eq!(tally.failed(), 0, "{tally}: {:?}", tally.errors);
    }
}

/// Wherever in a batch the signal finds it: status 0 within the deadline, no file left, the batch in Sōzu or not, never a
/// half of it; the next start does the rest.
#[test]
fn told_to_stop_in_the_middle_of_a_batch() {
    const ROUTES: usize = 300;
    let mut stage = Stage::new();
    for round in 0..rounds(5, 40) {
        let name = format!("round-{round}");
        stage.write_many(&name, ROUTES);
        if round % 2 == 0 {
            wait_until("a batch is under way", SOON, || {
                !exchanged(&stage.daemon).is_empty() || stage.held(&name)[0] > 0
            });
        } else {
            // from before the file is seen until it is served
            sleep(Duration::from_millis(250 + 40 * (round as u64 % 8)));
        }
        let status = stage.daemon.terminate().unwrap();
        assert_eq!(status.code(), Some(0), "{}", stage.daemon.log());
        assert_eq!(exchanged(&stage.daemon), Vec::<String>::new());
        let held = stage.held(&name);
        assert!(held == [0; 3] || held == [ROUTES; 3], "{held:?}");

        stage.daemon.start().unwrap();
        stage.daemon.wait_ready(SOON).unwrap();
        served(&stage.sozu, &format!("{name}-0.example"), "A");
        wait_until("all of them", SOON, || stage.held(&name) == [ROUTES; 3]);
    }
    stage.unharmed();
}

/// The same with nobody to put anything in order.
#[test]
fn killed_in_the_middle_of_a_batch() {
    const ROUTES: usize = 300;
    let mut stage = Stage::new();
    for round in 0..rounds(5, 40) {
        let name = format!("round-{round}");
        stage.write_many(&name, ROUTES);
        sleep(Duration::from_millis(250 + 40 * (round as u64 % 8)));
        stage.daemon.kill9().unwrap();
        write_route(&stage.daemon, &stage.sozu, "meanwhile", &stage.backend);

        stage.daemon.start().unwrap();
        stage.daemon.wait_ready(SOON).unwrap();
        wait_until("all of them", SOON, || stage.held(&name) == [ROUTES; 3]);
        served(&stage.sozu, "meanwhile.example", "A");
        support::remove_route(&stage.daemon, "meanwhile");
        support::not_found(&stage.sozu, "meanwhile.example");
        wait_until("no file is left", SOON, || {
            exchanged(&stage.daemon).is_empty()
        });
    }
    stage.unharmed();
}

/// Frozen for longer than any deadline between its parts, as by a debugger or a machine that is moved: nobody is blamed, and
/// what was written meanwhile arrives.
#[test]
fn frozen_and_thawed() {
    let mut stage = Stage::new();
    let frozen = Duration::from_secs(rounds(13, 70) as u64);
    for (name, under_way) in [("idle", false), ("busy", true)] {
        if under_way {
            // the batch's answer comes while nobody listens
            stage.write_many("under-way", 300);
            wait_until("a batch is under way", SOON, || {
                !exchanged(&stage.daemon).is_empty() || stage.held("under-way")[0] > 0
            });
        }
        stage.daemon.signal(Signal::SIGSTOP).unwrap();
        write_route(&stage.daemon, &stage.sozu, name, &stage.backend);
        sleep(frozen);
        // a probe of its own finds nobody: that is the truth
        assert!(unanswered(stage.daemon.http_port()));
        stage.daemon.signal(Signal::SIGCONT).unwrap();
        stage.daemon.wait_status("/livez", 200, SOON).unwrap();
        served(&stage.sozu, &format!("{name}.example"), "A");
        stage.daemon.wait_ready(SOON).unwrap();
    }
    wait_until("all of them", SOON, || stage.held("under-way") == [300; 3]);
    stage.unharmed();
}

/// Whether a probe gets no answer within a second.
fn unanswered(port: u16) -> bool {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    stream.read(&mut [0; 64]).is_err()
}

/// Not one file, connection or directory can be opened: what is open works on, what cannot be read removes nothing, no loop
/// spins, systemd is told and goes on hearing that it lives; and it ends with the shortage.
#[test]
fn without_a_file_descriptor() {
    let mut systemd = Systemd::start();
    let stage = Stage::of(|daemon| {
        daemon
            .env("NOTIFY_SOCKET", systemd.path().to_str().unwrap())
            .env("WATCHDOG_USEC", "3000000")
    });
    let pid = stage.daemon.pid().unwrap();
    let running = systemd.until("STATUS=all 6 components are running", 0);

    let before = open_files::limit(pid);
    open_files::set_limit(pid, open_files::count(pid));
    write_route(&stage.daemon, &stage.sozu, "short", &stage.backend);
    support::remove_route(&stage.daemon, "steady");
    write_route(&stage.daemon, &stage.sozu, "steady", &stage.backend);
    systemd.until("STATUS=degraded: ", running);
    wait_until("systemd is told", SOON, || {
        systemd.hear();
        let told = systemd.heard[running..].iter();
        told.filter(|line| line.contains("Too many open files"))
            .count()
            > 0
    });
    // more who want in than it can take; a probe among them gets no answer, and that is the truth
    let _crowd: Vec<_> = (0..50)
        .map(|_| TcpStream::connect(("127.0.0.1", stage.daemon.http_port())).unwrap())
        .collect();
    assert!(unanswered(stage.daemon.http_port()));
    let spent = cpu_seconds(pid);
    sleep(Duration::from_secs(5));
    let spent = cpu_seconds(pid) - spent;
    assert!(spent < 2.5, "it used {spent} s of 5 s");
    let alive = systemd.hear();
    systemd.until("WATCHDOG=1", alive);

    open_files::set_limit(pid, before);
    served(&stage.sozu, "short.example", "A");
    assert_eq!(stage.daemon.fetch("/livez").unwrap().status, 200);
    write_route(&stage.daemon, &stage.sozu, "after", &stage.backend);
    served(&stage.sozu, "after.example", "A");
    // for Sōzu's sake it was ready all the time
    let log = stage.daemon.log();
    assert!(!log.contains("Not ready."), "{log}");
    stage.unharmed();
}

/// A thousand clients that say nothing, or half of a request, or ask and do not listen: no more of them are let in at a time than
/// the bound says, each is sent away, and a probe's turn comes.
#[test]
fn a_thousand_connections_that_want_nothing() {
    const CLIENTS: usize = 1000;
    let us = std::process::id().cast_signed();
    open_files::set_limit(us, open_files::limit(us).max(4096));
    let stage = Stage::new();
    let pid = stage.daemon.pid().unwrap();
    let quiet = open_files::count(pid);
    let address = SocketAddr::from(([127, 0, 0, 1], stage.daemon.http_port()));
    let many = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    let kinds = [
        "",
        "GET /livez HTTP/1.1\r\nX-Slow: ",
        "GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /livez HTTP/1.1\r\nX-Slow: ",
        "GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx",
    ];
    let clients = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    for number in 0..CLIENTS {
        // fewer who do not listen: they are served some at a time, and each has its ten seconds
        let sent = match number % 10 {
            0 => many.clone(),
            _ => kinds[number % kinds.len()].to_owned(),
        };
        clients.spawn(async move {
            let socket = tokio::net::TcpSocket::new_v4()?;
            // who does not listen has soon been told more than it takes
            socket.set_recv_buffer_size(4096)?;
            let mut stream = socket.connect(address).await?;
            stream.write_all(sent.as_bytes()).await?;
            std::future::pending::<io::Result<()>>().await
        });
    }
    let mut most = 0;
    let mut count = || {
        let now = open_files::count(pid);
        most = most.max(now);
        now
    };
    wait_until("they are in", SOON, || count() > quiet + 200);
    wait_until("the probe's turn", 6 * SOON, || {
        count();
        stage
            .daemon
            .fetch("/livez")
            .map(|answer| answer.status == 200)
    });
    // who does not listen to /metrics may be borne for a minute
    wait_until("all of them are gone", 12 * SOON, || {
        let now = count();
        if now < quiet + 20 {
            Ok(())
        } else {
            Err(format!("{now} files, {quiet} before"))
        }
    });
    assert!(most - quiet < 300, "{most} files, {quiet} before");
    clients.shutdown_background();
    stage.unharmed();
}

/// Of all its threads, in the system and outside: proc(5), fields 14 and 15 of `stat`, in hundredths.
fn cpu_seconds(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}
