//! What is really served: for each certificate, Sōzu's workers are asked which one they would show
//! for its name, and each listener is shaken hands with.
//!
//! One after the other, at a pace that nobody notices: at once after a change, again and again
//! while something is not as it should be, and now and then in any case.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use sozu_command_lib::proto::command::{
    QueryCertificatesFilters, Request, ResponseContent, request::RequestType,
    response_content::ContentType,
};
use supervisors::Ref;
use tokio::{
    select,
    sync::watch::Receiver,
    task::spawn_blocking,
    time::{Instant, sleep_until},
};

use super::{
    board::{Board, Row, State},
    handshake,
    pair::{self, Facts},
    told::{Certificate, Told},
};
use crate::{
    messages::{Exchange, SourceName},
    socket_pool::SocketPool,
    state_keeper::report::Report,
};

/// At most one look within this time.
const PACE: Duration = Duration::from_millis(50);
/// A certificate that is as it should be is looked at so often, and more rarely where there are so many
/// that looks would be closer together than `SLOW_PACE`.
const SLOWLY: Duration = Duration::from_mins(10);
const SLOW_PACE: Duration = Duration::from_millis(250);
/// One that is not: first after this time, then after twice that, and so on up to `LONGEST`.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);
/// From this delay on it is a problem: until then the change may be on its way.
const PROBLEM_FROM: Duration = Duration::from_secs(8);
const ASK_WITHIN: Duration = Duration::from_secs(20);

/// Looks for one directory.
pub(in crate::fs_watcher) struct Looker {
    pub(in crate::fs_watcher) source: SourceName,
    pub(in crate::fs_watcher) pool: Ref<SocketPool>,
    pub(in crate::fs_watcher) report: Receiver<Arc<Report>>,
    pub(in crate::fs_watcher) told: Receiver<Option<Arc<Told>>>,
    pub(in crate::fs_watcher) board: Board,
    /// Whether listeners are shaken hands with.
    pub(in crate::fs_watcher) handshakes: bool,
}

/// When each certificate is looked at next, and after which delay then.
#[derive(Default)]
struct Plan {
    due: BTreeSet<(Instant, usize)>,
    delays: Vec<Duration>,
    /// The last look of the slow round.
    slow_until: Option<Instant>,
}

impl Plan {
    /// When one that is as it should be is looked at again.
    fn slowly(&mut self, now: Instant) -> Instant {
        let after_the_last = self.slow_until.map_or(now, |last| last + SLOW_PACE);
        let at = after_the_last.max(now + SLOWLY);
        self.slow_until = Some(at);
        at
    }
}

/// What is shown for a name on one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shown {
    fingerprint: Option<String>,
    /// What is known of it, if it was seen whole.
    facts: Option<Facts>,
}

