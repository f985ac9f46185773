//! Supervision of actix actors.
//!
//! actix restarts nothing after a panic: the actor is gone and its address dead (`actix::Supervisor` only restarts what
//! stopped itself). This crate keeps actors alive, in the way of Erlang's supervisors. It promises:
//!
//! - **A child's life** begins with its factory and ends by a panic anywhere in it (the factory, `started`, a handler, the
//!   future of an answer, a timer, `stopping`, `stopped`; a handler that drops its answer counts as one), by [`Reporter::failed`], by stopping itself, or because it was
//!   not ready in time, or because it hangs: a handler that never returns, a mailbox that it no longer opens. Whatever it was, the supervisor learns of it, and a new life begins with a fresh actor. Nothing of
//!   the old one is used again, and no callback runs on an actor that has panicked.
//! - **A [`Ref`] survives** all lives. Asking waits for room and for an answer no longer than the caller's deadline, and
//!   says whether the message may have had an effect: [`AskError::NotRunning`] and [`AskError::Full`] mean that it had none.
//!   A message is handed to an actor once at most. The one that a life died with is not tried again (it may be what killed
//!   it), those that still lay in the mailbox wait for the next life. Mailboxes are bounded, nothing is dropped in
//!   silence, nobody waits for ever on a dead address.
//! - **Ready means initialised**, not connected. A peer that is away is [`Reporter::degraded`]; the actor reconnects by itself.
//! - **`one_for_one`, every child permanent.** A restart waits for a full-jitter exponential backoff ([`Backoff`]). More than
//!   [`Limits::intensity`] ends within [`Limits::period`] are a crash loop: a critical child then escalates (a group to its
//!   parent, which restarts the group as one child; the root ends with [`Exit::Escalated`]), a parking child is parked, that is
//!   restarted now and then, for ever. The clock of the period runs only while the child is ready, so neither backoff
//!   nor a slow start can stretch a crash loop out of its window.
//! - **Children start in the order in which they were added**, without waiting for each other, and stop one after the other
//!   in the reverse order, each within its own time. Who does not stop is aborted and named.
//! - **Children may come and go** while the supervisor runs ([`Children`]): who is added starts as the last one, who is taken
//!   away is stopped within its time, and nobody else notices.
//! - **Nobody delays another.** All timers live in the supervisor's own `select!`. A child that computes or blocks belongs on
//!   a thread of its own ([`Spec::own_thread`]): it cannot be aborted, but it is cut off and replaced.
//! - **[`Health`]** can be read from any thread at any time, and shows the word of the present lives only.
//!
//! To read it in one sitting: `decide` (what to do after an end; pure), `children`, `tend` and `stop` (the loop),
//! `bond` (what passes between a supervisor and a life), `life` (one life of one child), `mailbox` and `reference` (how a
//! message gets there and its answer back), `report` and `health` (what is seen from outside).

#[cfg(not(panic = "unwind"))]
compile_error!("supervision catches panics: build with panic = \"unwind\"");

mod backoff;
mod bond;
mod children;
mod decide;
mod health;
mod life;
mod mailbox;
mod points;
mod pulse;
mod reference;
mod report;
mod spec;
mod stop;
mod supervisor;
mod tend;

pub use backoff::Backoff;
pub use children::Children;
pub use decide::Limits;
pub use health::{Component, Health, Reason, State};
pub use points::may_end_at;
pub use reference::{AskError, Ref};
pub use report::Reporter;
pub use spec::Spec;
pub use supervisor::{Exit, Supervisor, Turn};
