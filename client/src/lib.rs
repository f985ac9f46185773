//! An async, pooled client of the command socket of the [Sōzu](https://www.sozu.io) reverse proxy.
//!
//! - [`Pool::exchange`] sends one request and gives the answer with all that Sōzu said before it.
//! - [`Pool::bulk`] sends many as one `LoadState` file, [`Pool::saved_state`] reads what Sōzu holds, and
//!   [`Pool::update`] sends what differs from what it should hold.
//! - [`Pool::workers`], [`Pool::listeners`], [`Pool::cluster`], [`Pool::clusters`] and [`Pool::certificates`] ask what
//!   connectors ask most.
//! - [`Pool::events`] hears what happens, and says when something may have been missed.
//! - [`Pool::query_metrics`] asks for all metrics in pieces that fit Sōzu's buffers.
//! - [`Pool::seen`] tells whether Sōzu answers, and which [`Life`] of it: another one may hold nothing of yours.
//!   [`Pool::look`] asks for that anew.
//!
//! Every exchange has a deadline, a connection that carried half of one is closed, and an error says what the caller
//! must know: nothing was sent, the outcome is unknown, or Sōzu refused ([`ExchangeError`]).
//!
//! ```no_run
//! use sozu_socket::{
//!     Builder, ExchangeError,
//!     sozu_command_lib::proto::command::{Cluster, request::RequestType},
//! };
//!
//! # async fn example() -> Result<(), ExchangeError> {
//! let pool = Builder::new("/run/sozu/command.sock")
//!     .exchange_directory("/run/my-connector/exchange")
//!     .build();
//!
//! let cluster = Cluster { cluster_id: "shop".to_owned(), ..Cluster::default() };
//! match pool.exchange(RequestType::AddCluster(cluster).into()).await {
//!     Ok(answer) => println!("applied: {}", answer.message),
//!     Err(ExchangeError::Refused(refusal)) => println!("refused: {}", refusal.message),
//!     Err(ExchangeError::Unknown(why)) => println!("read back what Sōzu holds: {why}"),
//!     Err(not_sent) => return Err(not_sent),
//! }
//! println!("Sōzu holds {} objects", pool.saved_state().await?.requests.len());
//! # Ok(())
//! # }
//! ```

mod answer;
mod backoff;
mod builder;
mod bulk;
mod connection;
mod events;
mod exchange_dir;
mod frame;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod life;
mod looks;
mod metrics;
mod monitor;
mod patience;
mod pool;
mod questions;
mod records;
pub mod requests;
mod saved;
mod sozu_config;
mod update;

pub use answer::{Answer, BulkAnswer, ExchangeError, Reading, Refusal, SavedState, StateDigest};
pub use builder::Builder;
pub use bulk::Prepared;
pub use events::{Events, Heard};
pub use life::Life;
pub use metrics::{MetricsRead, MetricsReader, ProxyMetrics};
pub use pool::Pool;
pub use sozu_config::SozuConfigError;

pub mod directory {
    //! A directory that one process has for itself: as the exchange directory is locked, for programs that have another
    //! one besides.

    pub use crate::exchange_dir::{DirectoryLock, LockError, network_file_system};
}

/// Sōzu's own types, in the version that this library speaks.
pub use sozu_command_lib;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Whether Sōzu answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sozu {
    /// It was not asked yet.
    Unasked,
    /// It does not answer.
    Away {
        /// Why, and what to do.
        why: String,
    },
    /// It answers, in this life of its main process.
    Here(Life),
}

impl Sozu {
    /// Whether it answers: `pool.seen().wait_for(Sozu::is_here)` waits for that.
    pub fn is_here(&self) -> bool {
        matches!(self, Self::Here(_))
    }
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::proto::command::Request;

    use super::*;

    fn may_change_threads(_: &impl Send) {}
    fn may_be_shared(_: &(impl Send + Sync)) {}

    #[tokio::test]
    async fn pools_are_shared_and_their_futures_spawned() {
        let pool = Builder::new("/no/such/socket").build();
        may_be_shared(&pool);
        may_change_threads(&pool.events());
        may_change_threads(&pool.exchange(Request::default()));
        may_change_threads(&pool.bulk(Vec::new()));
        may_change_threads(&pool.saved_state());
        may_change_threads(&pool.update(|_| Ok::<_, ExchangeError>(())));
    }
}
