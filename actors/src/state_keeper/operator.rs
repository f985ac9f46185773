//! What a person on this host asks for: orders about holds and orphans, and how Sōzu differs.
//!
//! An order passes the guard and goes through the log like any other change. *Released*: what the
//! hold keeps goes. *Discarded*: what it keeps stays, orphaned, until another source says something
//! of it, its own source declares it again, or a person removes it.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    appending::Sender,
    declared::{Declaration, Stance, Wanted, Why},
    events::{Acceptance, Effect, Now},
    gate::Gate,
    held::Held,
    keeper::Keeper,
    key::{Key, Object},
    log::{Admission, Entry, Operator, Word},
    plan::{self, Need},
    report::Difference,
    verdict::Verdict,
};
use crate::messages::{
    DiffError, Differing, Kept, KeyName, Order, OrderError, Ordered, Paused, SourceName, What,
};

/// How long a person waits for verdicts, or for Sōzu to be read. What is ordered is done after it
/// all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many reasons of refusals a person is told.
const REASONS: usize = 5;
/// What Sōzu holds where nobody has an opinion, in a list of differences.
const FOREIGN: &str = "foreign";

/// An answer for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To an order.
    Order(Result<Ordered, OrderError>),
    /// To a pause, or the end of one.
    Paused(Paused),
    /// To a question for the difference.
    Compare(Result<Vec<Differing>, DiffError>),
}

/// What persons asked for and wait for.
#[derive(Default)]
pub(super) struct Desk {
    /// Not taken yet.
    pub orders: VecDeque<(Order, u64)>,
    pub receipts: Vec<Receipt>,
    comparisons: Vec<Comparison>,
    /// Who waits for a pause to be written, and whether there was one before.
    pub pauses: Vec<(u64, bool)>,
}

/// A person who waits for the verdicts of an order.
pub(super) struct Receipt {
    reply: u64,
    open: HashSet<u64>,
    verdicts: BTreeMap<&'static str, usize>,
    reasons: Vec<String>,
    until: Duration,
}

impl Receipt {
    /// For an order of these entries.
    pub(super) fn of(reply: u64, entries: &[Arc<Entry>], now: Now) -> Self {
        Self {
            reply,
            open: entries.iter().map(|entry| entry.seq).collect(),
            verdicts: BTreeMap::new(),
            reasons: Vec::new(),
            until: now.at + PATIENCE,
        }
    }
}

/// A person who waits for a read of Sōzu.
struct Comparison {
    reply: u64,
    until: Duration,
}

impl Desk {
    /// These verdicts are final and on disk.
    pub(super) fn hear(&mut self, acceptance: &Acceptance) {
        for receipt in &mut self.receipts {
            for verdict in &acceptance.verdicts {
                if receipt.open.remove(&verdict.seq) {
                    *receipt.verdicts.entry(verdict.verdict.name()).or_default() += 1;
                    if let Verdict::Refused(reason) = &verdict.verdict
                        && receipt.reasons.len() < REASONS
                    {
                        receipt.reasons.push(reason.clone());
                    }
                }
            }
        }
    }
}

impl Keeper {
    /// Takes the next order, if nothing is being written.
    pub(super) fn take_order(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while self.appending.is_none() {
            let Some((order, reply)) = self.desk.orders.pop_front() else {
                return;
            };
            if let What::Accept(source) = &order.what {
                if let Err(error) = self.accept_warnings(source, reply) {
                    effects.push(Effect::Answer(reply, Answer::Order(Err(error))));
                }
                continue;
            }
            let taken = match &order.what {
                What::Retry { .. } | What::DiscardLetters(_) => {
                    self.take_letters(now, &order, reply, effects)
                }
                _ => self.take_kept(now, &order, reply, effects),
            };
            if let Err(error) = taken {
                effects.push(Effect::Answer(reply, Answer::Order(Err(error))));
            }
        }
    }

    /// Has an order about what is kept written.
    fn take_kept(
        &mut self,
        now: Now,
        order: &Order,
        reply: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), OrderError> {
        let entries = self.entries_of(now, order);
        if !entries.is_empty() {
            let entries = entries.into_iter().map(Arc::new).collect();
            self.append(entries, Sender::Person { reply }, effects);
            return Ok(());
        }
        Err(match &order.what {
            What::RemoveOrphans(source) => OrderError::NoOrphans(source.clone()),
            What::Release(id) | What::Discard(id) => OrderError::NoSuchHold(id.clone()),
            What::Retry { letter, .. } => OrderError::NoSuchLetter(letter.seq),
            What::DiscardLetters(_) | What::Accept(_) => OrderError::Starting,
        })
    }

