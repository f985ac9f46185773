//! The orders of a bus: known by their position, admitted once, written in their order. And how far
//! the bus may acknowledge, and when it has caught up.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use prost::Message;
use sozu_command_lib::proto::command::Request;

use super::{
    appending::Sender,
    declared::{Stance, Wanted},
    events::{Effect, Now},
    held::Held,
    keeper::Keeper,
    key::{Key, Kind, Object},
    log::{Admission, Entry},
    policy::Policy,
};
use crate::messages::{
    BusChange, Changes, DeclareError, Declared, Position, SourceName, Subscribed,
};

/// How long a backend waits for its cluster, counted only while its source is caught up and Sōzu is
/// there.
const PARKED_FOR: Duration = Duration::from_mins(10);

/// What is known of a bus beside its declared set.
#[derive(Default)]
pub(super) struct Bus {
    /// Taken, and not yet told as settled: place in the stream, and the entry.
    taken: VecDeque<(Position, u64)>,
    /// So far it may acknowledge.
    settled: Option<Position>,
    /// While it catches up.
    catching_up: Option<CatchUp>,
    /// Whether it has caught up once in the life of the database.
    pub(super) caught_up_once: bool,
    /// Whether readiness does not wait for that.
    pub(super) excused: bool,
    /// How long it has been caught up while Sōzu was there: the clock of what is parked.
    clock: Duration,
    /// When each parked entry began to wait, by that clock.
    parked: HashMap<u64, Duration>,
}

impl Bus {
    /// One that a reload brought. `excused`: the host is ready without it.
    pub(super) fn added(excused: bool) -> Self {
        Self {
            excused,
            ..Self::default()
        }
    }

    /// The configured buses, as they are before they subscribe.
    pub(super) fn all(
        configured: &HashMap<SourceName, Policy>,
        caught_up: &HashSet<SourceName>,
    ) -> HashMap<SourceName, Self> {
        let bus = |name: &SourceName| Self {
            caught_up_once: caught_up.contains(name),
            ..Self::default()
        };
        configured
            .keys()
            .map(|name| (name.clone(), bus(name)))
            .collect()
    }
}

/// A message without a payload asks for nothing.
fn is_empty(change: &BusChange) -> bool {
    change.original.bytes.is_empty() && change.request.as_deref() == Ok(&Request::default())
}

/// A bus that catches up with where its topic ended when it subscribed.
#[derive(Default)]
struct CatchUp {
    /// Not after a start in the middle of it: what was taken before waits for the bus.
    is_subscribed: bool,
    end: Option<Position>,
    /// The clusters that Sōzu held then: all that belongs to them waits. Nothing until it is read.
    held: Option<HashSet<Arc<str>>>,
    /// It is another topic than before: what the bus said before is not what this one says.
    anew: bool,
    /// The guard holds what would be taken over.
    judged: bool,
}

impl CatchUp {
    fn touches(&self, cluster: &str) -> bool {
        self.held.as_ref().is_none_or(|held| held.contains(cluster))
    }
}

impl Keeper {
    /// A bus subscribed. Returns the position that it has to go on from; nothing: from the start.
    pub(super) fn on_subscribed(&mut self, subscribed: &Subscribed) -> Option<Position> {
        let Subscribed { source, end } = subscribed;
        let mut position = self.positions.get(source).copied();
        let is_known = position.is_some();
        // A topic that holds nothing just now may have held what was taken: the broker forgets what all have acknowledged.
        if end.is_some() && position > *end {
            tracing::warn!(%source, ?position, ?end, "The topic ends before the position that was taken: it is another topic, and is read from its start.");
            self.positions.remove(source);
            position = None;
        }
        let held = Some(self.live_clusters());
        let has_history = self.has_history(source);
        self.forget_prepared();
        let bus = self.buses.entry(source.clone()).or_default();
        if position.is_none() {
            // Places in another topic are no places in this one.
            bus.taken.clear();
            bus.settled = None;
        }
        let was_anew = bus.catching_up.as_ref().is_some_and(|it| it.anew);
        bus.catching_up = (position < *end || has_history).then(|| CatchUp {
            is_subscribed: true,
            end: *end,
            held,
            anew: was_anew || (is_known && position.is_none()),
            judged: false,
        });
        bus.caught_up_once |= bus.catching_up.is_none();
        position
    }

