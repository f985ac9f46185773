//! What `sozu state save` writes: JSON records, each followed by a newline and a NUL.
//!
//! Its routing requests are what the file declares. Listeners belong to Sōzu's own configuration and are skipped; so are
//! certificates in a directory of routes, where they belong to other sources.

use std::collections::HashMap;

use serde_json::Value;
use sozu_command_lib::proto::command::{WorkerRequest, request::RequestType};

use super::words::{explained, shown};
use crate::{
    fs_watcher::problem::{Fault, Position},
    state_keeper::key::{Key, Object},
};

/// What becomes of the certificates in a state file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Certificates {
    /// They are left out.
    #[default]
    Skipped,
    /// They are objects like the others.
    Taken,
}

/// The objects of a state file, in its order.
pub(super) fn objects(text: &str, certificates: Certificates) -> Result<Vec<Object>, Fault> {
    let mut found = Found {
        certificates,
        ..Found::default()
    };
    let mut start = 0;
    let mut number = 0;
    while !text[start..].trim().is_empty() {
        number += 1;
        let begin = start + text[start..].len() - text[start..].trim_start().len();
        let fault = |offset: usize, words: String| {
            Fault::at(
                Position::of(text, offset),
                format!("record {number}: {words}"),
            )
        };
        let Some(length) = text[begin..].find('\0') else {
            let words = "it has no end (a newline and a NUL): the file is cut off; save it again";
            return Err(fault(begin, words.to_owned()));
        };
        let record = text[begin..begin + length].trim_end();
        let request = request(record).map_err(|(offset, words)| fault(begin + offset, words))?;
        found
            .take(number, request)
            .map_err(|words| fault(begin, words))?;
        start = begin + length + 1;
    }
    Ok(found.objects)
}

/// One record. An error comes with its offset in the record.
fn request(record: &str) -> Result<RequestType, (usize, String)> {
    let told = |error: serde_json::Error| (offset(record, &error), words(&error));
    let value: Value = serde_json::from_str(record).map_err(told)?;
    // Parsed from the text again: an error of a value has no position.
    let request: WorkerRequest = serde_json::from_str(record).map_err(told)?;
    let understood = serde_json::to_value(&request).map_err(told)?;
    if let Some(key) = unknown_key(&value, &understood) {
        let words = format!(
            "unknown key {}; it would be lost: remove it, or use a version of sozu-manager that knows it",
            shown(&key)
        );
        return Err((0, words));
    }
    request
        .content
        .request_type
        .ok_or((0, "it holds no request; remove it".to_owned()))
}

/// The first key that did not come through.
fn unknown_key(given: &Value, understood: &Value) -> Option<String> {
    match (given, understood) {
        (Value::Object(given), Value::Object(understood)) => {
            given
                .iter()
                .find_map(|(key, value)| match understood.get(key) {
                    Some(understood) => unknown_key(value, understood),
                    None => Some(key.clone()),
                })
        }
        (Value::Array(given), Value::Array(understood)) => given
            .iter()
            .zip(understood)
            .find_map(|(given, understood)| unknown_key(given, understood)),
        _ => None,
    }
}

fn offset(record: &str, error: &serde_json::Error) -> usize {
    let lines = record
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1));
    lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1)
}

fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    let text = &text[..end];
    if text.starts_with("unknown variant") && text.contains("ADD_CLUSTER") {
        return "unknown verb; use a version of sozu-manager that knows it, or remove the record"
            .to_owned();
    }
    explained(text)
}

#[derive(Default)]
struct Found {
    certificates: Certificates,
    objects: Vec<Object>,
    /// Where each object is, and the number of its record.
    places: HashMap<Key, (usize, usize)>,
}

impl Found {
    fn take(&mut self, number: usize, request: RequestType) -> Result<(), String> {
        let object = match request {
            RequestType::AddHttpListener(_)
            | RequestType::AddHttpsListener(_)
            | RequestType::AddHttpsListenerWithClientAuth(_)
            | RequestType::AddTcpListener(_)
            | RequestType::AddUdpListener(_)
            | RequestType::ActivateListener(_) => return Ok(()),
            RequestType::AddCertificate(_) if self.certificates == Certificates::Skipped => {
                return Ok(());
            }
            RequestType::SetHealthCheck(set) => {
                let key = Key::Cluster(set.cluster_id.as_str().into());
                let cluster = self.places.get(&key).map(|(index, _)| &mut self.objects[*index]);
                let Some(Object::Cluster(cluster)) = cluster else {
                    let id = shown(&set.cluster_id);
                    return Err(format!(
                        "a health check of the cluster {id}, which no record before it adds; add it"
                    ));
                };
                cluster.health_check = Some(set.config);
                return Ok(());
            }
            RequestType::AddUnixBackend(backend) => Object::Backend(Box::new(backend)),
            other => Object::added_by(&other).ok_or_else(|| {
                format!(
                    "{} declares nothing; only clusters, frontends and backends are taken from a state file: remove it",
                    verb(&other)
                )
            })?,
        };
        let key = object.key().map_err(|error| error.to_string())?;
        if let Some((_, first)) = self.places.get(&key) {
            return Err(format!(
                "the {} {key} is declared twice (first by record {first}); remove one",
                key.kind()
            ));
        }
        self.places.insert(key, (self.objects.len(), number));
        self.objects.push(object);
        Ok(())
    }
}

/// The verb as it stands in the file.
fn verb(request: &RequestType) -> String {
    match serde_json::to_value(request) {
        Ok(Value::Object(object)) => object.keys().next().cloned().unwrap_or_default(),
        Ok(Value::String(verb)) => verb,
        _ => "this verb".to_owned(),
    }
}
