//! What the keeper says of itself.

use std::{collections::BTreeMap, time::Duration};

use sozu_socket::{Life, Sozu};

use super::{
    declared::Wanted,
    events::Now,
    gate::{Gate, Mode},
    held::Held,
    keeper::{Doing, Keeper},
    key::Key,
    report::{Condition, Difference, Hold, Report, SourceReport},
};
use crate::messages::SourceName;

/// How long an earlier proof of this life of Sōzu counts after our own restart, or after a pause
/// that lasted over it.
const PROVED_BEFORE: Duration = Duration::from_mins(5);
impl Keeper {
    /// The snapshot for the rest of the program.
    pub fn report(&self, now: Now) -> Report {
        Report {
            sozu: self.life.clone(),
            conditions: std::iter::once(self.condition(now))
                .chain(self.caught_up())
                .collect(),
            listeners: self.listeners.clone(),
            sources: self.sources(),
            drift: self.drift(),
            foreign: count(self.foreign.iter().map(Key::kind)),
            last_proof: self.last_proof,
            database_bytes: 0,
            instance: None,
            life: 0,
        }
    }

    /// How many keys are to be sent or are being sent.
    pub fn waiting(&self) -> usize {
        self.dirty.len() + self.in_flight.len()
    }

    /// What the component says of itself, and what is wrong, if anything. Nothing until Sōzu has
    /// answered or was seen to be away.
    pub fn word(&self, now: Now) -> Option<(String, Option<String>)> {
        let waiting = self.waiting();
        let objects: usize = self
            .desired
            .declared()
            .objects()
            .values()
            .flat_map(BTreeMap::values)
            .sum();
        let detail = match (&self.sozu, self.gate(now)) {
            (Sozu::Here(_), Gate::Closed(why)) => format!("{objects} objects; {why}"),
            (_, Gate::Observing) => {
                format!("{objects} objects; observing, {waiting} would be sent")
            }
            _ => format!("{objects} objects, {waiting} to be sent"),
        };
        let pause = self.pausing.map(|pausing| pausing.pause);
        let detail = match pause {
            Some(pause) => format!("{pause}; {detail}"),
            None => detail,
        };
        let error = match &self.sozu {
            Sozu::Here(_) => self
                .disk
                .as_ref()
                .map(|disk| format!("changes wait, since they cannot be written: {disk}"))
                .or_else(|| self.trouble.clone())
                .or_else(|| pause.map(|pause| pause.why())),
            Sozu::Away { why } => Some(format!("Sōzu is away: {why}")),
            Sozu::Unasked => return None,
        };
        Some((detail, error))
    }

    fn condition(&self, now: Now) -> Condition {
        let name = "complete";
        let life = self.life.as_ref().map(Life::as_str);
        let proved_before = life.is_some()
            && life == self.complete_life.as_deref()
            && now.at < self.life_seen.max(self.last_paused) + PROVED_BEFORE;
        let state = if self.complete || proved_before || self.settings.mode == Mode::Observe {
            Ok(())
        } else {
            Err(self.why_incomplete(now))
        };
        Condition { name, state }
    }

    /// Each bus has to have caught up once in the life of the database.
    fn caught_up(&self) -> Option<Condition> {
        let missing: Vec<&str> = self
            .buses
            .iter()
            .filter(|(_, bus)| !bus.caught_up_once && !bus.excused)
            .map(|(source, _)| source.as_str())
            .collect();
        let state = if missing.is_empty() || self.settings.mode == Mode::Observe {
            Ok(())
        } else {
            Err(format!(
                "{} has not caught up with its topic yet",
                missing.join(", ")
            ))
        };
        (!self.settings.policies.is_empty()).then_some(Condition {
            name: "caught_up",
            state,
        })
    }

    fn why_incomplete(&self, now: Now) -> String {
        let gate = self.gate(now);
        if let Gate::Paused(pause) = gate {
            return pause.to_string();
        }
        if let Gate::Closed(why) = gate {
            return match &self.trouble {
                Some(trouble) if why != "Sōzu is away" => format!("{why}: {trouble}"),
                _ => why.to_owned(),
            };
        }
        let waiting = self.waiting();
        let under_way = match self.doing {
            Doing::Nothing if waiting > 0 => format!("{waiting} objects are to be sent"),
            Doing::Sending { .. } => format!("{waiting} objects are being sent"),
            _ => "Sōzu is being read".to_owned(),
        };
        match &self.trouble {
            Some(trouble) => format!("{under_way}: {trouble}"),
            None => under_way,
        }
    }

