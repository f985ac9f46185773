//! Entries are written to the log, and count once they are there: then they are folded, and whoever sent
//! them is answered. If they cannot be written, nothing of them counts.

use std::{sync::Arc, time::Duration};

use super::{
    events::{Effect, Mark, Now},
    keeper::Keeper,
    key::Keyed,
    listing::Taken,
    log::Entry,
    operator::{self, Answer},
};
use crate::messages::{DeclareError, Declared, OrderError, Position, SourceName};

/// How long a disk that cannot be written is left before what nobody else says again is tried anew.
const DISK_AGAIN: Duration = Duration::from_secs(1);

/// Entries that are being written.
pub(super) struct Appending {
    entries: Vec<Arc<Entry>>,
    sender: Sender,
}

/// Who sent them, and what counts together with them.
pub(super) enum Sender {
    /// A directory's listing.
    Directory {
        source: SourceName,
        device: u64,
        /// Its files as they are taken then.
        taken: Taken,
        /// So many of the entries are removals that the guard let through.
        removals: usize,
        reply: u64,
    },
    /// A bus, up to this position.
    Bus {
        source: SourceName,
        position: Position,
        /// What came behind it was not taken: there is no room for dead letters.
        is_cut: bool,
        reply: u64,
    },
    /// The guard, which holds what a bus said.
    Guard,
    /// A person.
    Person { reply: u64 },
}

impl Sender {
    /// The place of a source that is written in the same transaction.
    fn mark(&self) -> Option<(SourceName, Mark)> {
        match self {
            Sender::Directory { source, device, .. } => {
                Some((source.clone(), Mark::Device(*device)))
            }
            Sender::Bus {
                source, position, ..
            } => Some((source.clone(), Mark::Position(*position))),
            Sender::Guard | Sender::Person { .. } => None,
        }
    }
}

impl Keeper {
    /// Has entries written to the log.
    pub(super) fn append(
        &mut self,
        entries: Vec<Arc<Entry>>,
        sender: Sender,
        effects: &mut Vec<Effect>,
    ) {
        effects.push(Effect::Append {
            entries: entries.clone(),
            mark: sender.mark(),
        });
        self.writes(entries, sender);
    }

    /// Entries are being written.
    pub(super) fn writes(&mut self, entries: Vec<Arc<Entry>>, sender: Sender) {
        self.appending = Some(Appending { entries, sender });
    }

    /// Whether entries are being written, and not only that something ends.
    pub(super) fn writes_something(&self) -> bool {
        let appending = self.appending.as_ref();
        appending.is_some_and(|appending| !appending.entries.is_empty())
    }

    /// The person for whom something was being written: that is over.
    pub(super) fn person_who_waits(&mut self) -> Option<u64> {
        match self.appending.take()?.sender {
            Sender::Person { reply } => Some(reply),
            _ => None,
        }
    }

    /// The entries are on disk, or not.
    pub(super) fn on_appended(
        &mut self,
        now: Now,
        result: Result<(), String>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(Appending { entries, sender }) = self.appending.take() else {
            return;
        };
        if let Err(error) = result {
            self.disk = Some(error.clone());
            self.append_again = now.at + DISK_AGAIN;
            return refuse(&sender, error, effects);
        }
        self.disk = None;
        self.remember_taken(&entries);
        for entry in &entries {
            self.fold(entry.clone());
        }
        self.count(now, &entries, sender, effects);
    }

    /// What counts together with the entries.
    fn count(
        &mut self,
        now: Now,
        entries: &[Arc<Entry>],
        sender: Sender,
        effects: &mut Vec<Effect>,
    ) {
        let changes = entries.len();
        match sender {
            Sender::Directory {
                source,
                device,
                taken,
                removals,
                reply,
            } => {
                self.unspoken.remove(&source);
                let history = self.histories.entry(source.clone()).or_default();
                history.removed(now.at, removals);
                self.devices.insert(source.clone(), device);
                self.take_files(source, taken);
                effects.push(Effect::Reply(reply, Ok(Declared { changes })));
            }
            Sender::Bus {
                source,
                position,
                is_cut,
                reply,
            } => {
                self.positions.insert(source, position);
                let answer = if is_cut {
                    let taken = Some(position);
                    Err(DeclareError::LettersFull { taken })
                } else {
                    Ok(Declared { changes })
                };
                effects.push(Effect::Reply(reply, answer));
            }
            Sender::Guard => {}
            Sender::Person { reply } => {
                let receipt = operator::Receipt::of(reply, entries, now);
                self.desk.receipts.push(receipt);
            }
        }
    }

    /// The files of a directory were taken: from now on the objects are shared with the watcher.
    pub(super) fn take_files(&mut self, source: SourceName, files: Taken) {
        let known = self.taken.remove(&source).unwrap_or_default();
        for (path, objects) in &files.files {
            if known
                .files
                .get(path)
                .is_some_and(|known| Arc::ptr_eq(known, objects))
            {
                continue;
            }
            for Keyed { key, object } in objects.iter() {
                self.desired.share(key, &source, object);
            }
        }
        self.taken.insert(source, files);
    }
}

fn refuse(sender: &Sender, error: String, effects: &mut Vec<Effect>) {
    effects.extend(match sender {
        Sender::Directory { reply, .. } | Sender::Bus { reply, .. } => {
            Some(Effect::Reply(*reply, Err(DeclareError::Disk(error))))
        }
        Sender::Guard => None,
        Sender::Person { reply } => {
            let answer = Answer::Order(Err(OrderError::Disk(error)));
            Some(Effect::Answer(*reply, answer))
        }
    });
}
