//! A daemon that does nothing but export, and what it says, judged by those who know the formats.

use testkit::{Daemon, SOON, Sozu};

use crate::support::{
    daemon,
    readers::{openmetrics_reader, promtool},
};

pub const EXPORTER: &str = "[metrics]\nshare_for = \"1ms\"";
pub const OPEN: &str = "Accept: application/openmetrics-text;version=1.0.0\r\n";

/// A daemon that does nothing but export.
pub fn exporter(sozu: &Sozu) -> Daemon {
    let mut daemon = daemon(sozu)
        .routes(&[])
        .extra_toml(EXPORTER)
        .start()
        .unwrap();
    daemon.wait_ready(SOON).unwrap();
    daemon
}

/// Both formats, judged by promtool and by Python's reader of OpenMetrics.
#[track_caller]
pub fn valid(daemon: &Daemon, state: &str) -> String {
    let text = daemon.metrics().unwrap();
    promtool(&text, state);
    let answer = testkit::client::get_with(daemon.http_port(), "here", "/metrics", OPEN).unwrap();
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(answer.body.ends_with("\n# EOF\n"), "{state}");
    if let Some(samples) = openmetrics_reader(&answer.body, state) {
        assert!(samples > 50, "{state}: {samples} samples");
    }
    text
}
