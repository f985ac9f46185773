//! The planner: dirty keys, what is wanted, what is held → requests, in the order that serves
//! traffic soonest and leaves no route without its backends.

use std::sync::Arc;

use sozu_command_lib::proto::command::Request;

use super::{
    declared::Wanted,
    held::Held,
    key::{Key, Kind, Object},
};

/// What makes Sōzu hold what is wanted under one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The key.
    pub key: Key,
    /// What Sōzu is believed to hold.
    pub from: Option<Arc<Object>>,
    /// What Sōzu holds when it has taken the step.
    pub to: Option<Arc<Object>>,
    /// With whom it goes.
    pub goes: Goes,
}

/// With whom a step goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goes {
    /// By itself.
    Alone,
    /// The certificate comes in the place of the one under this key, whose step has no request of its own.
    InPlaceOf(Key),
    /// In the request of the one that comes in its place.
    Along,
}

impl Step {
    /// Writes its request; a frontend that changes has two: its removal and its addition side by side.
    pub fn write(&self, requests: &mut Vec<Request>) {
        match (&self.goes, &self.from, &self.to) {
            (Goes::InPlaceOf(old), _, Some(to)) => requests.extend(to.in_place_of(old)),
            (Goes::Along, ..) | (_, None, None) => {}
            (_, None, Some(to)) => requests.push(to.add()),
            (_, Some(from), None) => requests.extend(from.remove()),
            (_, Some(from), Some(to)) => {
                if let Some(replace) = to.replace() {
                    requests.push(replace);
                } else {
                    requests.extend(from.remove());
                    requests.push(to.add());
                }
            }
        }
    }

    /// Whether it takes two requests.
    pub fn is_two(&self) -> bool {
        self.key.kind().is_frontend() && self.from.is_some() && self.to.is_some()
    }
}

/// What a key needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Need {
    /// Nothing: Sōzu holds what is wanted, or nobody has an opinion.
    Nothing,
    /// A read, before anything can be said.
    Read,
    /// It cannot be sent just now.
    Unservable(&'static str),
    /// To be sent.
    Send(Step),
}

/// Works out what one key needs. `unproven`: the main process holds it, but it is not known whether
/// any worker does, so that it is sent again and workers answer for it; a frontend, which Sōzu does
/// not take twice, is removed and added.
pub fn need(key: &Key, wanted: &Wanted, held: &Held, unproven: bool) -> Need {
    let step = |from: Option<&Arc<Object>>, to: Option<&Arc<Object>>| {
        Need::Send(Step {
            key: key.clone(),
            from: from.cloned(),
            to: to.cloned(),
            goes: Goes::Alone,
        })
    };
    match (wanted, held) {
        (Wanted::NoOpinion, _) | (Wanted::Nothing, Held::Nothing) => Need::Nothing,
        (_, Held::Unknown) => Need::Read,
        (Wanted::Nothing, Held::Object(held)) if held.key().is_err() => {
            Need::Unservable("its key cannot be worked out")
        }
        (Wanted::Nothing, Held::Object(held)) => step(Some(held), None),
        (Wanted::Object(object, _), Held::Object(held)) if object.same(held) && !unproven => {
            Need::Nothing
        }
        (Wanted::Object(object, _), _) if object.is_keyless() => {
            Need::Unservable("the file with its private key was not read yet")
        }
        (Wanted::Object(object, _), held) => step(held.object(), Some(object)),
    }
}

/// Orders keys, each with whether nothing is wanted there: certificates, clusters, backends and
/// frontends that come or change; then what goes, in reverse.
pub fn order(keys: &mut [(Key, bool)]) {
    keys.sort_by(|(a, a_goes), (b, b_goes)| {
        let rank = |key: &Key, goes: bool| {
            if goes {
                (1, usize::MAX - rank(key.kind()))
            } else {
                (0, rank(key.kind()))
            }
        };
        rank(a, *a_goes)
            .cmp(&rank(b, *b_goes))
            .then_with(|| a.cmp(b))
    });
}

