//! Failure on demand, for tests: `KIND::start`, `KIND::message`, `KIND::tick` and `KIND::stop`, a failpoint each.
//!
//! They stand in the supervisor's own part of a life, so that every actor has all of them, wherever the actor itself is at
//! that moment. Without the feature `failpoints`, which no release has, nothing of this is built.

/// Where a life of a component of this kind can be made to fail.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(feature = "failpoints"),
    expect(dead_code, reason = "nobody reads it then")
)]
pub(crate) struct Points(&'static str);

impl Points {
    pub(crate) fn of(kind: &'static str) -> Self {
        Self(kind)
    }

    /// Before the factory makes the actor.
    pub(crate) fn start(self) {
        self.point("start");
    }

    /// With a message that was taken and is not handled yet; the supervisor's question is one, too.
    pub(crate) fn message(self) {
        self.point("message");
    }

    /// When a time has come: of a timer of the actor's own, or of the supervisor's question.
    pub(crate) fn tick(self) {
        self.point("tick");
    }

    /// When it is asked to stop.
    pub(crate) fn stop(self) {
        self.point("stop");
    }

    #[cfg(feature = "failpoints")]
    fn point(self, phase: &str) {
        let name = format!("{}::{phase}", self.0);
        fail::fail_point!(&name);
    }

    #[cfg(not(feature = "failpoints"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    fn point(self, _: &str) {}
}

/// A point between two steps of a component. Where `$FAILPOINTS` says `return` the process ends there and then, as by `kill -9`.
#[cfg(feature = "failpoints")]
pub fn may_end_at(point: &str) {
    fail::fail_point!(point, |_| std::process::abort());
}

/// As with the feature `failpoints`, which no release has: nothing.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn may_end_at(_: &str) {}
