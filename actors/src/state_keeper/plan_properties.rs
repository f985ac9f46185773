//! What a plan comes to, for any wanted and any held state, and what is refused, by Sōzu's own
//! `ConfigState`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use proptest::prelude::*;
use sozu_command_lib::{
    proto::command::{
        Cluster, HealthCheckConfig, Request, RequestUdpFrontend, SetHealthCheck, UdpClusterConfig,
        request::RequestType,
    },
    state::ConfigState,
};

use super::{
    declared::{Declaration, Stance, Wanted},
    desired::Desired,
    examples::{self, HTTP, LEAF, RENEWED, backend, cluster, http, tcp},
    held::{Belief, Held, sort_records},
    key::{Key, KeyMap, Object},
    log::{Admission, Entry, Tail},
    plan::{Need, need, order},
};
use crate::messages::{Position, SourceName};

fn certificate(port: u16, leaf: &str, name: &str) -> Object {
    examples::certificate(([127, 0, 0, 1], port).into(), leaf, &[name])
}

/// A route that denies: it names no cluster.
fn deny(hostname: &str) -> Object {
    let Object::HttpFrontend(mut front) = http("a", hostname) else {
        unreachable!()
    };
    front.cluster_id = None;
    Object::HttpFrontend(front)
}

fn udp(cluster: &str) -> Object {
    Object::UdpFrontend(Box::new(RequestUdpFrontend {
        cluster_id: cluster.to_owned(),
        address: HTTP.into(),
        ..RequestUdpFrontend::default()
    }))
}

fn https(cluster: &str, hostname: &str) -> Object {
    let Object::HttpFrontend(front) = http(cluster, hostname) else {
        unreachable!()
    };
    Object::HttpsFrontend(front)
}

/// Everything that two clusters can have, each with two values where there are two.
fn objects() -> Vec<Object> {
    let mut objects = Vec::new();
    for id in ["a", "b"] {
        objects.push(cluster(id));
        objects.push(Object::Cluster(Box::new(Cluster {
            cluster_id: id.to_owned(),
            sticky_session: true,
            ..Cluster::default()
        })));
        // One id at two addresses, as a rolling redeploy makes it.
        objects.push(backend(id, "same", 1));
        objects.push(backend(id, "same", 2));
        for host in ["x.example", "y.example"] {
            objects.push(http(id, host));
            objects.push(https(id, host));
            objects.push(tcp(id, host));
        }
        objects.push(udp(id));
    }
    objects.push(deny("x.example"));
    objects.push(deny("z.example"));
    for port in [443, 444] {
        // Two of one name, and one of them with other names.
        objects.push(certificate(port, LEAF, "x.example"));
        objects.push(certificate(port, LEAF, "y.example"));
        objects.push(certificate(port, RENEWED, "x.example"));
    }
    objects.into_iter().map(Object::canonical).collect()
}

/// A state that Sōzu can hold: one object a key, and no backend without its cluster.
fn state() -> impl Strategy<Value = ConfigState> {
    let all = objects();
    proptest::collection::vec(any::<bool>(), all.len()).prop_map(move |chosen| {
        let mut state = ConfigState::new();
        let mut objects: Vec<&Object> = all
            .iter()
            .zip(chosen)
            .filter_map(|(object, is_in)| is_in.then_some(object))
            .collect();
        objects.sort_by_key(|object| object.key().unwrap().kind());
        for object in objects {
            let _ = state.dispatch(&object.add());
        }
        state
    })
}

fn held(state: &ConfigState) -> BTreeMap<Key, Arc<Object>> {
    // What `SaveState` writes; `diff` loses one of two backends of one id.
    let saved = state.produce_initial_state().requests.into_iter();
    let records = saved.map(|record| record.content).collect();
    let read = sort_records(records, Duration::ZERO);
    read.held.into_iter().collect()
}

/// All of it, each object with what tells its values apart.
fn told(state: &ConfigState) -> BTreeMap<String, String> {
    let held = held(state).into_iter();
    held.map(|(key, object)| {
        let all = serde_json::to_string(&object.add()).unwrap();
        (
            format!("{object:?} of {:?}", object.cluster()),
            format!("{} {}", all.len(), key),
        )
    })
    .collect()
}

