//! What a person decides of dead letters: one is tried again as a new change, others are discarded.
//!
//! A retry is judged as any change of its source, by the settings of today. It must not undo what came later: of that the
//! database knows what is final, and the tail the rest.

use std::sync::Arc;

use sozu_command_lib::proto::command::{Request, request::RequestType};

use super::{
    appending::Sender,
    effects::effects,
    events::{Effect, End, Ending, Now, Room},
    keeper::Keeper,
    key::Key,
    log::{Admission, Entry, Folded, Operator, Provisional, Word},
    operator::Answer,
    verdict::Verdict,
};
use crate::messages::{Letter, Order, OrderError, Ordered, What};

impl Keeper {
    /// Has an order about dead letters written.
    pub(super) fn take_letters(
        &mut self,
        now: Now,
        order: &Order,
        reply: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), OrderError> {
        let uid = order.uid;
        let how = match &order.what {
            What::DiscardLetters(which) => End::Discarded(which.clone()),
            What::Retry { letter, force } => End::Retried {
                seq: letter.seq,
                again: Arc::new(self.again(now, uid, letter, *force)?),
                force: *force,
            },
            _ => return Err(OrderError::Starting),
        };
        let entries = match &how {
            End::Retried { again, .. } => vec![again.clone()],
            End::Discarded(_) => Vec::new(),
        };
        effects.push(Effect::EndLetters(Arc::new(Ending { uid, how })));
        self.writes(entries, Sender::Person { reply });
        Ok(())
    }

    fn again(
        &mut self,
        now: Now,
        uid: u32,
        letter: &Letter,
        force: bool,
    ) -> Result<Entry, OrderError> {
        let Letter {
            seq,
            source,
            original,
        } = letter;
        let Some(policy) = self.settings.policies.get(source).cloned() else {
            return Err(OrderError::NoSource(source.clone()));
        };
        // Its listener would be missing.
        if self.listeners.is_none() {
            return Err(OrderError::Starting);
        }
        let request = original.request();
        if let (Ok(request), false) = (&request, force)
            && let Some(by) = self.later_change(letter, request)
        {
            return Err(OrderError::Overtaken { letter: *seq, by });
        }
        let objects = self.desired.declared().count(source);
        let judged = self.judge_order(&request, &policy, objects);
        self.last_seq += 1;
        let word = Word::Retry(judged.map_err(|why| why.as_str().into()));
        Ok(Entry {
            seq: self.last_seq,
            source: source.clone(),
            at: now.wall,
            request: request.unwrap_or_default(),
            origin: None,
            position: None,
            original: Some(original.clone()),
            admission: Admission::Operator(Operator { uid, word }),
        })
    }

    /// How much room there is for dead letters, if buses are to wait for it: what is on disk counts, and what will be.
    pub(super) fn letter_room(&self) -> Option<Room> {
        let mut room = self.settings.letter_room?;
        let kept = self.letters.all();
        room.rows = room.rows.saturating_sub(kept.rows);
        room.bytes = room.bytes.saturating_sub(kept.bytes);
        for folded in self.tail.iter() {
            let is_refused = matches!(folded.provisional, Provisional::Final(Verdict::Refused(_)));
            if let (true, Some(original)) = (is_refused, &folded.entry.original) {
                room.take(original.bytes.len());
            }
        }
        for verdict in self.unwritten_verdicts() {
            let of_bus = self.settings.policies.contains_key(&verdict.source);
            if of_bus && matches!(verdict.verdict, Verdict::Refused(_)) {
                room.take(0);
            }
        }
        Some(room)
    }

    /// A later change of what the letter is about that is not final, or whose verdict is not on disk yet.
    fn later_change(&self, letter: &Letter, request: &Request) -> Option<u64> {
        let asked = request.request_type.as_ref()?;
        let touches = effects(asked, &letter.source, false, &self.desired).ok()?;
        let keys: Vec<Key> = touches.into_iter().map(|(key, _)| key).collect();
        let rank = letter.original.again.map_or(letter.seq, |it| it.change);
        let is_about = |others: &[Key]| others.iter().any(|key| keys.contains(key));
        // A backend does not outlive the removal of its cluster.
        let takes_along = |entry: &Entry| match &entry.request.request_type {
            Some(RequestType::RemoveCluster(id)) => keys
                .iter()
                .any(|key| matches!(key, Key::Backend(backend) if *backend.cluster == **id)),
            _ => false,
        };
        let is_later = |folded: &&Folded| {
            let refused = matches!(folded.provisional, Provisional::Final(Verdict::Refused(_)));
            let entry = &folded.entry;
            !refused && rank_of(entry) > rank && (is_about(&folded.keys) || takes_along(entry))
        };
        let in_tail = self.tail.iter().find(is_later).map(|it| it.entry.seq);
        let unwritten = || {
            let mut verdicts = self.unwritten_verdicts();
            let later = verdicts.find(|it| {
                let refused = matches!(it.verdict, Verdict::Refused(_));
                !refused && it.seq > rank && is_about(&it.keys)
            });
            later.map(|it| it.seq)
        };
        in_tail.or_else(unwritten)
    }

    /// What was ordered about dead letters is on disk; or nothing of it counts.
    pub(super) fn on_letters_ended(
        &mut self,
        now: Now,
        result: Result<usize, OrderError>,
        effects: &mut Vec<Effect>,
    ) {
        if result.is_ok() && self.writes_something() {
            return self.on_appended(now, Ok(()), effects);
        }
        let Some(reply) = self.person_who_waits() else {
            return;
        };
        let answer = match result {
            Ok(objects) => {
                self.disk = None;
                Ok(Ordered {
                    objects,
                    ..Ordered::default()
                })
            }
            Err(error) => {
                if let OrderError::Disk(why) = &error {
                    self.disk = Some(why.clone());
                }
                Err(error)
            }
        };
        effects.push(Effect::Answer(reply, Answer::Order(answer)));
    }
}

/// What is tried again counts as the change that it once was.
fn rank_of(entry: &Entry) -> u64 {
    let again = entry.original.as_ref().and_then(|it| it.again);
    again.map_or(entry.seq, |it| it.change)
}
