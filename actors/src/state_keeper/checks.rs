//! Sōzu's own checks, so that a change meets them before it is sent: a `ConfigState` of nothing but
//! what plays a part in them. (A whole one takes as much memory as all objects.)

use std::sync::Arc;

use sozu_command_lib::{
    proto::command::Cluster,
    state::{ConfigState, StateError},
};

use super::key::Object;

/// Whether Sōzu would take `to` in the place of `from`, beside `context`.
///
/// # Errors
/// With the reason, if it would not.
pub(super) fn check(
    from: Option<&Object>,
    to: &Object,
    context: &[Arc<Object>],
) -> Result<(), String> {
    let mut state = ConfigState::new();
    let replace = from.and_then(|_| to.replace());
    let replaced = from.filter(|_| replace.is_some());
    let mut stands: Vec<&Object> = context.iter().map(Arc::as_ref).chain(replaced).collect();
    stands.sort_by_key(|object| object.kind());
    for object in stands {
        // A foreign object may not go with the others as they are wanted.
        let _ = state.dispatch(&object.add());
    }
    let request = replace.unwrap_or_else(|| to.add());
    state.dispatch(&request).map_err(|error| explain(&error))
}

/// A cluster of which only the id is known.
pub(super) fn bare_cluster(id: &str) -> Object {
    Object::Cluster(Box::new(Cluster {
        cluster_id: id.to_owned(),
        ..Cluster::default()
    }))
}

/// Sōzu's reason in words that name the object; `StateError`'s own hide every name.
fn explain(error: &StateError) -> String {
    match error {
        StateError::ClusterNotFound { cluster_id, .. } => {
            format!("its cluster `{cluster_id}` is not known; declare the cluster too")
        }
        StateError::Exists { .. } => {
            "Sōzu has another object there that it cannot tell from this one; remove one of them"
                .to_owned()
        }
        StateError::InvalidTcpFrontend { reason, .. } => reason.clone(),
        StateError::UdpFrontendAddressTaken {
            address,
            current_cluster_id,
            ..
        } => format!(
            "the UDP listener {address} serves cluster `{current_cluster_id}` already; a UDP listener serves one"
        ),
        StateError::FrontendConversion { error, .. } => error.clone(),
        other => other.to_string(),
    }
}
