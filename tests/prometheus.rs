//! A real Prometheus scrapes the daemon in both formats, evaluates the shipped rules, and answers every question of the
//! shipped dashboards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use serde_json::Value;
use support::{daemon, readers::peer, served, write_route};
use testkit::{Backend, Load, Port, SOON, Sozu, get, process::Process, wait_until};

/// Long enough for the slowest of rates on a busy machine.
const TRAFFIC: Duration = Duration::from_secs(90);

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn promtool(arguments: &[&str]) {
    let Some(promtool) = peer("promtool") else {
        return;
    };
    let output = Command::new(promtool)
        .args(arguments)
        .current_dir(root("packaging/prometheus"))
        .output()
        .unwrap();
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8_lossy(&words);
    assert!(output.status.success(), "{words}");
}

#[test]
fn the_rules_are_right_and_do_what_their_tests_say() {
    promtool(&["check", "rules", "alerts.yml", "recording.yml"]);
    promtool(&["test", "rules", "tests.yml"]);
    promtool(&["check", "config", "--syntax-only", "scrape.yml"]);
}

#[test]
fn each_alert_has_its_section_of_the_runbook() {
    let alerts = fs::read_to_string(root("packaging/prometheus/alerts.yml")).unwrap();
    let operations = fs::read_to_string(root("docs/operations.md")).unwrap();
    let names: Vec<&str> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(
            operations.contains(&format!("\n### {name}\n\n")),
            "{name} has no section"
        );
        let anchor = format!("docs/operations.md#{}\n", name.to_lowercase());
        assert!(alerts.contains(&anchor), "{name} leads nowhere");
    }
}

/// Passes scrapes on without their `Accept`: the answer is text, whatever Prometheus would rather have.
fn text_only(daemon: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || drop(pass_on(client, daemon)));
        }
    });
    port
}

fn pass_on(mut client: TcpStream, daemon: u16) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let kept: Vec<&str> = head
        .split("\r\n")
        .filter(|line| {
            let line = line.to_ascii_lowercase();
            !line.starts_with("accept:") && !line.starts_with("connection:") && !line.is_empty()
        })
        .collect();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon))?;
    let request = format!("{}\r\nConnection: close\r\n\r\n", kept.join("\r\n"));
    stream.write_all(request.as_bytes())?;
    std::io::copy(&mut stream, &mut client)?;
    Ok(())
}

struct Prometheus {
    _process: Process,
    port: Port,
}

impl Prometheus {
    /// Scrapes both every second.
    fn start(program: &Path, directory: &Path, targets: [(&str, u16); 2]) -> Self {
        let port = Port::free().unwrap();
        let rules = root("packaging/prometheus");
        let mut config = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s\n\
             rule_files: [\"{0}/alerts.yml\", \"{0}/recording.yml\"]\nscrape_configs:\n",
            rules.display()
        );
        for (instance, port) in targets {
            let job = format!(
                "  - job_name: sozu-{instance}\n    static_configs:\n      - targets: [\"127.0.0.1:{port}\"]\n        \
                 labels: {{instance: {instance}, job: sozu}}\n"
            );
            config.push_str(&job);
        }
        let file = directory.join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{}", port.number()));
        let process = Process::start(command, &directory.join("prometheus.log"), None).unwrap();
        Self {
            _process: process,
            port,
        }
    }

    fn api(&self, path: &str) -> Result<Value, String> {
        let answer = get(self.port.number(), "here", path).map_err(|error| error.to_string())?;
        let value: Value = serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
        if value["status"] == "success" {
            Ok(value["data"].clone())
        } else {
            Err(value.to_string())
        }
    }

    /// What a query gives.
    fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let encoded: String = query
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => (byte as char).to_string(),
                byte => format!("%{byte:02X}"),
            })
            .collect();
        let data = self.api(&format!("/api/v1/query?query={encoded}"))?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    #[track_caller]
    fn tells(&self, query: &str) {
        wait_until(query, TRAFFIC, || match self.query(query) {
            Ok(result) if result.is_empty() => Err("nothing".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        });
    }
}

/// Each question of a dashboard, as Grafana would ask it.
fn questions(dashboard: &str) -> Vec<String> {
    let text = fs::read_to_string(root("packaging/grafana").join(dashboard)).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    targets
        .flatten()
        .map(|target| {
            let question = target["expr"].as_str().unwrap();
            question
                .replace("$__rate_interval", "20s")
                .replace("$instance", ".*")
                .replace("$cluster", ".*")
        })
        .collect()
}

#[test]
fn a_real_prometheus_scrapes_both_formats_and_answers_every_question_of_the_dashboards() {
    let Some(program) = peer("prometheus") else {
        return;
    };
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    let mut daemon = daemon(&sozu)
        .extra_toml("[reconcile]\ninterval = \"1s\"")
        .start()
        .unwrap();
    daemon.wait_ready(SOON).unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    let load = Load::start(sozu.http_port(), "a.example", "/");

    let directory = tempfile::tempdir().unwrap();
    let text = text_only(daemon.http_port());
    let targets = [("open", daemon.http_port()), ("text", text)];
    let prometheus = Prometheus::start(&program, directory.path(), targets);
    for instance in ["open", "text"] {
        prometheus.tells(&format!("up{{instance=\"{instance}\"}} == 1"));
        prometheus.tells(&format!("sozu_up{{instance=\"{instance}\"}} == 1"));
    }
    // Only OpenMetrics has created times.
    prometheus.tells("sozu_http_requests_created{instance=\"open\"}");
    let created = prometheus.query("sozu_http_requests_created{instance=\"text\"}");
    assert_eq!(created, Ok(Vec::new()));

    let mut all = questions("proxy.json");
    all.extend(questions("fleet.json"));
    assert!(all.len() > 60, "{} questions", all.len());
    for question in all {
        prometheus.tells(&question);
        // A change goes through while it is looked at.
        if question.contains("sozu_manager_changes_total") {
            write_route(&daemon, &sozu, "b", &backend);
        }
    }
    for rule in [
        "instance:sozu_http_requests:rate5m > 0",
        "instance_cluster:sozu_cluster_requests:rate5m > 0",
        "instance:sozu_request_seconds:p99_rate5m",
    ] {
        prometheus.tells(rule);
    }
    let tally = load.stop();
    assert_eq!(tally.failed(), 0, "{tally}");

    let targets = prometheus.api("/api/v1/targets").unwrap();
    for target in targets["activeTargets"].as_array().unwrap() {
        assert_eq!(
            (&target["health"], &target["lastError"]),
            (&"up".into(), &"".into())
        );
    }
    let rules = prometheus.api("/api/v1/rules").unwrap();
    let groups = rules["groups"].as_array().unwrap();
    let rules: Vec<&Value> = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    let shipped = ["alerts.yml", "recording.yml"].map(|file| {
        let text = fs::read_to_string(root("packaging/prometheus").join(file)).unwrap();
        text.matches("- alert: ").count() + text.matches("- record: ").count()
    });
    assert_eq!(rules.len(), shipped.iter().sum::<usize>());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    // Nothing is wrong, so nothing fires.
    assert_eq!(
        prometheus.query("ALERTS{alertstate=\"firing\"}"),
        Ok(Vec::new())
    );
}
