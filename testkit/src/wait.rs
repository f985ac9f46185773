//! Waiting for a condition instead of sleeping and hoping.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use crate::{Error, Result};

/// Long enough for anything that should happen soon, on a busy machine too.
pub const SOON: Duration = Duration::from_secs(10);

const INTERVAL: Duration = Duration::from_millis(20);

/// What a polled condition may return: `bool`, `Option<T>`, or `Result<T, E>` whose error tells the last seen value.
pub trait Probe {
    /// What waiting gives.
    type Value;
    /// The value, or what was seen instead.
    fn seen(self) -> std::result::Result<Self::Value, String>;
}

impl Probe for bool {
    type Value = ();
    fn seen(self) -> std::result::Result<(), String> {
        if self {
            Ok(())
        } else {
            Err("false".to_owned())
        }
    }
}

impl<T> Probe for Option<T> {
    type Value = T;
    fn seen(self) -> std::result::Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: Display> Probe for std::result::Result<T, E> {
    type Value = T;
    fn seen(self) -> std::result::Result<T, String> {
        self.map_err(|error| error.to_string())
    }
}

/// Polls every 20 ms until the condition holds; after `deadline` an error with `what` and what was seen last.
pub fn wait_for<P: Probe>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> P,
) -> Result<P::Value> {
    let end = Instant::now() + deadline;
    loop {
        match condition().seen() {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= end => return Err(too_late(what, deadline, &last)),
            Err(_) => std::thread::sleep(INTERVAL),
        }
    }
}

/// As [`wait_for`], for a test.
///
/// # Panics
/// At the caller's line, when the deadline has passed.
#[track_caller]
#[allow(clippy::panic, reason = "this is how a test fails")]
pub fn wait_until<P: Probe>(
    what: &str,
    deadline: Duration,
    condition: impl FnMut() -> P,
) -> P::Value {
    match wait_for(what, deadline, condition) {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// As [`wait_for`], for code on a tokio runtime: the condition is a future, and nothing blocks.
pub async fn until<P: Probe, F: Future<Output = P>>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> F,
) -> Result<P::Value> {
    let end = tokio::time::Instant::now() + deadline;
    loop {
        match condition().await.seen() {
            Ok(value) => return Ok(value),
            Err(last) if tokio::time::Instant::now() >= end => {
                return Err(too_late(what, deadline, &last));
            }
            Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}

fn too_late(what: &str, deadline: Duration, last: &str) -> Error {
    Error::new(format!(
        "not within {deadline:?}: {what}; last seen: {last}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_comes_through() {
        let mut calls = 0;
        let value = wait_until("a third call", SOON, || {
            calls += 1;
            (calls == 3).then_some(calls)
        });
        assert_eq!(value, 3);
    }

    #[test]
    fn too_late_tells_what_was_seen_last() {
        let error = wait_for("the moon", Duration::from_millis(30), || {
            Err::<(), _>("a cloud")
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "not within 30ms: the moon; last seen: a cloud"
        );
    }

    #[tokio::test]
    async fn the_same_on_a_runtime() {
        until("true", SOON, || async { true }).await.unwrap();
        let error = until("no", Duration::from_millis(30), || async { false })
            .await
            .unwrap_err();
        assert!(error.to_string().ends_with("last seen: false"), "{error}");
    }
}
