//! Folding: what one entry of the log turns in the declared sets, and what folding says of it.

use std::sync::Arc;

use super::{
    declared::{Declaration, Stance, Wanted, Why},
    desired::Desired,
    effects::effects,
    held::{Belief, Held},
    key::{Key, Object},
    log::{Admission, Entry, Folded, Provisional, Turned, Word},
    verdict::Verdict,
};
use crate::messages::SourceName;

/// The source of a refused entry says that nothing may stand where Sōzu's main process may hold one of
/// the objects that were wanted there until now, and nobody wants any more. A word of before, when
/// Sōzu was read without it, does not count: since then we have put it there.
pub(super) fn take_away(
    refused: &Folded,
    key: &Key,
    were_wanted: &[Arc<Object>],
    desired: &mut Desired,
    belief: &Belief,
) -> Option<Turned> {
    let may_be_ours = match belief.held(key) {
        Held::Nothing => false,
        Held::Unknown => true,
        Held::Object(held) => were_wanted.iter().any(|object| object.same(&held)),
    };
    let goes = |(_, says): &(SourceName, Declaration)| {
        matches!(
            says.stance,
            Stance::Absent {
                unseen_in: None,
                ..
            }
        )
    };
    let is_wanted = matches!(desired.declared().wanted(key), Wanted::Object(..));
    let goes = desired.declared().all(key).iter().any(goes);
    if is_wanted || goes || !may_be_ours {
        return None;
    }
    let source = &refused.entry.source;
    let after = Declaration {
        stance: Stance::Absent {
            at: refused.entry.at,
            unseen_in: None,
        },
        // Only so that the database can tell the key.
        object: belief.held(key).object().cloned(),
        origin: None,
        since: refused.entry.seq,
    };
    let before = desired
        .declare(key, source, Some(after.clone()), belief)
        .ok()?;
    Some(Turned {
        key: key.clone(),
        source: source.clone(),
        before,
        after: Some(after),
    })
}

pub(super) fn undo(turned: &Turned, desired: &mut Desired, belief: &Belief) {
    desired.put_back(&turned.key, &turned.source, turned.before.clone(), belief);
}

pub(super) fn fold(entry: Arc<Entry>, desired: &mut Desired, belief: &Belief) -> Folded {
    let mut folded = Folded {
        keys: Vec::new(),
        asked: 0,
        names: None,
        turned: Vec::new(),
        revived: Vec::new(),
        provisional: Provisional::Final(Verdict::Duplicate),
        nth: 0,
        entry,
    };
    let outcome = match folded.entry.refusal() {
        Some(reason) => Err(reason.to_owned()),
        None => turn(&mut folded, desired, belief),
    };
    folded.provisional = match outcome {
        Ok(provisional) => provisional,
        Err(reason) => {
            for turned in folded.turned.drain(..).rev() {
                undo(&turned, desired, belief);
            }
            Provisional::Final(Verdict::Refused(reason))
        }
    };
    if folded.turned.is_empty() {
        let request = folded.entry.request.request_type.as_ref();
        let object = request.and_then(Object::added_by);
        folded.names = object.and_then(|object| object.cluster().map(Arc::from));
    }
    folded
}

/// Turns what the entry touches, one after the other.
fn turn(
    folded: &mut Folded,
    desired: &mut Desired,
    belief: &Belief,
) -> Result<Provisional, String> {
    let entry = &folded.entry;
    let Some(request) = &entry.request.request_type else {
        return Err("the change is empty or of a kind that this version does not know".to_owned());
    };
    let touches = effects(request, &entry.source, entry.is_listed(), desired)?;
    folded.keys = touches.iter().map(|(key, _)| key.clone()).collect();
    folded.asked = touches.len();
    let mut provisionals = Vec::with_capacity(touches.len());
    for (key, object) in touches {
        provisionals.push(touch(folded, &key, object, desired, belief)?);
    }
    Ok(together(provisionals))
}

/// What the touches of one entry come to.
fn together(provisionals: Vec<Provisional>) -> Provisional {
    let rank = |provisional: &Provisional| match provisional {
        Provisional::Parked { .. } => 5,
        Provisional::Sends { taken_over: true } => 4,
        Provisional::Sends { taken_over: false } => 3,
        Provisional::Final(Verdict::Held) => 2,
        Provisional::Final(Verdict::Duplicate) => 1,
        Provisional::Final(_) => 0,
    };
    let heaviest = provisionals.into_iter().max_by_key(rank);
    heaviest.unwrap_or(Provisional::Final(Verdict::Duplicate))
}