    /// The clusters that something in Sōzu names.
    fn live_clusters(&self) -> HashSet<Arc<str>> {
        let mut live = HashSet::new();
        for cluster in self.belief.objects().filter_map(|object| object.cluster()) {
            if !live.contains(cluster) {
                live.insert(cluster.into());
            }
        }
        live
    }

    /// Whether something that the bus said while it caught up is not final.
    fn has_history(&self, source: &SourceName) -> bool {
        let mut tail = self.tail.iter();
        tail.any(|folded| {
            folded.entry.source == *source && folded.entry.is_history() && !folded.is_parked()
        })
    }

    /// After a start in the middle of catching up: what was taken waits for the bus as before.
    pub(super) fn go_on_catching_up(&mut self) {
        for folded in self.tail.iter().filter(|folded| !folded.is_parked()) {
            if folded.entry.is_history()
                && let Some(bus) = self.buses.get_mut(&folded.entry.source)
            {
                bus.catching_up.get_or_insert_default();
            }
        }
    }

    /// Nobody waits for a bus that left the configuration. What it said while it caught up stays history: it goes on where
    /// it was when it comes back.
    pub(super) fn excuse_who_left(&mut self) {
        let policies = &self.settings.policies;
        let left = self.buses.iter_mut();
        let left = left.filter(|(source, _)| !policies.contains_key(*source));
        left.for_each(|(_, bus)| bus.excused = true);
    }

    /// Sōzu was read: where a bus catches up since before that, this is what it is not to touch.
    pub(super) fn note_live_clusters(&mut self) {
        let waits = |bus: &Bus| matches!(&bus.catching_up, Some(CatchUp { held: None, .. }));
        if !self.buses.values().any(waits) {
            return;
        }
        let live = self.live_clusters();
        let catching_up = self
            .buses
            .values_mut()
            .filter_map(|bus| bus.catching_up.as_mut());
        for catching_up in catching_up {
            catching_up.held.get_or_insert_with(|| live.clone());
        }
    }

    /// Whether the bus was catching up when this daemon started, and has not subscribed since.
    pub(super) fn has_to_subscribe(&self, source: &SourceName) -> bool {
        let bus = self.buses.get(source);
        let catching_up = bus.and_then(|bus| bus.catching_up.as_ref());
        catching_up.is_some_and(|it| !it.is_subscribed)
    }

    /// The buses that have come as far as their topics went when they subscribed.
    pub(super) fn buses_at_their_end(&self) -> Vec<SourceName> {
        let at_their_end = self.buses.iter().filter(|(source, bus)| {
            let position = self.positions.get(*source).copied();
            let mut catching_up = bus.catching_up.iter();
            catching_up.any(|it| it.is_subscribed && position >= it.end)
        });
        at_their_end.map(|(source, _)| source.clone()).collect()
    }

    /// Whether the guard has already held what the bus would take over.
    pub(super) fn take_overs_are_judged(&self, source: &SourceName) -> bool {
        let bus = self.buses.get(source);
        bus.and_then(|bus| bus.catching_up.as_ref())
            .is_none_or(|it| it.judged)
    }

    pub(super) fn has_caught_up(&mut self, source: &SourceName) {
        if let Some(bus) = self.buses.get_mut(source) {
            bus.catching_up = None;
            bus.caught_up_once = true;
            self.acceptance.caught_up.insert(source.clone());
        }
    }

