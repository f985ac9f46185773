//! What is in doubt: whether workers have what their main process holds, and what became of what was sent.

use std::sync::Arc;

use super::{
    declared::Wanted,
    keeper::Keeper,
    key::{KeyMap, KeySet, Object},
};

/// What this life of Sōzu has shown of a key beside what it holds.
#[derive(Default)]
pub(super) struct Doubts {
    /// An earlier daemon may have sent to it.
    pub is_inherited: bool,
    /// The main process holds it, but no worker has answered for it. (A frontend, which the main
    /// process takes back, only if it could not do that.)
    pub unproven: KeySet,
    /// Of these, what a worker took and none that answered refused, while another was silent.
    pub vouched: KeySet,
    /// Had an unknown outcome in this life.
    pub ever: KeySet,
    /// Workers differ from their main process.
    pub divergent: KeySet,
    /// Goes in batches of at most so many steps.
    pub suspects: KeyMap<usize>,
    /// Was sent alone, and its outcome is unknown.
    pub unanswered: KeyMap<Unanswered>,
    /// Sent where nothing was believed to be, and perhaps not taken; a read tells what is there.
    pub added: KeyMap<Arc<Object>>,
    /// How often it was refused because Sōzu did not hold what was believed.
    pub contradicted: KeyMap<u32>,
    /// Refused though no change of the tail wanted it, and why: it is not tried again.
    pub spurned: KeyMap<(Arc<Object>, String)>,
}

/// An object that Sōzu said nothing clear about, though it was sent alone.
pub(super) struct Unanswered {
    pub object: Arc<Object>,
    /// How often.
    pub times: u32,
    /// By these workers it was refused last time, while all others took it.
    pub refused_by: Vec<u32>,
}

impl Doubts {
    /// The first life that is seen may be the one that an earlier daemon has sent to.
    pub(super) fn of_a_start() -> Self {
        Self {
            is_inherited: true,
            ..Self::default()
        }
    }

    /// The room that a flood took, and that nothing is in now.
    pub(super) fn give_back(&mut self) {
        self.unproven.shrink_to_fit();
        self.vouched.shrink_to_fit();
        self.ever.shrink_to_fit();
        self.added.shrink_to_fit();
        self.spurned.shrink_to_fit();
    }
}

impl Keeper {
    /// What was sent before the start has an unknown outcome.
    pub(super) fn doubt_the_tail(&mut self) {
        let keys = self.tail.iter().flat_map(|folded| &folded.keys);
        let fronts = keys.filter(|key| key.kind().is_frontend());
        self.doubts.ever.extend(fronts.cloned());
        self.doubt_what_is_kept();
    }

    /// What the main process keeps whatever the workers say, over a restart from a saved state too:
    /// only workers can answer for it. What is accepted, one of them has taken before.
    pub(super) fn doubt_what_is_kept(&mut self) {
        for key in self.tail.iter().flat_map(|folded| &folded.keys) {
            let is_wanted = matches!(self.desired.declared().wanted(key), Wanted::Object(..));
            if is_wanted && !key.kind().is_frontend() {
                self.doubts.unproven.insert(key.clone());
            }
        }
    }

    /// Of the life before. What its main process kept although no worker took it may come back with its saved state,
    /// or has gone to the new life already.
    pub(super) fn forget_doubts(&mut self) {
        self.doubts = Doubts {
            unproven: std::mem::take(&mut self.doubts.unproven),
            ..Doubts::default()
        };
        self.doubt_what_is_kept();
    }
}
