//! The keeper of the desired state.

mod actor;
pub mod key;
pub mod report;

pub use actor::StateKeeper;
