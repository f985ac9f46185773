//! What sources send, one after the other: from a listing to entries of the log, compared,
//! admitted, judged by the guard, written, folded. The orders of a bus are in `orders`.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use sozu_command_lib::proto::command::Request;

use super::{
    admit::{self, Refusal},
    appending::Sender,
    declared::{Stance, Wanted, Why},
    events::{Effect, Now},
    guard,
    keeper::{Keeper, RefusedObject},
    key::{Key, Kind, Object, listener_for},
    listing::{self, Changes, Taken},
    log::{Admission, Entry},
};
use crate::messages::{Changes as BusChanges, DeclareError, Declared, Listing, SourceName};

/// What a source sent.
pub(super) enum Word {
    Listing(Listing),
    Changes(BusChanges),
}

/// Something that waits to be taken.
pub(super) struct Taking {
    pub word: Word,
    pub reply: u64,
    /// Sōzu was read once more for it, since a listener was missing.
    pub asked_again: bool,
}

/// Keys that are to be sent beyond which a bus waits.
const UNSETTLED: usize = 20_000;

impl Keeper {
    /// Takes what waits, one after the other, while nothing is being written.
    pub(super) fn take_next(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while self.appending.is_none() {
            let Some(mut taking) = self.intake.pop_front() else {
                return;
            };
            if let Some(why_not) = self.cannot_take(&taking.word) {
                effects.push(Effect::Reply(taking.reply, Err(why_not)));
                continue;
            }
            let changes = match &taking.word {
                Word::Listing(listing) => self.changes(listing),
                Word::Changes(_) => Changes::default(),
            };
            if !taking.asked_again && self.lacks_a_listener(&taking.word, &changes) {
                // One may have been added: Sōzu is asked once more before anything is refused.
                self.must_read = true;
                taking.asked_again = true;
            }
            let reads_for_it = taking.asked_again && self.must_read && self.is_here();
            if reads_for_it || self.is_too_busy(&taking.word) {
                self.intake.push_front(taking);
                return;
            }
            match taking.word {
                Word::Listing(listing) => {
                    self.take_listing(now, &listing, &changes, taking.reply, effects);
                }
                Word::Changes(changes) => self.take_changes(now, changes, taking.reply, effects),
            }
        }
    }

    /// Compares a listing with what its source declared. A source of which something was refused is
    /// compared whole: that is tried again when something else has changed.
    fn changes(&self, listing: &Listing) -> Changes {
        let source = &listing.source;
        let nothing = Taken::default();
        let whole = self.refused.keys().any(|(name, _)| name == source);
        let taken = self
            .taken
            .get(source)
            .filter(|_| !whole)
            .unwrap_or(&nothing);
        listing::changes(listing, self.desired.declared(), taken)
    }

    pub(super) fn is_here(&self) -> bool {
        self.sozu.is_here()
    }

    fn cannot_take(&self, word: &Word) -> Option<DeclareError> {
        let (Word::Listing(Listing { source, .. }) | Word::Changes(BusChanges { source, .. })) =
            word;
        if !self.is_configured(source) {
            return Some(DeclareError::NotConfigured);
        }
        if !self.belief.is_read() && self.listeners.is_none() {
            return Some(DeclareError::Starting);
        }
        // The broker keeps a bus's backlog better than we do; a directory is told only once.
        let Word::Changes(changes) = word else {
            return None;
        };
        if self.has_to_subscribe(&changes.source) {
            return Some(DeclareError::Starting);
        }
        if self.letter_room().is_some_and(|room| room.is_used_up()) {
            let taken = self.positions.get(&changes.source).copied();
            return Some(DeclareError::LettersFull { taken });
        }
        (!self.is_here()).then_some(DeclareError::Away)
    }

    /// A bus waits for what is to be sent, and for what is unknown.
    fn is_too_busy(&self, word: &Word) -> bool {
        let Word::Changes(changes) = word else {
            return false;
        };
        let catches_up = self.is_caught_up(&changes.source) == Some(false);
        self.must_read || (self.dirty.len() > UNSETTLED && !catches_up)
    }

