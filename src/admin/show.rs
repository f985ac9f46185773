//! What the daemon answered, for people. Whatever it holds is printed on one line each.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::table::table;

/// The rows of an array.
pub(super) fn rows(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// How many objects the row has whose `field` is `name`.
pub(super) fn objects_of(value: &Value, field: &str, name: &str) -> Option<u64> {
    let mut found = rows(value)
        .iter()
        .filter(|row| row[field] == name)
        .peekable();
    found.peek()?;
    Some(found.filter_map(|row| row["objects"].as_u64()).sum())
}

pub(super) fn status(value: &Value) -> String {
    let uptime = value["uptime_seconds"].as_f64().unwrap_or_default();
    let uptime = Duration::try_from_secs_f64(uptime.floor()).unwrap_or_default();
    let ready = match value["ready"].as_bool() {
        Some(true) => "ready",
        _ => "not ready",
    };
    let lines: Vec<[String; 5]> = rows(&value["components"])
        .iter()
        .map(|it| {
            let restarts = it["restarts"].as_u64().unwrap_or_default().to_string();
            let error = text(&it["error"]);
            let says = [text(&it["detail"]), error].into_iter();
            let says: Vec<String> = says.filter(|it| !it.is_empty()).collect();
            let says = says.join(": ");
            [
                text(&it["name"]),
                text(&it["state"]),
                text(&it["since"]),
                restarts,
                says,
            ]
        })
        .collect();
    format!(
        "{}, {ready}: sozu-manager {}, up for {}\n\n{}",
        text(&value["status"]),
        text(&value["version"]),
        humantime::format_duration(uptime),
        table(["COMPONENT", "STATE", "SINCE", "RESTARTS", ""], &lines)
    )
}

pub(super) fn diff(value: &Value) -> String {
    let lines: Vec<[String; 5]> = rows(value)
        .iter()
        .map(|it| ["difference", "kind", "key", "source", "why"].map(|field| text(&it[field])))
        .collect();
    if lines.is_empty() {
        return "Sōzu holds what it should, and nothing else.\n".to_owned();
    }
    table(["DIFFERENCE", "KIND", "KEY", "SOURCE", ""], &lines)
}

pub(super) fn holds(value: &Value) -> String {
    let lines: Vec<[String; 4]> = rows(value)
        .iter()
        .map(|it| {
            [
                text(&it["id"]),
                text(&it["source"]),
                text(&it["objects"]),
                kinds(it),
            ]
        })
        .collect();
    if lines.is_empty() {
        return "Nothing is held.\n".to_owned();
    }
    let table = table(["ID", "SOURCE", "OBJECTS", ""], &lines);
    format!(
        "{table}\n`holds release ID` removes them, `holds discard ID` keeps them; -o json shows each.\n"
    )
}

pub(super) fn orphans(value: &Value) -> String {
    let lines: Vec<[String; 3]> = rows(value)
        .iter()
        .map(|it| [text(&it["source"]), text(&it["objects"]), kinds(it)])
        .collect();
    if lines.is_empty() {
        return "Nothing was left behind.\n".to_owned();
    }
    let table = table(["SOURCE", "OBJECTS", ""], &lines);
    format!("{table}\n`orphans remove SOURCE` removes them; -o json shows each.\n")
}

pub(super) fn journal(value: &Value) -> String {
    let lines: Vec<[String; 8]> = rows(value)
        .iter()
        .map(|it| {
            let verdict = match text(&it["verdict"]) {
                open if open.is_empty() => "open".to_owned(),
                verdict => verdict,
            };
            let change = format!("{} {}", text(&it["change"]), text(&it["kind"]));
            let by = match &it["origin"] {
                Value::Null => &it["position"],
                origin => origin,
            };
            let [at, source, key, admission, reason] =
                ["at", "source", "key", "admission", "reason"].map(|it_is| text(&it[it_is]));
            [
                at,
                source,
                change,
                key,
                admission,
                verdict,
                text(by),
                reason,
            ]
        })
        .collect();
    if lines.is_empty() {
        return "No change matches.\n".to_owned();
    }
    table(
        [
            "TAKEN",
            "SOURCE",
            "CHANGE",
            "KEY",
            "ADMISSION",
            "VERDICT",
            "BY",
            "",
        ],
        &lines,
    )
}

pub(super) fn ordered(value: &Value) -> String {
    let verdicts = value["verdicts"].as_object().into_iter().flatten();
    let mut counts: Vec<String> = verdicts
        .map(|(verdict, count)| format!("{count} {verdict}"))
        .collect();
    let open = value["open"].as_u64().unwrap_or_default();
    if open > 0 {
        let why = text(&value["waits_for"]);
        counts.push(format!("{open} to follow by themselves ({why})"));
    }
    format!(
        "{} removals: {}\n",
        text(&value["objects"]),
        counts.join(", ")
    )
}

pub(super) fn discarded(value: &Value) -> String {
    format!(
        "{} objects stay, orphaned; `orphans list` shows them.\n",
        text(&value["objects"])
    )
}

pub(super) fn paused(value: &Value) -> String {
    let mut lines = vec![format!(
        "Paused until {}: nothing is sent to Sōzu, and {} changes wait; `resume` ends it.",
        text(&value["paused_until"]),
        text(&value["waiting"])
    )];
    let under_way = value["under_way"].as_u64().filter(|count| *count > 0);
    lines.extend(under_way.map(|count| format!("{count} changes were on their way already.")));
    let not_kept = value["not_kept"].as_str();
    lines.extend(not_kept.map(|why| format!("A restart of the daemon would end it, too: {why}")));
    said(&lines)
}

pub(super) fn resumed(value: &Value) -> String {
    let mut lines = vec![match value["was_paused"].as_bool() {
        Some(true) => format!("Resumed: {} changes waited.", text(&value["waiting"])),
        _ => "Nothing was paused.".to_owned(),
    }];
    let not_kept = value["not_kept"].as_str();
    lines.extend(not_kept.map(|why| {
        format!("A restart of the daemon before its end would bring the pause back: {why}")
    }));
    said(&lines)
}

pub(super) fn reloaded(value: &Value) -> String {
    let lines = |key: &str| value[key].as_array().into_iter().flatten().map(text);
    let mut said_of: Vec<String> = lines("changed").collect();
    if said_of.is_empty() {
        said_of.push("Nothing has changed.".to_owned());
    }
    said_of.extend(lines("notes").map(|note| format!("note: {note}")));
    said(&said_of)
}

fn said(lines: &[String]) -> String {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| line.replace(char::is_control, " "))
        .collect();
    lines.join("\n") + "\n"
}

