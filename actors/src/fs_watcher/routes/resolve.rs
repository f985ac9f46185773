//! Resolves `host:port` for many backends at once, on threads of its own: a resolver that hangs
//! holds up neither an actor nor the runtime's threads, and is not waited for beyond a limit.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

/// What each name resolved to, or why not.
pub(in crate::fs_watcher) type Resolved = BTreeMap<String, Result<Vec<SocketAddr>, String>>;

/// So many names are asked for at the same time.
const AT_ONCE: usize = 32;
/// So long a name is waited for.
const WITHIN: Duration = Duration::from_secs(5);
/// So long all names together are waited for.
const ALL_WITHIN: Duration = Duration::from_secs(20);

/// Resolves names with the system's resolver. Every name has an entry in what is returned.
pub(in crate::fs_watcher) fn resolve_all(names: BTreeSet<String>) -> Resolved {
    let rounds = u32::try_from(names.len().div_ceil(AT_ONCE)).unwrap_or(u32::MAX);
    let within = WITHIN.saturating_mul(rounds).min(ALL_WITHIN);
    resolve_with(names, within, |name| {
        name.to_socket_addrs()
            .map(Iterator::collect)
            .map_err(|error| error.to_string())
    })
}

fn resolve_with(
    names: BTreeSet<String>,
    within: Duration,
    lookup: impl Fn(&str) -> Result<Vec<SocketAddr>, String> + Clone + Send + 'static,
) -> Resolved {
    if names.is_empty() {
        return Resolved::new();
    }
    let threads = names.len().min(AT_ONCE);
    let deadline = Instant::now() + within;
    let mut resolved: Resolved = names
        .iter()
        .map(|name| (name.clone(), Err("no answer in time".to_owned())))
        .collect();
    let mut missing = names.len();
    let queue = Arc::new(Mutex::new(names));
    let (results, answers) = mpsc::channel();
    for _ in 0..threads {
        let (queue, results, lookup) = (Arc::clone(&queue), results.clone(), lookup.clone());
        let spawned = thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || {
                let next = || {
                    queue
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .pop_first()
                };
                while let Some(name) = next() {
                    let answer = lookup(&name);
                    if results.send((name, answer)).is_err() {
                        return;
                    }
                }
            });
        if let Err(error) = spawned {
            tracing::warn!(%error, "A thread to resolve names could not be started.");
        }
    }
    drop(results);
    while missing > 0 {
        match answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((name, answer)) => {
                resolved.insert(name, answer);
                missing -= 1;
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    // What nobody waits for any more is not asked for any more.
    queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_an_answer_and_one_that_hangs_delays_no_other() {
        let names: BTreeSet<String> = (0..100).map(|n| format!("host{n}:80")).collect();
        // The lookup that hangs ends when the test does.
        let (release, hang) = mpsc::channel::<()>();
        let hang = Arc::new(Mutex::new(hang));
        let within = Duration::from_secs(1);
        let resolved = resolve_with(names, within, move |name| match name {
            "host7:80" => {
                let _ = hang.lock().unwrap().recv();
                Err("released".to_owned())
            }
            "host8:80" => Err("no such host".to_owned()),
            _ => Ok(vec!["127.0.0.1:80".parse().unwrap()]),
        });
        drop(release);
        assert_eq!(resolved.len(), 100);
        assert_eq!(resolved["host7:80"], Err("no answer in time".to_owned()));
        assert_eq!(resolved["host8:80"], Err("no such host".to_owned()));
        assert_eq!(
            resolved.values().filter(|answer| answer.is_ok()).count(),
            98
        );
    }

    #[test]
    fn the_systems_resolver_is_asked() {
        let names = ["localhost:80".to_owned(), "no-port".to_owned()].into();
        let resolved = resolve_all(names);
        assert!(
            resolved["localhost:80"]
                .as_ref()
                .is_ok_and(|found| !found.is_empty())
        );
        assert!(resolved["no-port"].is_err());
    }
}
