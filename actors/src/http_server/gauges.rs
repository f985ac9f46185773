//! What is seen at the moment of a scrape: components, conditions, objects, Sōzu.
//!
//! Collected anew each time, so that what is gone leaves at once. Where nothing is known nothing is
//! written: a zero would be a claim.

use std::time::SystemTime;

use supervisors::{Component, Reason, State};

use super::ready::Line;
use crate::{
    messages::Scrape,
    metrics::{
        self, BUILD_INFO, CLUSTERS_IN_OTHER, COMPONENT_RESTARTS, COMPONENT_STATE,
        CONFIG_LAST_RELOAD_SUCCESS, CONFIG_LAST_RELOAD_SUCCESSFUL, DATABASE_SIZE, DEAD_LETTERS,
        DRIFT_OBJECTS, FOREIGN_OBJECTS, HELD_REMOVALS, LAST_PROOF, LastReload, Metric, OBJECTS,
        ORPHANED_OBJECTS, PARKED_CHANGES, READY, SCRAPE_COMPLETE, SERIES_LEFT_OUT, SOURCE_BACKLOG,
        SOURCE_CAUGHT_UP, SOURCE_GAP, SOURCE_LAST_CHANGE, SOZU_UP, SOZU_WORKERS, UNASKED_CLUSTERS,
        UNKNOWN_METRICS, UNSERVABLE_OBJECTS, seconds, text::Text,
    },
    state_keeper::{
        key::Kind,
        report::{Difference, Report, SourceReport},
    },
};

const DIFFERENCES: [Difference; 4] = [
    Difference::Missing,
    Difference::Different,
    Difference::Resurrected,
    Difference::Divergent,
];

/// The version, the components and the conditions of `/readyz`.
pub(super) fn of_this_program(text: &mut Text, components: &[Component], conditions: &[Line]) {
    text.family(&BUILD_INFO)
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);

    let mut family = text.family(&COMPONENT_STATE);
    for component in components {
        for state in State::ALL {
            family.sample(
                &[("component", &component.name), ("state", state.name())],
                u8::from(component.state == state),
            );
        }
    }

    let mut family = text.family(&COMPONENT_RESTARTS);
    for component in components {
        for reason in Reason::ALL {
            family.sample(
                &[("component", &component.name), ("reason", reason.name())],
                component.restarts.get(&reason).copied().unwrap_or(0),
            );
        }
    }

    let mut family = text.family(&READY);
    for (name, state) in conditions {
        family.sample(&[("condition", name)], u8::from(state.is_ok()));
    }
}

/// How the last reload ended. The start counts as one.
pub(super) fn of_the_configuration(text: &mut Text, last: LastReload) {
    text.family(&CONFIG_LAST_RELOAD_SUCCESSFUL)
        .sample(&[], u8::from(last.succeeded));
    timestamp(text, &CONFIG_LAST_RELOAD_SUCCESS, Some(last.success));
}

/// What the keeper reports. Nothing until it has started.
pub(super) fn of_the_keeper(text: &mut Text, report: &Report) {
    if report.conditions.is_empty() {
        return;
    }
    let mut family = text.family(&OBJECTS);
    for (source, of_source) in &report.sources {
        for kind in Kind::ALL {
            family.sample(
                &[("source", source.as_str()), ("kind", kind.name())],
                of_source.objects.get(&kind).copied().unwrap_or(0),
            );
        }
    }
    per_source(text, &UNSERVABLE_OBJECTS, report, |source| {
        source.unservable
    });
    per_source(text, &ORPHANED_OBJECTS, report, |source| source.orphaned);
    per_source(text, &HELD_REMOVALS, report, |source| {
        source.holds.iter().map(|hold| hold.objects).sum()
    });

    of_buses(text, report);
    of_letters(text, report);
    let mut family = text.family(&SOURCE_LAST_CHANGE);
    for (source, of_source) in &report.sources {
        if let Some(at) = of_source.last_change {
            family.sample(&[("source", source.as_str())], seconds(at));
        }
    }

    // Until this life of Sōzu was read, what it holds is unknown.
    if report.listeners.is_some() {
        let mut family = text.family(&DRIFT_OBJECTS);
        for difference in DIFFERENCES {
            for kind in Kind::ALL {
                family.sample(
                    &[("difference", difference.name()), ("kind", kind.name())],
                    report.drift.get(&(difference, kind)).copied().unwrap_or(0),
                );
            }
        }
        let mut family = text.family(&FOREIGN_OBJECTS);
        for kind in Kind::ALL {
            family.sample(
                &[("kind", kind.name())],
                report.foreign.get(&kind).copied().unwrap_or(0),
            );
        }
    }
    timestamp(text, &LAST_PROOF, report.last_proof);
    text.family(&DATABASE_SIZE)
        .sample(&[], report.database_bytes);
}

fn of_buses(text: &mut Text, report: &Report) {
    let buses: Vec<_> = report
        .sources
        .iter()
        .filter_map(|(source, of_source)| Some((source, of_source, of_source.caught_up?)))
        .collect();
    if buses.is_empty() {
        return;
    }
    let mut family = text.family(&SOURCE_CAUGHT_UP);
    for (source, _, caught_up) in &buses {
        family.sample(&[("source", source.as_str())], u8::from(*caught_up));
    }
    let mut family = text.family(&SOURCE_GAP);
    for (source, of_source, _) in &buses {
        let gap = u8::from(of_source.gap.is_some());
        family.sample(&[("source", source.as_str())], gap);
    }
    let mut family = text.family(&PARKED_CHANGES);
    for (source, of_source, _) in &buses {
        family.sample(&[("source", source.as_str())], of_source.parked);
    }
    let backlogs = metrics::backlogs();
    if !backlogs.is_empty() {
        let mut family = text.family(&SOURCE_BACKLOG);
        for (source, messages) in backlogs {
            family.sample(&[("source", source.as_str())], messages);
        }
    }
}

