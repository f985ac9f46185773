//! A person's pause: nothing is sent to Sōzu meanwhile. Changes are taken, written and folded as
//! ever, and Sōzu is read as ever, so that what waits can be shown. It ends by itself, by whichever
//! clock says so first, and lasts over a restart.

use std::time::Duration;

use super::{
    events::{Effect, Now},
    gate::Pause,
    keeper::Keeper,
    operator::Answer,
};
use crate::messages::Paused;

/// A pause and when it ends on the clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pausing {
    pub pause: Pause,
    ends: Duration,
}

impl Pausing {
    /// What is left of a pause; nothing, if that is over.
    pub(super) fn of(pause: Pause, now: Now) -> Option<Self> {
        let left = pause.left(now.wall)?;
        Some(Self {
            pause,
            ends: now.at + left,
        })
    }

    fn is_over(&self, now: Now) -> bool {
        now.at >= self.ends || now.wall >= self.pause.until
    }
}

impl Keeper {
    /// A person pauses, or, without a time, ends the pause. It counts at once; the disk is told so
    /// that it counts after a restart, too.
    pub(super) fn on_pause(
        &mut self,
        now: Now,
        uid: u32,
        lasts: Option<Duration>,
        reply: u64,
        effects: &mut Vec<Effect>,
    ) {
        let pause = lasts.and_then(|lasts| {
            let until = now.wall.checked_add(lasts)?;
            Some(Pause {
                since: now.wall,
                until,
                uid,
            })
        });
        let was_paused = self.pausing.is_some();
        self.pausing = pause.and_then(|pause| Pausing::of(pause, now));
        if was_paused && self.pausing.is_none() {
            self.go_on();
        }
        let pause = self.pausing.map(|pausing| pausing.pause);
        self.desk.pauses.push((reply, was_paused));
        effects.push(Effect::KeepPause { pause, reply });
    }

    /// What was told to the disk is there, or not.
    pub(super) fn on_pause_kept(
        &mut self,
        reply: u64,
        result: Result<(), String>,
        effects: &mut Vec<Effect>,
    ) {
        let waiting = &mut self.desk.pauses;
        let Some(place) = waiting.iter().position(|(number, _)| *number == reply) else {
            return;
        };
        let (_, was_paused) = waiting.swap_remove(place);
        let until = |pausing: Pausing| humantime::format_rfc3339_seconds(pausing.pause.until);
        let paused = Paused {
            paused_until: self.pausing.map(|pausing| until(pausing).to_string()),
            uid: self.pausing.map(|pausing| pausing.pause.uid),
            was_paused,
            waiting: self.dirty.len(),
            under_way: self.in_flight.len(),
            not_kept: result.err(),
        };
        effects.push(Effect::Answer(reply, Answer::Paused(paused)));
    }

    /// Ends a pause whose time has come, and remembers how long there was one.
    pub(super) fn pass_pause(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(pausing) = self.pausing else {
            return;
        };
        self.last_paused = now.at;
        if pausing.is_over(now) {
            self.pausing = None;
            self.go_on();
            effects.push(Effect::PauseEnded(pausing.pause));
        }
    }

    /// A pause is made to work on Sōzu by hand: it is read before anything is sent.
    fn go_on(&mut self) {
        self.must_read = true;
    }
}