    fn lacks_a_listener(&self, word: &Word, changes: &Changes) -> bool {
        let lacks = |source: &SourceName, key: &Key, object: &Object| {
            !self.was_refused(source, key, object)
                && object
                    .listener()
                    .is_some_and(|address| self.listener(object.kind(), address).is_err())
        };
        match word {
            Word::Listing(listing) => {
                let mut set = changes.set.iter();
                set.any(|(key, object, _)| lacks(&listing.source, key, object))
            }
            Word::Changes(changes) => changes
                .changes
                .iter()
                .filter_map(|change| change.request.as_ref().ok()?.request_type.as_ref())
                .filter_map(listener_for)
                .any(|(kind, address)| self.listener(kind, address).is_err()),
        }
    }

    /// Judges what a request of so many bytes brings.
    pub(super) fn admit(&self, object: &Object, bytes: usize) -> Result<(), Refusal> {
        let listeners = self.listeners.clone().unwrap_or_default();
        admit::admit(object, bytes, &listeners, self.settings.max_request_bytes)
    }

    fn listener(&self, kind: Kind, address: SocketAddr) -> Result<(), Refusal> {
        let listeners = self.listeners.clone().unwrap_or_default();
        admit::listener(kind, address, &listeners)
    }

    /// Whether the same object was refused before and nothing about it has changed since.
    fn was_refused(&self, source: &SourceName, key: &Key, object: &Object) -> bool {
        let refused = self.refused.get(&(source.clone(), key.clone()));
        refused.is_some_and(|refused| {
            refused.object.same(object)
                && refused.listeners == self.listeners
                && refused.foreign == self.foreign_at(key)
        })
    }

    fn take_listing(
        &mut self,
        now: Now,
        listing: &Listing,
        changes: &Changes,
        reply: u64,
        effects: &mut Vec<Effect>,
    ) {
        let source = &listing.source;
        let moved = self
            .devices
            .get(source)
            .is_some_and(|known| *known != listing.device);
        // What was replaced is not missing: nothing of it is in an empty mount point.
        let missing = changes.gone.len();
        if moved && missing > 0 {
            self.unspoken.remove(source);
            effects.push(Effect::Reply(
                reply,
                Err(DeclareError::OtherDevice { missing }),
            ));
            return;
        }
        let mut entries = Vec::new();
        self.judge_objects(now, source, changes, &mut entries);
        let removals = self.judge_removals(now, source, changes, &mut entries);
        let device_known = self.devices.get(source) == Some(&listing.device);
        if entries.is_empty() && device_known {
            self.unspoken.remove(source);
            self.take_files(source.clone(), Taken::of(listing));
            effects.push(Effect::Reply(reply, Ok(Declared { changes: 0 })));
            return;
        }
        let sender = Sender::Directory {
            source: source.clone(),
            device: listing.device,
            taken: Taken::of(listing),
            removals,
            reply,
        };
        self.append(entries, sender, effects);
    }

    fn judge_objects(
        &mut self,
        now: Now,
        source: &SourceName,
        changes: &Changes,
        entries: &mut Vec<Arc<Entry>>,
    ) {
        // What the listing says no more, or says differently, is no longer refused.
        let still: std::collections::HashSet<&Key> =
            changes.set.iter().map(|(key, ..)| key).collect();
        self.refused
            .retain(|(name, key), _| name != source || still.contains(key));
        for (key, object, file) in &changes.set {
            if self.was_refused(source, key, object) {
                continue;
            }
            let admission = match self.admit(object, object.bytes()) {
                Ok(()) => Admission::Order,
                Err(refusal) => Admission::Refused(refusal.reason().to_owned()),
            };
            // One change for each that goes, so that it stays if what comes in its place is refused.
            let goes = changes.renewed.iter().filter(|(_, comes)| *comes == key);
            let replaces = goes.filter_map(|(old, _)| object.in_place_of(old));
            let mut requests: Vec<Request> = replaces.collect();
            if requests.is_empty() {
                requests.push(object.add());
            }
            for request in requests {
                self.last_seq += 1;
                entries.push(Arc::new(Entry {
                    seq: self.last_seq,
                    source: source.clone(),
                    at: now.wall,
                    request: Arc::new(request),
                    origin: Some(file.clone()),
                    position: None,
                    original: None,
                    admission: admission.clone(),
                }));
            }
        }
    }

