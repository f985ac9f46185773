//! A routes TOML: `[clusters.ID]` in sozu-command-lib's own types and nothing else, with
//! positions.

use std::collections::BTreeMap;

use serde::Deserialize;
use sozu_command_lib::{config::FileClusterConfig, proto::command::RulePosition};
use toml::{
    Spanned,
    de::{DeTable, DeValue, Error, ValueDeserializer},
};

use super::words::{explained, meant, shown};
use crate::fs_watcher::problem::{Fault, Position};

/// The only table that may stand at the top.
const CLUSTERS: &str = "clusters";

/// Where Sōzu's router files a frontend that does not say it. sozu-command-lib's file types would
/// make it PRE, a list that is searched from its start for each request, in the order of arrival.
pub(super) const DEFAULT_POSITION: RulePosition = RulePosition::Tree;

/// One step into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// Understands a document. An empty one declares nothing: that is an operator's choice.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, FileClusterConfig>, Fault> {
    parse_among(text, &[CLUSTERS])
}

/// As [`parse`], where all these may stand at the top; what is not about clusters is left alone.
pub(super) fn parse_among(
    text: &str,
    known: &[&str],
) -> Result<BTreeMap<String, FileClusterConfig>, Fault> {
    let fault = |error: &Error| misread(text, error);
    let root = DeTable::parse(text).map_err(|error| fault(&error))?;
    let mut clusters = BTreeMap::new();
    for (key, value) in root.into_inner() {
        let at = Position::of(text, key.span().start);
        if key.get_ref() != CLUSTERS {
            if known.contains(&key.get_ref().as_ref()) {
                continue;
            }
            return Err(Fault::at(
                at,
                unknown_at_the_top(key.get_ref(), value.get_ref(), known),
            ));
        }
        let DeValue::Table(tables) = value.into_inner() else {
            let text = "`clusters` is no table; write [clusters.ID]";
            return Err(Fault::at(at, text));
        };
        for (id, table) in tables {
            if id.get_ref().is_empty() {
                let at = Position::of(text, id.span().start);
                return Err(Fault::at(at, "a cluster has an empty id; give it a name"));
            }
            let placed = says_its_position(table.get_ref());
            let mut cluster = FileClusterConfig::deserialize(ValueDeserializer::from(table))
                .map_err(|error| fault(&error))?;
            for (frontend, placed) in cluster.frontends.iter_mut().zip(placed) {
                if !placed {
                    frontend.position = DEFAULT_POSITION;
                }
            }
            clusters.insert(id.into_inner().into_owned(), cluster);
        }
    }
    Ok(clusters)
}

/// For each frontend of a cluster, whether it says its `position`.
fn says_its_position(cluster: &DeValue<'_>) -> Vec<bool> {
    let frontends = cluster.as_table().and_then(|table| table.get("frontends"));
    let frontends = frontends.and_then(|value| value.get_ref().as_array());
    let says = |frontend: &Spanned<DeValue<'_>>| {
        let table = frontend.get_ref().as_table();
        table.is_some_and(|table| table.contains_key("position"))
    };
    frontends.map_or_else(Vec::new, |array| array.iter().map(says).collect())
}

/// What the reader of the language says, at its place.
pub(super) fn misread(text: &str, error: &Error) -> Fault {
    Fault {
        at: error.span().map(|span| Position::of(text, span.start)),
        text: explained(error.message()),
    }
}

fn unknown_at_the_top(key: &str, value: &DeValue<'_>, known: &[&str]) -> String {
    let what = if value.is_table() { "table" } else { "key" };
    let advice = match meant(key, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known == [CLUSTERS] => {
            "a routes file holds [clusters.ID] and nothing else".to_owned()
        }
        None => "Sōzu's configuration has none of that name; remove it".to_owned(),
    };
    format!("unknown {what} {}; {advice}", shown(key))
}

/// Where something stands: the deepest part of the way to it that the text has.
pub(super) fn locate(text: &str, way: &[Step]) -> Option<Position> {
    let root = DeTable::parse(text).ok()?;
    let mut start = None;
    let mut table = Some(root.get_ref());
    let mut array: Option<&[Spanned<DeValue<'_>>]> = None;
    for step in way {
        let (at, value) = match step {
            Step::Key(key) => {
                let found = table.and_then(|table| table.get_key_value(key.as_str()));
                let Some((found, value)) = found else { break };
                (found.span().start, value)
            }
            Step::Index(index) => {
                let Some(value) = array.and_then(|array| array.get(*index)) else {
                    break;
                };
                (value.span().start, value)
            }
        };
        start = Some(at);
        table = value.get_ref().as_table();
        array = value.get_ref().as_array().map(|array| &**array);
    }
    start.map(|start| Position::of(text, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_found_whichever_way_it_is_written() {
        let text = "[clusters.a]\nprotocol = \"http\"\nfrontends = [\n  { address = \"1.2.3.4:80\" },\n  { address = \"1.2.3.4:81\" },\n]\n[[clusters.a.backends]]\naddress = \"x\"\n";
        let key = |key: &str| Step::Key(key.to_owned());
        let front = [key("clusters"), key("a"), key("frontends"), Step::Index(1)];
        let back = [
            key("clusters"),
            key("a"),
            key("backends"),
            Step::Index(0),
            key("address"),
        ];
        assert_eq!(locate(text, &front), Some(Position { line: 5, column: 3 }));
        assert_eq!(locate(text, &back), Some(Position { line: 8, column: 1 }));
        let deeper = [&front[..], &[key("hostname")]].concat();
        assert_eq!(locate(text, &deeper), Some(Position { line: 5, column: 3 }));
        assert_eq!(locate(text, &[key("no")]), None);
    }
}