/// Orders of one bus: additions and removals of all this, and clusters that go with what is in them.
fn log() -> impl Strategy<Value = Vec<Request>> {
    let objects = objects();
    let adds = objects.iter().map(Object::add);
    let removals = objects.iter().filter_map(|object| object.remove().ok());
    let check = |id: &str| {
        let config = HealthCheckConfig {
            uri: "/health".to_owned(),
            ..HealthCheckConfig::default()
        };
        let set = SetHealthCheck {
            cluster_id: id.to_owned(),
            config,
        };
        let requests = [
            RequestType::SetHealthCheck(set),
            RequestType::RemoveHealthCheck(id.to_owned()),
        ];
        requests.map(Request::from)
    };
    let all: Vec<Request> = adds
        .chain(removals)
        .chain(check("a"))
        .chain(check("b"))
        .collect();
    proptest::collection::vec(proptest::sample::select(all), 1..24)
}

fn entry(seq: u64, request: Request) -> Entry {
    Entry {
        seq,
        source: SourceName::new("bus"),
        at: SystemTime::UNIX_EPOCH,
        request: Arc::new(request),
        origin: None,
        position: Some(Position {
            ledger: 1,
            entry: seq,
            index: -1,
        }),
        original: Some(Arc::default()),
        admission: Admission::Order,
    }
}

fn wanted(desired: &Desired) -> BTreeMap<Key, String> {
    let declared = desired.declared();
    let standing = declared
        .keys()
        .filter_map(|key| match declared.wanted(key) {
            Wanted::Object(object, _) => {
                Some((key.clone(), serde_json::to_string(&object.add()).unwrap()))
            }
            Wanted::Nothing | Wanted::NoOpinion => None,
        });
    standing.collect()
}

/// What leads from one state to the other.
fn plan(from: &ConfigState, to: &ConfigState) -> Vec<Request> {
    let (from, to) = (held(from), held(to));
    let keys: BTreeSet<&Key> = from.keys().chain(to.keys()).collect();
    let mut line: Vec<(Key, bool)> = keys
        .into_iter()
        .map(|key| (key.clone(), !to.contains_key(key)))
        .collect();
    order(&mut line);
    let mut requests = Vec::new();
    for (key, _) in line {
        let wanted = to.get(&key).map_or(Wanted::Nothing, |object| {
            Wanted::Object(object.clone(), SourceName::new("s"))
        });
        let held = from
            .get(&key)
            .map_or(Held::Nothing, |object| Held::Object(object.clone()));
        if let Need::Send(step) = need(&key, &wanted, &held, false) {
            step.write(&mut requests);
        }
    }
    requests
}

/// Whether a cluster goes that is still named.
fn takes_along(from: &ConfigState, to: &ConfigState) -> bool {
    let mut objects = held(to).into_values();
    objects.any(|object| {
        object
            .cluster()
            .is_some_and(|id| from.clusters.contains_key(id) && !to.clusters.contains_key(id))
    })
}

/// What plays a part in checks that look beyond one object.
fn demanding_objects() -> Vec<Object> {
    let mut objects = objects();
    for id in ["a", "b"] {
        let by = |change: fn(&mut Cluster)| {
            let mut cluster = Cluster {
                cluster_id: id.to_owned(),
                ..Cluster::default()
            };
            change(&mut cluster);
            Object::Cluster(Box::new(cluster))
        };
        objects.push(by(|cluster| {
            cluster.affinity_header = Some("x-user".to_owned());
        }));
        objects.push(by(|cluster| {
            cluster.udp = Some(UdpClusterConfig::default());
        }));
        objects.push(by(|cluster| {
            cluster.health_check = Some(HealthCheckConfig {
                uri: "/".to_owned(),
                interval: 1,
                timeout: 1,
                healthy_threshold: 1,
                unhealthy_threshold: 1,
                port: Some(80),
                ..HealthCheckConfig::default()
            });
        }));
        let Object::Backend(mut unix) = backend(id, "unix", 3) else {
            unreachable!()
        };
        unix.unix_path = Some("/run/a.sock".to_owned());
        objects.push(Object::Backend(unix));
        for (sni, alpn) in [
            (None, None),
            (Some("x.example"), None),
            (Some("x.example"), Some("h2")),
        ] {
            let Object::TcpFrontend(mut front) = tcp(id, "x.example") else {
                unreachable!()
            };
            front.sni = sni.map(str::to_owned);
            front.alpn = alpn.into_iter().map(str::to_owned).collect();
            objects.push(Object::TcpFrontend(front));
        }
    }
    objects.into_iter().map(Object::canonical).collect()
}

