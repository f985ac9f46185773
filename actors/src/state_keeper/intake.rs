//! From a listing to entries of the log: compared, admitted, judged by the guard, written, folded.

use std::sync::Arc;

use super::{
    admit::{self, Refusal},
    declared::{Stance, Wanted, Why},
    guard,
    keeper::{Appending, Effect, Keeper, Now, RefusedObject},
    key::{Key, Kind, Object},
    listing::{self, Changes},
    log::{Admission, Entry},
};
use crate::messages::{DeclareError, Declared, Listing, SourceName};

impl Keeper {
    /// Takes the next listing, if none is being written.
    pub(super) fn take_listing(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while self.appending.is_none() && !self.desk.is_writing() {
            let Some((listing, reply, asked_again)) = self.listings.pop_front() else {
                return;
            };
            if !self.belief.is_read() && self.listeners.is_none() {
                effects.push(Effect::Reply(reply, Err(DeclareError::Starting)));
                continue;
            }
            if !asked_again && self.lacks_a_listener(&listing) {
                // One may have been added: Sōzu is asked once more before anything is refused.
                self.must_read = true;
                self.listings.push_front((listing, reply, true));
                return;
            }
            if asked_again && self.must_read && self.can_read() {
                self.listings.push_front((listing, reply, true));
                return;
            }
            self.take(now, &listing, reply, effects);
        }
    }

    fn can_read(&self) -> bool {
        matches!(self.sozu, sozu_socket::Sozu::Here(_))
    }

    fn lacks_a_listener(&self, listing: &Listing) -> bool {
        let changes = listing::changes(listing, self.desired.declared());
        changes.set.iter().any(|(key, object, _)| {
            !self.was_refused(&listing.source, key, object)
                && matches!(self.admit(object), Err(Refusal::NoListener(_)))
        })
    }

    fn admit(&self, object: &Object) -> Result<(), Refusal> {
        let none = Arc::default();
        let listeners = self.listeners.as_ref().unwrap_or(&none);
        admit::admit(object, listeners, self.settings.max_request_bytes)
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

    fn take(&mut self, now: Now, listing: &Listing, reply: u64, effects: &mut Vec<Effect>) {
        let source = &listing.source;
        let changes = listing::changes(listing, self.desired.declared());
        let moved = self
            .devices
            .get(source)
            .is_some_and(|known| *known != listing.device);
        if moved && !changes.gone.is_empty() {
            let missing = changes.gone.len();
            self.unspoken.remove(source);
            effects.push(Effect::Reply(
                reply,
                Err(DeclareError::OtherDevice { missing }),
            ));
            return;
        }
        let mut entries = Vec::new();
        self.judge_objects(now, source, &changes, &mut entries);
        let removals = self.judge_removals(now, source, &changes, &mut entries);
        let device_known = self.devices.get(source) == Some(&listing.device);
        if entries.is_empty() && device_known {
            self.unspoken.remove(source);
            effects.push(Effect::Reply(reply, Ok(Declared { changes: 0 })));
            return;
        }
        effects.push(Effect::Append {
            entries: entries.clone(),
            device: (source.clone(), listing.device),
        });
        self.appending = Some(Appending {
            source: source.clone(),
            device: listing.device,
            entries,
            removals,
            reply,
        });
    }

    fn judge_objects(
        &mut self,
        now: Now,
        source: &SourceName,
        changes: &Changes,
        entries: &mut Vec<Entry>,
    ) {
        let keyless = changes.keyless.iter();
        self.without_key.insert(
            source.clone(),
            keyless
                .map(|(file, error)| format!("{}: {error}", file.display()))
                .collect(),
        );
        // What the listing says no more, or says differently, is no longer refused.
        let still: std::collections::HashSet<&Key> =
            changes.set.iter().map(|(key, ..)| key).collect();
        self.refused
            .retain(|(name, key), _| name != source || still.contains(key));
        for (key, object, file) in &changes.set {
            if self.was_refused(source, key, object) {
                continue;
            }
            let admission = match self.admit(object) {
                Ok(()) => Admission::Order,
                Err(refusal) => Admission::Refused(refusal.reason().to_owned()),
            };
            self.last_seq += 1;
            entries.push(Entry {
                seq: self.last_seq,
                source: source.clone(),
                at: now.wall,
                request: object.add(),
                origin: Some(file.clone()),
                admission,
            });
        }
    }

    /// Keeps what was refused, and why, until something about it changes.
    pub(super) fn remember_refusal(&mut self, entry: &Entry, keys: &[Key], reason: &str) {
        let request = entry.request.request_type.as_ref();
        let Some(object) = request.and_then(Object::added_by).map(Object::canonical) else {
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

    /// Returns how many removals passed that are no replacement.
    fn judge_removals(
        &mut self,
        now: Now,
        source: &SourceName,
        changes: &Changes,
        entries: &mut Vec<Entry>,
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
        let removals = listing::removals(changes);
        let verdict = guard::judge(
            &changes.gone,
            removals,
            certificates,
            history,
            self.settings.bounds,
            now.at,
        );
        let (admission, passed) = match verdict {
            guard::Verdict::Pass => (Admission::Conclusion, removals),
            guard::Verdict::Hold(id) => (Admission::Held(id), 0),
        };
        for key in &changes.gone {
            let Some(declaration) = self.desired.declared().get(key, source) else {
                continue;
            };
            let held_already = matches!(
                (&declaration.stance, &admission),
                (Stance::Kept(Why::Hold(known)), Admission::Held(id)) if known == id
            );
            let remove = declaration.object.as_ref().map(|object| object.remove());
            let Some(Ok(request)) = remove.filter(|_| !held_already) else {
                continue;
            };
            self.last_seq += 1;
            entries.push(Entry {
                seq: self.last_seq,
                source: source.clone(),
                at: now.wall,
                request,
                origin: declaration.origin.clone(),
                admission: admission.clone(),
            });
        }
        passed
    }

    /// The entries of a listing are on disk: they are folded. Or they are not: nothing of the
    /// listing counts.
    pub(super) fn on_appended(
        &mut self,
        now: Now,
        result: Result<(), String>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(appending) = self.appending.take() else {
            return;
        };
        let answer = match result {
            Ok(()) => {
                self.disk = None;
                self.unspoken.remove(&appending.source);
                let history = self.histories.entry(appending.source.clone()).or_default();
                history.removed(now.at, appending.removals);
                self.devices.insert(appending.source, appending.device);
                let changes = appending.entries.len();
                for entry in appending.entries {
                    self.fold(entry);
                }
                Ok(Declared { changes })
            }
            Err(error) => {
                self.disk = Some(error.clone());
                Err(DeclareError::Disk(error))
            }
        };
        effects.push(Effect::Reply(appending.reply, answer));
    }

    /// A declaration that another, elder one overrides is shown.
    pub(super) fn look_for_shadows(&mut self, key: &Key) {
        let wanted = self.desired.declared().wanted(key);
        for (source, declaration) in self.desired.declared().all(key).to_vec() {
            let shadow = match (&wanted, &declaration.object, &declaration.stance) {
                (Wanted::Object(object, owner), Some(mine), Stance::Present)
                    if *owner != source && !object.same(mine) =>
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
