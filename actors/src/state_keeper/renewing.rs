//! A certificate that goes and the one that comes in its place go to Sōzu as one request: at no
//! moment is there neither, nor both.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use sozu_command_lib::proto::command::{ReplaceCertificate, request::RequestType};

use super::{
    declared::Declared,
    declared::Wanted,
    held::{Belief, Held},
    key::{Key, Object},
    plan::Step,
};

/// Of the keys that are to be sent, each with whether it goes: which certificate that goes each one
/// that comes takes the place of. Both are of one listener and share a name.
pub(super) fn pairs(
    keys: &[(Key, bool)],
    declared: &Declared,
    belief: &Belief,
) -> HashMap<Key, Key> {
    let mut going: HashMap<(SocketAddr, String), Vec<&Key>> = HashMap::new();
    for (key, _) in keys.iter().filter(|(_, goes)| *goes) {
        if let (Key::Certificate(it), Held::Object(held)) = (key, belief.held(key)) {
            for name in names(&held) {
                going
                    .entry((it.address, name.clone()))
                    .or_default()
                    .push(key);
            }
        }
    }
    let mut pairs = HashMap::new();
    if going.is_empty() {
        return pairs;
    }
    let mut taken: HashSet<&Key> = HashSet::new();
    for (key, _) in keys.iter().filter(|(_, goes)| !*goes) {
        let (Key::Certificate(it), Held::Nothing) = (key, belief.held(key)) else {
            continue;
        };
        let Wanted::Object(object, _) = declared.wanted(key) else {
            continue;
        };
        let candidates = names(&object)
            .iter()
            .filter_map(|name| going.get(&(it.address, name.clone())));
        let old = candidates.flatten().find(|old| !taken.contains(*old));
        if let Some(old) = old {
            taken.insert(old);
            pairs.insert(key.clone(), (*old).clone());
        }
    }
    pairs
}

fn names(object: &Object) -> &[String] {
    match object {
        Object::Certificate(add) => &add.certificate.names,
        _ => &[],
    }
}

/// The two steps as one request, which the first of them carries.
pub(super) fn together(mut comes: Step, mut goes: Step) -> [Step; 2] {
    if let (Some(Object::Certificate(add)), Key::Certificate(old)) =
        (comes.to.as_deref(), &goes.key)
    {
        let replace = RequestType::ReplaceCertificate(ReplaceCertificate {
            address: add.address,
            new_certificate: add.certificate.clone(),
            old_fingerprint: old.fingerprint.to_string(),
            new_expired_at: add.expired_at,
        });
        comes.requests = vec![replace.into()];
        goes.requests = Vec::new();
    }
    [comes, goes]
}
