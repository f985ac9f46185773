//! Sōzu's listeners: a frontend needs one at its address, and they are Sōzu's own business.

use std::collections::BTreeMap;

use actors::state_keeper::report::{Listener, Listeners, Protocol};
use sozu_command_lib::proto::command::{
    ListListeners, ListenersList, SocketAddress, request::RequestType,
    response_content::ContentType,
};

use super::{Doctor, Finding};

const CHECK: &str = "sozu.listeners";

/// What is said of them, and they themselves, if they are known.
pub(super) async fn finding(doctor: &Doctor<'_>) -> (Finding, Option<Listeners>) {
    let pool = doctor.sozu().build();
    let asked = RequestType::ListListeners(ListListeners {});
    match pool.exchange(asked.into()).await {
        Ok(answer) => {
            let list = match answer.content.and_then(|it| it.content_type) {
                Some(ContentType::ListenersList(list)) => list,
                _ => ListenersList::default(),
            };
            (judge(&by_name(&list)), Some(by_address(&list)))
        }
        Err(error) => {
            let says = format!("Sōzu does not list its listeners: {error}");
            (Finding::wrong(CHECK, says, "look at Sōzu's log"), None)
        }
    }
}

fn by_address(list: &ListenersList) -> Listeners {
    let entry = |address: SocketAddress, protocol, expect_proxy| {
        let listener = Listener {
            protocol,
            expect_proxy,
        };
        (address.into(), listener)
    };
    let http = list.http_listeners.values();
    let https = list.https_listeners.values();
    let tcp = list.tcp_listeners.values();
    let udp = list.udp_listeners.values();
    http.map(|it| entry(it.address, Protocol::Http, it.expect_proxy))
        .chain(https.map(|it| entry(it.address, Protocol::Https, it.expect_proxy)))
        .chain(tcp.map(|it| entry(it.address, Protocol::Tcp, it.expect_proxy)))
        .chain(udp.map(|it| entry(it.address, Protocol::Udp, false)))
        .collect()
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
