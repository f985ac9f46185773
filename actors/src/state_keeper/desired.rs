//! What would stand in Sōzu if everything were sent: what is wanted, and what is foreign.
//!
//! It is folded into a `ConfigState`, so that a change meets Sōzu's own checks before it is sent.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sozu_command_lib::state::{ConfigState, StateError};

use super::{
    declared::{Declaration, Declared, Wanted},
    held::Belief,
    key::{Key, Object},
};
use crate::messages::SourceName;

/// The declared sets, and the state that they come to.
#[derive(Default)]
pub struct Desired {
    declared: Declared,
    state: ConfigState,
    /// Frontends and backends per cluster.
    members: HashMap<String, HashSet<Key>>,
}

impl Desired {
    /// The declared sets.
    pub fn declared(&self) -> &Declared {
        &self.declared
    }

    /// As [`Declared::share`].
    pub fn share(&mut self, key: &Key, source: &SourceName, object: &Arc<Object>) {
        self.declared.share(key, source, object);
    }

    /// What would stand under `key`: what is wanted, or else what Sōzu holds there.
    fn stands(&self, key: &Key, belief: &Belief) -> Option<Arc<Object>> {
        match self.declared.wanted(key) {
            Wanted::Object(object, _) => Some(object),
            Wanted::Nothing => None,
            Wanted::NoOpinion => belief.held(key).object().cloned(),
        }
    }

    /// Lets `source` say `declaration` of `key`. Returns what it said before.
    ///
    /// # Errors
    /// With the reason, if Sōzu's own checks refuse what would then stand. Nothing changed then.
    pub fn declare(
        &mut self,
        key: &Key,
        source: &SourceName,
        declaration: Option<Declaration>,
        belief: &Belief,
    ) -> Result<Option<Declaration>, String> {
        let from = self.stands(key, belief);
        let before = self.declared.set(key, source, declaration);
        let to = self.stands(key, belief);
        match self.turn(from.as_deref(), to.as_deref()) {
            Ok(()) => Ok(before),
            Err(reason) => {
                self.declared.set(key, source, before);
                Err(reason)
            }
        }
    }

    /// Ends what `source` says of `key`. What then stands may be foreign, and Sōzu holds it whatever
    /// our own checks say of it together with our wishes.
    pub fn end(&mut self, key: &Key, source: &SourceName, belief: &Belief) {
        let from = self.stands(key, belief);
        self.declared.set(key, source, None);
        let to = self.stands(key, belief);
        let _ = self.turn(from.as_deref(), to.as_deref());
    }

    /// What Sōzu holds under `key` changed from `from` to `to`: if it is foreign, it stands.
    pub fn observe(&mut self, key: &Key, from: Option<&Object>, to: Option<&Object>) {
        if self.declared.wanted(key) == Wanted::NoOpinion {
            // As in `end`.
            let _ = self.turn(from, to);
        }
    }

    /// The frontends and backends that name the cluster.
    pub fn members(&self, cluster: &str) -> impl Iterator<Item = &Key> {
        self.members.get(cluster).into_iter().flatten()
    }

    /// How many frontends and backends name the cluster.
    pub fn users(&self, cluster: &str) -> usize {
        self.members.get(cluster).map_or(0, HashSet::len)
    }

    /// Whether the key is a cluster to which somebody routes, or whose backends somebody wants.
    pub fn is_used(&self, key: &Key) -> bool {
        let Key::Cluster(id) = key else {
            return false;
        };
        self.members(id).any(|member| {
            let is_wanted = matches!(self.declared.wanted(member), Wanted::Object(..));
            member.kind().is_frontend() || is_wanted
        })
    }

    /// Whether the cluster would stand.
    pub fn has_cluster(&self, cluster: &str) -> bool {
        self.state.clusters.contains_key(cluster)
    }

    fn turn(&mut self, from: Option<&Object>, to: Option<&Object>) -> Result<(), String> {
        if let (Some(from), Some(to)) = (from, to) {
            if from.same(to) {
                return Ok(());
            }
            if let Some(replace) = to.replace() {
                return self
                    .state
                    .dispatch(&replace)
                    .map_err(|error| explain(&error));
            }
        }
        if let Some(from) = from {
            let remove = from.remove().map_err(|error| error.to_string())?;
            // It may be gone with its cluster, or be a foreign object that our checks did not take.
            let _ = self.state.dispatch(&remove);
            self.count(from, false);
        }
        if let Some(to) = to {
            if let Err(error) = self.state.dispatch(&to.add()) {
                if let Some(from) = from
                    && self.state.dispatch(&from.add()).is_ok()
                {
                    self.count(from, true);
                }
                return Err(explain(&error));
            }
            self.count(to, true);
        }
        Ok(())
    }

    fn count(&mut self, object: &Object, more: bool) {
        let is_member = !matches!(object, Object::Cluster(_));
        let (Some(cluster), Ok(key)) = (object.cluster().filter(|_| is_member), object.key())
        else {
            return;
        };
        if more {
            self.members
                .entry(cluster.to_owned())
                .or_default()
                .insert(key);
        } else if let Some(members) = self.members.get_mut(cluster) {
            members.remove(&key);
            if members.is_empty() {
                self.members.remove(cluster);
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_keeper::{
        declared::Stance,
        examples::{backend, cluster, http},
    };

    fn present(object: Object) -> (Key, Option<Declaration>) {
        (
            object.key().unwrap(),
            Some(Declaration {
                stance: Stance::Present,
                object: Some(Arc::new(object)),
                origin: None,
                since: 1,
            }),
        )
    }

    #[test]
    fn a_refused_declaration_changes_nothing() {
        let (belief, source) = (Belief::default(), SourceName::new("s"));
        let mut desired = Desired::default();
        let (key, declaration) = present(backend("unknown", "u-1", 1));
        let reason = desired
            .declare(&key, &source, declaration, &belief)
            .unwrap_err();
        assert!(reason.contains("`unknown`"), "{reason}");
        assert!(desired.declared().get(&key, &source).is_none());
        assert_eq!(desired.users("unknown"), 0);
    }

    #[test]
    fn a_repointed_frontend_counts_for_its_new_cluster() {
        let (belief, source) = (Belief::default(), SourceName::new("s"));
        let mut desired = Desired::default();
        for object in [
            cluster("a"),
            cluster("b"),
            http("a", "x.example"),
            http("b", "x.example"),
        ] {
            let (key, declaration) = present(object);
            desired
                .declare(&key, &source, declaration, &belief)
                .unwrap();
        }
        assert_eq!((desired.users("a"), desired.users("b")), (0, 1));
    }

    #[test]
    fn what_is_foreign_stands_until_somebody_has_an_opinion() {
        let source = SourceName::new("s");
        let mut desired = Desired::default();
        let mut belief = Belief::default();
        let foreign = Arc::new(cluster("theirs"));
        let key = foreign.key().unwrap();
        belief.replace([(key.clone(), foreign.clone())].into());
        desired.observe(&key, None, Some(&foreign));
        let (key, declaration) = present(backend("theirs", "t-1", 1));
        desired
            .declare(&key, &source, declaration, &belief)
            .unwrap();
        assert_eq!(desired.users("theirs"), 1);
    }
}
