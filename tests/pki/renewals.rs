//! A renewal replaces in one request, however it is written; and what Sōzu refuses leaves the old one.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use sozu_command_lib::proto::command::{
    CertificateAndKey, Request, WorkerRequest, request::RequestType,
};
use testkit::{
    Fate, SOON,
    pki::{Days, Issued, write},
    tls::shake,
    wait_until,
};

use crate::{
    stand::{Setup, Stand, no_key_in, stand},
    support::{self, all_well},
};

pub fn tapped() -> Stand {
    let setup = Setup {
        tapped: true,
        ..Setup::default()
    };
    setup.start()
}

#[test]
fn a_pair_is_served_and_its_renewal_followed_in_one_step() {
    let stand = tapped();
    let first = stand.add("a.example", "a.example");
    all_well(&stand.daemon);

    let verbs: Arc<Mutex<Vec<&str>>> = Arc::default();
    let noted = verbs.clone();
    stand.tap.as_ref().unwrap().rule(move |request| {
        noted
            .lock()
            .unwrap()
            .extend(match request.request_type.as_ref() {
                Some(RequestType::ReplaceCertificate(_)) => Some("replace"),
                Some(RequestType::AddCertificate(_)) => Some("add"),
                Some(RequestType::RemoveCertificate(_)) => Some("remove"),
                Some(RequestType::LoadState(_)) => Some("load"),
                _ => None,
            });
        Fate::Pass
    });
    let clients = stand.clients(&["a.example"]);
    let second = stand.add("a.example", "a.example");
    clients.end(&[("a.example", &[&first, &second])]);
    all_well(&stand.daemon);
    assert_eq!(*verbs.lock().unwrap(), ["replace"]);
    assert_eq!(
        support::certificates_held(&stand.sozu),
        2,
        "the old one is gone"
    );
    no_key_in(&stand.daemon, &[&first, &second]);
}

/// Writes a renewal of the pair in `folder`.
type Write = fn(&Stand, &Issued);

#[test]
fn a_renewal_is_followed_however_it_is_written() {
    let stand = stand();
    let folder = stand.at("folder");
    let mut all = vec![stand.issue("a.example")];
    all[0].write(&folder, "a.crt", "a.key").unwrap();
    stand.served("a.example", &all[0]);
    let clients = stand.clients(&["a.example"]);
    let ways: [(&str, Write); 5] = [
        ("by rename", |stand, new| {
            new.write(&stand.at("folder"), "a.crt", "a.key").unwrap();
        }),
        ("in place", |stand, new| {
            fs::write(stand.at("folder/a.crt"), new.fullchain()).unwrap();
            fs::write(stand.at("folder/a.key"), &new.key).unwrap();
        }),
        ("removed, and made again", |stand, new| {
            fs::remove_file(stand.at("folder/a.crt")).unwrap();
            fs::write(stand.at("folder/a.crt"), new.fullchain()).unwrap();
            fs::remove_file(stand.at("folder/a.key")).unwrap();
            fs::write(stand.at("folder/a.key"), &new.key).unwrap();
        }),
        ("by another folder in its place", |stand, new| {
            new.write(&stand.at(".made"), "a.crt", "a.key").unwrap();
            let [made, folder] = [stand.at(".made"), stand.at("folder")];
            let swap = RenameFlags::RENAME_EXCHANGE;
            renameat2(AT_FDCWD, &made, AT_FDCWD, &folder, swap).unwrap();
            fs::remove_dir_all(made).unwrap();
        }),
        (
            "under another name, the old one removed later",
            |stand, new| {
                new.write(&stand.at("folder"), "b.crt", "b.key").unwrap();
                stand.served("a.example", new);
                fs::remove_file(stand.at("folder/a.crt")).unwrap();
                fs::remove_file(stand.at("folder/a.key")).unwrap();
            },
        ),
    ];
    for (way, write) in &ways {
        // Of two that are there at once the one that became valid last is served.
        let days = Days(if all.len() == ways.len() { 0 } else { -1 }, 90);
        let new = stand.ca.issue_for(&["a.example"], days).unwrap();
        write(&stand, &new);
        stand.served("a.example", &new);
        wait_until(&format!("{way}: the old one is gone"), SOON, || {
            support::certificates_held(&stand.sozu) == 2
        });
        all_well(&stand.daemon);
        all.push(new);
    }
    let all: Vec<&Issued> = all.iter().collect();
    clients.end(&[("a.example", &all)]);
}

/// Longer than a burst of events is waited for.
const SECONDS: Duration = Duration::from_millis(2_500);

#[test]
fn key_and_certificate_may_come_seconds_apart_in_either_order() {
    let stand = stand();
    let first = stand.add("a", "a.example");
    let clients = stand.clients(&["a.example"]);
    let not_yet = |old: &Issued| {
        stand.told(&["a.crt", "the private key is not this certificate's"]);
        std::thread::sleep(SECONDS);
        assert!(stand.shows("a.example", old));
    };
    let second = stand.issue("a.example");
    write(&stand.at("a.key"), &second.key).unwrap();
    not_yet(&first);
    write(&stand.at("a.crt"), &second.fullchain()).unwrap();
    stand.served("a.example", &second);
    all_well(&stand.daemon);

    let third = stand.issue("a.example");
    write(&stand.at("a.crt"), &third.fullchain()).unwrap();
    not_yet(&second);
    write(&stand.at("a.key"), &third.key).unwrap();
    stand.served("a.example", &third);
    all_well(&stand.daemon);
    clients.end(&[("a.example", &[&first, &second, &third])]);
}