impl Looker {
    /// Never ends by itself, unless nobody will tell of certificates any more.
    pub(in crate::fs_watcher) async fn run(mut self) {
        let mut certificates: Vec<Certificate> = Vec::new();
        let mut plan = Plan::default();
        let mut free = Instant::now();
        loop {
            let next = plan.due.first().copied();
            let at = next.map_or_else(|| Instant::now() + SLOWLY, |(at, _)| at.max(free));
            select! {
                changed = self.told.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let told = self.told.borrow_and_update().clone().unwrap_or_default();
                    plan = self.take(&certificates, &plan, &told);
                    certificates.clone_from(&told.certificates);
                }
                () = sleep_until(at) => {
                    let Some((_, index)) = next else { continue };
                    plan.due.pop_first();
                    free = Instant::now() + PACE;
                    self.look(&certificates, &mut plan, index).await;
                }
            }
        }
    }

    /// Plans for other certificates; those that are as before keep their place.
    fn take(&self, before: &[Certificate], plan: &Plan, told: &Told) -> Plan {
        let known: HashMap<&Certificate, usize> = before
            .iter()
            .enumerate()
            .map(|(index, it)| (it, index))
            .collect();
        let due: HashMap<usize, Instant> =
            plan.due.iter().map(|(at, index)| (*index, *at)).collect();
        // What is new comes before those that wait for their first look.
        let now = Instant::now();
        let first = due.values().min().map_or(now, |first| (*first).min(now));
        let at_once = first.checked_sub(PACE).unwrap_or(now);
        let mut next = Plan {
            slow_until: plan.slow_until,
            ..Plan::default()
        };
        self.board.write(&self.source, |rows| {
            let old = std::mem::take(&mut rows.rows);
            rows.unusable = told.unusable;
            for (index, certificate) in told.certificates.iter().enumerate() {
                let as_before = known.get(certificate).copied();
                let row = as_before.and_then(|before| old.get(before)).cloned();
                rows.rows.push(row.unwrap_or_else(|| new_row(certificate)));
                let at = as_before.and_then(|before| due.get(&before)).copied();
                let delay = as_before
                    .and_then(|before| plan.delays.get(before))
                    .copied();
                next.delays.push(delay.unwrap_or(FIRST));
                if certificate.serves.is_some() {
                    next.due.insert((at.unwrap_or(at_once), index));
                }
            }
        });
        next
    }

    async fn look(&self, certificates: &[Certificate], plan: &mut Plan, index: usize) {
        let Some(certificate) = certificates.get(index) else {
            return;
        };
        let Some(name) = &certificate.serves else {
            return;
        };
        let asked = name.replacen('*', "sozu-manager", 1);
        let said = self.ask(&asked).await;
        let mut worst: Option<(State, Shown, SocketAddr)> = None;
        for address in certificate.listeners.iter() {
            let shown = match self.shake(*address, &asked).await {
                Some(shown) => Some(shown),
                None => said.as_ref().map(|said| by_word(said, *address)),
            };
            let Some(mut shown) = shown else { continue };
            // One worker may differ from the one that shook hands.
            if let Some(said) = &said
                && let Some(other) = differing(said, *address, &certificate.facts.fingerprint)
                && shown.fingerprint.as_deref() == Some(&*certificate.facts.fingerprint)
            {
                shown = other;
            }
            let state = judge(&certificate.facts, name, &shown);
            if worst
                .as_ref()
                .is_none_or(|(known, ..)| severity(state) > severity(*known))
            {
                worst = Some((state, shown, *address));
            }
        }
        let delay = plan.delays.get(index).copied().unwrap_or(FIRST);
        let good = worst
            .as_ref()
            .is_some_and(|(state, ..)| *state == State::Served);
        let (at, next) = if good {
            (plan.slowly(Instant::now()), FIRST)
        } else {
            (Instant::now() + delay, (delay * 2).min(LONGEST))
        };
        plan.due.insert((at, index));
        if let Some(known) = plan.delays.get_mut(index) {
            *known = next;
        }
        self.board.write(&self.source, |rows| {
            let Some(row) = rows.rows.get_mut(index) else {
                return;
            };
            let Some((state, shown, address)) = worst else {
                row.state = State::Unverified;
                row.problem = None;
                return;
            };
            row.state = state;
            row.served_not_after = match state {
                State::Served => Some(certificate.facts.not_after),
                _ => shown.facts.map(|facts| facts.not_after),
            };
            let late = !good && delay >= PROBLEM_FROM;
            row.problem = late.then(|| problem(certificate, name, state, address));
        });
    }

    /// What each worker would show for a name, by listener; nothing, if they did not all say.
    async fn ask(&self, name: &str) -> Option<Vec<(SocketAddr, String)>> {
        let question = Request::from(RequestType::QueryCertificatesFromWorkers(
            QueryCertificatesFilters {
                domain: Some(name.to_owned()),
                fingerprint: None,
            },
        ));
        let answer = self
            .pool
            .ask(Exchange(question), ASK_WITHIN)
            .await
            .ok()?
            .ok()?;
        Some(said(answer.content?))
    }

    /// `None`: the listener was not reached, or is not to be asked.
    async fn shake(&self, address: SocketAddr, name: &str) -> Option<Shown> {
        if !self.handshakes {
            return None;
        }
        let expects_proxy = {
            let report = self.report.borrow();
            let listener = report.listeners.as_ref().and_then(|all| all.get(&address));
            listener.is_some_and(|listener| listener.expect_proxy)
        };
        let name = name.to_owned();
        let leaf = spawn_blocking(move || handshake::leaf(address, expects_proxy, &name));
        let leaf = leaf.await.ok()?.ok()?;
        Some(leaf.map_or_else(Shown::default, |leaf| Shown {
            fingerprint: Some(pair::fingerprint(&leaf)),
            facts: pair::facts(&leaf, &[]).ok(),
        }))
    }
}

/// What is no source any more leaves the board.
impl Drop for Looker {
    fn drop(&mut self) {
        self.board.remove(&self.source);
    }
}

fn new_row(certificate: &Certificate) -> Row {
    let facts = &certificate.facts;
    Row {
        certificate: format!("{} {}", facts.names[0], facts.key_type.name()),
        state: if certificate.serves.is_some() {
            State::Unverified
        } else {
            State::Shadowed
        },
        file_not_after: facts.not_after,
        served_not_after: None,
        problem: None,
    }
}

/// What the workers say, as (listener, fingerprint).
fn said(content: ResponseContent) -> Vec<(SocketAddr, String)> {
    let Some(ContentType::WorkerResponses(workers)) = content.content_type else {
        return Vec::new();
    };
    let lists = workers
        .map
        .into_values()
        .filter_map(|content| match content.content_type {
            Some(ContentType::CertificatesByAddress(list)) => Some(list.certificates),
            _ => None,
        });
    lists
        .flatten()
        .flat_map(|of_listener| {
            let address = of_listener.address.into();
            let all = of_listener.certificate_summaries.into_iter();
            all.map(move |summary| (address, summary.fingerprint))
        })
        .collect()
}

