//! The belief: what Sōzu holds under a key. In memory only; a start reads it.

use std::{collections::HashSet, net::SocketAddr, sync::Arc, time::Duration};

use sozu_command_lib::proto::command::{Request, request::RequestType};
use sozu_socket::Life;

use super::{
    key::{Key, KeyMap, KeySet, Object},
    report::{Listener, Listeners, Protocol},
};

/// What Sōzu holds under a key, as far as we know.
#[derive(Clone, Debug, PartialEq)]
pub enum Held {
    /// Nobody knows: a request's outcome is unknown, or this life of Sōzu was not read yet.
    Unknown,
    /// Nothing.
    Nothing,
    /// This object.
    Object(Arc<Object>),
}

impl Held {
    /// The object, if one is known to be there.
    pub fn object(&self) -> Option<&Arc<Object>> {
        match self {
            Held::Object(object) => Some(object),
            Held::Unknown | Held::Nothing => None,
        }
    }
}

/// What Sōzu's main process holds.
#[derive(Default)]
pub struct Belief {
    read: bool,
    /// Something was learnt or forgotten since it was read.
    changed: bool,
    held: KeyMap<Arc<Object>>,
    unknown: KeySet,
}

impl Belief {
    /// Whether this life of Sōzu was read at least once.
    pub fn is_read(&self) -> bool {
        self.read
    }

    /// Whether it is what was read, and nothing else.
    pub fn is_as_read(&self) -> bool {
        self.read && !self.changed
    }

    /// What Sōzu holds under `key`.
    pub fn held(&self, key: &Key) -> Held {
        if !self.read || self.unknown.contains(key) {
            return Held::Unknown;
        }
        self.held
            .get(key)
            .map_or(Held::Nothing, |object| Held::Object(object.clone()))
    }

    /// Sōzu answered for `key`: it holds `object`, or nothing.
    pub fn learn(&mut self, key: &Key, object: Option<Arc<Object>>) {
        self.changed = true;
        self.unknown.remove(key);
        match object {
            Some(object) => self.held.insert(key.clone(), object),
            None => self.held.remove(key),
        };
    }

    /// These clusters went, and with them what was in them. Returns the keys of that.
    pub fn forget_clusters(&mut self, gone: &HashSet<&str>) -> Vec<Key> {
        let went = |key: &Key, object: &Object| {
            !matches!(key, Key::Cluster(_)) && object.cluster().is_some_and(|id| gone.contains(id))
        };
        let held = self.held.iter();
        let keys: Vec<Key> = held
            .filter(|(key, object)| went(key, object))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &keys {
            self.changed = true;
            self.held.remove(key);
        }
        keys
    }

    /// The outcome of a request that touched `key` is unknown.
    pub fn forget(&mut self, key: &Key) {
        self.changed = true;
        self.unknown.insert(key.clone());
    }

    /// Another life of Sōzu: nothing is known.
    pub fn forget_all(&mut self) {
        *self = Self::default();
    }

    /// All of it was read; returns what was believed before.
    pub fn replace(&mut self, held: KeyMap<Arc<Object>>) -> KeyMap<Arc<Object>> {
        self.read = true;
        self.changed = false;
        self.unknown.clear();
        std::mem::replace(&mut self.held, held)
    }

    /// How many objects it holds.
    pub fn count(&self) -> usize {
        self.held.len()
    }

    /// Every object that is known to stand.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.held.values()
    }

    /// Every key under which something is known to stand.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.held.keys()
    }
}

/// What came back for a read.
#[derive(Debug)]
pub struct Read {
    /// The life of Sōzu that was there when it was over: if it is the one before it too, it was read.
    pub life: Life,
    /// What was read.
    pub what: What,
}

/// What was read.
#[derive(Debug)]
pub enum What {
    /// The very same as the last time.
    Same {
        /// How long Sōzu's main process was busy with it.
        took: Duration,
    },
    /// All of it.
    State(ReadState),
}

/// A state that was read back, sorted into objects and listeners.
#[derive(Debug, Default)]
pub struct ReadState {
    /// By key.
    pub held: KeyMap<Arc<Object>>,
    /// By address.
    pub listeners: Listeners,
    /// How long Sōzu's main process was busy with it.
    pub took: Duration,
}

/// Sorts the records of a saved state. A certificate that this version cannot read has no key and
/// is left out: it can be nobody's but a stranger's.
pub fn sort_records(records: Vec<Request>, took: Duration) -> ReadState {
    let mut state = ReadState {
        took,
        ..ReadState::default()
    };
    for request in records.into_iter().filter_map(|record| record.request_type) {
        if let Some((address, listener)) = listener(&request) {
            state.listeners.insert(address, listener);
        } else if let Some(object) = Object::added_by(&request) {
            let object = object.canonical();
            if let Ok(key) = object.key() {
                state.held.insert(key, Arc::new(object));
            }
        }
    }
    state
}

fn listener(request: &RequestType) -> Option<(SocketAddr, Listener)> {
    let (address, protocol, expect_proxy) = match request {
        RequestType::AddHttpListener(it) => (it.address, Protocol::Http, it.expect_proxy),
        RequestType::AddHttpsListener(it) | RequestType::AddHttpsListenerWithClientAuth(it) => {
            (it.address, Protocol::Https, it.expect_proxy)
        }
        RequestType::AddTcpListener(it) => (it.address, Protocol::Tcp, it.expect_proxy),
        RequestType::AddUdpListener(it) => (it.address, Protocol::Udp, false),
        _ => return None,
    };
    let listener = Listener {
        protocol,
        expect_proxy,
    };
    Some((address.into(), listener))
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::proto::command::TcpListenerConfig;

    use super::*;
    use crate::state_keeper::examples::cluster;

    #[test]
    fn nothing_is_known_before_the_first_read_and_after_an_unknown_outcome() {
        let object = Arc::new(cluster("a"));
        let key = object.key().unwrap();
        let mut belief = Belief::default();
        assert_eq!(belief.held(&key), Held::Unknown);
        belief.replace(KeyMap::default());
        assert_eq!(belief.held(&key), Held::Nothing);
        assert!(belief.is_as_read());
        belief.learn(&key, Some(object.clone()));
        assert_eq!(belief.held(&key), Held::Object(object));
        assert!(!belief.is_as_read());
        belief.replace(KeyMap::default());
        belief.forget(&key);
        assert!(!belief.is_as_read());
        assert_eq!(belief.held(&key), Held::Unknown);
        belief.forget_all();
        assert!(!belief.is_read());
    }

    #[test]
    fn a_listener_is_known_by_its_protocol_and_whether_it_expects_the_proxy_protocol() {
        let addresses: [SocketAddr; 2] = [1, 2].map(|port| ([0, 0, 0, 0], port).into());
        let add = |address: SocketAddr, expect_proxy| {
            let listener = TcpListenerConfig {
                address: address.into(),
                expect_proxy,
                ..TcpListenerConfig::default()
            };
            Request::from(RequestType::AddTcpListener(listener))
        };
        let records = vec![add(addresses[0], true), add(addresses[1], false)];
        let read = sort_records(records, Duration::ZERO);
        let expected = [true, false].map(|expect_proxy| Listener {
            protocol: Protocol::Tcp,
            expect_proxy,
        });
        assert_eq!(addresses.map(|address| read.listeners[&address]), expected);
        assert!(read.held.is_empty());
    }
}
