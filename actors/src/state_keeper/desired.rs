//! What would stand in Sōzu if everything were sent: what is wanted, and what is foreign.
//!
//! A change meets Sōzu's own checks before it is sent: see [`super::checks`].

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use super::{
    checks,
    declared::{Declaration, Declared, Wanted},
    held::Belief,
    key::{Key, KeyMap, KeySet, Object, TcpKey},
};
use crate::messages::SourceName;

/// The declared sets, and what stands by them as far as checks need to find it.
#[derive(Default)]
pub struct Desired {
    declared: Declared,
    clusters: foldhash::HashSet<Arc<str>>,
    /// Frontends and backends per cluster. Nearly all have a few.
    members: foldhash::HashMap<Arc<str>, Vec<Key>>,
    /// TCP frontends by listener and server name.
    tcp: BTreeMap<(SocketAddr, Option<Arc<str>>), KeySet>,
    /// What was wanted of a key until now, while the tail is folded again: it may be in Sōzu, and is
    /// not foreign for that.
    ours: KeyMap<Vec<Arc<Object>>>,
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
            Wanted::NoOpinion => {
                let held = belief.held(key).object().cloned()?;
                let ours = self.ours.get(key);
                let is_ours = ours.is_some_and(|ours| ours.iter().any(|it| it.same(&held)));
                (!is_ours).then_some(held)
            }
        }
    }

    /// The tail is folded again: until that is over this is not foreign, whoever has an opinion.
    pub fn set_ours(&mut self, ours: KeyMap<Vec<Arc<Object>>>) {
        self.ours = ours;
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
        let (from, to) = (from.as_deref(), to.as_deref());
        if let Err(reason) = self.check(key, from, to, belief) {
            self.declared.set(key, source, before);
            return Err(reason);
        }
        self.turn(key, from, to);
        Ok(before)
    }

    /// From now on exactly these sources are in no configuration. Returns the keys under which
    /// something else is wanted than before, or by somebody else.
    pub fn set_gone(&mut self, gone: BTreeSet<SourceName>, belief: &Belief) -> Vec<Key> {
        let before = self.declared.gone().clone();
        let mut touched = self.declared.set_gone(gone.clone());
        touched.sort_by_key(Key::kind);
        self.declared.set_gone(before);
        let wanted: Vec<Wanted> = touched
            .iter()
            .map(|key| self.declared.wanted(key))
            .collect();
        let stood: Vec<_> = touched.iter().map(|key| self.stands(key, belief)).collect();
        self.declared.set_gone(gone);
        let mut turned = Vec::new();
        for ((key, wanted), from) in touched.into_iter().zip(wanted).zip(stood) {
            let to = self.stands(&key, belief);
            let (from, to) = (from.as_deref(), to.as_deref());
            if let Err(error) = self.check(&key, from, to, belief) {
                tracing::error!(kind = %key.kind(), %key, error, "Sōzu will not take what is wanted instead of an orphan.");
            }
            self.turn(&key, from, to);
            if self.declared.wanted(&key) != wanted {
                turned.push(key);
            }
        }
        turned
    }

    /// Lets `source` say of `key` what it said before, or nothing any more. What then stands may be
    /// foreign, and Sōzu holds it whatever our own checks say of it together with our wishes.
    pub fn put_back(
        &mut self,
        key: &Key,
        source: &SourceName,
        before: Option<Declaration>,
        belief: &Belief,
    ) {
        let from = self.stands(key, belief);
        self.declared.set(key, source, before);
        let to = self.stands(key, belief);
        self.turn(key, from.as_deref(), to.as_deref());
    }

    /// What Sōzu holds under `key` changed from `from` to `to`: if it is foreign, it stands.
    pub fn observe(&mut self, key: &Key, from: Option<&Object>, to: Option<&Object>) {
        if self.declared.wanted(key) == Wanted::NoOpinion {
            self.turn(key, from, to);
        }
    }

    /// The frontends and backends that name the cluster.
    pub fn members(&self, cluster: &str) -> impl Iterator<Item = &Key> {
        self.members.get(cluster).into_iter().flatten()
    }

    /// What `source` declares in the cluster, also where another source's object stands instead, and
    /// what stands in it and is nobody else's.
    pub fn members_of<'a>(
        &'a self,
        cluster: &'a str,
        source: &'a SourceName,
    ) -> impl Iterator<Item = &'a Key> {
        let is_theirs = |key: &&Key| matches!(self.declared.wanted(key), Wanted::Object(_, owner) if owner != *source);
        let own = self.members(cluster).filter(move |key| !is_theirs(key));
        own.chain(self.declared.shared(cluster, source).filter(is_theirs))
    }

    /// How many frontends and backends name the cluster.
    pub fn users(&self, cluster: &str) -> usize {
        self.members.get(cluster).map_or(0, Vec::len)
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
        self.clusters.contains(cluster)
    }

    /// Sōzu's own checks of what stands from now on.
    fn check(
        &self,
        key: &Key,
        from: Option<&Object>,
        to: Option<&Object>,
        belief: &Belief,
    ) -> Result<(), String> {
        match (from, to) {
            (_, None) => Ok(()),
            (Some(from), Some(to)) if from.same(to) => Ok(()),
            (from, Some(to)) => checks::check(from, to, &self.context(key, to, belief)),
        }
    }

    fn turn(&mut self, key: &Key, from: Option<&Object>, to: Option<&Object>) {
        let is_same = |from: &Object| to.is_some_and(|to| from.same(to));
        if from.is_some_and(is_same) {
            return;
        }
        if let Some(from) = from {
            self.count(key, from, false);
        }
        if let Some(to) = to {
            self.count(key, to, true);
        }
    }

    /// What stands and may matter to Sōzu's checks of `object`.
    fn context(&self, key: &Key, object: &Object, belief: &Belief) -> Vec<Arc<Object>> {
        let mut keys: Vec<&Key> = Vec::new();
        let mut objects: Vec<Arc<Object>> = Vec::new();
        match object {
            Object::Certificate(_) | Object::HttpFrontend(_) | Object::HttpsFrontend(_) => {}
            Object::Cluster(cluster) => keys.extend(self.members(&cluster.cluster_id)),
            Object::Backend(backend) => {
                objects.extend(self.cluster(&backend.cluster_id, belief));
                if backend.unix_path.is_some() {
                    keys.extend(self.members(&backend.cluster_id));
                }
            }
            Object::TcpFrontend(front) => {
                objects.extend(self.cluster(&front.cluster_id, belief));
                keys.extend(self.beside(key));
            }
            Object::UdpFrontend(front) => {
                objects.extend(self.cluster(&front.cluster_id, belief));
                keys.extend(self.members(&front.cluster_id));
            }
        }
        // Of a cluster's members only these play a part in the checks.
        let matters = |object: &Object| match object {
            Object::Backend(backend) => backend.unix_path.is_some(),
            Object::TcpFrontend(_) | Object::UdpFrontend(_) => true,
            _ => false,
        };
        let others = keys.into_iter().filter(|other| *other != key);
        let others = others.filter_map(|other| self.stands(other, belief));
        objects.extend(others.filter(|other| matters(other)));
        objects
    }

    /// The cluster, if it stands. Nobody knows what a foreign one is made of before Sōzu was read.
    fn cluster(&self, id: &str, belief: &Belief) -> Option<Arc<Object>> {
        if !self.has_cluster(id) {
            return None;
        }
        let known = self.stands(&Key::Cluster(id.into()), belief);
        Some(known.unwrap_or_else(|| Arc::new(checks::bare_cluster(id))))
    }

    /// TCP frontends that may clash with this one: of the same server name, of none, and one of any.
    fn beside(&self, key: &Key) -> impl Iterator<Item = &Key> {
        let places = match key {
            Key::TcpFrontend(tcp) => {
                let TcpKey { address, sni, .. } = &**tcp;
                let mut places = self
                    .tcp
                    .range((*address, None)..)
                    .take_while(move |((at, _), _)| at == address);
                let first_two = [places.next(), places.next()].into_iter().flatten();
                let same = self.tcp.get(&(*address, sni.clone()));
                let all: HashSet<&Key> = first_two
                    .map(|(_, keys)| keys)
                    .chain(same)
                    .flatten()
                    .collect();
                Some(all)
            }
            _ => None,
        };
        places.into_iter().flatten()
    }

    fn count(&mut self, key: &Key, object: &Object, more: bool) {
        match key {
            Key::Cluster(id) if more => drop(self.clusters.insert(id.clone())),
            Key::Cluster(id) => drop(self.clusters.remove(id)),
            Key::TcpFrontend(tcp) => {
                let place = (tcp.address, tcp.sni.clone());
                let keys = self.tcp.entry(place.clone()).or_default();
                if more {
                    keys.insert(key.clone());
                } else {
                    keys.remove(key);
                }
                if keys.is_empty() {
                    self.tcp.remove(&place);
                }
            }
            _ => {}
        }
        let is_member = !matches!(key, Key::Cluster(_));
        let Some(cluster) = object.cluster().filter(|_| is_member) else {
            return;
        };
        let members = self.members.entry(cluster.into()).or_default();
        let place = members.iter().position(|member| member == key);
        match place {
            Some(place) if !more => drop(members.swap_remove(place)),
            None if more => members.push(key.clone()),
            _ => {}
        }
        if members.is_empty() {
            self.members.remove(cluster);
        }
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
        belief.replace([(key.clone(), foreign.clone())].into_iter().collect());
        desired.observe(&key, None, Some(&foreign));
        let (key, declaration) = present(backend("theirs", "t-1", 1));
        desired
            .declare(&key, &source, declaration, &belief)
            .unwrap();
        assert_eq!(desired.users("theirs"), 1);
    }
}