/// Of buses, and of sources that are gone and were one.
fn of_letters(text: &mut Text, report: &Report) {
    let sources = report.sources.iter();
    let mut letters = sources
        .filter(|(_, it)| it.caught_up.is_some() || it.letters.rows > 0)
        .peekable();
    if letters.peek().is_none() {
        return;
    }
    let mut family = text.family(&DEAD_LETTERS);
    for (source, of_source) in letters {
        family.sample(&[("source", source.as_str())], of_source.letters.rows);
    }
}

/// What Sōzu said to this scrape.
pub(super) fn of_sozu(text: &mut Text, scrape: &Scrape) {
    text.family(&SOZU_UP).sample(&[], u8::from(scrape.up));
    if scrape.up {
        text.family(&SOZU_WORKERS).sample(&[], scrape.workers);
        text.family(&SCRAPE_COMPLETE)
            .sample(&[], u8::from(scrape.complete));
        text.family(&UNASKED_CLUSTERS).sample(&[], scrape.unasked);
        let notes = scrape.notes;
        text.family(&CLUSTERS_IN_OTHER)
            .sample(&[], notes.clusters_in_other);
        text.family(&SERIES_LEFT_OUT)
            .sample(&[], notes.series_left_out);
        let mut family = text.family(&UNKNOWN_METRICS);
        family.sample(&[("what", "name")], notes.unknown_names);
        family.sample(&[("what", "kind")], notes.unreadable);
    }
}

fn per_source(
    text: &mut Text,
    metric: &'static Metric,
    report: &Report,
    count: impl Fn(&SourceReport) -> usize,
) {
    let mut family = text.family(metric);
    for (source, of_source) in &report.sources {
        family.sample(&[("source", source.as_str())], count(of_source));
    }
}

fn timestamp(text: &mut Text, metric: &'static Metric, at: Option<SystemTime>) {
    if let Some(at) = at {
        text.family(metric).sample(&[], seconds(at));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc, time::Duration};

    use super::*;
    use crate::{
        http_server::{exposition, health::tests::component, process::Process},
        messages::SourceName,
        state_keeper::report::{Condition, Hold},
    };

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn report() -> Report {
        let local = SourceReport {
            objects: BTreeMap::from([(Kind::Cluster, 3), (Kind::HttpFrontend, 4)]),
            holds: vec![
                Hold {
                    id: "a1".into(),
                    objects: 60,
                },
                Hold {
                    id: "b2".into(),
                    objects: 2,
                },
            ],
            unservable: 1,
            last_change: Some(at(1_700_000_000)),
            ..SourceReport::default()
        };
        let gone = SourceReport {
            objects: BTreeMap::from([(Kind::Cluster, 1), (Kind::Backend, 1)]),
            orphaned: 2,
            ..SourceReport::default()
        };
        Report {
            sozu: None,
            conditions: vec![Condition {
                name: "complete",
                state: Ok(()),
            }],
            listeners: Some(Arc::default()),
            sources: BTreeMap::from([
                (SourceName::new("local"), local),
                (SourceName::new("gone"), gone),
            ]),
            drift: BTreeMap::from([((Difference::Missing, Kind::Backend), 5)]),
            foreign: BTreeMap::from([(Kind::Certificate, 2)]),
            last_proof: Some(at(1_700_000_060)),
            database_bytes: 40_960,
            ..Report::default()
        }
    }

    #[test]
    fn the_whole_text_is_as_it_was() {
        let mut pool = component("socket_pool", State::Degraded);
        pool.restarts = BTreeMap::from([(Reason::NotReady, 2)]);
        let conditions = [("complete", Ok(())), ("sozu", Err("it is away".to_owned()))];
        let mut text = Text::default();
        of_this_program(&mut text, &[pool], &conditions);
        of_the_keeper(&mut text, &report());
        of_sozu(
            &mut text,
            &Scrape {
                up: true,
                workers: 2,
                complete: true,
                ..Scrape::default()
            },
        );
        Process {
            cpu: Duration::from_millis(1_250),
            resident_bytes: 8_192,
            open_fds: 12,
            started: Duration::from_millis(1_700_000_000_500),
        }
        .write(&mut text);
        let text = text.finish();
        assert_eq!(exposition::check(&text), Ok(()));
        let golden = include_str!("golden.prom").replace("VERSION", env!("CARGO_PKG_VERSION"));
        assert!(text == golden, "golden.prom should be:\n{text}");
    }

    #[test]
    fn what_is_gone_leaves() {
        let mut report = report();
        let write = |report: &Report| {
            let mut text = Text::default();
            of_the_keeper(&mut text, report);
            text.finish()
        };
        assert!(write(&report).contains("source=\"gone\""));
        report.sources.remove(&SourceName::new("gone"));
        assert!(!write(&report).contains("source=\"gone\""));
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let mut text = Text::default();
        of_the_keeper(&mut text, &Report::default());
        of_sozu(&mut text, &Scrape::default());
        let expected = format!(
            "# HELP sozu_up {}\n# TYPE sozu_up gauge\nsozu_up 0\n",
            SOZU_UP.help
        );
        assert_eq!(text.finish(), expected);

        let unread = Report {
            listeners: None,
            last_proof: None,
            ..report()
        };
        let mut text = Text::default();
        of_the_keeper(&mut text, &unread);
        let text = text.finish();
        assert!(text.contains(OBJECTS.name), "{text}");
        for metric in [DRIFT_OBJECTS, FOREIGN_OBJECTS, LAST_PROOF] {
            assert!(!text.contains(metric.name), "{text}");
        }
    }
}
