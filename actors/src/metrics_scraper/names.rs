//! From Sōzu's names to our families: by the table, else by a rule that always gives a valid one.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sozu_command_lib::proto::command::filtered_metrics::Inner;

use super::table::{Kind, Over, Row, Scope};
use crate::metrics::Type;

/// So many names that the table does not know are shown at most.
const UNKNOWN_AT_MOST: usize = 500;
/// A sum of a histogram comes under this ending beside the percentiles that it makes needless.
const HISTOGRAM: &str = "_histogram";

/// A family as it is shown.
#[derive(Debug, PartialEq)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) kind: Type,
    pub(crate) help: String,
}

/// What one of Sōzu's names becomes.
#[derive(Debug)]
pub(super) struct Slot {
    /// Which family, in the order of the dictionary.
    pub(super) family: usize,
    pub(super) kind: Kind,
    pub(super) labels: Arc<[(&'static str, String)]>,
}

/// The place of a slot.
pub(super) type SlotId = u16;

/// All names that were met.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    ids: HashMap<(Scope, Form, String), Option<SlotId>>,
    slots: Vec<Slot>,
    families: Vec<Arc<Family>>,
    by_name: HashMap<String, usize>,
    unknown: HashSet<(Scope, Form, String)>,
}

/// What came under a name: it decides where the table does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    Count,
    Gauge,
    Histogram,
}

impl Form {
    /// The form of a value; none for what is left out.
    pub(super) fn of(inner: &Inner) -> Option<Self> {
        match inner {
            Inner::Count(_) => Some(Form::Count),
            Inner::Gauge(_) => Some(Form::Gauge),
            Inner::Histogram(_) => Some(Form::Histogram),
            // Over a worker's whole life, and of several workers only the worst: the histogram beside them tells more.
            // The other two Sōzu never uses (sozu-command-lib 2.3.3, `proto/mod.rs`).
            Inner::Percentiles(_) | Inner::Time(_) | Inner::TimeSerie(_) => None,
        }
    }
}

impl Dictionary {
    /// The slot of a name; none if too many unknown ones were met.
    pub(super) fn slot(&mut self, scope: Scope, name: &str, form: Form) -> Option<SlotId> {
        let key = (scope, form, name);
        if let Some(id) = self.ids.get(&key as &dyn Key) {
            return *id;
        }
        let bare = match form {
            Form::Histogram => name.strip_suffix(HISTOGRAM).unwrap_or(name),
            Form::Count | Form::Gauge => name,
        };
        let id = match row(scope, bare, form) {
            Some((row, value)) => {
                let named = row.named.map(|label| (label, value.to_owned()));
                let fixed = row.fixed.map(|(label, value)| (label, value.to_owned()));
                let labels = fixed.into_iter().chain(named).collect();
                self.add(
                    row.family.to_owned(),
                    row.help.to_owned(),
                    row.kind,
                    scope,
                    labels,
                )
            }
            None => self.unknown(scope, bare, form),
        };
        self.ids.insert((scope, form, name.to_owned()), id);
        id
    }

    pub(super) fn get(&self, id: SlotId) -> Option<&Slot> {
        self.slots.get(usize::from(id))
    }

    pub(super) fn families(&self) -> &[Arc<Family>] {
        &self.families
    }

    /// How many names the table does not know.
    pub(super) fn unknown_names(&self) -> usize {
        self.unknown.len()
    }

    fn unknown(&mut self, scope: Scope, name: &str, form: Form) -> Option<SlotId> {
        if self.unknown.len() >= UNKNOWN_AT_MOST {
            return None;
        }
        self.unknown.insert((scope, form, name.to_owned()));
        let (kind, ending) = match form {
            Form::Count => (Kind::Counter, "_total"),
            Form::Histogram => (Kind::Time, "_seconds"),
            Form::Gauge if scope == Scope::Proxy => (Kind::Gauge(Over::PerWorker), ""),
            Form::Gauge => (Kind::Gauge(Over::Sum), ""),
        };
        let before = match scope {
            Scope::Main => "sozu_main_",
            Scope::Proxy => "sozu_",
            Scope::Cluster => "sozu_cluster_",
        };
        let bare = valid(name);
        // Two names that differ only in what is not allowed, or one like a family of the table.
        let candidates = std::iter::once(format!("{before}{bare}{ending}"))
            .chain((2..).map(|n| format!("{before}{bare}_{n}{ending}")));
        let taken = |name: &String| self.by_name.contains_key(name) || in_table(name);
        let family = candidates.into_iter().find(|name| !taken(name))?;
        let help = format!("Sōzu's own {name}, which this version does not know.");
        self.add(family, help, kind, scope, Vec::new())
    }

