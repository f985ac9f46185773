//! A topic of a real broker and a daemon that reads it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "each suite uses its part of it"
)]

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use actors::pulsar_consumer::{Address, Interrupted, Outgoing, Publisher};
use prost::Message;
use sozu_command_lib::proto::command::{Request, request::RequestType};
use testkit::{Daemon, Pulsar, Sozu, daemon::Builder, wait_until};
use tokio::runtime::Runtime;

/// What a healthy broker may take to open a topic.
const OPEN_WITHIN: Duration = Duration::from_mins(1);

/// The broker of this test process. Its guardian ends it with the process.
pub fn broker() -> &'static Pulsar {
    static BROKER: OnceLock<Pulsar> = OnceLock::new();
    BROKER.get_or_init(|| Pulsar::start().unwrap())
}

/// A topic that nobody else uses: its short name.
pub fn new_topic() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "t{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// The configuration of `[pulsar.platform]`; `more`: further keys.
pub fn source(url: &str, topic: &str, more: &str) -> String {
    let topic = testkit::pulsar::topic(topic);
    format!("[pulsar.platform]\nurl = \"{url}\"\ntopic = \"{topic}\"\n{more}")
}

/// A daemon with this topic as its only source, which calls itself `instance`.
pub fn daemon(sozu: &Sozu, url: &str, topic: &str, instance: &str) -> Builder {
    Daemon::builder(env!("CARGO_BIN_EXE_sozu-manager"), sozu)
        .routes(&[])
        .env("SOZU_MANAGER__INSTANCE", instance)
        .extra_toml(&source(url, topic, ""))
}

/// The subscription of a daemon of that name.
pub fn subscription(instance: &str) -> String {
    format!("sozu-manager-{instance}")
}

/// As a producer sends it.
pub fn payload(request: impl Into<Request>) -> Vec<u8> {
    request.into().encode_to_vec()
}

pub fn payloads(requests: impl IntoIterator<Item = RequestType>) -> Vec<Vec<u8>> {
    requests.into_iter().map(payload).collect()
}

/// What `publish` sends with, here for whatever bytes.
pub struct Producer {
    runtime: Runtime,
    // dropped within the runtime: the crate spawns a task then
    inner: Option<Publisher>,
}

pub fn producer(url: &str, topic: &str, batch: u32) -> Producer {
    let address = Address {
        url: url.to_owned(),
        ..Address::default()
    };
    Producer::new(&address, topic, batch)
}

impl Producer {
    pub fn new(address: &Address, topic: &str, batch: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let topic = testkit::pulsar::topic(topic);
        // A broker that is healthy again after a kill may have no bookie for a new ledger yet.
        let inner = wait_until("a producer", OPEN_WITHIN, || {
            let opened = runtime.block_on(Publisher::open(address, &topic, batch));
            opened.map(Some).map_err(|error| error.to_string())
        });
        Self { runtime, inner }
    }

    /// Publishes all, in order, and waits for every receipt.
    pub fn publish<B: Into<Vec<u8>>>(
        &mut self,
        payloads: impl IntoIterator<Item = B>,
    ) -> Result<(), Interrupted> {
        let messages = payloads.into_iter().map(|payload| Outgoing {
            key: "key".to_owned(),
            payload: payload.into(),
        });
        let inner = self.inner.as_mut().unwrap();
        let published = inner.publish(messages, |_| {});
        self.runtime.block_on(published).map(drop)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let _within = self.runtime.enter();
        self.inner = None;
    }
}

/// Waits until the broker says that the subscription has acknowledged everything.
#[track_caller]
pub fn no_backlog(broker: &Pulsar, topic: &str, subscription: &str, deadline: Duration) {
    wait_until("a backlog of 0", deadline, || {
        match broker.backlog(topic, subscription) {
            Ok(0) => Ok(()),
            Ok(backlog) => Err(format!("a backlog of {backlog}")),
            Err(error) => Err(error.to_string()),
        }
    });
}

/// The state, the detail and the error of the consumer.
pub fn consumer(daemon: &Daemon) -> Result<(String, String, String), String> {
    let component = daemon.component("pulsar.platform");
    let component = component.map_err(|error| error.to_string())?;
    let text = |key: &str| component[key].as_str().unwrap_or_default().to_owned();
    Ok((text("state"), text("detail"), text("error")))
}
