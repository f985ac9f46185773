//! A change of what Sōzu holds: it is read, the change worked out on it, and the difference sent.

use sozu_command_lib::state::ConfigState;
use tokio::task::spawn_blocking;

use crate::{BulkAnswer, ExchangeError, Pool, pool::not_sent};

impl Pool {
    /// Makes Sōzu hold what `change` makes of what it holds now: reads that, lets `change` work on a copy of it with
    /// `ConfigState::dispatch`, and sends the difference as one [`Pool::bulk`].
    ///
    /// An answer of no [entries](BulkAnswer::entries) is the proof that Sōzu held it all. After any other, ask again:
    /// an `OK` counts what was not taken and does not name it, and somebody else may have changed the same. Leave
    /// listeners as they are (the difference of a changed one closes it), and give no two backends of a cluster the same
    /// id, which `ConfigState::diff` does not tell apart.
    ///
    /// The whole state is read each time, while every other request waits in Sōzu: some 0.2 s for 40,000 objects.
    ///
    /// ```no_run
    /// # async fn example(pool: sozu_socket::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// use sozu_socket::requests;
    ///
    /// let answer = pool
    ///     .update(|state| -> Result<(), Box<dyn std::error::Error>> {
    ///         state.dispatch(&requests::add_cluster("shop"))?;
    ///         Ok(state.dispatch(&requests::add_backend("shop", "10.0.0.1:8080".parse()?))?)
    ///     })
    ///     .await?;
    /// println!("{} requests sent, {} of them not taken", answer.entries, answer.skipped);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of `change`, of [`Pool::saved_state`] and of [`Pool::bulk`]. `NotSent` if Sōzu holds what this version of
    /// `sozu-command-lib` does not take.
    pub async fn update<E: From<ExchangeError>>(
        &self,
        change: impl FnOnce(&mut ConfigState) -> Result<(), E>,
    ) -> Result<BulkAnswer, E> {
        let saved = self.saved_state().await?;
        let (held, mut wanted) = worked_out(move || {
            let held = saved.config_state();
            held.map(|held| (held.clone(), held))
        })
        .await?
        .map_err(|error| {
            not_sent(format!(
                "Sōzu holds what this version of sozu-command-lib does not take: {error}; is Sōzu newer than it?"
            ))
        })?;
        change(&mut wanted)?;
        let difference = worked_out(move || held.diff(&wanted)).await?;
        Ok(self.bulk(difference).await?)
    }
}

/// Away from the runtime's threads: seconds, for hundreds of thousands of objects.
async fn worked_out<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ExchangeError> {
    spawn_blocking(work)
        .await
        .map_err(|error| not_sent(format!("working out the difference ended early: {error}")))
}
