//! An async, pooled client of the command socket of the [Sōzu](https://www.sozu.io) reverse proxy.
//!
//! - [`Pool::exchange`] sends one request and gives the answer with all that Sōzu said before it.
//! - [`Pool::bulk`] sends many as one `LoadState` file, [`Pool::saved_state`] reads what Sōzu holds.
//! - [`Pool::workers`], [`Pool::listeners`], [`Pool::cluster`], [`Pool::clusters`] and [`Pool::certificates`] ask what
//!   connectors ask most.
//! - [`Pool::events`] hears what happens, and says when something may have been missed.
//! - [`Pool::query_metrics`] asks for all metrics in pieces that fit Sōzu's buffers.
//! - [`Pool::seen`] tells whether Sōzu answers, and which [`Life`] of it: another one may hold nothing of yours.
//!
//! Every exchange has a deadline, a connection that carried half of one is closed, and an error says what the caller
//! must know: nothing was sent, the outcome is unknown, or Sōzu refused ([`ExchangeError`]).
//!
//! ```no_run
//! use sozu_command_lib::proto::command::{Cluster, request::RequestType};
//! use sozu_socket::{Builder, ExchangeError};
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
mod metrics;
mod monitor;
mod patience;
mod pool;
mod questions;
mod saved;
mod sozu_config;

pub use answer::{Answer, BulkAnswer, ExchangeError, Print, Reading, Refusal, SavedState};
pub use builder::Builder;
pub use bulk::Prepared;
pub use events::{Events, Heard};
pub use exchange_dir::{DirectoryLock, LockError, network_file_system};
pub use life::Life;
pub use metrics::{MetricsRead, MetricsReader, ProxyMetrics};
pub use pool::Pool;
pub use sozu_config::SozuConfigError;

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
