//! What the keeper says of itself to the rest of the program: one snapshot, published whenever
//! something in it changes.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::SystemTime};

use sozu_socket::Life;

use super::{key::Kind, store::Count};
use crate::messages::{Position, SourceName};

/// The protocol of a listener of Sōzu.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1 and cleartext HTTP/2.
    Http,
    /// HTTP over TLS.
    Https,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Protocol::Http => "HTTP",
            Protocol::Https => "HTTPS",
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        })
    }
}

/// A listener of Sōzu.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listener {
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether every connection must begin with a PROXY protocol header. For a TCP listener this
    /// decides what its clusters do with that header.
    pub expect_proxy: bool,
}

impl From<Protocol> for Listener {
    /// One that expects no PROXY protocol.
    fn from(protocol: Protocol) -> Self {
        Self {
            protocol,
            expect_proxy: false,
        }
    }
}

/// The listeners that Sōzu has, by address.
pub type Listeners = BTreeMap<SocketAddr, Listener>;

/// One condition of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its name, as `/readyz` and the `ready{condition}` metric show it.
    pub name: &'static str,
    /// `Ok`, or why it does not hold.
    pub state: Result<(), String>,
}

/// A conclusion that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// A hash of what is held: the same on every host.
    pub id: Arc<str>,
    /// How many objects it holds.
    pub objects: usize,
}

/// What became of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceReport {
    /// Whether it is in the configuration; else only what it left behind is shown.
    pub configured: bool,
    /// Objects that the source owns, by kind.
    pub objects: BTreeMap<Kind, usize>,
    /// Removals that wait for a person.
    pub holds: Vec<Hold>,
    /// Entries that were refused and still stand in the source: what, and why.
    pub refused: Vec<String>,
    /// Entries that another, elder source declares with another value.
    pub shadowed: Vec<String>,
    /// Objects that cannot be sent just now.
    pub unservable: usize,
    /// Objects that nobody stands for any more.
    pub orphaned: usize,
    /// When the last change of this source became final.
    pub last_change: Option<SystemTime>,
    /// So far a bus may acknowledge.
    pub settled: Option<Position>,
    /// Whether a bus has come as far as its topic went when it subscribed.
    pub caught_up: Option<bool>,
    /// Changes that wait for their cluster.
    pub parked: usize,
    /// Refused messages that wait for a person.
    pub letters: Count,
    /// What is known to be missing of a bus's stream.
    pub gap: Option<Arc<str>>,
}

/// How Sōzu differs from what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Difference {
    /// Wanted, not held.
    Missing,
    /// Held with another value.
    Different,
    /// Removed once, and held again.
    Resurrected,
    /// A worker differs from its main process.
    Divergent,
}

impl Difference {
    /// The name in metrics and texts.
    pub const fn name(self) -> &'static str {
        match self {
            Difference::Missing => "missing",
            Difference::Different => "different",
            Difference::Resurrected => "resurrected",
            Difference::Divergent => "divergent",
        }
    }
}

/// The keeper's snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The life of Sōzu that this tells of: the last one that the keeper has seen.
    pub sozu: Option<Life>,
    /// The conditions of `/readyz` that the keeper knows; empty until it has started.
    pub conditions: Vec<Condition>,
    /// Sōzu's listeners; `None` until this life of Sōzu was read once.
    pub listeners: Option<Arc<Listeners>>,
    /// Per source.
    pub sources: BTreeMap<SourceName, SourceReport>,
    /// What differs, by difference and kind; zero is left out.
    pub drift: BTreeMap<(Difference, Kind), usize>,
    /// What Sōzu holds where nobody has an opinion; zero is left out.
    pub foreign: BTreeMap<Kind, usize>,
    /// When Sōzu was last read and found to hold what is wanted.
    pub last_proof: Option<SystemTime>,
    /// Size of the database in bytes.
    pub database_bytes: u64,
    /// What this host calls itself; `None` until the database is open.
    pub instance: Option<Arc<str>>,
    /// The keeper's life, a number of its own for each: a bus tells each of its subscription.
    pub life: u64,
}

impl Report {
    /// Whether every condition holds. False until the keeper has started: readiness fails closed.
    pub fn ready(&self) -> bool {
        !self.conditions.is_empty() && self.conditions.iter().all(|c| c.state.is_ok())
    }
}
