//! A reload: other settings, other sources. What was taken stays taken.

use std::collections::BTreeSet;

use super::{
    events::{Now, Settings},
    gate::Mode,
    keeper::Keeper,
    orders::Bus,
};
use crate::messages::SourceName;

impl Keeper {
    /// From now on these settings count. What a source wanted that is no longer among them stays,
    /// orphaned; what one wanted that comes back is its own again. Nothing is sent for that.
    pub(super) fn on_settings(&mut self, now: Now, settings: Settings) {
        let before = std::mem::replace(&mut self.settings, settings);
        let had: BTreeSet<SourceName> = before
            .sources
            .iter()
            .chain(before.policies.keys())
            .cloned()
            .collect();
        let left = had.iter().filter(|source| !self.is_configured(source));
        let left: BTreeSet<SourceName> = left.cloned().collect();
        for source in &left {
            self.unspoken.remove(source);
            self.taken.remove(source);
            self.shadowed.remove(source);
        }
        self.refused.retain(|(source, _), _| !left.contains(source));
        let declared = self.desired.declared();
        let known = declared.sources().chain(declared.gone()).chain(&left);
        let gone = known.filter(|source| !self.is_configured(source)).cloned();
        let gone: BTreeSet<SourceName> = gone.collect();
        if *self.desired.declared().gone() != gone {
            // Whatever is under way may be in Sōzu already.
            for key in &self.in_flight {
                self.belief.forget(key);
            }
        }
        let keys = self.tail.set_gone(gone, &mut self.desired, &self.belief);
        self.mark(keys);
        for source in self.settings.policies.keys() {
            // A bus that comes later does not make a ready host unready.
            self.buses
                .entry(source.clone())
                .or_insert_with(|| Bus::added(self.complete));
        }
        self.excuse_who_left();
        if before.mode != self.settings.mode && self.settings.mode == Mode::Apply {
            // What would have been sent so far is found by comparing.
            self.must_read = true;
        }
        self.next_read = self.next_read.min(now.at + self.settings.interval);
    }
}
