//! Until a daemon reports live what was published: by how far its source has settled, and by what its journal says.

use std::{
    path::Path,
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use actors::messages::Position;
use serde_json::Value;

use super::bar::Bar;
use crate::admin::{Client, ClientError, encoded};

/// Between two questions.
const EVERY: Duration = Duration::from_millis(50);
/// What the journal has at most to say of one verdict.
const LINES: u32 = 100_000;
/// The verdicts after which a change is not live.
const NOT_LIVE: [&str; 5] = ["refused", "held", "observed", "divergent", "skipped"];

/// Why it is not waited, or not any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum WaitError {
    #[error(transparent)]
    Daemon(#[from] ClientError),
    #[error("the daemon on that socket does not read {topic}; it reads {known}")]
    OtherTopic { topic: String, known: String },
    #[error(
        "not all of it is live after {}: {settled} of {count} messages are settled, {open} wait for their cluster{says}; they follow by themselves, `sozu-manager journal --verdict open` shows them", humantime::format_duration(*within)
    )]
    Late {
        within: Duration,
        settled: usize,
        count: usize,
        open: usize,
        says: String,
    },
}

/// A change that is not live.
pub(super) struct NotLive {
    pub(super) verdict: String,
    pub(super) kind: String,
    pub(super) key: String,
    pub(super) reason: String,
}

/// A source of a daemon that reads the topic.
pub(super) struct Waiting {
    client: Client,
    source: String,
    /// The daemon runs on this host, and takes its times from the same clock.
    since: SystemTime,
}

impl Waiting {
    /// Before anything is published: is there such a daemon?
    pub(super) fn begin(socket: &Path, topic: &str) -> Result<Self, WaitError> {
        let client = Client::new(socket);
        let since = SystemTime::now() - Duration::from_secs(2);
        let sources = client.get("/v1/sources")?;
        let sources = sources.as_array().map_or(&[][..], Vec::as_slice);
        match sources.iter().find(|it| it["topic"] == topic) {
            Some(found) => Ok(Self {
                client,
                source: text(found, "source"),
                since,
            }),
            None => Err(WaitError::OtherTopic {
                topic: topic.to_owned(),
                known: match sources {
                    [] => "no topic".to_owned(),
                    known => {
                        let topics: Vec<String> =
                            known.iter().map(|it| text(it, "topic")).collect();
                        topics.join(", ")
                    }
                },
            }),
        }
    }

    /// Waits until each of these messages has its last verdict. Returns those that are not live.
    pub(super) fn live(
        &self,
        places: &[Position],
        within: Duration,
    ) -> Result<Vec<NotLive>, WaitError> {
        let until = Instant::now() + within;
        let bar = Bar::new("live", places.len());
        loop {
            let settled = self.settled()?;
            let count = places.partition_point(|place| Some(*place) <= settled);
            bar.at(count);
            let mut open = 0;
            if count == places.len() {
                open = self.of_ours("open", places)?.len();
                if open == 0 {
                    break;
                }
            }
            if Instant::now() >= until {
                return Err(WaitError::Late {
                    within,
                    settled: count,
                    count: places.len(),
                    open,
                    says: self.says()?,
                });
            }
            sleep(EVERY);
        }
        let mut not_live = Vec::new();
        for verdict in NOT_LIVE {
            not_live.extend(self.of_ours(verdict, places)?);
        }
        Ok(not_live)
    }

    fn settled(&self) -> Result<Option<Position>, WaitError> {
        let sources = self.client.get("/v1/sources")?;
        let mut sources = sources.as_array().into_iter().flatten();
        let ours = sources.find(|it| it["source"] == self.source.as_str());
        Ok(ours
            .and_then(|it| it["settled"].as_str())
            .and_then(|settled| settled.parse().ok()))
    }

    /// The lines of the journal with this verdict that are about these messages.
    fn of_ours(&self, verdict: &str, places: &[Position]) -> Result<Vec<NotLive>, WaitError> {
        let since = humantime::format_rfc3339_millis(self.since).to_string();
        let path = format!(
            "/v1/journal?source={}&verdict={verdict}&since={}&limit={LINES}",
            encoded(&self.source),
            encoded(&since)
        );
        let lines = self.client.get(&path)?;
        let lines = lines.as_array().into_iter().flatten();
        let ours = lines.filter(|line| {
            let place = line["position"].as_str().and_then(|it| it.parse().ok());
            place.is_some_and(|place: Position| places.binary_search(&place).is_ok())
        });
        Ok(ours
            .map(|line| NotLive {
                verdict: verdict.to_owned(),
                kind: text(line, "kind"),
                key: text(line, "key"),
                reason: text(line, "reason"),
            })
            .collect())
    }

    /// What the daemon says of the source.
    fn says(&self) -> Result<String, WaitError> {
        let status = self.client.get("/v1/status")?;
        let name = format!("pulsar.{}", self.source);
        let mut components = status["components"].as_array().into_iter().flatten();
        let says = components
            .find(|it| it["name"] == name.as_str())
            .map(|it| [text(it, "detail"), text(it, "error")].join(": "));
        Ok(says.map_or_else(String::new, |says| format!(" ({name}: {says})")))
    }
}

/// A field as one line, whatever it holds.
fn text(value: &Value, field: &str) -> String {
    let text = value[field].as_str().unwrap_or_default();
    text.replace(char::is_control, " ")
}