#[test]
fn the_same_leaf_with_another_chain_is_replaced_and_under_two_paths_it_is_one() {
    let stand = stand();
    let issued = stand.issue("a.example");
    write(&stand.at("a.key"), &issued.key).unwrap();
    write(&stand.at("a.crt"), &issued.leaf).unwrap();
    stand.served("a.example", &issued);
    let chain = || shake(stand.https(), "a.example").unwrap().chain;
    assert_eq!(chain(), 0);
    let clients = stand.clients(&["a.example"]);
    write(&stand.at("a.crt"), &issued.fullchain()).unwrap();
    wait_until("the chain is served", SOON, || chain() == 1);

    // Two claims on one certificate: it goes with the last one.
    issued
        .write(&stand.at("second"), "second.crt", "second.key")
        .unwrap();
    stand.add("marker", "marker.example");
    assert_eq!(support::certificates_held(&stand.sozu), 3);
    stand.remove("a");
    stand.remove("marker");
    wait_until("marker.example is removed", SOON, || {
        support::certificates_held(&stand.sozu) == 2
    });
    assert!(stand.shows("a.example", &issued));
    clients.end(&[("a.example", &[&issued])]);
    fs::remove_dir_all(stand.at("second")).unwrap();
    wait_until("a.example is removed", SOON, || {
        support::certificates_held(&stand.sozu) == 1
    });
    all_well(&stand.daemon);
}

/// Makes something of a certificate that Sōzu refuses.
pub type Spoil = fn(&mut CertificateAndKey);

/// Its main process does: there is nothing to take a fingerprint of.
const FOR_MAIN: Spoil = |it| "no certificate".clone_into(&mut it.certificate);
/// Its workers do: the main process looks at no key.
pub const FOR_WORKERS: Spoil = |it| "no key".clone_into(&mut it.key);

/// From now on, until it is set to false, Sōzu is given a spoiled certificate for this name.
fn spoil(stand: &Stand, name: &'static str, spoil: Spoil) -> Arc<AtomicBool> {
    let on = Arc::new(AtomicBool::new(true));
    let is_on = on.clone();
    let pass_on = move |request: &mut Request| {
        let certificate = match &mut request.request_type {
            Some(RequestType::ReplaceCertificate(it)) => &mut it.new_certificate,
            Some(RequestType::AddCertificate(it)) => &mut it.certificate,
            _ => return,
        };
        if certificate.names.iter().any(|it| it == name) {
            spoil(certificate);
        }
    };
    stand.tap.as_ref().unwrap().rule(move |request| {
        if is_on.load(Ordering::Relaxed) {
            match &request.request_type {
                Some(RequestType::LoadState(path)) => in_file(path, &pass_on),
                _ => pass_on(request),
            }
        }
        Fate::Pass
    });
    on
}

/// The same for each record of a file that Sōzu is about to load.
fn in_file(path: &str, pass_on: &impl Fn(&mut Request)) {
    let text = fs::read_to_string(path).unwrap();
    let records = text
        .split("\n\0")
        .filter(|record| !record.trim().is_empty());
    let records = records.map(|record| {
        let mut record: WorkerRequest = serde_json::from_str(record).unwrap();
        pass_on(&mut record.content);
        format!("{}\n\0", serde_json::to_string(&record).unwrap())
    });
    let text: String = records.collect();
    fs::write(path, text).unwrap();
}

/// A renewal alone, or with another one in the same file.
fn refused(by: Spoil, alone: bool) {
    let stand = tapped();
    let first = stand.add("a", "a.example");
    let other = stand.add("b", "b.example");
    let clients = stand.clients(&["a.example", "b.example"]);
    let on = spoil(&stand, "a.example", by);
    let second = stand.issue("a.example");
    let other_renewed = stand.issue("b.example");
    if !alone {
        stand.write("b", &other_renewed);
    }
    stand.write("a", &second);
    stand.told(&["a.crt", "refused"]);
    assert!(stand.shows("a.example", &first));
    // The main process holds it, too: a worker that is started anew gets it from there.
    wait_until("the main process holds the old one", SOON, || {
        let held = stand.held();
        held.iter()
            .any(|it| it.certificate.trim() == first.leaf.trim())
    });
    stand.write("b", &other_renewed);
    stand.served("b.example", &other_renewed);
    assert!(stand.shows("a.example", &first));

    on.store(false, Ordering::Relaxed);
    let third = stand.add("a", "a.example");
    assert_eq!(support::certificates_held(&stand.sozu), 3);
    all_well(&stand.daemon);
    clients.end(&[
        ("a.example", &[&first, &third]),
        ("b.example", &[&other, &other_renewed]),
    ]);
    no_key_in(&stand.daemon, &[&first, &second, &third]);
}

#[test]
fn a_renewal_that_sozus_main_process_refuses_leaves_the_old_one_and_is_told() {
    refused(FOR_MAIN, true);
}

#[test]
fn a_renewal_that_its_workers_refuse_leaves_the_old_one_and_is_told() {
    refused(FOR_WORKERS, true);
}

#[test]
fn a_renewal_that_is_refused_among_others_leaves_the_old_one_and_holds_up_none() {
    refused(FOR_WORKERS, false);
}