fn by_word(said: &[(SocketAddr, String)], address: SocketAddr) -> Shown {
    let found = said.iter().find(|(listener, _)| *listener == address);
    Shown {
        fingerprint: found.map(|(_, fingerprint)| fingerprint.clone()),
        facts: None,
    }
}

fn differing(said: &[(SocketAddr, String)], address: SocketAddr, ours: &str) -> Option<Shown> {
    let other = said
        .iter()
        .find(|(listener, fingerprint)| *listener == address && fingerprint != ours)?;
    Some(Shown {
        fingerprint: Some(other.1.clone()),
        facts: None,
    })
}

/// What it means that this is shown for `name`.
fn judge(ours: &Facts, name: &str, shown: &Shown) -> State {
    if shown.fingerprint.as_deref() == Some(&*ours.fingerprint) {
        return State::Served;
    }
    match &shown.facts {
        Some(facts) if !facts.names.iter().any(|it| it == name) => State::NotLoaded,
        Some(facts) if facts.not_before < ours.not_before => State::ServedOlder,
        Some(_) => State::Shadowed,
        // Only its fingerprint is known.
        None if shown.fingerprint.is_some() => State::ServedOlder,
        None => State::NotLoaded,
    }
}

const fn severity(state: State) -> u8 {
    match state {
        State::Served => 0,
        State::Shadowed => 1,
        State::ServedOlder => 2,
        _ => 3,
    }
}

fn problem(certificate: &Certificate, name: &str, state: State, address: SocketAddr) -> String {
    let path = certificate.path.display();
    match state {
        State::ServedOlder => format!(
            "{path}: {address} shows an older certificate for {name} than this file's; see whether this source's changes reach Sōzu (`sozu-manager diff`)"
        ),
        State::Shadowed => format!(
            "{path}: {address} shows another certificate for {name}, which this directory does not hold; see `sozu-manager diff`, and remove one of the two"
        ),
        _ => format!(
            "{path}: {address} does not show it for {name}; see whether this source's changes reach Sōzu (`sozu-manager diff`)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::pair::KeyType, *};

    fn facts(fingerprint: &str, name: &str, not_before: i64) -> Facts {
        Facts {
            fingerprint: fingerprint.into(),
            names: vec![name.to_owned()],
            unusable: Vec::new(),
            not_before,
            not_after: 1000,
            self_signed: false,
            key_type: KeyType::Ecdsa,
        }
    }

    #[test]
    fn what_is_shown_tells_what_becomes_of_a_certificate() {
        let ours = facts("aa", "a.example", 100);
        let seen = |facts: Facts| Shown {
            fingerprint: Some(facts.fingerprint.to_string()),
            facts: Some(facts),
        };
        for (shown, expected) in [
            (seen(facts("aa", "a.example", 100)), State::Served),
            (seen(facts("bb", "a.example", 50)), State::ServedOlder),
            (seen(facts("bb", "a.example", 150)), State::Shadowed),
            (seen(facts("bb", "default", 150)), State::NotLoaded),
            (Shown::default(), State::NotLoaded),
        ] {
            assert_eq!(judge(&ours, "a.example", &shown), expected, "{shown:?}");
        }
    }

    #[test]
    fn a_thousand_times_more_certificates_are_not_looked_at_a_thousand_times_as_often() {
        let mut plan = Plan::default();
        let now = Instant::now();
        let looks: Vec<Instant> = (0..10_000).map(|_| plan.slowly(now)).collect();
        assert_eq!(looks[0], now + SLOWLY);
        assert!(looks.windows(2).all(|two| two[1] == two[0] + SLOW_PACE));
        // The next round begins where this one ends.
        assert_eq!(plan.slowly(looks[0]), looks[9_999] + SLOW_PACE);
        assert_eq!(plan.slowly(looks[9_999]), looks[9_999] + SLOWLY);
    }

    #[test]
    fn a_worker_that_differs_is_heard() {
        let address: SocketAddr = "127.0.0.1:443".parse().unwrap();
        let said = [(address, "aa".to_owned()), (address, "bb".to_owned())];
        assert_eq!(
            differing(&said, address, "aa")
                .unwrap()
                .fingerprint
                .unwrap(),
            "bb"
        );
        assert_eq!(differing(&said[..1], address, "aa"), None);
        let elsewhere: SocketAddr = "127.0.0.1:444".parse().unwrap();
        assert_eq!(by_word(&said, elsewhere), Shown::default());
    }
}
