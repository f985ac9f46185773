//! Sōzu, or the daemon, is started anew.
//!
//! The daemon's restart is noticed by no client. While Sōzu is away nobody can be served; and a Sōzu
//! that has started empty has no certificate until it is given them again: within the deadline of these
//! tests, after which no client fails any more. A Sōzu that reads a saved state when it starts serves
//! what is in it from its first moment on, and what the daemon then does takes nothing of it away.

use std::fs;

use testkit::{SOON, wait_until};

use crate::{
    stand::{UNTOUCHED, no_key_in, stand},
    support::{self, all_well},
};

#[test]
fn a_sozu_that_starts_empty_is_given_all_of_them_again_and_then_no_client_fails() {
    let mut stand = stand();
    let first = stand.add("a", "a.example");
    stand.sozu.kill().unwrap();
    stand.daemon.wait_status("/readyz", 503, SOON).unwrap();
    // Renewed while nobody is there to be told.
    let second = stand.issue("a.example");
    stand.write("a", &second);
    stand.sozu.start_again().unwrap();
    stand.served(UNTOUCHED, &stand.untouched);
    stand.served("a.example", &second);
    let clients = stand.clients(&["a.example"]);
    stand.daemon.wait_ready(SOON).unwrap();
    all_well(&stand.daemon);
    assert_eq!(support::certificates_held(&stand.sozu), 2);
    let third = stand.add("a", "a.example");
    clients.end(&[("a.example", &[&second, &third])]);
    no_key_in(&stand.daemon, &[&first, &second, &third]);
}

#[test]
fn a_sozu_that_starts_from_a_saved_state_serves_from_its_first_moment_on() {
    let mut stand = stand();
    let first = stand.add("a", "a.example");
    let gone = stand.add("gone", "gone.example");
    stand.sozu.save_state(&stand.sozu.saved_state()).unwrap();
    stand.sozu.kill().unwrap();
    let second = stand.issue("a.example");
    stand.write("a", &second);
    stand.remove("gone");
    stand.sozu.start_again().unwrap();
    let clients = stand.clients(&["a.example"]);
    stand.served("a.example", &second);
    wait_until("what was removed meanwhile is removed again", SOON, || {
        !stand.shows("gone.example", &gone)
    });
    all_well(&stand.daemon);
    assert_eq!(support::certificates_held(&stand.sozu), 2);
    clients.end(&[("a.example", &[&first, &second])]);
}

#[test]
fn a_daemon_that_starts_anew_takes_what_was_changed_meanwhile() {
    let mut stand = stand();
    let first = stand.add("a", "a.example");
    let broken = stand.add("b", "b.example");
    let gone = stand.add("gone", "gone.example");
    let clients = stand.clients(&["a.example", "b.example"]);

    // A renewal, one that is half written, one that is new and one that is removed.
    stand.daemon.kill9().unwrap();
    let second = stand.issue("a.example");
    stand.write("a", &second);
    fs::write(stand.at("b.crt"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    let new = stand.issue("new.example");
    stand.write("new", &new);
    stand.remove("gone");
    stand.daemon.start().unwrap();
    stand.served("a.example", &second);
    stand.served("new.example", &new);
    wait_until("what was removed is not served", SOON, || {
        !stand.shows("gone.example", &gone)
    });
    stand.told(&["b.crt", "half written"]);
    assert!(
        stand.shows("b.example", &broken),
        "what Sōzu serves is left alone"
    );
    clients.end(&[("a.example", &[&first, &second]), ("b.example", &[&broken])]);

    // Sōzu loses it, and no file has it whole: unservable, and the proxy is ready all the same.
    stand.sozu.kill().unwrap();
    stand.sozu.start_again().unwrap();
    stand.served("a.example", &second);
    stand.daemon.wait_ready(SOON).unwrap();
    wait_until("b.example is unservable", SOON, || {
        stand
            .daemon
            .metric("sozu_manager_unservable_objects", &[("source", "certs")])
            == Some(1.0)
    });
    stand.write("b", &broken);
    stand.served("b.example", &broken);
    all_well(&stand.daemon);
    no_key_in(&stand.daemon, &[&first, &second, &broken]);
}