/// `40 backends, …` of the keys.
fn kinds(row: &Value) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for key in rows(&row["keys"]) {
        *counts.entry(text(&key["kind"])).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    counts.join(", ")
}

pub(super) fn letters(value: &Value) -> String {
    let lines: Vec<[String; 7]> = rows(value)
        .iter()
        .map(|it| {
            let about = [text(&it["kind"]), text(&it["key"])].join(" ");
            let [id, at, source, message, message_key, reason] =
                ["id", "at", "source", "message", "message_key", "reason"]
                    .map(|field| text(&it[field]));
            let reason = match it["overtaken_by"].as_u64() {
                Some(by) => format!("{reason} (overtaken by change {by})"),
                None => reason,
            };
            [
                id,
                at,
                source,
                message,
                message_key,
                about.trim().to_owned(),
                reason,
            ]
        })
        .collect();
    if lines.is_empty() {
        return "There are no dead letters.\n".to_owned();
    }
    let table = table(
        [
            "ID",
            "TAKEN",
            "SOURCE",
            "MESSAGE",
            "MESSAGE KEY",
            "OBJECT",
            "",
        ],
        &lines,
    );
    format!(
        "{table}\n`dead-letters show ID` shows one, `dead-letters retry ID` tries it again, `dead-letters discard ID` ends it.\n"
    )
}

pub(super) fn letter(value: &Value) -> String {
    let fields = [
        ("id", "id"),
        ("source", "source"),
        ("reason", "reason"),
        ("taken", "at"),
        ("message", "message"),
        ("message key", "message_key"),
        ("published", "published"),
        ("kind", "kind"),
        ("object", "key"),
        ("bytes", "bytes"),
        ("overtaken by change", "overtaken_by"),
        ("sent on", "sent_on"),
        ("payload", "payload_is"),
        ("what it lacks", "payload_lacks"),
    ];
    let known = fields.iter().filter(|(_, field)| !value[field].is_null());
    let mut lines: Vec<String> = known
        .map(|(name, field)| format!("{name}: {}", text(&value[field])))
        .collect();
    if !value["request"].is_null() {
        let request = format!("{:#}", value["request"]);
        lines.push("request:".to_owned());
        lines.extend(request.lines().map(|line| format!("  {line}")));
    }
    said(&lines)
}

pub(super) fn retried(value: &Value) -> String {
    let verdicts = value["verdicts"].as_object().into_iter().flatten();
    let mut words: Vec<String> = verdicts.map(|(verdict, _)| verdict.clone()).collect();
    let reasons = value["reasons"].as_array().into_iter().flatten();
    words.extend(reasons.map(text));
    if value["open"].as_u64() > Some(0) {
        words.push(format!("taken; it waits: {}", text(&value["waits_for"])));
    }
    said(&[words.join(": ")])
}

pub(super) fn thrown_away(value: &Value) -> String {
    format!("{} dead letters are discarded.\n", text(&value["objects"]))
}

/// A cell: nothing for null, and no control character whatever it holds.
fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hold_is_one_line_whatever_its_source_is_called() {
        let holds = json!([{"id": "1f2e", "source": "a\u{1b}[2J\n", "objects": 2,
            "keys": [{"kind": "cluster", "key": "a"}, {"kind": "backend", "key": "b"}]}]);
        let shown = super::holds(&holds);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1], "1f2e  a [2J   2        1 backend, 1 cluster");
        assert_eq!(objects_of(&holds, "id", "1f2e"), Some(2));
        assert_eq!(objects_of(&holds, "id", "other"), None);
    }

    #[test]
    fn an_order_says_what_became_of_it() {
        let done = json!({"objects": 3, "verdicts": {"applied": 3}, "open": 0, "waits_for": null});
        assert_eq!(ordered(&done), "3 removals: 3 applied\n");
        let open = json!({"objects": 3, "verdicts": {}, "open": 3, "waits_for": "Sōzu is away"});
        assert_eq!(
            ordered(&open),
            "3 removals: 3 to follow by themselves (Sōzu is away)\n"
        );
    }

    #[test]
    fn a_pause_says_what_waits_and_what_a_restart_would_do() {
        let paused = json!({"paused_until": "2026-11-24T14:00:00Z", "waiting": 3, "under_way": 2,
            "not_kept": "no space"});
        assert_eq!(
            super::paused(&paused),
            "Paused until 2026-11-24T14:00:00Z: nothing is sent to Sōzu, and 3 changes wait; `resume` ends it.\n\
             2 changes were on their way already.\n\
             A restart of the daemon would end it, too: no space\n"
        );
        let resumed = json!({"was_paused": true, "waiting": 3, "not_kept": null});
        assert_eq!(super::resumed(&resumed), "Resumed: 3 changes waited.\n");
    }
}