    pub(super) fn take_changes(
        &mut self,
        now: Now,
        changes: Changes,
        reply: u64,
        effects: &mut Vec<Effect>,
    ) {
        let Changes { source, changes } = changes;
        let known = self.positions.get(&source).copied();
        let sent = changes.len();
        let news: Vec<BusChange> = changes
            .into_iter()
            .filter(|change| Some(change.position) > known)
            .collect();
        if news.len() < sent {
            effects.push(Effect::Redelivered(source.clone(), sent - news.len()));
        }
        let Some(mut last) = news.last().map(|change| change.position) else {
            effects.push(Effect::Reply(reply, Ok(Declared { changes: 0 })));
            return;
        };
        let policy = self
            .settings
            .policies
            .get(&source)
            .cloned()
            .unwrap_or_default();
        let mut objects = self.desired.declared().count(&source);
        let bus = self.buses.get(&source);
        let catching_up = bus.and_then(|bus| bus.catching_up.as_ref());
        let taken_as = match catching_up {
            Some(catching_up) => Admission::History {
                anew: catching_up.anew,
            },
            None => Admission::Order,
        };
        let mut entries = Vec::with_capacity(news.len());
        let mut skipped = 0;
        let mut room = self.letter_room();
        let mut taken = known;
        let mut is_full = false;
        for change in news {
            if is_empty(&change) {
                skipped += 1;
                taken = Some(change.position);
                continue;
            }
            let judged = self.judge_order(&change.request, &policy, objects);
            if let (Err(_), Some(room)) = (&judged, &mut room) {
                if room.is_used_up() {
                    is_full = true;
                    break;
                }
                room.take(change.original.bytes.len());
            }
            taken = Some(change.position);
            objects += usize::from(judged.is_ok());
            self.last_seq += 1;
            entries.push(Arc::new(Entry {
                seq: self.last_seq,
                source: source.clone(),
                at: now.wall,
                request: change.request.unwrap_or_default(),
                origin: None,
                position: Some(change.position),
                original: Some(change.original),
                admission: judged.map_or_else(Admission::Refused, |()| taken_as.clone()),
            }));
        }
        if skipped > 0 {
            effects.push(Effect::Skipped(source.clone(), skipped));
        }
        match (is_full, taken) {
            (true, Some(taken)) => last = taken,
            (true, None) => {
                // The very first one is refused, and has no room.
                let full = DeclareError::LettersFull { taken };
                return effects.push(Effect::Reply(reply, Err(full)));
            }
            (false, _) => {}
        }
        let sender = Sender::Bus {
            source,
            position: last,
            is_cut: is_full,
            reply,
        };
        self.append(entries, sender, effects);
    }

    pub(super) fn judge_order(
        &self,
        request: &Result<Arc<Request>, String>,
        policy: &Policy,
        objects: usize,
    ) -> Result<(), String> {
        let request = request.as_ref().map_err(String::clone)?;
        let Some(asked) = &request.request_type else {
            return Err(
                "a verb that this version does not know; the producer may be newer".to_owned(),
            );
        };
        policy.judge(asked, objects)?;
        if let Some(object) = Object::brought_by(asked) {
            self.admit(&object, request.encoded_len())
                .map_err(|refusal| refusal.reason().to_owned())?;
        }
        Ok(())
    }

    /// Entries of a bus were folded: it is told how far it may acknowledge once they are settled.
    pub(super) fn remember_taken(&mut self, entries: &[Arc<Entry>]) {
        for entry in entries {
            if let Some(position) = entry.position {
                let bus = self.buses.entry(entry.source.clone()).or_default();
                bus.taken.push_back((position, entry.seq));
            } else if let Some(bus) = self.buses.get_mut(&entry.source)
                && let Some(catching_up) = &mut bus.catching_up
            {
                catching_up.judged |= matches!(entry.admission, Admission::Held(_));
            }
        }
    }

    /// Works out how far each bus may acknowledge: the position before its first unsettled entry.
    /// A parked entry is ours and durable: acknowledgement passes it.
    pub(super) fn settle_buses(&mut self) {
        if self.buses.values().all(|bus| bus.taken.is_empty()) {
            return self.settle_idle_buses();
        }
        let in_tail = self.tail.iter().filter(|folded| !folded.is_parked());
        let in_tail = in_tail.map(|folded| (&folded.entry.source, folded.entry.seq));
        let mut first_open: HashMap<SourceName, u64> = HashMap::new();
        for (source, seq) in in_tail.chain(self.unwritten()) {
            match first_open.get_mut(source) {
                Some(first) => *first = seq.min(*first),
                None => drop(first_open.insert(source.clone(), seq)),
            }
        }
        for (source, bus) in &mut self.buses {
            let first_open = first_open.get(source).copied().unwrap_or(u64::MAX);
            while bus.taken.front().is_some_and(|(_, seq)| *seq < first_open) {
                bus.settled = bus.taken.pop_front().map(|(position, _)| position);
            }
        }
        self.settle_idle_buses();
    }