fn touch(
    folded: &mut Folded,
    key: &Key,
    object: Option<Object>,
    desired: &mut Desired,
    belief: &Belief,
) -> Result<Provisional, String> {
    let entry = &folded.entry;
    let mut before = desired.declared().get(key, &entry.source).cloned();
    if let (Some(before), Some(object)) = (&mut before, &object) {
        before.learn_private_key(object);
    }
    let wanted_before = desired.declared().wanted(key);
    let is_asked_for = object.is_some();
    let after = match object {
        Some(object) if matches!(entry.admission, Admission::Held(_)) => {
            held_back(entry, object, before.as_ref())
        }
        Some(object) => {
            if let Some(cluster) = waits_for(entry, &object, desired) {
                return Ok(Provisional::Parked { cluster });
            }
            owned_by_another(entry, key, &wanted_before, Some(&object), desired)?;
            Some(present(entry, object, before.as_ref()))
        }
        None => let_go(entry, key, before.as_ref(), desired, belief),
    };
    let Some(after) = after else {
        owned_by_another(entry, key, &wanted_before, None, desired)?;
        return Ok(Provisional::Final(absent(entry, key, desired)));
    };
    let held = after.stance.hold().is_some();
    desired.declare(key, &entry.source, Some(after.clone()), belief)?;
    let source = entry.source.clone();
    folded.turned.push(Turned {
        key: key.clone(),
        source,
        before,
        after: Some(after),
    });
    if !held {
        end_orphans(folded, key, desired, belief)?;
    }
    release_cluster(folded, &wanted_before, desired, belief)?;
    if held {
        return Ok(Provisional::Final(Verdict::Held));
    }
    let is_wanted = matches!(desired.declared().wanted(key), Wanted::Object(..));
    if is_wanted && wanted_before == Wanted::Nothing {
        folded.revived.push(key.clone());
    }
    Ok(match (&wanted_before, desired.declared().wanted(key)) {
        (Wanted::Object(a, _), Wanted::Object(b, _)) if a.same(&b) => {
            Provisional::Final(Verdict::Duplicate)
        }
        // Its source has left, and ends with it what was held: another one's turn has come.
        (_, Wanted::Object(_, owner)) if is_asked_for && owner != folded.entry.source => {
            Provisional::Final(Verdict::Duplicate)
        }
        (Wanted::NoOpinion, Wanted::Object(object, _)) => Provisional::Sends {
            taken_over: matches!(belief.held(key), Held::Object(held) if !held.same(&object)),
        },
        (Wanted::Nothing, Wanted::Nothing) => Provisional::Final(Verdict::Absent),
        _ => Provisional::Sends { taken_over: false },
    })
}

/// A bus's backend waits for a cluster that nobody knows yet.
fn waits_for(entry: &Entry, object: &Object, desired: &Desired) -> Option<Arc<str>> {
    let cluster = match object {
        Object::Backend(backend) if entry.original.is_some() => backend.cluster_id.as_str(),
        _ => return None,
    };
    (!desired.has_cluster(cluster)).then(|| cluster.into())
}

/// An order about what another source owns is refused by name, unless it asks for what stands. A
/// listing is shown as shadowed instead.
fn owned_by_another(
    entry: &Entry,
    key: &Key,
    wanted: &Wanted,
    object: Option<&Object>,
    desired: &Desired,
) -> Result<(), String> {
    let (stands, owner) = match wanted {
        Wanted::Object(stands, owner) if *owner != entry.source && !entry.is_listed() => {
            (stands, owner)
        }
        _ => return Ok(()),
    };
    let declared = desired.declared();
    let says = declared.get(key, owner);
    match object {
        Some(object) if object.same(stands) => Ok(()),
        Some(_) if says.is_some_and(|says| declared.has_let_go(owner, says)) => Ok(()),
        None if says.is_some_and(|says| declared.is_orphaned(owner, says)) => Err(format!(
            "the source {owner} left it behind; remove it with `sozu-manager orphans remove {owner}`"
        )),
        _ => Err(format!(
            "the source {owner} owns it, with another value; change it there"
        )),
    }
}

/// The verdict of a removal of what is not there.
fn absent(entry: &Entry, key: &Key, desired: &Desired) -> Verdict {
    let Key::Backend(backend) = key else {
        return Verdict::Absent;
    };
    let removed_at = |key: &Key| {
        let says = desired.declared().get(key, &entry.source)?;
        match says.stance {
            Stance::Absent { at, .. } => Some(at),
            _ => None,
        }
    };
    // One entry has removed both.
    match removed_at(&Key::Cluster(backend.cluster.clone())) {
        Some(at) if removed_at(key) == Some(at) => Verdict::RemovedWithItsCluster,
        _ => Verdict::Absent,
    }
}

fn present(entry: &Entry, object: Object, before: Option<&Declaration>) -> Declaration {
    let since = before
        .filter(|before| !matches!(before.stance, Stance::Absent { .. }))
        .map_or(entry.seq, |before| before.since);
    Declaration {
        stance: Stance::Present,
        object: Some(Arc::new(object)),
        origin: entry.origin.clone(),
        since,
    }
}