    /// One entry for each object that the order is about: users before what they use.
    fn entries_of(&mut self, now: Now, order: &Order) -> Vec<Entry> {
        let (word, mut objects) = match &order.what {
            What::Release(id) => (Word::Release(id.clone()), self.held_by(id)),
            What::Discard(id) => (Word::Discard(id.clone()), self.held_by(id)),
            What::RemoveOrphans(source) => (Word::Remove, self.orphans_of(source)),
            What::Retry { .. } | What::DiscardLetters(_) | What::Accept(_) => return Vec::new(),
        };
        // What comes in the place of something, then what goes, users before what they use.
        objects.sort_by(|(a, ..), (b, ..)| b.kind().cmp(&a.kind()).then_with(|| a.cmp(b)));
        objects.sort_by_key(|(key, _, says)| {
            instead(says, &word).map_or((1, None), |_| (0, Some(key.kind())))
        });
        let mut entries = Vec::with_capacity(objects.len());
        for (_, source, says) in objects {
            // What was declared has a key, and so it can be removed.
            let remove = says.standing().and_then(|object| object.remove().ok());
            let Some(request) = instead(&says, &word).map(|object| object.add()).or(remove) else {
                continue;
            };
            self.last_seq += 1;
            entries.push(Entry {
                seq: self.last_seq,
                source,
                at: now.wall,
                request: Arc::new(request),
                origin: None,
                position: None,
                original: None,
                admission: Admission::Operator(Operator {
                    uid: order.uid,
                    word: word.clone(),
                }),
            });
        }
        entries
    }

    /// Answers those whose verdicts are all final, or who have waited long enough.
    pub(super) fn give_receipts(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for reply in self.warnings.done() {
            let ordered = Ordered {
                objects: 1,
                ..Ordered::default()
            };
            effects.push(Effect::Answer(reply, Answer::Order(Ok(ordered))));
        }
        if self.desk.receipts.is_empty() {
            return;
        }
        let waits_for = self.order_waits_for(now);
        self.desk.receipts.retain_mut(|receipt| {
            let open = receipt.open.len();
            if open > 0 && now.at < receipt.until {
                return true;
            }
            let verdicts = std::mem::take(&mut receipt.verdicts);
            let ordered = Ordered {
                objects: open + verdicts.values().sum::<usize>(),
                verdicts,
                open,
                waits_for: (open > 0).then(|| waits_for.clone()),
                reasons: std::mem::take(&mut receipt.reasons),
            };
            effects.push(Effect::Answer(receipt.reply, Answer::Order(Ok(ordered))));
            false
        });
    }

    fn order_waits_for(&self, now: Now) -> String {
        match (&self.disk, self.gate(now), &self.trouble) {
            (Some(disk), ..) => format!("the state directory cannot be written: {disk}"),
            (_, Gate::Closed(why), _) => why.to_owned(),
            (_, Gate::Paused(pause), _) => pause.to_string(),
            (.., Some(trouble)) => trouble.clone(),
            _ => "Sōzu's answer".to_owned(),
        }
    }

    fn held_by(&self, id: &Arc<str>) -> Vec<(Key, SourceName, Declaration)> {
        self.kept(|_, says| says.stance.hold() == Some(id))
    }

    fn orphans_of(&self, source: &SourceName) -> Vec<(Key, SourceName, Declaration)> {
        self.kept(|name, says| name == source && self.is_left_behind(name, says))
    }

    fn is_left_behind(&self, source: &SourceName, says: &Declaration) -> bool {
        self.desired.declared().is_orphaned(source, says) || !self.is_configured(source)
    }

    /// The declarations of this sort that stand for objects.
    fn kept(
        &self,
        is_one: impl Fn(&SourceName, &Declaration) -> bool,
    ) -> Vec<(Key, SourceName, Declaration)> {
        let declared = self.desired.declared();
        let mut kept = Vec::new();
        for key in declared.keys() {
            for (source, says) in declared.all(key) {
                if says.standing().is_some() && is_one(source, says) {
                    kept.push((key.clone(), source.clone(), says.clone()));
                }
            }
        }
        kept
    }

