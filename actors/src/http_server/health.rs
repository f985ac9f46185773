//! `/health`: every component's truth.

use std::time::SystemTime;

use serde::Serialize;
use supervisors::{Component, State};

/// The one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// All is well.
    Ok,
    /// Something is not, and the process works at it.
    Degraded,
    /// Only a restart of the process would help.
    Failed,
}

/// Everything, in one word.
pub(super) fn status(live: bool, ready: bool, components: &[Component]) -> Status {
    if !live {
        Status::Failed
    } else if ready && components.iter().all(|c| c.state == State::Running) {
        Status::Ok
    } else {
        Status::Degraded
    }
}

/// What `/health` answers.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Page<'a> {
    pub(super) status: Status,
    pub(super) ready: bool,
    pub(super) live: bool,
    pub(super) version: &'static str,
    pub(super) uptime_seconds: f64,
    pub(super) components: Vec<Entry<'a>>,
}

/// One component of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry<'a> {
    name: &'a str,
    kind: &'a str,
    state: &'static str,
    critical: bool,
    restarts: u64,
    since: String,
    detail: &'a str,
    error: Option<&'a str>,
}

impl<'a> From<&'a Component> for Entry<'a> {
    fn from(component: &'a Component) -> Self {
        Self {
            name: &component.name,
            kind: component.kind,
            state: component.state.name(),
            critical: component.critical,
            restarts: component.restarts.values().sum(),
            since: rfc3339(component.since),
            detail: &component.detail,
            error: component.error.as_deref(),
        }
    }
}

/// In UTC. A clock before 1970 shows as 1970: the writer of times panics on what it cannot write.
fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time.max(SystemTime::UNIX_EPOCH)).to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use serde_json::json;
    use supervisors::Reason;

    use super::*;

    pub(in crate::http_server) fn component(name: &str, state: State) -> Component {
        Component {
            name: name.to_owned(),
            kind: "routes_watcher",
            state,
            critical: true,
            restarts: BTreeMap::from([(Reason::Panic, 2), (Reason::Error, 1)]),
            since: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_900),
            silent_for: Duration::ZERO,
            detail: "40 files".to_owned(),
            error: None,
        }
    }

    #[test]
    fn failed_is_dead_and_degraded_is_anything_that_is_not_well() {
        for (live, ready, states, expected) in [
            (
                true,
                true,
                &[State::Running, State::Running][..],
                Status::Ok,
            ),
            (true, true, &[], Status::Ok),
            (true, false, &[State::Running], Status::Degraded),
            (
                true,
                true,
                &[State::Running, State::Degraded],
                Status::Degraded,
            ),
            (true, true, &[State::Starting], Status::Degraded),
            (true, true, &[State::Backoff], Status::Degraded),
            (true, true, &[State::Parked], Status::Degraded),
            (true, true, &[State::Stopping], Status::Degraded),
            (true, true, &[State::Stopped], Status::Degraded),
            (false, true, &[State::Running], Status::Failed),
            (false, false, &[State::Stopped], Status::Failed),
        ] {
            let components: Vec<_> = states.iter().map(|s| component("one", *s)).collect();
            assert_eq!(
                status(live, ready, &components),
                expected,
                "live {live}, ready {ready}, {states:?}"
            );
        }
    }

    #[test]
    fn the_page_has_the_promised_shape() {
        let mut watcher = component("routes.local", State::Degraded);
        watcher.error = Some("a.toml:3:1: unknown key".to_owned());
        let components = [watcher];
        let page = Page {
            status: Status::Degraded,
            ready: true,
            live: true,
            version: "0.1.0",
            uptime_seconds: 12.3,
            components: components.iter().map(Entry::from).collect(),
        };
        assert_eq!(
            serde_json::to_value(page).unwrap(),
            json!({
                "status": "degraded", "ready": true, "live": true, "version": "0.1.0",
                "uptime_seconds": 12.3,
                "components": [{
                    "name": "routes.local", "kind": "routes_watcher", "state": "degraded",
                    "critical": true, "restarts": 3, "since": "2023-11-14T22:13:20Z",
                    "detail": "40 files", "error": "a.toml:3:1: unknown key"
                }]
            })
        );
    }

    #[test]
    fn a_clock_before_1970_breaks_nothing() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(rfc3339(before), "1970-01-01T00:00:00Z");
    }
}
