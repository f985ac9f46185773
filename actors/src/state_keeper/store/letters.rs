//! Dead letters: the refused messages of buses. Each is a row of the journal that keeps its bytes until a person has decided,
//! or until there are too many. What ends is an ordinary row from then on.
//!
//! A letter that is tried again must not undo what came later: a later change of the same object that was taken marks it as
//! overtaken. What is tried again counts as the change that it once was.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Limits, StoreError, rows};
use crate::{
    messages::{Letters, SourceName},
    state_keeper::{
        events::FinalVerdict,
        key::{Key, Kind},
        log::Entry,
        verdict::Verdict,
    },
};

/// What happens when there is no room for another dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest goes.
    DropOldest,
    /// Nothing goes: buses wait.
    Stop,
}

/// How many dead letters there are of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Letters.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the letters, those that no topic had yet.
    pub unsent: u64,
}

/// How many dead letters there are, by source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<SourceName, Count>);

impl Counts {
    /// Of one source.
    pub fn of(&self, source: &SourceName) -> Count {
        self.0.get(source).copied().unwrap_or_default()
    }

    /// Of all sources.
    pub fn all(&self) -> Count {
        let add = |a: Count, b: &Count| Count {
            rows: a.rows + b.rows,
            bytes: a.bytes + b.bytes,
            unsent: a.unsent + b.unsent,
        };
        self.0.values().fold(Count::default(), add)
    }

    /// The sources that have any.
    pub fn sources(&self) -> impl Iterator<Item = &SourceName> {
        self.0.keys()
    }
}

impl FromIterator<(SourceName, Count)> for Counts {
    fn from_iter<I: IntoIterator<Item = (SourceName, Count)>>(counts: I) -> Self {
        Self(counts.into_iter().collect())
    }
}

/// What a letter counts for.
struct Weight {
    source: SourceName,
    bytes: u64,
    unsent: bool,
}

/// The letters as far as they are looked at in memory.
#[derive(Default)]
pub(super) struct Desk {
    counts: Counts,
    /// What they are about; perhaps more than that.
    keys: HashSet<String>,
    is_news: bool,
}

const WEIGHT: &str = "source, length(request) + coalesce(length(original), 0), sent_on IS NULL";

/// A letter that is older than the change ?1. What is tried again has the rank of what was refused once.
const OLDER: &str = "letter = 'kept' AND coalesce(again, seq) <
     (SELECT coalesce(again, seq) FROM journal WHERE seq = ?1)";

fn weight(row: &rusqlite::Row<'_>) -> rusqlite::Result<Weight> {
    let source: String = row.get(0)?;
    Ok(Weight {
        source: SourceName::new(&source),
        bytes: row.get(1)?,
        unsent: row.get(2)?,
    })
}

fn place(kind: &str, key: &str) -> String {
    format!("{kind} {key}")
}

