//! What a change touches: `effects(change, state) → (key, object or nothing)`, in the order in
//! which they are folded.

use sozu_command_lib::proto::command::{
    HealthCheckConfig, ReplaceCertificate, RequestHttpFrontend, request::RequestType,
};

use super::{
    declared::Wanted,
    desired::Desired,
    key::{Key, KeyError, Object, key_of},
};
use crate::messages::SourceName;

/// A key, and what shall stand there.
pub type Touch = (Key, Option<Object>);

/// What a change of `source` touches. `listed`: it comes from a listing, in which each object is
/// spoken of by itself; an order to remove a cluster takes along all that is not another source's.
///
/// # Errors
/// With the reason, if it asks for nothing that a source may ask for.
pub fn effects(
    request: &RequestType,
    source: &SourceName,
    listed: bool,
    desired: &Desired,
) -> Result<Vec<Touch>, String> {
    let text = |error: KeyError| error.to_string();
    match request {
        RequestType::RemoveCluster(id) if !listed => Ok(with_its_cluster(id, source, desired)),
        RequestType::SetHealthCheck(set) => {
            health_check(&set.cluster_id, Some(set.config.clone()), desired)
        }
        RequestType::RemoveHealthCheck(id) => health_check(id, None, desired),
        _ => match (Object::brought_by(request), request) {
            (Some(new), RequestType::ReplaceCertificate(replace)) => {
                replaced(new, replace).map_err(text)
            }
            (Some(object), _) => {
                let object = object.canonical();
                Ok(vec![(object.key().map_err(text)?, Some(object))])
            }
            (None, _) => match key_of(request) {
                Some(key) => Ok(vec![(key.map_err(text)?, None)]),
                None => Err("it is no change that a source may send".to_owned()),
            },
        },
    }
}

fn with_its_cluster(id: &str, source: &SourceName, desired: &Desired) -> Vec<Touch> {
    let mut members: Vec<Key> = desired.members_of(id, source).cloned().collect();
    members.sort_by(|a, b| b.kind().cmp(&a.kind()).then_with(|| a.cmp(b)));
    members.push(Key::Cluster(id.into()));
    members.into_iter().map(|key| (key, None)).collect()
}

fn health_check(
    id: &str,
    config: Option<HealthCheckConfig>,
    desired: &Desired,
) -> Result<Vec<Touch>, String> {
    let key = Key::Cluster(id.into());
    let Wanted::Object(object, _) = desired.declared().wanted(&key) else {
        return Err(format!(
            "its cluster `{id}` is not known; add the cluster first"
        ));
    };
    let mut object = object.as_ref().clone();
    if let Object::Cluster(cluster) = &mut object {
        cluster.health_check = config;
    }
    Ok(vec![(key, Some(object))])
}

/// The new one comes, and if it is another one, the old one goes.
fn replaced(new: Object, replace: &ReplaceCertificate) -> Result<Vec<Touch>, KeyError> {
    let new = new.canonical();
    let new_key = new.key()?;
    let old_key = Key::certificate(replace.address.into(), &replace.old_fingerprint);
    let mut touches = vec![(new_key.clone(), Some(new))];
    if old_key != new_key {
        touches.push((old_key, None));
    }
    Ok(touches)
}

/// The frontend of an HTTP or HTTPS frontend's addition or removal.
pub fn http_frontend(request: &RequestType) -> Option<&RequestHttpFrontend> {
    match request {
        RequestType::AddHttpFrontend(front)
        | RequestType::AddHttpFrontendWithHeaderPredicates(front)
        | RequestType::AddHttpFrontendWithSilentClose(front)
        | RequestType::AddHttpsFrontend(front)
        | RequestType::AddHttpsFrontendWithHeaderPredicates(front)
        | RequestType::AddHttpsFrontendWithSilentClose(front)
        | RequestType::RemoveHttpFrontend(front)
        | RequestType::RemoveHttpFrontendWithHeaderPredicates(front)
        | RequestType::RemoveHttpsFrontend(front)
        | RequestType::RemoveHttpsFrontendWithHeaderPredicates(front) => Some(front),
        _ => None,
    }
}
