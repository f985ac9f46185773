//! What the tests of this crate share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs
)]

pub mod peer;

use std::time::Duration;

use sozu_socket::Sozu;
use tokio::{sync::watch, time::timeout};

/// Waits until the pool sees what is expected, at most 20 s.
pub async fn until(seen: &mut watch::Receiver<Sozu>, expected: impl Fn(&Sozu) -> bool) -> Sozu {
    let waiting = timeout(
        Duration::from_secs(20),
        seen.wait_for(|sozu| expected(sozu)),
    )
    .await;
    let found = waiting.map(|found| found.unwrap().clone());
    found.unwrap_or_else(|_| panic!("not seen within 20 s; the pool sees {:?}", *seen.borrow()))
}

pub async fn until_here(seen: &mut watch::Receiver<Sozu>) -> sozu_socket::Life {
    match until(seen, |sozu| matches!(sozu, Sozu::Here(_))).await {
        Sozu::Here(life) => life,
        other => panic!("{other:?}"),
    }
}

pub async fn until_away(seen: &mut watch::Receiver<Sozu>) -> String {
    match until(seen, |sozu| matches!(sozu, Sozu::Away { .. })).await {
        Sozu::Away { why } => why,
        other => panic!("{other:?}"),
    }
}