impl Desk {
    pub(super) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let mut desk = Self::default();
        let sql = format!("SELECT {WEIGHT}, kind, key FROM journal WHERE letter = 'kept'");
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            desk.add(&weight(row)?);
            desk.note(row.get(3)?, row.get(4)?);
        }
        desk.is_news = true;
        Ok(desk)
    }

    /// How many there are, if that is not what was told last.
    pub(super) fn news(&mut self) -> Option<Arc<Counts>> {
        std::mem::take(&mut self.is_news).then(|| Arc::new(self.counts.clone()))
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    fn add(&mut self, weight: &Weight) {
        let count = self.counts.0.entry(weight.source.clone()).or_default();
        count.rows += 1;
        count.bytes += weight.bytes;
        count.unsent += u64::from(weight.unsent);
        self.is_news = true;
    }

    fn take(&mut self, weight: &Weight) {
        if let Some(count) = self.counts.0.get_mut(&weight.source) {
            count.rows = count.rows.saturating_sub(1);
            count.bytes = count.bytes.saturating_sub(weight.bytes);
            count.unsent = count.unsent.saturating_sub(u64::from(weight.unsent));
            if count.rows == 0 {
                self.counts.0.remove(&weight.source);
            }
        }
        self.is_news = true;
    }

    fn note(&mut self, kind: Option<String>, key: Option<String>) {
        if let (Some(kind), Some(key)) = (kind, key) {
            self.keys.insert(place(&kind, &key));
        }
    }

    /// A verdict is final: a refused message is a letter from now on, what was taken overtakes letters.
    pub(super) fn judged(
        &mut self,
        transaction: &Transaction<'_>,
        verdict: &FinalVerdict,
    ) -> Result<(), StoreError> {
        if !matches!(verdict.verdict, Verdict::Refused(_)) {
            return self.overtaken(transaction, verdict);
        }
        let sql = format!(
            "UPDATE journal SET letter = 'kept' WHERE seq = ?1 AND (position IS NOT NULL OR message IS NOT NULL)
             RETURNING {WEIGHT}, kind, key"
        );
        let kept = transaction
            .prepare_cached(&sql)?
            .query_row([verdict.seq], |row| {
                Ok((weight(row)?, row.get(3)?, row.get(4)?))
            })
            .optional()?;
        if let Some((weight, kind, key)) = kept {
            self.add(&weight);
            self.note(kind, key);
        }
        Ok(())
    }

    fn overtaken(
        &self,
        transaction: &Transaction<'_>,
        verdict: &FinalVerdict,
    ) -> Result<(), StoreError> {
        if self.keys.is_empty() {
            return Ok(());
        }
        for key in &verdict.keys {
            let (kind, text) = (key.kind().name(), key.to_string());
            if self.keys.contains(&place(kind, &text)) {
                let sql = format!(
                    "UPDATE journal SET overtaken = ?1 WHERE kind = ?2 AND key = ?3 AND {OLDER}"
                );
                transaction
                    .prepare_cached(&sql)?
                    .execute(params![verdict.seq, kind, text])?;
            }
            // A backend does not outlive the removal of its cluster.
            if let Key::Cluster(id) = key {
                let sql = format!(
                    "UPDATE journal SET overtaken = ?1 WHERE kind = ?2 AND substr(key, 1, length(?3)) = ?3 AND {OLDER}
                     AND (SELECT change FROM journal WHERE seq = ?1) = 'remove'"
                );
                transaction.prepare_cached(&sql)?.execute(params![
                    verdict.seq,
                    Kind::Backend.name(),
                    format!("{id};")
                ])?;
            }
        }
        Ok(())
    }

    /// Drops the oldest as long as there are too many, if any may be dropped. Returns how many.
    pub(super) fn fit(
        &mut self,
        transaction: &Transaction<'_>,
        limits: &Limits,
    ) -> Result<usize, StoreError> {
        let is_too_much = |count: Count| {
            count.rows > limits.dead_letter_rows || count.bytes > limits.dead_letter_bytes
        };
        if limits.when_full == WhenFull::Stop || !is_too_much(self.counts.all()) {
            return Ok(0);
        }
        let sql = format!("SELECT {WEIGHT}, seq FROM journal WHERE letter = 'kept' ORDER BY seq");
        let mut statement = transaction.prepare_cached(&sql)?;
        let mut eldest = statement.query([])?;
        let mut dropped: Vec<u64> = Vec::new();
        while is_too_much(self.counts.all())
            && let Some(row) = eldest.next()?
        {
            self.take(&weight(row)?);
            dropped.push(row.get(3)?);
        }
        drop(eldest);
        let mut delete = transaction.prepare_cached("DELETE FROM journal WHERE seq = ?1")?;
        for seq in &dropped {
            delete.execute([seq])?;
        }
        Ok(dropped.len())
    }

    /// These end without another try. Returns how many.
    pub(super) fn discard(
        &mut self,
        transaction: &Transaction<'_>,
        which: &Letters,
        uid: u32,
    ) -> Result<u64, StoreError> {
        let (seq, source) = match which {
            Letters::One(seq) => (Some(*seq), None),
            Letters::Of(source) => (None, Some(source.as_str())),
            Letters::All => (None, None),
        };
        let of_these =
            "letter = 'kept' AND (?1 IS NULL OR seq = ?1) AND (?2 IS NULL OR source = ?2)";
        let ended = {
            let sql = format!("SELECT {WEIGHT} FROM journal WHERE {of_these}");
            let mut statement = transaction.prepare(&sql)?;
            let ended = statement.query_map(params![seq, source], weight)?;
            ended.collect::<Result<Vec<Weight>, _>>()?
        };
        if let (Some(seq), true) = (seq, ended.is_empty()) {
            return Err(StoreError::NoSuchLetter(seq));
        }
        transaction.execute(
            &format!(
                "UPDATE journal SET letter = ?3, request = x'', original = NULL WHERE {of_these}"
            ),
            params![seq, source, format!("discarded by uid {uid}")],
        )?;
        for weight in &ended {
            self.take(weight);
        }
        Ok(ended.len() as u64)
    }

    /// The letter `seq` ends: it is tried again as `again`, whose row is written.
    pub(super) fn retry(
        &mut self,
        transaction: &Transaction<'_>,
        seq: u64,
        again: &Entry,
        uid: u32,
        force: bool,
    ) -> Result<(), StoreError> {
        let sql =
            format!("SELECT {WEIGHT}, overtaken FROM journal WHERE seq = ?1 AND letter = 'kept'");
        let found = transaction
            .query_row(&sql, [seq], |row| {
                let overtaken: Option<u64> = row.get(3)?;
                Ok((weight(row)?, overtaken))
            })
            .optional()?;
        let (weight, overtaken) = match found {
            None => return Err(StoreError::NoSuchLetter(seq)),
            Some((_, Some(by))) if !force => {
                return Err(StoreError::Overtaken { letter: seq, by });
            }
            Some(found) => found,
        };
        rows::insert_entries(transaction, [again])?;
        // Refused again, it is as old as before.
        transaction.execute(
            "UPDATE journal SET overtaken = ?2 WHERE seq = ?1",
            params![again.seq, overtaken],
        )?;
        transaction.execute(
            "UPDATE journal SET letter = ?2, request = x'', original = NULL WHERE seq = ?1",
            params![seq, format!("retried as {} by uid {uid}", again.seq)],
        )?;
        self.take(&weight);
        Ok(())
    }

    /// The dead-letter topic has these.
    pub(super) fn sent_on(
        &mut self,
        transaction: &Transaction<'_>,
        letters: &[u64],
        now: SystemTime,
    ) -> Result<(), StoreError> {
        let mut update = transaction.prepare_cached(
            "UPDATE journal SET sent_on = ?2 WHERE seq = ?1 AND letter = 'kept' AND sent_on IS NULL
             RETURNING source",
        )?;
        for seq in letters {
            let source: Option<String> = update
                .query_row(params![seq, rows::millis(now)], |row| row.get(0))
                .optional()?;
            let count = source.and_then(|source| self.counts.0.get_mut(&SourceName::new(&source)));
            if let Some(count) = count {
                count.unsent = count.unsent.saturating_sub(1);
            }
        }
        self.is_news = true;
        Ok(())
    }
}
