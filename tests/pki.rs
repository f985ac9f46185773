//! Certificates from a directory, served by a real Sōzu and seen by real handshakes: every layout,
//! every way in which a tool renews, and that nobody who asks meanwhile gets nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{
    ffi::OsString,
    fs,
    os::unix::{
        ffi::OsStringExt,
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use support::{
    all_well,
    pki::{Stand, UNTOUCHED, no_key_in, stand, stand_with},
};
use testkit::{
    SOON,
    pki::{Authority, Days, Issued, self_signed, write},
    tls::shake,
    wait_until,
};

#[test]
fn a_pair_is_served_and_its_renewal_followed_in_one_step() {
    let stand = stand();
    let first = stand.issue("a.example");
    first
        .write(&stand.directory(), "a.example.crt", "a.example.key")
        .unwrap();
    stand.served("a.example", &first);
    all_well(&stand.daemon);

    let clients = stand.clients("a.example");
    let second = stand.issue("a.example");
    second
        .write(&stand.directory(), "a.example.crt", "a.example.key")
        .unwrap();
    stand.served("a.example", &second);
    clients.end(&[&first, &second]);
    assert_eq!(
        support::certificates_held(&stand.sozu),
        2,
        "the old one is gone"
    );
    no_key_in(&stand.daemon, &[&first, &second]);
    all_well(&stand.daemon);
}

/// What `/metrics` says of the directory's certificates in one state.
fn counted(stand: &Stand, state: &str) -> Option<f64> {
    let labels = [("source", "certs"), ("state", state)];
    stand.daemon.metric("sozu_manager_certificates", &labels)
}

#[test]
fn what_is_really_served_is_told_and_when_it_expires() {
    let stand = stand();
    let directory = stand.directory();
    let issued = stand.issue("a.example");
    issued.write(&directory, "a.crt", "a.key").unwrap();
    stand
        .ca
        .issue(&["*.w.example"])
        .unwrap()
        .write(&directory, "w.crt", "w.key")
        .unwrap();
    stand
        .ca
        .issue_for(&["a.example"], Days(-50, 20))
        .unwrap()
        .write(&directory, "old.crt", "old.key")
        .unwrap();
    wait_until("three are served, one is shadowed", SOON, || {
        let seen = (counted(&stand, "served"), counted(&stand, "shadowed"));
        if seen == (Some(3.0), Some(1.0)) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    let expiry = |copy: &str| {
        let labels = [
            ("source", "certs"),
            ("certificate", "*.w.example ecdsa"),
            ("copy", copy),
        ];
        stand.daemon.metric(
            "sozu_manager_certificate_not_after_timestamp_seconds",
            &labels,
        )
    };
    let in_90_days = std::time::SystemTime::now() + std::time::Duration::from_hours(90 * 24);
    let in_90_days = in_90_days
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    for copy in ["file", "served"] {
        assert!((expiry(copy).unwrap() - in_90_days).abs() < 600.0, "{copy}");
    }
    all_well(&stand.daemon);

    // Somebody takes it out of Sōzu, and the daemon may not mend it: it is told.
    let paused = stand
        .daemon
        .command(&["pause", "--for", "1h"])
        .output()
        .unwrap();
    assert!(paused.status.success());
    let renewed = stand.issue("a.example");
    renewed.write(&directory, "a.crt", "a.key").unwrap();
    wait_until("an older one is served", SOON, || {
        counted(&stand, "served_older") == Some(1.0)
    });
    let resumed = stand.daemon.command(&["resume"]).output().unwrap();
    assert!(resumed.status.success());
    stand.served("a.example", &renewed);
    wait_until("three are served", SOON, || {
        counted(&stand, "served") == Some(3.0)
    });
}

#[test]
fn what_this_user_cannot_read_is_named_with_the_remedy_and_stops_no_other() {
    const USER: u32 = 61_021;
    if !nix::unistd::geteuid().is_root() {
        eprintln!("only root can start the daemon as another user: nothing is shown");
        return;
    }
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let directory = base.path().join("certs");
    let ca = Authority::new().unwrap();
    let [open, closed, found] = ["open", "closed", "found"].map(|name| {
        let issued = ca.issue(&[&format!("{name}.example")]).unwrap();
        let folder = if name == "found" {
            directory.join("lost+found")
        } else {
            directory.clone()
        };
        issued
            .write(&folder, &format!("{name}.crt"), &format!("{name}.key"))
            .unwrap();
        issued
    });
    fs::set_permissions(
        directory.join("closed.key"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    fs::set_permissions(
        directory.join("lost+found"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    let sozu = testkit::Sozu::builder()
        .https_listeners(1)
        .user(USER, USER)
        .start()
        .unwrap();
    let table = format!("[pki.certs]\ndirectory = \"{}\"\n", directory.display());
    let mut daemon = support::daemon(&sozu)
        .user(USER, USER)
        .routes(&[])
        .extra_toml(&table)
        .start()
        .unwrap();
    daemon.wait_ready(SOON).unwrap();
    let stand = Stand {
        daemon,
        sozu,
        ca,
        base,
    };
    stand.served("open.example", &open);
    let error = stand.told(&[
        "closed.key",
        "lost+found",
        "uid 61021",
        "chgrp",
        "ReadOnlyPaths=",
    ]);
    assert!(
        error.contains("what is in it stays as it last was"),
        "{error}"
    );

    fs::set_permissions(
        directory.join("lost+found"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    fs::set_permissions(
        directory.join("closed.key"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    stand.served("found.example", &found);
    stand.served("closed.example", &closed);
    all_well(&stand.daemon);

    // Closed again, over a restart: what Sōzu serves of it stays.
    let mut stand = stand;
    fs::set_permissions(
        directory.join("lost+found"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    stand.daemon.kill9().unwrap();
    stand.daemon.start().unwrap();
    stand.told(&["lost+found"]);
    assert!(stand.shows("found.example", &found));
}

#[test]
fn an_expired_certificate_is_loaded_and_stays_until_another_comes() {
    let stand = stand();
    let expired = stand.ca.issue_for(&["e.example"], Days(-100, -2)).unwrap();
    expired.write(&stand.directory(), "e.crt", "e.key").unwrap();
    stand.served("e.example", &expired);
    let detail = stand.daemon.component("pki.certs").unwrap()["detail"].to_string();
    assert!(detail.contains("1 expired"), "{detail}");
    let valid = stand.issue("e.example");
    valid
        .write(&stand.directory(), "new.crt", "new.key")
        .unwrap();
    stand.served("e.example", &valid);
}

/// Writes a pair as one tool lays it out. Again for a renewal.
type Tool = fn(&Path, &str, &Issued);

#[test]
fn every_layout_is_served_and_its_renewal_followed() {
    let tools: [(&str, Tool); 10] = [
        ("connector", connector),
        ("certbot", certbot),
        ("dehydrated", dehydrated),
        ("caddy", caddy),
        ("acme.sh", acme_sh),
        ("acme.sh ecc", acme_sh_ecc),
        ("kubernetes", kubernetes),
        ("haproxy", haproxy),
        ("lego", lego),
        ("pem", pem),
    ];
    let stand = stand();
    let name = |tool: &str| format!("{}.example", tool.replace(['.', ' '], "-"));
    let renew = |issue: &dyn Fn(&str) -> Issued| -> Vec<Issued> {
        let write = |(tool, write): &(&str, Tool)| {
            let issued = issue(&name(tool));
            write(&stand.directory(), &name(tool), &issued);
            issued
        };
        tools.iter().map(write).collect()
    };
    let first = renew(&|name| stand.issue(name));
    for ((tool, _), issued) in tools.iter().zip(&first) {
        stand.served(&name(tool), issued);
    }
    all_well(&stand.daemon);
    let detail = stand.daemon.component("pki.certs").unwrap()["detail"].to_string();
    for layout in [
        "connector",
        "certbot",
        "dehydrated",
        "caddy",
        "acme.sh",
        "kubernetes",
        "haproxy",
        "flat",
    ] {
        assert!(detail.contains(layout), "{detail}");
    }

    let clients = stand.clients("kubernetes.example");
    let second = renew(&|name| stand.issue(name));
    for ((tool, _), issued) in tools.iter().zip(&second) {
        stand.served(&name(tool), issued);
    }
    clients.end(&[&first[6], &second[6]]);
    assert_eq!(support::certificates_held(&stand.sozu), tools.len() + 1);
    all_well(&stand.daemon);
}

/// What is in a renewal that cannot be taken, and what is said of it.
struct Bad {
    what: &'static str,
    write: fn(&Stand, &Issued, &Issued),
    said: &'static [&'static str],
}

fn certificate(stand: &Stand) -> PathBuf {
    stand.directory().join("a.crt")
}

fn key(stand: &Stand) -> PathBuf {
    stand.directory().join("a.key")
}

fn put(path: &Path, make: impl FnOnce(&Path)) {
    let new = path.with_file_name(".made");
    make(&new);
    fs::rename(new, path).unwrap();
}

const BAD: [Bad; 12] = [
    Bad {
        what: "the key was written first",
        write: |stand, _, new| write(&key(stand), &new.key).unwrap(),
        said: &["a.crt", "the private key is not this certificate's"],
    },
    Bad {
        what: "the certificate was written first",
        write: |stand, old, new| {
            write(&key(stand), &old.key).unwrap();
            write(&certificate(stand), &new.fullchain()).unwrap();
        },
        said: &["a.crt", "the private key is not this certificate's"],
    },
    Bad {
        what: "the certificate is cut off",
        write: |stand, _, new| {
            let text = new.fullchain();
            fs::write(certificate(stand), &text[..text.len() / 3]).unwrap();
        },
        said: &["a.crt", "half written"],
    },
    Bad {
        what: "the certificate is empty",
        write: |stand, _, _| fs::write(certificate(stand), "").unwrap(),
        said: &["there is no certificate in it"],
    },
    Bad {
        what: "the leaf is not first",
        write: |stand, _, new| {
            write(&key(stand), &new.key).unwrap();
            write(&certificate(stand), &format!("{}{}", new.chain, new.leaf)).unwrap();
        },
        said: &["the leaf is not the first certificate", "certificate 2 is"],
    },
    Bad {
        what: "the key is encrypted",
        write: |stand, _, new| {
            write(&certificate(stand), &new.fullchain()).unwrap();
            let key_text = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
            write(&key(stand), key_text).unwrap();
        },
        said: &["a.key", "its private key is encrypted", "openssl pkey"],
    },
    Bad {
        what: "the file is huge",
        write: |stand, _, _| {
            put(&certificate(stand), |path| {
                fs::write(path, vec![b'x'; 10_000_000]).unwrap();
            });
        },
        said: &["it has 10000000 bytes"],
    },
    Bad {
        what: "it is a fifo",
        write: |stand, _, _| put(&certificate(stand), nix_fifo),
        said: &["it is not a regular file"],
    },
    Bad {
        what: "it is a socket",
        write: |stand, _, _| {
            put(&certificate(stand), |path| {
                drop(UnixListener::bind(path).unwrap());
            });
        },
        said: &["it is not a regular file"],
    },
    Bad {
        what: "it is a ring of links",
        write: |stand, _, _| put(&certificate(stand), |path| symlink("a.crt", path).unwrap()),
        said: &["it is a ring of links"],
    },
    Bad {
        what: "it is a link that leads out",
        write: |stand, _, new| {
            fs::write(stand.base.path().join("outside.crt"), new.fullchain()).unwrap();
            put(&certificate(stand), |path| {
                symlink("../outside.crt", path).unwrap();
            });
        },
        said: &["leads out of"],
    },
    Bad {
        what: "the key is gone",
        write: |stand, _, new| {
            put(&certificate(stand), |path| {
                fs::write(path, new.fullchain()).unwrap();
            });
            fs::remove_file(key(stand)).unwrap();
        },
        said: &["its private key is gone"],
    },
];

#[test]
fn a_bad_renewal_leaves_the_last_good_one_and_says_why() {
    let stand = stand();
    let mut good = stand.issue("a.example");
    good.write(&stand.directory(), "a.crt", "a.key").unwrap();
    stand.served("a.example", &good);
    let clients = stand.clients("a.example");
    let mut all = vec![good.clone()];
    for Bad { what, write, said } in BAD {
        let next = stand.issue("a.example");
        write(&stand, &good, &next);
        let error = stand.told(said);
        assert!(
            error.contains("its last good content stays"),
            "{what}: {error}"
        );
        assert!(stand.shows("a.example", &good), "{what}");
        assert_eq!(stand.daemon.fetch("/readyz").unwrap().status, 200, "{what}");

        next.write(&stand.directory(), "a.crt", "a.key").unwrap();
        stand.served("a.example", &next);
        all_well(&stand.daemon);
        all.push(next.clone());
        good = next;
    }
    // The certificate goes while its key stays: one half of a renewal.
    fs::remove_file(certificate(&stand)).unwrap();
    let marker = stand.issue("marker.example");
    marker
        .write(&stand.directory(), "marker.crt", "marker.key")
        .unwrap();
    stand.served("marker.example", &marker);
    assert!(stand.shows("a.example", &good));
    let all: Vec<&Issued> = all.iter().collect();
    clients.end(&all);
    no_key_in(&stand.daemon, &all);
}

fn nix_fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo")
        .arg(path)
        .status()
        .unwrap();
    assert!(made.success());
}

#[test]
fn strange_names_stop_nobody() {
    let stand = stand();
    let directory = stand.directory();
    let mut files: Vec<(OsString, &str)> = [("with space", "space"), ("new\nline", "newline")]
        .map(|(file, name)| (file.into(), name))
        .into();
    files.push((OsString::from_vec(b"not\xffutf8".to_vec()), "bytes"));
    for (file, name) in files {
        let host = format!("{name}.example");
        let issued = stand.issue(&host);
        let with = |ending: &str| {
            let mut file = file.clone();
            file.push(ending);
            directory.join(file)
        };
        fs::write(with(".key"), &issued.key).unwrap();
        fs::write(with(".crt"), issued.fullchain()).unwrap();
        stand.served(&host, &issued);
    }
    // A name that Sōzu would take for a regular expression is left out, and the others are served.
    let slashed = stand
        .ca
        .issue(&["/.*/.example", "plain.example", "192.0.2.7"])
        .unwrap();
    slashed
        .write(&directory, "slashed.crt", "slashed.key")
        .unwrap();
    stand.served("plain.example", &slashed);
    let none = stand.ca.issue(&["192.0.2.7"]).unwrap();
    none.write(&directory, "none.crt", "none.key").unwrap();
    stand.told(&["none.crt", "none of its names can be served", "192.0.2.7"]);
}

#[test]
fn a_wildcard_and_an_exact_name_are_two_certificates_and_the_newer_of_two_is_served() {
    let stand = stand();
    let directory = stand.directory();
    let wildcard = stand.ca.issue(&["*.w.example"]).unwrap();
    let exact = stand.ca.issue(&["x.w.example"]).unwrap();
    wildcard
        .write(&directory, "wildcard.crt", "wildcard.key")
        .unwrap();
    exact.write(&directory, "exact.crt", "exact.key").unwrap();
    stand.served("x.w.example", &exact);
    stand.served("y.w.example", &wildcard);

    // Sōzu itself would go on serving the one that expires last.
    let old = stand
        .ca
        .issue_for(&["o.example"], Days(-100, 1000))
        .unwrap();
    old.write(&directory, "old.crt", "old.key").unwrap();
    stand.served("o.example", &old);
    let new = stand.ca.issue_for(&["o.example"], Days(-1, 30)).unwrap();
    new.write(&directory, "new.crt", "new.key").unwrap();
    stand.served("o.example", &new);
    let own = self_signed(&["o.example"], Days(0, 2000)).unwrap();
    own.write(&directory, "own.crt", "own.key").unwrap();
    let told = |words: &str| {
        wait_until(words, SOON, || {
            let detail = stand.daemon.component("pki.certs").unwrap()["detail"].to_string();
            if detail.contains(words) {
                Ok(())
            } else {
                Err(detail)
            }
        });
    };
    told("2 shadowed");
    assert!(stand.shows("o.example", &new));

    fs::remove_file(directory.join("new.crt")).unwrap();
    fs::remove_file(directory.join("new.key")).unwrap();
    stand.served("o.example", &old);
    told("1 shadowed");
    all_well(&stand.daemon);
}

#[test]
fn the_same_leaf_with_another_chain_is_replaced_and_under_two_paths_it_is_one() {
    let stand = stand();
    let directory = stand.directory();
    let issued = stand.issue("a.example");
    write(&directory.join("a.key"), &issued.key).unwrap();
    write(&directory.join("a.crt"), &issued.leaf).unwrap();
    stand.served("a.example", &issued);
    let chain = || shake(stand.https(), "a.example").unwrap().chain;
    assert_eq!(chain(), 0);
    let clients = stand.clients("a.example");
    write(&directory.join("a.crt"), &issued.fullchain()).unwrap();
    wait_until("the chain is served", SOON, || chain() == 1);

    // Two claims on one certificate: it goes with the last one.
    issued
        .write(&directory.join("second"), "second.crt", "second.key")
        .unwrap();
    let marker = stand.issue("marker.example");
    marker
        .write(&directory, "marker.crt", "marker.key")
        .unwrap();
    stand.served("marker.example", &marker);
    assert_eq!(support::certificates_held(&stand.sozu), 3);
    fs::remove_file(directory.join("a.crt")).unwrap();
    fs::remove_file(directory.join("a.key")).unwrap();
    fs::remove_file(directory.join("marker.crt")).unwrap();
    fs::remove_file(directory.join("marker.key")).unwrap();
    wait_until("marker.example is removed", SOON, || {
        support::certificates_held(&stand.sozu) == 2
    });
    assert!(stand.shows("a.example", &issued));
    clients.end(&[&issued]);
    fs::remove_dir_all(directory.join("second")).unwrap();
    wait_until("a.example is removed", SOON, || {
        support::certificates_held(&stand.sozu) == 1
    });
    all_well(&stand.daemon);
}

#[test]
fn nothing_that_happens_to_the_directory_takes_all_away() {
    let stand = stand();
    let (directory, away) = (stand.directory(), stand.base.path().join("away"));
    let issued = stand.issue("a.example");
    issued.write(&directory, "a.crt", "a.key").unwrap();
    stand.served("a.example", &issued);
    let clients = stand.clients("a.example");

    fs::rename(&directory, &away).unwrap();
    stand.told(&["is not there", "stays"]);
    // Emptied: held, however few they are.
    fs::create_dir(&directory).unwrap();
    stand.told(&["holds release"]);
    assert_eq!(support::certificates_held(&stand.sozu), 2);
    // Replaced by one with the same content.
    fs::remove_dir(&directory).unwrap();
    fs::rename(&away, &directory).unwrap();
    all_well(&stand.daemon);
    fs::remove_dir_all(&directory).unwrap();
    stand.told(&["is not there"]);
    clients.end(&[&issued]);

    // Made again, with a renewal.
    let next = stand.issue("a.example");
    let made = stand.base.path().join("made");
    next.write(&made, "a.crt", "a.key").unwrap();
    stand
        .ca
        .issue(&[UNTOUCHED])
        .unwrap()
        .write(&made, "untouched.crt", "untouched.key")
        .unwrap();
    fs::rename(&made, &directory).unwrap();
    stand.served("a.example", &next);
    all_well(&stand.daemon);

    // Open to everybody: not read at all.
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    stand.told(&["anybody may write into it", "chmod o-w"]);
    assert!(stand.shows("a.example", &next));
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    all_well(&stand.daemon);
}

#[test]
fn sozu_and_the_daemon_may_be_started_anew() {
    let mut stand = stand();
    let directory = stand.directory();
    let first = stand.issue("a.example");
    first.write(&directory, "a.crt", "a.key").unwrap();
    let broken = stand.issue("b.example");
    broken.write(&directory, "b.crt", "b.key").unwrap();
    stand.served("a.example", &first);
    stand.served("b.example", &broken);

    stand.sozu.kill().unwrap();
    stand.sozu.start_again().unwrap();
    stand.served("a.example", &first);

    // Changes while nobody looks: a renewal, and one that is half written.
    stand.daemon.kill9().unwrap();
    let second = stand.issue("a.example");
    second.write(&directory, "a.crt", "a.key").unwrap();
    fs::write(directory.join("b.crt"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    let clients = stand.clients("a.example");
    stand.daemon.start().unwrap();
    stand.served("a.example", &second);
    clients.end(&[&first, &second]);
    stand.told(&["b.crt", "half written"]);
    assert!(
        stand.shows("b.example", &broken),
        "what Sōzu serves is left alone"
    );

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
    broken.write(&directory, "b.crt", "b.key").unwrap();
    stand.served("b.example", &broken);
    all_well(&stand.daemon);
    no_key_in(&stand.daemon, &[&first, &second, &broken]);
}

#[test]
fn names_beyond_allow_names_are_refused_and_check_tells_all_without_a_daemon() {
    let stand = stand_with("allow_names = [\"*.example\"]\n");
    let directory = stand.directory();
    let strange = stand.issue("login.elsewhere");
    strange
        .write(&directory, "strange.crt", "strange.key")
        .unwrap();
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
        part("would be loaded:").contains("untouched.crt: untouched.example (ecdsa, flat), until"),
        "{text}"
    );
    assert!(part("would not be loaded:").contains("bad.crt"), "{text}");
    assert!(part("to know:").contains("README: ignored"), "{text}");
    assert!(!text.contains("PRIVATE"), "{text}");
}

fn connector(base: &Path, name: &str, issued: &Issued) {
    let folder = base.join(name);
    issued
        .write(&folder, &format!("{name}.crt"), &format!("{name}.key"))
        .unwrap();
    write(&folder.join("options.json"), "[4, 5]").unwrap();
}

/// Relative links into an archive; the directory here is not `live` itself, so that it holds both.
fn certbot(base: &Path, name: &str, issued: &Issued) {
    let (archive, live) = (base.join(".archive").join(name), base.join(name));
    fs::create_dir_all(&archive).unwrap();
    fs::create_dir_all(&live).unwrap();
    let number = fs::read_dir(&archive).unwrap().count();
    for (file, text) in [
        ("cert", issued.leaf.clone()),
        ("chain", issued.chain.clone()),
        ("fullchain", issued.fullchain()),
        ("privkey", issued.key.clone()),
    ] {
        let numbered = format!("{file}{number}.pem");
        fs::write(archive.join(&numbered), text).unwrap();
        let link = live.join(format!("{file}.pem"));
        let _ = fs::remove_file(&link);
        symlink(format!("../.archive/{name}/{numbered}"), link).unwrap();
    }
    fs::write(live.join("README"), "This directory contains your keys").unwrap();
}

fn dehydrated(base: &Path, name: &str, issued: &Issued) {
    let folder = base.join(name);
    fs::create_dir_all(&folder).unwrap();
    let number = fs::read_dir(&folder).unwrap().count();
    for (file, text) in [
        ("cert", issued.leaf.clone()),
        ("chain", issued.chain.clone()),
        ("fullchain", issued.fullchain()),
        ("privkey", issued.key.clone()),
    ] {
        let numbered = format!("{file}-{number}.pem");
        fs::write(folder.join(&numbered), text).unwrap();
        let (new, link) = (folder.join(".link"), folder.join(format!("{file}.pem")));
        symlink(numbered, &new).unwrap();
        fs::rename(new, link).unwrap();
    }
}

fn caddy(base: &Path, name: &str, issued: &Issued) {
    let folder = base
        .join("acme-v02.api.letsencrypt.org-directory")
        .join(name);
    issued
        .write(&folder, &format!("{name}.crt"), &format!("{name}.key"))
        .unwrap();
    write(&folder.join(format!("{name}.json")), "{\"sans\": []}").unwrap();
}

/// In place, one file after the other.
fn acme_sh_in(folder: &Path, name: &str, issued: &Issued) {
    fs::create_dir_all(folder).unwrap();
    for (file, text) in [
        (format!("{name}.key"), &issued.key),
        (format!("{name}.cer"), &issued.leaf),
        (format!("{name}.conf"), &"Le_Domain=''\n".to_owned()),
        ("ca.cer".to_owned(), &issued.chain),
        ("fullchain.cer".to_owned(), &issued.fullchain()),
    ] {
        fs::write(folder.join(file), text).unwrap();
    }
}

fn acme_sh(base: &Path, name: &str, issued: &Issued) {
    acme_sh_in(&base.join(name), name, issued);
}

fn acme_sh_ecc(base: &Path, name: &str, issued: &Issued) {
    acme_sh_in(&base.join(format!("{name}_ecc")), name, issued);
}

/// A volume of its own, swapped by one rename.
fn kubernetes(base: &Path, name: &str, issued: &Issued) {
    let volume = base.join(name);
    fs::create_dir_all(&volume).unwrap();
    let number = fs::read_dir(&volume).unwrap().count();
    let dated = volume.join(format!("..2026_{number}"));
    fs::create_dir(&dated).unwrap();
    fs::write(dated.join("tls.crt"), issued.fullchain()).unwrap();
    fs::write(dated.join("tls.key"), &issued.key).unwrap();
    symlink(dated.file_name().unwrap(), volume.join("..data_tmp")).unwrap();
    let before = fs::read_link(volume.join("..data")).ok();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        let _ = symlink(format!("..data/{file}"), volume.join(file));
    }
    if let Some(before) = before {
        fs::remove_dir_all(volume.join(before)).unwrap();
    }
}

fn haproxy(base: &Path, name: &str, issued: &Issued) {
    write(&base.join(format!("{name}.pem")), &issued.combined()).unwrap();
}

fn lego(base: &Path, name: &str, issued: &Issued) {
    issued
        .write(base, &format!("{name}.crt"), &format!("{name}.key"))
        .unwrap();
    write(&base.join(format!("{name}.issuer.crt")), &issued.chain).unwrap();
    write(&base.join(format!("{name}.json")), "{}").unwrap();
}

fn pem(base: &Path, name: &str, issued: &Issued) {
    issued
        .write(base, &format!("{name}.pem"), &format!("{name}.key"))
        .unwrap();
}
