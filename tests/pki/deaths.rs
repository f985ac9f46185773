//! The daemon dies between a renewal and Sōzu's answer to it, and then a worker of Sōzu's dies, too. What is shown is the
//! old certificate or the new one, never nothing, and the journal says what became of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sozu_command_lib::proto::command::request::RequestType;
use testkit::{Fate, SOON, pki::Issued, tls::shake, wait_until};

use crate::{
    renewals::{FOR_WORKERS, tapped},
    stand::{Stand, no_key_in},
    support::{self, all_well, at_rest},
};

const NAME: &str = "a.example";
/// Enough to meet each worker.
const HANDSHAKES: usize = 30;

/// How often Sōzu's workers refuse the renewal.
#[derive(Clone, Copy, PartialEq)]
enum Refused {
    Never,
    Once,
    Always,
}

/// Sōzu's answer to the first replacement is lost. Says once it was sent.
fn lose_an_answer(stand: &Stand, second: &Issued, refused: Refused) -> Arc<AtomicBool> {
    let sent = Arc::new(AtomicBool::new(false));
    let (noted, second) = (sent.clone(), second.leaf.trim().to_owned());
    stand.tap.as_ref().unwrap().rule(move |request| {
        let (certificate, is_replacement) = match &mut request.request_type {
            Some(RequestType::ReplaceCertificate(it)) => (&mut it.new_certificate, true),
            Some(RequestType::AddCertificate(it)) => (&mut it.certificate, false),
            _ => return Fate::Pass,
        };
        let is_first = is_replacement && !noted.swap(true, Ordering::Relaxed);
        let spoils = refused == Refused::Always || refused == Refused::Once && is_first;
        if spoils && certificate.certificate.trim() == second {
            FOR_WORKERS(certificate);
        }
        if is_first { Fate::Mute } else { Fate::Pass }
    });
    sent
}

/// A worker dies, and another one has what the main process holds.
fn lose_a_worker(stand: &Stand) {
    let worker = stand.sozu.worker_pids()[0];
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    wait_until("a new worker", SOON, || {
        let workers = stand.sozu.worker_pids();
        workers.len() == 2 && !workers.contains(&worker)
    });
}

fn dies_over_a_renewal(refused: Refused) {
    let mut stand = tapped();
    let first = stand.add("a", NAME);
    let taken = support::journal(&stand.daemon.state_directory()).len();
    let clients = stand.clients(&[NAME]);
    let second = stand.issue(NAME);
    let sent = lose_an_answer(&stand, &second, refused);
    stand.write("a", &second);
    wait_until("Sōzu was sent it", SOON, || sent.load(Ordering::Relaxed));
    stand.daemon.kill9().unwrap();
    stand.daemon.start().unwrap();
    let (shown, verdict) = if refused == Refused::Always {
        stand.told(&["a.crt", "refused"]);
        (&first, "refused")
    } else {
        stand.served(NAME, &second);
        all_well(&stand.daemon);
        (&second, "applied")
    };
    clients.end(&[(NAME, &[&first, &second])]);

    // What a worker that starts anew gets of the main process.
    wait_until("the main process holds it", SOON, || {
        let held = stand.held();
        let mut held = held.iter().map(|it| it.certificate.trim());
        held.any(|leaf| leaf == shown.leaf.trim())
    });
    lose_a_worker(&stand);
    for _ in 0..HANDSHAKES {
        let seen = shake(stand.https(), NAME).unwrap();
        assert!(seen.leaf == shown.der, "another certificate, or none");
    }
    assert_eq!(support::certificates_held(&stand.sozu), 2);
    let rows = at_rest(&stand.daemon.state_directory(), taken + 1, SOON);
    let (renewal, listed_again) = rows[taken..].split_first().unwrap();
    assert_eq!(renewal.verdict(), verdict, "{renewal:?}");
    let is_news = |row: &&support::Row| ![verdict, "duplicate"].contains(&row.verdict());
    let news = listed_again.iter().find(is_news);
    assert!(news.is_none(), "{news:?}");
    no_key_in(&stand.daemon, &[&first, &second]);
}

#[test]
fn a_renewal_whose_answer_is_lost_with_the_daemon_is_served() {
    dies_over_a_renewal(Refused::Never);
}

#[test]
fn a_renewal_that_workers_refused_as_the_daemon_died_is_served_once_they_take_it() {
    dies_over_a_renewal(Refused::Once);
}

#[test]
fn a_renewal_that_workers_refuse_before_and_after_the_daemon_died_leaves_the_old_one() {
    dies_over_a_renewal(Refused::Always);
}
