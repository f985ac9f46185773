//! The daemon as systemd meets it: it starts without Sōzu, answers, and stops when told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixListener,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon on a free port in a directory of its own, its log read line by line.
struct Daemon {
    process: Child,
    log: Receiver<String>,
    heard: Vec<String>,
    directory: TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Daemon {
    /// Starts one with these tables besides.
    fn start(tables: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), tables)
    }

    fn start_in(directory: TempDir, tables: &str) -> Self {
        let here = directory.path().display();
        let text = format!(
            "state_directory = \"{here}/state\"\n\
             [sozu]\ncommand_socket = \"{here}/sozu.sock\"\nexchange_directory = \"{here}/exchange\"\n\
             [admin]\nsocket = \"{here}/admin.sock\"\n\
             [http]\naddress = \"127.0.0.1:0\"\n{tables}",
        );
        let path = directory.path().join("config.toml");
        fs::write(&path, text.replace("HERE", &here.to_string())).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_sozu-manager"))
            .env_clear()
            .arg("-c")
            .arg(&path)
            .arg("run")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (send, log) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        Self {
            process,
            log,
            heard: Vec::new(),
            directory,
        }
    }

    /// Waits for a line of the log that has this in it.
    fn hears(&mut self, part: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) => {
                    self.heard.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(end) => panic!(
                    "never heard {part:?}, but ({end}):\n{}",
                    self.heard.join("\n")
                ),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id().try_into().unwrap());
        kill(pid, signal).unwrap();
    }

    fn ends(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end:\n{}", self.heard.join("\n"));
    }

    /// Where it serves HTTP.
    fn address(&mut self) -> String {
        let line = self.hears("The daemon starts.");
        let (_, port) = line.rsplit_once("127.0.0.1:").unwrap();
        let digits = port
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(port.len());
        format!("127.0.0.1:{}", &port[..digits])
    }
}

/// Status line and body of an answer.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn either_signal_stops_it_in_order_with_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut daemon = Daemon::start("");
        daemon.address();
        daemon.signal(signal);
        daemon.hears("The daemon stopped in order.");
        assert_eq!(daemon.ends(), Some(0), "{signal}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once_with_1() {
    // A Sōzu that hears and never answers holds up a scrape, and with it the ordered stop.
    let directory = tempfile::tempdir().unwrap();
    let silent = UnixListener::bind(directory.path().join("sozu.sock")).unwrap();
    let mut daemon = Daemon::start_in(directory, "");
    let address = daemon.address();
    let scrape = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        stream.read_to_end(&mut Vec::new())
    });
    // One connection watches whether Sōzu answers, the other one is the scrape's.
    let _held = [silent.accept().unwrap(), silent.accept().unwrap()];
    daemon.signal(Signal::SIGTERM);
    daemon.hears("Told to stop;");
    daemon.signal(Signal::SIGTERM);
    daemon.hears("Told to stop a second time");
    assert_eq!(daemon.ends(), Some(1));
    let _ = scrape.join().unwrap();
}

#[test]
fn a_hangup_reloads_and_does_not_end_it() {
    let mut daemon = Daemon::start("");
    let address = daemon.address();
    daemon.signal(Signal::SIGHUP);
    daemon.hears("The configuration was reloaded.");
    assert!(get(&address, "/livez").starts_with("HTTP/1.1 200"));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ends(), Some(0));
}

#[test]
fn the_log_is_json_where_nobody_reads_along_and_text_if_asked_for() {
    let mut daemon = Daemon::start("");
    let line = daemon.hears("The daemon starts.");
    assert!(line.starts_with("{\"timestamp\":\""), "{line}");
    assert!(
        line.contains("\"level\":\"INFO\",\"message\":\"The daemon starts.\""),
        "{line}"
    );

    let mut daemon = Daemon::start("[log]\nformat = \"text\"\n");
    let line = daemon.hears("The daemon starts.");
    assert!(
        line.contains(" INFO sozu_manager::run: The daemon starts. "),
        "{line}"
    );
}

#[test]
fn the_level_is_obeyed() {
    let mut daemon =
        Daemon::start("[log]\nlevel = \"warn\"\n[routes.local]\ndirectory = \"HERE/none\"\n");
    daemon.hears("WARN");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ends(), Some(0));
    daemon.heard.extend(daemon.log.iter());
    assert!(
        daemon.heard.iter().all(|line| !line.contains("INFO")),
        "{:?}",
        daemon.heard
    );
}

#[test]
fn without_a_source_it_is_an_exporter_and_makes_no_directory() {
    let mut daemon = Daemon::start("");
    let address = daemon.address();
    let health = get(&address, "/health");
    let names: Vec<&str> = health
        .split("{\"name\":\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(
        names,
        [
            "socket_pool",
            "metrics_scraper",
            "http_server",
            "admin_server"
        ],
        "{health}"
    );
    assert!(get(&address, "/metrics").contains("\nsozu_up 0\n"));
    let made = fs::read_dir(daemon.directory.path()).unwrap();
    let mut made: Vec<_> = made.map(|it| it.unwrap().file_name()).collect();
    made.sort();
    made.retain(|name| name != "admin.sock");
    assert_eq!(made, ["config.toml"]);
}

#[test]
fn with_a_source_each_component_is_named_as_in_the_configuration() {
    let mut daemon = Daemon::start("[routes.local]\ndirectory = \"HERE/routes.d\"\n");
    let address = daemon.address();
    let health = get(&address, "/health");
    for part in [
        "\"name\":\"state_keeper\",\"kind\":\"state_keeper\"",
        "\"name\":\"routes.local\",\"kind\":\"routes_watcher\"",
    ] {
        assert!(health.contains(part), "{health}");
    }
    assert!(get(&address, "/readyz").starts_with("HTTP/1.1 503"));
}
