//! What the log says on an ordinary day: nothing that a person has to look at.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use testkit::{Daemon, SOON, Sozu, routes, wait_for};

const BINARY: &str = env!("CARGO_BIN_EXE_sozu-manager");

/// The lines that want somebody's attention.
fn loud(daemon: &Daemon) -> Vec<String> {
    let quiet = |line: &&str| line.contains("\"level\":\"INFO\"");
    let log = daemon.log();
    log.lines()
        .filter(|line| !quiet(line))
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn an_ordinary_start_and_stop_warn_of_nothing() {
    let sozu = Sozu::start().unwrap();
    for sources in [&["local"][..], &[]] {
        let mut daemon = Daemon::builder(BINARY, &sozu)
            .routes(sources)
            .prepare()
            .unwrap();
        let backend = "127.0.0.1:9".parse().unwrap();
        let text = routes::http("log", sozu.http_address(), &["log.example"], &[backend]);
        if !sources.is_empty() {
            routes::write(&daemon.routes(), "log.toml", &text).unwrap();
        }
        daemon.start().unwrap();
        daemon.wait_ready(SOON).unwrap();
        wait_for("a healthy daemon", SOON, || {
            let health = daemon.health().unwrap();
            if health["status"] == "ok" {
                Ok(())
            } else {
                Err(health.to_string())
            }
        })
        .unwrap();
        assert!(daemon.metrics().unwrap().contains("\nsozu_up 1\n"));
        assert!(daemon.terminate().unwrap().success());
        assert_eq!(loud(&daemon), [""; 0], "{sources:?}");
        assert!(daemon.log().contains("The daemon stopped in order."));
    }
}

#[test]
fn a_start_without_sozu_is_one_warning_for_each_that_needs_it() {
    let mut sozu = Sozu::start().unwrap();
    sozu.kill().unwrap();
    let mut daemon = Daemon::builder(BINARY, &sozu).start().unwrap();
    for name in ["socket_pool", "state_keeper", "routes.local"] {
        wait_for(name, SOON, || match daemon.component(name) {
            Ok(component) if component["state"] == "degraded" => Ok(()),
            Ok(component) => Err(component.to_string()),
            Err(error) => Err(error.to_string()),
        })
        .unwrap();
    }
    assert!(daemon.terminate().unwrap().success());
    let degraded = |name: &str| {
        let component = format!("\"component\":\"{name}\"");
        let about = |line: &&String| line.contains(&component);
        loud(&daemon).iter().filter(about).count()
    };
    for name in ["socket_pool", "state_keeper", "routes.local"] {
        assert_eq!(degraded(name), 1, "{name}:\n{}", daemon.log());
    }
}