/// As Sōzu takes it: what stands under the key is replaced, or removed first.
fn add_to(state: &mut ConfigState, from: Option<&Object>, to: &Object) -> bool {
    let mut after = state.clone();
    let replace = from.and_then(|_| to.replace());
    if let (Some(from), None) = (from, &replace) {
        after.dispatch(&from.remove().unwrap()).unwrap();
    }
    let taken = after.dispatch(&replace.unwrap_or_else(|| to.add())).is_ok();
    if taken {
        *state = after;
    }
    taken
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_checks_in_small_refuse_what_the_whole_state_refuses(
        history in proptest::collection::vec((any::<proptest::sample::Index>(), any::<bool>()), 1..40)
    ) {
        let (all, source, belief) = (demanding_objects(), SourceName::new("s"), Belief::default());
        let mut desired = Desired::default();
        let mut state = ConfigState::new();
        for (index, adds) in history {
            let object = index.get(&all);
            let key = object.key().unwrap();
            let stands = desired.declared().get(&key, &source).and_then(|says| says.object.clone());
            if adds && !stands.as_deref().is_some_and(|stands| stands.same(object)) {
                let says = Declaration {
                    stance: Stance::Present,
                    object: Some(Arc::new(object.clone())),
                    origin: None,
                    since: 1,
                };
                let ours = desired.declare(&key, &source, Some(says), &belief);
                let theirs = add_to(&mut state, stands.as_deref(), object);
                prop_assert_eq!(ours.is_ok(), theirs, "{:?}: {:?}", ours, object);
            // The rules let a cluster go only when nobody uses it.
            } else if let Some(stands) = stands && !matches!(&key, Key::Cluster(id) if desired.users(id) > 0) {
                desired.declare(&key, &source, None, &belief).unwrap();
                state.dispatch(&stands.remove().unwrap()).unwrap();
            }
        }
    }

    #[test]
    fn a_plan_leads_to_what_is_wanted_and_none_of_it_is_skipped(from in state(), to in state()) {
        let mut state = from.clone();
        // A cluster that goes takes along what still names it: that is sent again.
        let rounds = if takes_along(&from, &to) { 2 } else { 1 };
        for _ in 0..rounds {
            for request in plan(&state.clone(), &to) {
                let taken = state.dispatch(&request);
                prop_assert!(taken.is_ok(), "{taken:?}: {request:?}");
            }
        }
        prop_assert_eq!(told(&state), told(&to));
    }

    /// A bus sends again what it is not told to be settled: that changes nothing.
    #[test]
    fn folding_any_suffix_again_leads_to_the_same(log in log(), from in any::<proptest::sample::Index>()) {
        let (mut tail, mut desired) = (Tail::default(), Desired::default());
        let mut belief = Belief::default();
        belief.replace(KeyMap::default());
        let mut seq = 0;
        let mut fold = |requests: &[Request], desired: &mut Desired| {
            for request in requests {
                seq += 1;
                tail.fold(Arc::new(entry(seq, request.clone())), desired, &belief);
            }
        };
        fold(&log, &mut desired);
        let once = wanted(&desired);
        fold(&log[from.index(log.len())..], &mut desired);
        prop_assert_eq!(wanted(&desired), once);
    }

    #[test]
    fn equal_states_need_nothing(state in state()) {
        prop_assert_eq!(plan(&state, &state), vec![]);
    }
}
