//! Sōzu's listeners: a frontend needs one at its address, and they are Sōzu's own business.

use std::collections::BTreeMap;

use sozu_command_lib::proto::command::{
    ListListeners, ListenersList, request::RequestType, response_content::ContentType,
};

use super::{Doctor, Finding};

const CHECK: &str = "sozu.listeners";

pub(super) async fn finding(doctor: &Doctor<'_>) -> Finding {
    let pool = doctor.sozu().build();
    let asked = RequestType::ListListeners(ListListeners {});
    match pool.exchange(asked.into()).await {
        Ok(answer) => match answer.content.and_then(|it| it.content_type) {
            Some(ContentType::ListenersList(list)) => judge(&by_name(&list)),
            _ => judge(&BTreeMap::new()),
        },
        Err(error) => Finding::wrong(
            CHECK,
            format!("Sōzu does not list its listeners: {error}"),
            "look at Sōzu's log",
        ),
    }
}

/// Whether each is active, by `https 0.0.0.0:443`.
fn by_name(list: &ListenersList) -> BTreeMap<String, bool> {
    let name = |protocol: &str, key: &String| format!("{protocol} {key}");
    let http = list.http_listeners.iter();
    let https = list.https_listeners.iter();
    let tcp = list.tcp_listeners.iter();
    let udp = list.udp_listeners.iter();
    http.map(|(key, it)| (name("http", key), it.active))
        .chain(https.map(|(key, it)| (name("https", key), it.active)))
        .chain(tcp.map(|(key, it)| (name("tcp", key), it.active)))
        .chain(udp.map(|(key, it)| (name("udp", key), it.active)))
        .collect()
}

fn judge(listeners: &BTreeMap<String, bool>) -> Finding {
    if listeners.is_empty() {
        return Finding::warning(
            CHECK,
            "Sōzu has no listener: every frontend would be refused",
            "write a `[[listeners]]` with `protocol` and `address` into Sōzu's configuration and restart Sōzu",
        );
    }
    let names: Vec<&str> = listeners.keys().map(String::as_str).collect();
    let says = format!("Sōzu has {}", names.join(", "));
    let mut asleep = listeners.iter().filter(|(_, active)| !**active);
    match asleep.next().and_then(|(name, _)| name.split_once(' ')) {
        None => Finding::ok(CHECK, says),
        Some((protocol, address)) => Finding::warning(
            CHECK,
            format!("{says}; {protocol} {address} is not active and serves nothing"),
            format!(
                "run `sozu listener {protocol} activate --address {address}`, or set `activate_listeners = true` in \
                 Sōzu's configuration"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn none_and_a_sleeping_one_are_warnings() {
        for (listeners, state, part) in [
            (vec![], State::Warning, "[[listeners]]"),
            (
                vec![("http 0.0.0.0:80", true), ("https 0.0.0.0:443", false)],
                State::Warning,
                "sozu listener https activate --address 0.0.0.0:443",
            ),
            (vec![("http 0.0.0.0:80", true)], State::Ok, ""),
        ] {
            let listeners = listeners.into_iter();
            let found = judge(&listeners.map(|(name, on)| (name.to_owned(), on)).collect());
            assert_eq!(found.state, state);
            assert!(found.remedy.unwrap_or_default().contains(part));
        }
    }
}