    /// Where nothing is open, all that was taken is settled: also what an earlier life took.
    fn settle_idle_buses(&mut self) {
        for (source, bus) in &mut self.buses {
            if bus.taken.is_empty() {
                bus.settled = self.positions.get(source).copied();
            }
        }
    }

    /// How far the source may acknowledge.
    pub(super) fn settled_position(&self, source: &SourceName) -> Option<Position> {
        self.buses.get(source)?.settled
    }

    /// Whether the bus has come as far as its topic went when it subscribed. Nothing, if it is none.
    pub(super) fn is_caught_up(&self, source: &SourceName) -> Option<bool> {
        Some(self.buses.get(source)?.catching_up.is_none())
    }

    /// While a bus catches up, a cluster that Sōzu held when it subscribed is untouched by it, with
    /// all that belongs to it: history never replays into live traffic.
    pub(super) fn is_history(&self, key: &Key) -> bool {
        if self.buses.values().all(|bus| bus.catching_up.is_none()) {
            return false;
        }
        self.is_replayed(key) || self.lacks_its_cluster(key)
    }

    /// Whether it is a backend of whoever's that Sōzu cannot take, since its cluster is history and not there.
    fn lacks_its_cluster(&self, key: &Key) -> bool {
        let Key::Backend(backend) = key else {
            return false;
        };
        let cluster = Key::Cluster(backend.cluster.clone());
        self.belief.held(&cluster) == Held::Nothing && self.is_replayed(&cluster)
    }

    fn is_replayed(&self, key: &Key) -> bool {
        let declared = self.desired.declared();
        let mut of_buses = self.buses.iter().filter_map(|(source, bus)| {
            let catching_up = bus.catching_up.as_ref()?;
            let says = declared.get(key, source)?;
            let speaks = match declared.wanted(key) {
                Wanted::Object(_, owner) => owner == *source,
                _ => matches!(says.stance, Stance::Absent { .. }),
            };
            speaks.then_some(catching_up)
        });
        of_buses.any(|catching_up| {
            let wanted = match declared.wanted(key) {
                Wanted::Object(object, _) => Some(object),
                _ => None,
            };
            let held = self.belief.held(key);
            // A certificate is of no cluster: what is served waits, what is new flows.
            let is_live_certificate = key.kind() == Kind::Certificate && held.object().is_some();
            let mut clusters = wanted
                .iter()
                .chain(held.object())
                .filter_map(|object| object.cluster());
            is_live_certificate || clusters.any(|cluster| catching_up.touches(cluster))
        })
    }

    /// Lets the clocks of what is parked go on, and refuses what has waited too long.
    pub(super) fn expire_parked(&mut self, passed: Duration) {
        let is_here = self.is_here();
        let mut expired = HashMap::new();
        for folded in self.tail.parked() {
            let Some(bus) = self.buses.get_mut(&folded.entry.source) else {
                continue;
            };
            let clock = bus.clock;
            let since = *bus.parked.entry(folded.entry.seq).or_insert(clock);
            if clock >= since + PARKED_FOR {
                let reason = "its cluster did not come within ten minutes; send the cluster first"
                    .to_owned();
                expired.insert(folded.entry.seq, reason);
            }
        }
        for bus in self.buses.values_mut() {
            if is_here && bus.catching_up.is_none() {
                bus.clock += passed;
            }
            bus.parked.retain(|seq, _| !expired.contains_key(seq));
        }
        if !expired.is_empty() {
            let keys = self.tail.refuse(&expired, &mut self.desired, &self.belief);
            self.mark(keys);
        }
    }
}