    /// Keeps what was refused, and why, until something about it changes.
    pub(super) fn remember_refusal(&mut self, entry: &Entry, keys: &[Key], reason: &str) {
        let request = entry.request.request_type.as_ref();
        let Some(object) = request.and_then(Object::brought_by).map(Object::canonical) else {
            return;
        };
        let Some(key) = keys.first().cloned().or_else(|| object.key().ok()) else {
            return;
        };
        let refused = RefusedObject {
            object: Arc::new(object),
            foreign: self.foreign_at(&key),
            listeners: self.listeners.clone(),
            file: entry.origin.clone(),
            reason: reason.to_owned(),
        };
        self.refused.insert((entry.source.clone(), key), refused);
    }

    /// What somebody else has under the key.
    fn foreign_at(&self, key: &Key) -> Option<Arc<Object>> {
        let foreign = self.desired.declared().wanted(key) == Wanted::NoOpinion;
        foreign
            .then(|| self.belief.held(key).object().cloned())
            .flatten()
    }

    /// Returns how many removals passed.
    fn judge_removals(
        &mut self,
        now: Now,
        source: &SourceName,
        changes: &Changes,
        entries: &mut Vec<Arc<Entry>>,
    ) -> usize {
        let declared = self.desired.declared();
        let owned = declared.count(source);
        let kinds = declared.objects().get(source);
        let certificates = kinds
            .and_then(|kinds| kinds.get(&Kind::Certificate))
            .copied()
            .unwrap_or(0);
        let history = self.histories.entry(source.clone()).or_default();
        history.owned(now.at, owned);
        let bounds = self.settings.bounds;
        let (admission, passed) =
            match guard::judge(&changes.gone, certificates, history, bounds, now.at) {
                guard::Verdict::Pass => (Admission::Conclusion, changes.gone.len()),
                guard::Verdict::Hold(id) => (Admission::Held(id), 0),
            };
        // What has come in their place is an order, and so is that they go.
        self.let_go(now, source, &changes.replaced, &Admission::Order, entries);
        self.let_go(now, source, &changes.gone, &admission, entries);
        passed
    }

    fn let_go(
        &mut self,
        now: Now,
        source: &SourceName,
        keys: &[Key],
        admission: &Admission,
        entries: &mut Vec<Arc<Entry>>,
    ) {
        for key in keys {
            let Some(declaration) = self.desired.declared().get(key, source) else {
                continue;
            };
            let held_already = matches!(
                (&declaration.stance, admission),
                (Stance::Kept(Why::Hold(known)), Admission::Held(id)) if known == id
            );
            let remove = declaration.object.as_ref().map(|object| object.remove());
            let Some(Ok(request)) = remove.filter(|_| !held_already) else {
                continue;
            };
            self.last_seq += 1;
            entries.push(Arc::new(Entry {
                seq: self.last_seq,
                source: source.clone(),
                at: now.wall,
                request: Arc::new(request),
                origin: declaration.origin.clone(),
                position: None,
                original: None,
                admission: admission.clone(),
            }));
        }
    }

    /// A declaration that another, elder one overrides is shown.
    pub(super) fn look_for_shadows(&mut self, key: &Key) {
        let nobody_else = self.desired.declared().all(key).len() < 2;
        if nobody_else && self.shadowed.values().all(BTreeMap::is_empty) {
            return;
        }
        let wanted = self.desired.declared().wanted(key);
        for (source, declaration) in self.desired.declared().all(key).to_vec() {
            let stands_alone = self.desired.declared().is_orphaned(&source, &declaration);
            let shadow = match (&wanted, &declaration.object, &declaration.stance) {
                (Wanted::Object(object, owner), Some(mine), Stance::Present)
                    if *owner != source && !stands_alone && !object.same(mine) =>
                {
                    Some(format!(
                        "{} {key} is declared differently by {owner}, which came first; change one of them",
                        key.kind()
                    ))
                }
                _ => None,
            };
            let shadows = self.shadowed.entry(source).or_default();
            match shadow {
                Some(text) => shadows.insert(key.clone(), text),
                None => shadows.remove(key),
            };
        }
    }
}