    /// Every hold, by source and id.
    pub fn holds(&self) -> Vec<Kept> {
        let declared = self.desired.declared();
        let mut holds: BTreeMap<(&SourceName, &Arc<str>), Vec<KeyName>> = BTreeMap::new();
        for key in declared.keys() {
            for (source, says) in declared.all(key) {
                if let Some(id) = says.stance.hold() {
                    holds.entry((source, id)).or_default().push(name(key));
                }
            }
        }
        let holds = holds.into_iter();
        holds
            .map(|((source, id), keys)| kept_by(source, Some(id.clone()), keys))
            .collect()
    }

    /// What was left behind, by source.
    pub fn orphans(&self) -> Vec<Kept> {
        let mut orphans: BTreeMap<SourceName, Vec<KeyName>> = BTreeMap::new();
        for (key, source, _) in self.kept(|source, says| self.is_left_behind(source, says)) {
            orphans.entry(source).or_default().push(name(&key));
        }
        let orphans = orphans.into_iter();
        orphans
            .map(|(source, keys)| kept_by(&source, None, keys))
            .collect()
    }

    /// Somebody wants to know how Sōzu differs: it is read for that.
    pub(super) fn on_compare(&mut self, now: Now, reply: u64) {
        self.must_read = true;
        self.desk.comparisons.push(Comparison {
            reply,
            until: now.at + PATIENCE,
        });
    }

    /// Answers right after a read, before anything is mended; or when it takes too long.
    pub(super) fn answer_comparisons(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.desk.comparisons.is_empty() {
            return;
        }
        let is_read = self.belief.is_read() && !self.must_read;
        let is_away = match &self.sozu {
            sozu_socket::Sozu::Away { why } => Some(format!("Sōzu is away: {why}")),
            _ => None,
        };
        let unread = is_away
            .clone()
            .or_else(|| self.trouble.clone())
            .unwrap_or_else(|| "it was not read in time; try again".to_owned());
        for comparison in std::mem::take(&mut self.desk.comparisons) {
            let answer = if is_read {
                Ok(self.differences())
            } else if is_away.is_some() || now.at >= comparison.until {
                Err(DiffError::Unread(unread.clone()))
            } else {
                self.desk.comparisons.push(comparison);
                continue;
            };
            effects.push(Effect::Answer(comparison.reply, Answer::Compare(answer)));
        }
    }

    /// Every key under which Sōzu does not hold what is wanted, and what it holds beside that.
    /// Names only: objects may hold secrets.
    fn differences(&self) -> Vec<Differing> {
        let declared = self.desired.declared();
        let mut differences: Vec<Differing> = declared
            .keys()
            .filter_map(|key| self.difference(key))
            .collect();
        differences.extend(self.foreign.iter().map(|key| Differing {
            difference: FOREIGN,
            key: name(key),
            source: None,
            why: None,
        }));
        differences.sort_by(|a, b| {
            let by_kind = |it: &Differing| (it.difference == FOREIGN, it.difference);
            by_kind(a).cmp(&by_kind(b)).then_with(|| a.key.cmp(&b.key))
        });
        differences
    }

    fn difference(&self, key: &Key) -> Option<Differing> {
        let wanted = self.desired.declared().wanted(key);
        let held = self.belief.held(key);
        let difference = match (&wanted, &held) {
            _ if self.doubts.divergent.contains(key) => Difference::Divergent,
            (Wanted::Object(..), Held::Nothing) => Difference::Missing,
            (Wanted::Object(object, _), Held::Object(held)) if !object.same(held) => {
                Difference::Different
            }
            (Wanted::Nothing, Held::Object(_)) => Difference::Resurrected,
            _ => return None,
        };
        let why = match plan::need(key, &wanted, &held, false) {
            Need::Unservable(why) => Some(why.to_owned()),
            _ => None,
        };
        Some(Differing {
            difference: difference.name(),
            key: name(key),
            source: match wanted {
                Wanted::Object(_, owner) => Some(owner.to_string()),
                _ => None,
            },
            why,
        })
    }
}

/// What comes in the place of what is kept, if the order lets it through.
fn instead<'a>(says: &'a Declaration, word: &Word) -> Option<&'a Arc<Object>> {
    match (&says.stance, word) {
        (Stance::Kept(Why::TakeOver { instead, .. }), Word::Release(_)) => instead.as_ref(),
        _ => None,
    }
}

fn kept_by(source: &SourceName, id: Option<Arc<str>>, mut keys: Vec<KeyName>) -> Kept {
    keys.sort();
    Kept {
        id,
        source: source.to_string(),
        objects: keys.len(),
        keys,
    }
}

fn name(key: &Key) -> KeyName {
    KeyName {
        kind: key.kind().name(),
        key: key.to_string(),
    }
}
