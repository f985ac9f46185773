//! A certificate that goes and the one that comes in its place go to Sōzu as one request: at no
//! moment is there neither, nor both.

use std::collections::HashSet;

use super::{
    held::Belief,
    key::{Key, KeyMap, Kind},
    log::Tail,
    plan::{Goes, Step},
};

/// Of the keys that are to be sent, each with whether it goes: the certificates that come in the place
/// of one that goes, where one change asks for both.
pub(super) fn pairs(keys: &[(Key, bool)], tail: &Tail, belief: &Belief) -> KeyMap<Key> {
    let certificates = |goes: bool| {
        let keys = keys.iter().filter(move |(key, it)| {
            *it == goes
                && key.kind() == Kind::Certificate
                && belief.held(key).object().is_some() == goes
        });
        let keys: HashSet<&Key> = keys.map(|(key, _)| key).collect();
        keys
    };
    let going = certificates(true);
    if going.is_empty() {
        return KeyMap::default();
    }
    let coming = certificates(false);
    let both = tail.iter().filter_map(|folded| match &folded.keys[..] {
        [comes, goes, ..] if coming.contains(comes) && going.contains(goes) => Some((comes, goes)),
        _ => None,
    });
    both.map(|(comes, goes)| (comes.clone(), goes.clone()))
        .collect()
}

/// The two steps as one request, which the first of them carries.
pub(super) fn together(mut comes: Step, mut goes: Step) -> [Step; 2] {
    if comes.key.kind() == Kind::Certificate && goes.key.kind() == Kind::Certificate {
        comes.goes = Goes::InPlaceOf(goes.key.clone());
        goes.goes = Goes::Along;
    }
    [comes, goes]
}
