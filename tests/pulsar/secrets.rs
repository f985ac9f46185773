//! A broker that lets in by token and shows a certificate, while both change.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use actors::pulsar_consumer::Address;
use sozu_command_lib::proto::command::request::RequestType;
use tempfile::TempDir;
use testkit::{
    Daemon, Pulsar, Sozu,
    pki::{Authority, write},
    pulsar::Tokens,
    wait_until,
};

use crate::{
    LONG,
    pulsar::{Producer, consumer, new_topic, no_backlog, payloads, source, subscription},
    support::{at_rest, cluster},
};

/// How long the first token lasts: a start has to fit into it.
const FIRST: Duration = Duration::from_secs(20);
/// And the second one from the first one's end on.
const SECOND: Duration = Duration::from_secs(15);

struct Stage {
    broker: Pulsar,
    sozu: Sozu,
    daemon: Daemon,
    topic: String,
    producer: Producer,
    published: usize,
    authority: Authority,
    tokens: Tokens,
    token_file: PathBuf,
    ca_file: PathBuf,
    _directory: TempDir,
}

impl Stage {
    fn set() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let authority = Authority::new().unwrap();
        let issued = authority.issue(&["localhost", "127.0.0.1"]).unwrap();
        issued
            .write(directory.path(), "broker.crt", "broker.key")
            .unwrap();
        let tokens = Tokens::new(directory.path()).unwrap();
        let broker = Pulsar::builder()
            .tls(&path("broker.crt"), &path("broker.key"))
            .tokens(tokens.file(), &tokens.lasting("admin"))
            // how often it looks whether a token has ended
            .set("authenticationRefreshCheckSeconds", "1")
            .start()
            .unwrap();
        let [own_token, own_ca] = ["producer.token", "right.pem"].map(path);
        write(&own_token, &tokens.lasting("producer")).unwrap();
        write(&own_ca, authority.pem()).unwrap();
        let url = broker.tls_url().unwrap();
        let topic = new_topic();
        let address = Address {
            url: url.clone(),
            token_file: Some(own_token),
            ca_file: Some(own_ca),
        };
        let producer = Producer::new(&address, &topic, 10);
        let [token_file, ca_file] = ["daemon.token", "ca.pem"].map(path);
        let more = format!(
            "token_file = \"{}\"\nca_file = \"{}\"",
            token_file.display(),
            ca_file.display()
        );
        let sozu = Sozu::start().unwrap();
        let daemon = Daemon::builder(env!("CARGO_BIN_EXE_sozu-manager"), &sozu)
            .routes(&[])
            .env("SOZU_MANAGER__INSTANCE", "secrets")
            .extra_toml(&source(&url, &topic, &more))
            .prepare()
            .unwrap();
        Self {
            broker,
            sozu,
            daemon,
            topic,
            producer,
            published: 0,
            authority,
            tokens,
            token_file,
            ca_file,
            _directory: directory,
        }
    }

    fn token_until(&self, end: SystemTime) {
        write(&self.token_file, &self.tokens.until("daemon", end)).unwrap();
    }

    fn publish(&mut self, count: usize) {
        let from = self.published;
        self.published += count;
        let clusters =
            (from..self.published).map(|n| RequestType::AddCluster(cluster(&format!("c{n}"))));
        self.producer.publish(payloads(clusters)).unwrap();
    }

    #[track_caller]
    fn degraded(&self, word: &str) -> String {
        wait_until(
            &format!("{word} in what is wrong"),
            LONG,
            || match consumer(&self.daemon)? {
                (state, _, error) if state == "degraded" && error.contains(word) => Ok(error),
                other => Err(format!("{other:?}")),
            },
        )
    }

    #[track_caller]
    fn running(&self) {
        wait_until("all is well", LONG, || match consumer(&self.daemon)? {
            (state, _, _) if state == "running" => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    #[track_caller]
    fn complete(&self) {
        wait_until("all clusters", LONG, || {
            let held = self.sozu.held().unwrap().clusters().len();
            if held == self.published {
                Ok(())
            } else {
                Err(format!("{held} of {}", self.published))
            }
        });
        let rows = at_rest(&self.daemon.state_directory(), self.published, LONG);
        assert_eq!(rows.len(), self.published, "a message was taken twice");
        self.running();
        no_backlog(&self.broker, &self.topic, &subscription("secrets"), LONG);
        let component = self.daemon.component("pulsar.platform").unwrap();
        assert_eq!(component["restarts"], 0, "{component}");
    }
}

#[test]
fn a_certificate_and_tokens_that_change_cost_nothing() {
    let mut stage = Stage::set();
    // Another authority: nobody is trusted until the right one is named.
    write(&stage.ca_file, Authority::new().unwrap().pem()).unwrap();
    let first_ends = SystemTime::now() + FIRST;
    stage.token_until(first_ends);
    stage.daemon.start().unwrap();
    let told = stage.degraded("certificate is not trusted");
    assert!(told.contains("`ca_file`"), "{told}");
    write(&stage.ca_file, stage.authority.pem()).unwrap();
    wait_until(
        "a connection, or the first token's end",
        LONG,
        || match consumer(&stage.daemon)? {
            (now, _, _) if now == "running" => Ok(()),
            _ if SystemTime::now() >= first_ends => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );

    // Rotated while it flows: the broker asks for the new token when the old one has ended.
    let second_ends = first_ends + SECOND;
    stage.token_until(second_ends);
    stage.running();
    stage.publish(50);
    stage.complete();
    wait_until("the first token's end", LONG, || {
        stage.publish(1);
        SystemTime::now() >= first_ends + Duration::from_secs(3)
    });
    stage.complete();
    let log = stage.daemon.log();
    assert!(!log.contains("refuses us"), "{log}");

    // It ends, and nobody has brought another one: told, and over as soon as somebody has.
    let told = stage.degraded("refuses us");
    assert!(told.contains("`token_file`"), "{told}");
    stage.publish(50);
    write(&stage.token_file, &stage.tokens.lasting("daemon")).unwrap();
    stage.complete();

    let said = stage.daemon.log() + &stage.daemon.health().unwrap().to_string();
    let token = fs::read_to_string(&stage.token_file).unwrap();
    assert!(!said.contains(&token), "the token is told");
}