/// What Sōzu holds stays in the place of what the source says of the key.
fn held_back(entry: &Entry, object: Object, before: Option<&Declaration>) -> Option<Declaration> {
    let Admission::Held(hold) = &entry.admission else {
        return None;
    };
    let instead = match before.map(|before| &before.stance) {
        Some(Stance::Kept(Why::TakeOver { instead, .. })) => instead.clone(),
        _ => before.and_then(Declaration::standing).cloned(),
    };
    Some(Declaration {
        stance: Stance::Kept(Why::TakeOver {
            hold: hold.clone(),
            instead,
        }),
        object: Some(Arc::new(object)),
        origin: None,
        since: before.map_or(entry.seq, |before| before.since),
    })
}

/// What the source says of a key that it lets go of; nothing, if there is nothing to let go of. An
/// order may also remove what Sōzu holds and no source owns.
fn let_go(
    entry: &Entry,
    key: &Key,
    before: Option<&Declaration>,
    desired: &Desired,
    belief: &Belief,
) -> Option<Declaration> {
    let absent = Stance::Absent {
        at: entry.at,
        unseen_in: None,
    };
    let standing = before.filter(|before| !matches!(before.stance, Stance::Absent { .. }));
    let Some(before) = standing else {
        let foreign = desired.declared().wanted(key) == Wanted::NoOpinion
            && belief.held(key) != Held::Nothing;
        return (foreign && !entry.is_listed()).then(|| Declaration {
            stance: absent,
            // Only so that the database can tell the key.
            object: belief.held(key).object().cloned(),
            origin: None,
            since: entry.seq,
        });
    };
    let stance = match (&entry.admission, key) {
        (Admission::Held(id), _) => Stance::Kept(Why::Hold(id.clone())),
        (Admission::Operator(operator), _) if matches!(operator.word, Word::Discard(_)) => {
            Stance::Kept(Why::Orphaned)
        }
        (_, Key::Cluster(id)) if desired.users(id) > 0 && !others_stand(entry, key, desired) => {
            Stance::Kept(Why::StillUsed)
        }
        _ => absent,
    };
    Some(Declaration {
        object: match stance {
            Stance::Absent { .. } => None,
            _ => before.object.clone(),
        },
        stance,
        ..before.clone()
    })
}

/// Whether another source stands for the key, and has not let go of it.
fn others_stand(entry: &Entry, key: &Key, desired: &Desired) -> bool {
    let declared = desired.declared();
    declared.all(key).iter().any(|(source, says)| {
        let stands = says.standing().is_some() && !declared.has_let_go(source, says);
        *source != entry.source && stands
    })
}

/// What others have let go of under the key ends: somebody stands for the key again, or has
/// said that nothing may.
fn end_orphans(
    folded: &mut Folded,
    key: &Key,
    desired: &mut Desired,
    belief: &Belief,
) -> Result<(), String> {
    let declared = desired.declared();
    let orphans: Vec<(SourceName, Declaration)> = declared
        .all(key)
        .iter()
        .filter(|(source, says)| {
            *source != folded.entry.source && declared.has_let_go(source, says)
        })
        .cloned()
        .collect();
    for (source, before) in orphans {
        desired.declare(key, &source, None, belief)?;
        folded.turned.push(Turned {
            key: key.clone(),
            source,
            before: Some(before),
            after: None,
        });
    }
    Ok(())
}

/// A cluster that was only kept because others used it goes with its last user.
fn release_cluster(
    folded: &mut Folded,
    wanted_before: &Wanted,
    desired: &mut Desired,
    belief: &Belief,
) -> Result<(), String> {
    let Wanted::Object(object, _) = wanted_before else {
        return Ok(());
    };
    let Some(cluster) = object.cluster().filter(|id| desired.users(id) == 0) else {
        return Ok(());
    };
    let key = Key::Cluster(cluster.into());
    let unused: Vec<(SourceName, Declaration)> = desired
        .declared()
        .all(&key)
        .iter()
        .filter(|(_, declaration)| declaration.stance == Stance::Kept(Why::StillUsed))
        .cloned()
        .collect();
    for (source, before) in unused {
        let after = Declaration {
            stance: Stance::Absent {
                at: folded.entry.at,
                unseen_in: None,
            },
            object: None,
            ..before.clone()
        };
        desired.declare(&key, &source, Some(after.clone()), belief)?;
        folded.turned.push(Turned {
            key: key.clone(),
            source,
            before: Some(before),
            after: Some(after),
        });
        if !folded.keys.contains(&key) {
            folded.keys.push(key.clone());
        }
    }
    Ok(())
}
