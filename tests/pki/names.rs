//! Names of files and in certificates, whatever is in them; and who serves a name that two certificates have.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt};

use testkit::pki::{Days, self_signed};

use crate::{
    stand::{Setup, stand},
    support::{self, all_well},
};

#[test]
fn strange_names_stop_nobody() {
    let stand = stand();
    let clients = stand.clients(&[]);
    let mut files: Vec<(OsString, &str)> = [("with space", "space"), ("new\nline", "newline")]
        .map(|(file, name)| (file.into(), name))
        .into();
    files.push((OsString::from_vec(b"not\xffutf8".to_vec()), "bytes"));
    for (file, name) in files {
        let host = format!("{name}.example");
        let with = |ending: &str| {
            let mut file = file.clone();
            file.push(ending);
            stand.directory.join(file)
        };
        let write = || {
            let issued = stand.issue(&host);
            fs::write(with(".key"), &issued.key).unwrap();
            fs::write(with(".crt"), issued.fullchain()).unwrap();
            stand.served(&host, &issued);
            issued
        };
        let first = write();
        let of_it = stand.clients(&[&host]);
        let second = write();
        of_it.end(&[(&host, &[&first, &second])]);
    }
    // A name that Sōzu would take for a regular expression is left out, and the others are served.
    let slashed = stand
        .ca
        .issue(&["/.*/.example", "plain.example", "192.0.2.7"])
        .unwrap();
    stand.write("slashed", &slashed);
    stand.served("plain.example", &slashed);
    let none = stand.ca.issue(&["192.0.2.7"]).unwrap();
    stand.write("none", &none);
    stand.told(&["none.crt", "none of its names can be served", "192.0.2.7"]);
    clients.end(&[]);
}

#[test]
fn a_wildcard_and_an_exact_name_are_two_certificates_and_the_newer_of_two_is_served() {
    let stand = stand();
    let wildcard = stand.ca.issue(&["*.w.example"]).unwrap();
    stand.write("wildcard", &wildcard);
    stand.served("x.w.example", &wildcard);
    let clients = stand.clients(&["x.w.example", "y.w.example"]);
    let exact = stand.add("exact", "x.w.example");
    let next = stand.ca.issue(&["*.w.example"]).unwrap();
    stand.write("wildcard", &next);
    stand.served("y.w.example", &next);
    assert!(stand.shows("x.w.example", &exact));
    stand.remove("exact");
    stand.served("x.w.example", &next);
    clients.end(&[
        ("x.w.example", &[&wildcard, &exact, &next]),
        ("y.w.example", &[&wildcard, &next]),
    ]);
}

#[test]
fn of_two_for_one_name_the_valid_and_newer_one_is_served() {
    let stand = stand();
    // Sōzu itself would go on serving the one that expires last.
    let old = stand.ca.issue_for(&["o.example"], Days(-100, 1000));
    let old = old.unwrap();
    stand.write("old", &old);
    stand.served("o.example", &old);
    let clients = stand.clients(&["o.example"]);
    let new = stand.ca.issue_for(&["o.example"], Days(-1, 30)).unwrap();
    stand.write("new", &new);
    stand.served("o.example", &new);
    let own = self_signed(&["o.example"], Days(0, 2000)).unwrap();
    stand.write("own", &own);
    stand.says("2 shadowed");
    assert!(stand.shows("o.example", &new));

    stand.remove("new");
    stand.served("o.example", &old);
    stand.says("1 shadowed");
    all_well(&stand.daemon);
    clients.end(&[("o.example", &[&old, &new])]);
}

#[test]
fn an_expired_certificate_is_loaded_and_stays_until_another_comes() {
    let stand = stand();
    let expired = stand.ca.issue_for(&["e.example"], Days(-100, -2)).unwrap();
    stand.write("e", &expired);
    stand.served("e.example", &expired);
    stand.says("1 expired");
    let clients = stand.clients(&["e.example"]);
    let valid = stand.add("new", "e.example");
    clients.end(&[("e.example", &[&expired, &valid])]);
}

#[test]
fn names_beyond_allow_names_are_refused_and_check_tells_all_without_a_daemon() {
    let setup = Setup {
        settings: "allow_names = [\"*.example\"]\n",
        ..Setup::default()
    };
    let stand = setup.start();
    let directory = &stand.directory;
    let strange = stand.issue("login.elsewhere");
    stand.write("strange", &strange);
    stand.told(&["strange.crt", "login.elsewhere is not within allow_names"]);
    assert_eq!(support::certificates_held(&stand.sozu), 1);

    fs::write(directory.join("README"), "").unwrap();
    fs::write(directory.join("bad.crt"), "x").unwrap();
    fs::write(directory.join("bad.key"), "x").unwrap();
    let output = stand
        .daemon
        .command(&["check", "--pki", directory.to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let part = |heading: &str| {
        let after = text.split(heading).nth(1).unwrap();
        after
            .split("\nw")
            .next()
            .unwrap()
            .split("\nto")
            .next()
            .unwrap()
            .to_owned()
    };
    assert!(
        part("would be loaded:")
            .contains("untouched.example.crt: untouched.example (ecdsa, flat), until"),
        "{text}"
    );
    assert!(part("would not be loaded:").contains("bad.crt"), "{text}");
    assert!(part("to know:").contains("README: ignored"), "{text}");
    assert!(!text.contains("PRIVATE"), "{text}");
}