fn rank(kind: Kind) -> usize {
    Kind::ALL.iter().position(|each| *each == kind).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::proto::command::request::RequestType;

    use super::*;
    use crate::{
        messages::SourceName,
        state_keeper::examples::{backend, cluster, http},
    };

    fn wanted(object: Object) -> Wanted {
        Wanted::Object(Arc::new(object), SourceName::new("s"))
    }

    fn held(object: Object) -> Held {
        Held::Object(Arc::new(object))
    }

    fn requests(step: &Step) -> Vec<Request> {
        let mut requests = Vec::new();
        step.write(&mut requests);
        assert_eq!(requests.len() == 2, step.is_two());
        requests
    }

    fn verbs(need: &Need) -> Vec<&'static str> {
        let Need::Send(step) = need else {
            return vec![];
        };
        requests(step)
            .iter()
            .map(|request| match request.request_type {
                Some(RequestType::AddCluster(_)) => "add cluster",
                Some(RequestType::AddHttpFrontend(_)) => "add frontend",
                Some(RequestType::RemoveHttpFrontend(_)) => "remove frontend",
                _ => "other",
            })
            .collect()
    }

    #[test]
    fn each_pair_of_wanted_and_held_has_its_requests() {
        let key = http("a", "x.example").key().unwrap();
        let (a, b) = (http("a", "x.example"), http("b", "x.example"));
        let table = [
            (Wanted::NoOpinion, held(a.clone()), vec![]),
            (Wanted::Nothing, Held::Nothing, vec![]),
            (Wanted::Nothing, held(b.clone()), vec!["remove frontend"]),
            (wanted(a.clone()), Held::Nothing, vec!["add frontend"]),
            (wanted(a.clone()), held(a.clone()), vec![]),
            (
                wanted(a.clone()),
                held(b),
                vec!["remove frontend", "add frontend"],
            ),
        ];
        for (row, (wanted, held, expected)) in table.into_iter().enumerate() {
            assert_eq!(
                verbs(&need(&key, &wanted, &held, false)),
                expected,
                "row {row}"
            );
        }
        assert_eq!(need(&key, &wanted(a), &Held::Unknown, false), Need::Read);
    }

    #[test]
    fn a_removal_names_the_cluster_that_sozu_holds() {
        let key = http("a", "x.example").key().unwrap();
        let Need::Send(step) = need(&key, &Wanted::Nothing, &held(http("b", "x.example")), false)
        else {
            panic!("a removal is sent")
        };
        let Some(RequestType::RemoveHttpFrontend(front)) = &requests(&step)[0].request_type else {
            panic!("a removal of a frontend")
        };
        assert_eq!(front.cluster_id.as_deref(), Some("b"));
    }

    #[test]
    fn what_no_worker_answered_for_is_sent_again() {
        let cluster_key = cluster("a").key().unwrap();
        let again = need(
            &cluster_key,
            &wanted(cluster("a")),
            &held(cluster("a")),
            true,
        );
        assert_eq!(verbs(&again), ["add cluster"]);
        let front = http("a", "x.example");
        let key = front.key().unwrap();
        let again = need(&key, &wanted(front.clone()), &held(front), true);
        assert_eq!(verbs(&again), ["remove frontend", "add frontend"]);
    }

    #[test]
    fn additions_go_from_cluster_to_frontend_and_removals_back() {
        let key = |object: Object, goes: bool| (object.key().unwrap(), goes);
        let mut keys = [
            key(cluster("old"), true),
            key(http("new", "new.example"), false),
            key(backend("old", "o-1", 1), true),
            key(cluster("new"), false),
            key(http("old", "old.example"), true),
            key(backend("new", "n-1", 1), false),
        ];
        order(&mut keys);
        let order: Vec<_> = keys
            .iter()
            .map(|(key, goes)| (key.kind().name(), *goes))
            .collect();
        assert_eq!(
            order,
            [
                ("cluster", false),
                ("backend", false),
                ("http_frontend", false),
                ("http_frontend", true),
                ("backend", true),
                ("cluster", true),
            ]
        );
    }
}
