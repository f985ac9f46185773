//! Admission: judged once, and stored with the entry.

use std::net::SocketAddr;

use super::{
    key::{Kind, Object},
    report::{Listeners, Protocol},
};

/// Why an object is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// For good, until its source says something else.
    Final(String),
    /// Sōzu has no such listener; worth asking once more, as a listener may have been added.
    NoListener(String),
}

impl Refusal {
    /// The reason, for a person.
    pub fn reason(&self) -> &str {
        match self {
            Refusal::Final(reason) | Refusal::NoListener(reason) => reason,
        }
    }
}

/// Whether an object may be declared at all: its names, the size of the request that brings it in bytes, its listener.
///
/// # Errors
/// With the reason.
pub fn admit(
    object: &Object,
    bytes: usize,
    listeners: &Listeners,
    max_request_bytes: usize,
) -> Result<(), Refusal> {
    names(object)?;
    size(bytes, max_request_bytes)?;
    match object.listener() {
        Some(address) => listener(object.kind(), address, listeners),
        None => Ok(()),
    }
}

fn names(object: &Object) -> Result<(), Refusal> {
    let refuse = |what: &str| Err(Refusal::Final(what.to_owned()));
    let bad = |name: &str| name.is_empty() || name.chars().any(char::is_control);
    if object.cluster().is_some_and(bad) {
        return refuse("the cluster's id is empty or holds a control character; give it a name");
    }
    match object {
        Object::Backend(backend) if bad(&backend.backend_id) => {
            refuse("the backend's id is empty or holds a control character; give it a name")
        }
        Object::HttpFrontend(front) | Object::HttpsFrontend(front) if bad(&front.hostname) => {
            refuse("the host name is empty or holds a control character; write a DNS name")
        }
        _ => Ok(()),
    }
}

fn size(bytes: usize, max_request_bytes: usize) -> Result<(), Refusal> {
    if bytes > max_request_bytes {
        return Err(Refusal::Final(format!(
            "it takes {bytes} bytes, more than [sozu] max_request_bytes = {max_request_bytes}; \
             make it smaller, or raise Sōzu's max_command_buffer_size and then max_request_bytes"
        )));
    }
    Ok(())
}

/// Whether Sōzu has the listener for what is of this kind.
///
/// # Errors
/// With what is there instead.
pub fn listener(kind: Kind, address: SocketAddr, listeners: &Listeners) -> Result<(), Refusal> {
    let protocol = match kind {
        Kind::Certificate | Kind::HttpsFrontend => Protocol::Https,
        Kind::TcpFrontend => Protocol::Tcp,
        Kind::UdpFrontend => Protocol::Udp,
        _ => Protocol::Http,
    };
    match listeners.get(&address) {
        Some(found) if found.protocol == protocol => Ok(()),
        Some(found) => Err(Refusal::NoListener(format!(
            "a {kind} needs a listener for {protocol}, but Sōzu's at {address} is for {found}",
            found = found.protocol
        ))),
        None => {
            let known: Vec<String> = listeners
                .iter()
                .filter(|(_, found)| found.protocol == protocol)
                .map(|(address, _)| address.to_string())
                .collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            Err(Refusal::NoListener(format!(
                "Sōzu has no listener at {address}; its {protocol} listeners: {known}. \
                 Use one of them, or add the listener to Sōzu's own configuration"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_keeper::examples::{HTTP, TCP, backend, cluster, http, tcp};

    fn admit(object: &Object, listeners: &Listeners) -> Result<(), Refusal> {
        super::admit(object, object.bytes(), listeners, 1000)
    }

    fn listeners() -> Listeners {
        [(HTTP, Protocol::Http.into())].into()
    }

    #[test]
    fn ordinary_objects_are_let_in() {
        for object in [cluster("a"), backend("a", "a-1", 1), http("a", "a.example")] {
            assert_eq!(admit(&object, &listeners()), Ok(()));
        }
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let table = [
            (cluster(""), "give it a name"),
            (cluster("a\0b"), "control character"),
            (http("a", ""), "write a DNS name"),
            (http("a", &"x".repeat(2000)), "max_request_bytes = 1000"),
        ];
        for (object, expected) in table {
            let refusal = admit(&object, &listeners()).unwrap_err();
            assert!(matches!(refusal, Refusal::Final(_)));
            assert!(refusal.reason().contains(expected), "{}", refusal.reason());
        }
    }

    #[test]
    fn a_missing_listener_names_those_that_are_there() {
        let refusal = admit(&tcp("a", "a.example"), &listeners()).unwrap_err();
        assert!(refusal.reason().contains(&TCP.to_string()), "{refusal:?}");
        let elsewhere = [(TCP, Protocol::Http.into())].into();
        let refusal = admit(&http("a", "a.example"), &elsewhere).unwrap_err();
        assert!(refusal.reason().contains(&TCP.to_string()), "{refusal:?}");
        assert!(matches!(refusal, Refusal::NoListener(_)));
    }
}