    fn sources(&self) -> BTreeMap<SourceName, SourceReport> {
        let declared = self.desired.declared();
        let mut sources: BTreeMap<SourceName, SourceReport> = self
            .configured()
            .map(|source| {
                let report = SourceReport {
                    configured: true,
                    ..SourceReport::default()
                };
                (source.clone(), report)
            })
            .collect();
        for (source, objects) in declared.objects() {
            let total: usize = objects.values().sum();
            let configured = self.is_configured(source);
            if total > 0 || configured {
                let report = sources.entry(source.clone()).or_default();
                report.orphaned = if configured {
                    declared.orphans(source)
                } else {
                    total
                };
                report.objects = objects
                    .iter()
                    .filter(|(_, n)| **n > 0)
                    .map(|(k, n)| (*k, *n))
                    .collect();
            }
        }
        for source in self.letters.sources() {
            sources.entry(source.clone()).or_default();
        }
        for (source, report) in &mut sources {
            report.letters = self.letters.of(source);
            report.gap = self.warnings.gap(source).cloned();
            report.holds = declared
                .holds(source)
                .map(|(id, objects)| Hold {
                    id: id.clone(),
                    objects,
                })
                .collect();
            report.shadowed = self
                .shadowed
                .get(source)
                .into_iter()
                .flat_map(BTreeMap::values)
                .cloned()
                .collect();
            report.refused = self.refusals(source);
            report.last_change = self.last_change.get(source).copied();
            report.settled = self.settled_position(source);
            let caught_up = self.is_caught_up(source);
            report.caught_up = caught_up.filter(|_| report.configured);
            report.parked = self
                .tail
                .parked()
                .filter(|folded| folded.entry.source == *source)
                .count();
        }
        for key in self.unservable.keys() {
            if let Wanted::Object(_, owner) = declared.wanted(key)
                && let Some(report) = sources.get_mut(&owner)
            {
                report.unservable += 1;
            }
        }
        sources
    }

    fn configured(&self) -> impl Iterator<Item = &SourceName> {
        self.settings
            .sources
            .iter()
            .chain(self.settings.policies.keys())
    }

    /// Whether the source is in the configuration.
    pub(super) fn is_configured(&self, source: &SourceName) -> bool {
        self.configured().any(|name| name == source)
    }

    fn refusals(&self, source: &SourceName) -> Vec<String> {
        let mut refusals: Vec<String> = self
            .refused
            .iter()
            .filter(|((name, _), _)| name == source)
            .map(|((_, key), refused)| {
                let file = refused
                    .file
                    .as_ref()
                    .map(|file| format!("{}: ", file.display()));
                format!(
                    "{}{} {key} is refused: {}",
                    file.unwrap_or_default(),
                    key.kind(),
                    refused.reason
                )
            })
            .collect();
        refusals.sort();
        refusals
    }

    fn drift(&self) -> BTreeMap<(Difference, super::key::Kind), usize> {
        let declared = self.desired.declared();
        let dirty = self.dirty.iter().filter_map(|key| {
            let difference = match (declared.wanted(key), self.belief.held(key)) {
                (Wanted::Object(..), Held::Nothing) => Difference::Missing,
                (Wanted::Object(object, _), Held::Object(held)) if !object.same(&held) => {
                    Difference::Different
                }
                (Wanted::Nothing, Held::Object(_)) => Difference::Resurrected,
                _ => return None,
            };
            Some((difference, key.kind()))
        });
        let unservable = self
            .unservable
            .keys()
            .map(|key| (Difference::Missing, key.kind()));
        let divergent = self
            .doubts
            .divergent
            .iter()
            .map(|key| (Difference::Divergent, key.kind()));
        count(dirty.chain(unservable).chain(divergent))
    }
}

fn count<T: Ord>(items: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts
}
