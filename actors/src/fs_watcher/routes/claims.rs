//! When two files of a directory declare the same key: the first in path order has it.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use super::super::problem::{Fault, Problem};
use crate::state_keeper::key::{Key, Keyed, Kind};

/// What a file claims.
pub(in crate::fs_watcher) struct Claim {
    pub(in crate::fs_watcher) path: Arc<PathBuf>,
    pub(in crate::fs_watcher) objects: Arc<Vec<Keyed>>,
}

/// Takes claims in path order; gives each file's objects without those that an earlier file
/// has, and says which those are.
pub(in crate::fs_watcher) fn settle(claims: Vec<Claim>) -> (Vec<Arc<Vec<Keyed>>>, Vec<Problem>) {
    let mut owners: HashMap<&Key, (usize, usize)> = HashMap::new();
    let mut lost: Vec<Vec<usize>> = Vec::with_capacity(claims.len());
    let mut problems = Vec::new();
    for (file, claim) in claims.iter().enumerate() {
        let mut shadowed = Vec::new();
        let mut told: HashMap<usize, (&Key, usize)> = HashMap::new();
        for (index, Keyed { key, object }) in claim.objects.iter().enumerate() {
            let Some(&(owner, at)) = owners.get(key) else {
                owners.insert(key, (file, index));
                continue;
            };
            shadowed.push(index);
            // Many routes share a certificate: an equal one is an ordinary thing.
            let shared =
                key.kind() == Kind::Certificate && claims[owner].objects[at].object == *object;
            if !shared {
                told.entry(owner).or_insert((key, 0)).1 += 1;
            }
        }
        let mut told: Vec<_> = told.into_iter().collect();
        told.sort_unstable_by_key(|(owner, _)| *owner);
        for (owner, (key, count)) in told {
            let more = match count {
                1 => " is".to_owned(),
                count => format!(" and {} more are", count - 1),
            };
            let text = format!(
                "the {} {key}{more} shadowed by {}, which comes first; remove one of the two",
                key.kind(),
                claims[owner].path.display()
            );
            problems.push(Fault::whole(text).of(&claim.path));
        }
        lost.push(shadowed);
    }
    let kept = claims
        .into_iter()
        .zip(lost)
        .map(|(claim, lost)| without(claim.objects, &lost))
        .collect();
    (kept, problems)
}

/// `lost` is in ascending order.
fn without(objects: Arc<Vec<Keyed>>, lost: &[usize]) -> Arc<Vec<Keyed>> {
    if lost.is_empty() {
        return objects;
    }
    let kept = objects.iter().enumerate();
    let kept = kept.filter(|(index, _)| lost.binary_search(index).is_err());
    Arc::new(kept.map(|(_, object)| object.clone()).collect())
}
