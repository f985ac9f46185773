//! A topic, its producer, and a daemon that reads it.

use std::time::{Duration, SystemTime};

use actors::{
    messages::Position,
    pulsar_consumer::{Address, Outgoing, Publisher},
};
use sozu_command_lib::proto::command::Request;
use testkit::{Daemon, Pulsar, Sozu};
use tokio::runtime::Runtime;

pub(crate) struct Topic {
    runtime: Runtime,
    address: Address,
    name: String,
    /// One message at a time. Dropped within the runtime: the crate spawns a task then.
    single: Option<Publisher>,
}

impl Topic {
    pub(crate) fn new(broker: &Pulsar, name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let address = Address {
            url: broker.url(),
            ..Address::default()
        };
        let name = testkit::pulsar::topic(name);
        let single = runtime
            .block_on(Publisher::open(&address, &name, 1))
            .unwrap();
        Self {
            runtime,
            address,
            name,
            single: Some(single),
        }
    }

    /// In entries of a thousand.
    pub(crate) fn publish_batched(&mut self, requests: &[Request]) {
        let messages: Vec<_> = requests.iter().map(outgoing).collect();
        let sent = async {
            let mut publisher = Publisher::open(&self.address, &self.name, 1_000).await?;
            let places = publisher.publish(messages, |_| {}).await;
            Ok::<_, actors::pulsar_consumer::BrokerError>(places.unwrap())
        };
        self.runtime.block_on(sent).unwrap();
    }

    /// Each alone. Returns where they lie, once the broker has them.
    pub(crate) fn publish(&mut self, requests: &[Request]) -> Vec<Position> {
        let messages: Vec<_> = requests.iter().map(outgoing).collect();
        let published = self.single.as_mut().unwrap().publish(messages, |_| {});
        self.runtime.block_on(published).unwrap()
    }

    /// A daemon that reads it, and nothing else; it does not run yet.
    pub(crate) fn daemon(&self, sozu: &Sozu) -> Daemon {
        let source = format!(
            "[pulsar.platform]\nurl = \"{}\"\ntopic = \"{}\"\n",
            self.address.url, self.name
        );
        Daemon::builder(env!("CARGO_BIN_EXE_sozu-manager"), sozu)
            .routes(&[])
            .extra_toml(&source)
            .prepare()
            .unwrap()
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        let _within = self.runtime.enter();
        self.single = None;
    }
}

fn outgoing(request: &Request) -> Outgoing {
    Outgoing::of(request).unwrap()
}

/// When the daemon began to read its topic, by its log.
pub(crate) fn read_from(daemon: &Daemon) -> SystemTime {
    let log = daemon.log();
    let line = log
        .lines()
        .find(|line| line.contains("The topic is read."))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    humantime::parse_rfc3339_weak(line["timestamp"].as_str().unwrap()).unwrap()
}

/// The median and the 99th percentile.
pub(crate) fn percentiles(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    [at(50), at(99)]
}