    fn add(
        &mut self,
        name: String,
        help: String,
        kind: Kind,
        scope: Scope,
        labels: Vec<(&'static str, String)>,
    ) -> Option<SlotId> {
        let id = SlotId::try_from(self.slots.len()).ok()?;
        let next = self.families.len();
        let family = *self.by_name.entry(name.clone()).or_insert(next);
        if family == next {
            let kind = kind.shown(scope);
            self.families.push(Arc::new(Family { name, kind, help }));
        }
        self.slots.push(Slot {
            family,
            kind,
            labels: labels.into(),
        });
        Some(id)
    }
}

/// The line of the table; one of another form does not fit.
fn row(scope: Scope, name: &str, form: Form) -> Option<(&'static Row, &str)> {
    let fits = |row: &'static Row| {
        let same = match row.kind {
            Kind::Counter => form == Form::Count,
            Kind::Gauge(_) | Kind::Percent => form == Form::Gauge,
            Kind::Time => form == Form::Histogram,
        };
        same.then(|| row.fits(name))
            .flatten()
            .map(|value| (row, value))
    };
    let exact = scope.rows().iter().filter(|row| row.source == name);
    exact.chain(scope.rows()).find_map(fits)
}

fn in_table(family: &str) -> bool {
    [Scope::Main, Scope::Proxy, Scope::Cluster]
        .iter()
        .any(|scope| scope.rows().iter().any(|row| row.family == family))
}

/// A name of lower-case letters, digits and `_`, without an ending that means something else.
fn valid(name: &str) -> String {
    let mut valid = String::new();
    for c in name.chars().take(120) {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => valid.push(c),
            _ if valid.is_empty() || valid.ends_with('_') => {}
            _ => valid.push('_'),
        }
    }
    let mut bare = valid.trim_end_matches('_');
    while let Some(rest) = ["_total", "_bucket", "_count", "_sum", "_created", "_info"]
        .iter()
        .find_map(|ending| bare.strip_suffix(ending))
    {
        bare = rest;
    }
    // Words that say the type, and units that are none.
    let words = bare.split('_').map(|word| match word {
        "counter" | "gauge" | "histogram" | "summary" => "value",
        "ms" | "us" | "ns" | "s" | "sec" | "b" | "kb" | "mb" | "gb" | "tb" | "pb" | "m" | "h"
        | "d" => "time",
        "milliseconds" | "microseconds" | "nanoseconds" | "minutes" | "hours" | "days" => {
            "duration"
        }
        "kilobytes" | "megabytes" | "gigabytes" | "kibibytes" | "mebibytes" | "gibibytes" => "size",
        word => word,
    });
    let bare = words.collect::<Vec<_>>().join("_");
    if bare.is_empty() {
        "unnamed".to_owned()
    } else {
        bare
    }
}

/// Looks up without a copy of the name.
trait Key {
    fn parts(&self) -> (Scope, Form, &str);
}

impl Key for (Scope, Form, &str) {
    fn parts(&self) -> (Scope, Form, &str) {
        *self
    }
}

impl Key for (Scope, Form, String) {
    fn parts(&self) -> (Scope, Form, &str) {
        (self.0, self.1, &self.2)
    }
}

impl<'a> std::borrow::Borrow<dyn Key + 'a> for (Scope, Form, String) {
    fn borrow(&self) -> &(dyn Key + 'a) {
        self
    }
}

impl std::hash::Hash for dyn Key + '_ {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn Key + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Key + '_ {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_decides_and_labels_come_out_of_names() {
        let mut names = Dictionary::default();
        let mut shown = |scope, name: &str, form| {
            let id = names.slot(scope, name, form).unwrap();
            let slot = names.get(id).unwrap();
            let family = &names.families()[slot.family];
            (family.name.clone(), slot.labels.to_vec())
        };
        let (family, labels) = shown(Scope::Cluster, "http.status.2xx", Form::Count);
        assert_eq!(family, "sozu_cluster_http_responses_total");
        assert_eq!(labels, [("class", "2xx".to_owned())]);
        let (family, labels) = shown(Scope::Proxy, "http.status.404", Form::Count);
        assert_eq!(
            (family.as_str(), labels[0].1.as_str()),
            ("sozu_http_status_total", "404")
        );
        let (family, _) = shown(Scope::Cluster, "request_time_histogram", Form::Histogram);
        assert_eq!(family, "sozu_cluster_request_seconds");
        assert_eq!(names.unknown_names(), 0);
    }

    #[test]
    fn what_is_unknown_gets_a_valid_name_of_its_own_and_is_counted() {
        let mut names = Dictionary::default();
        for (name, form, expected) in [
            ("new.thing", Form::Count, "sozu_new_thing_total"),
            ("new_thing", Form::Count, "sozu_new_thing_2_total"),
            ("new.thing", Form::Gauge, "sozu_new_thing"),
            ("Größe\n\"x\"_total", Form::Gauge, "sozu_gr_e_x"),
            ("lag_ms_histogram", Form::Histogram, "sozu_lag_time_seconds"),
            ("…", Form::Gauge, "sozu_unnamed"),
            // Known as a counter, told as a gauge.
            ("http.requests", Form::Gauge, "sozu_http_requests"),
        ] {
            let id = names.slot(Scope::Proxy, name, form).unwrap();
            let family = names.get(id).unwrap().family;
            assert_eq!(names.families()[family].name, expected, "{name}");
        }
        assert_eq!(names.unknown_names(), 7);
    }

    #[test]
    fn endless_new_names_are_bounded() {
        let mut names = Dictionary::default();
        let shown = (0..2_000)
            .filter(|n| {
                names
                    .slot(Scope::Proxy, &format!("new.{n}"), Form::Count)
                    .is_some()
            })
            .count();
        assert_eq!(shown, UNKNOWN_AT_MOST);
    }
}
