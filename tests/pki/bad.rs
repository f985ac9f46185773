//! A renewal that cannot be taken leaves the last good pair, is told with the remedy, and is taken once it is whole.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
};

use testkit::pki::{Issued, write};

use crate::{
    stand::{Stand, no_key_in, put, stand},
    support::all_well,
};

/// What is in a renewal that cannot be taken, and what is said of it.
struct Bad {
    what: &'static str,
    write: fn(&Stand, &Issued, &Issued),
    said: &'static [&'static str],
}

fn certificate(stand: &Stand) -> PathBuf {
    stand.at("a.crt")
}

fn key(stand: &Stand) -> PathBuf {
    stand.at("a.key")
}

const BAD: [Bad; 14] = [
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
        what: "the key is cut off",
        write: |stand, _, new| {
            write(&certificate(stand), &new.fullchain()).unwrap();
            fs::write(key(stand), &new.key[..new.key.len() / 2]).unwrap();
        },
        said: &["a.crt", "a.key", "half written"],
    },
    Bad {
        what: "the key is empty",
        write: |stand, _, new| {
            write(&certificate(stand), &new.fullchain()).unwrap();
            fs::write(key(stand), "").unwrap();
        },
        said: &["a.crt", "no private key in a.key"],
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
        write: |stand, _, _| put(&certificate(stand), fifo),
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
    let mut good = stand.add("a", "a.example");
    let clients = stand.clients(&["a.example"]);
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

        stand.write("a", &next);
        stand.served("a.example", &next);
        all_well(&stand.daemon);
        all.push(next.clone());
        good = next;
    }
    // The certificate goes while its key stays: one half of a renewal.
    fs::remove_file(certificate(&stand)).unwrap();
    stand.add("marker", "marker.example");
    assert!(stand.shows("a.example", &good));
    let all: Vec<&Issued> = all.iter().collect();
    clients.end(&[("a.example", &all)]);
    no_key_in(&stand.daemon, &all);
}

fn fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo")
        .arg(path)
        .status()
        .unwrap();
    assert!(made.success());
}
