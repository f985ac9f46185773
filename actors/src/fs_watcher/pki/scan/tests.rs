use std::{
    fs,
    net::Ipv4Addr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::*;
use crate::{
    messages::FileContent,
    state_keeper::key::{Keyed, Object},
};

const DAY: Duration = Duration::from_hours(24);

/// Whatever was written before a test's first look is older than times can be wrong.
fn a_minute_later() -> SystemTime {
    SystemTime::now() + Duration::from_mins(1)
}

fn scanner(directory: &Path, now: fn() -> SystemTime) -> Scanner {
    let settings = Settings {
        root: directory.to_owned(),
        listeners: vec![(Ipv4Addr::LOCALHOST, 443).into()],
        layout: None,
        allow_names: Vec::new(),
        handshakes: false,
    };
    Scanner::with_clock(directory, settings, now)
}

/// Writes `STEM.crt` and `STEM.key`, valid for these days from now.
fn write(directory: &Path, stem: &str, name: &str, from: Duration, until: Duration) {
    let key = rcgen::KeyPair::generate().unwrap();
    let issuer_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = (SystemTime::now() + from).into();
    params.not_after = (SystemTime::now() + until).into();
    let mut issuer = rcgen::CertificateParams::default();
    let common_name = rcgen::DnType::CommonName;
    issuer.distinguished_name.push(common_name, "issuer");
    let issuer = rcgen::Issuer::new(issuer, issuer_key);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    fs::write(directory.join(format!("{stem}.crt")), certificate.pem()).unwrap();
    fs::write(directory.join(format!("{stem}.key")), key.serialize_pem()).unwrap();
}

fn look(scanner: &mut Scanner) -> Arc<Scan> {
    scanner.scan(&Listeners::new(), false).unwrap()
}

/// When each pair was last read.
fn read_at(scanner: &Scanner) -> Vec<SystemTime> {
    scanner
        .entries
        .values()
        .map(|entry| entry.read_at)
        .collect()
}

/// What a file gives, by its place in the listing.
fn objects(scan: &Scan, index: usize) -> Arc<Vec<Keyed>> {
    match &scan.files[index].content {
        FileContent::Objects(objects) => Arc::clone(objects),
        FileContent::Unreadable(why) => panic!("{why}"),
    }
}

#[test]
fn what_has_not_changed_is_not_read_again_and_keeps_its_objects() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a", "a.example", Duration::ZERO, DAY);
    write(directory.path(), "b", "b.example", Duration::ZERO, DAY);
    let mut scanner = scanner(directory.path(), a_minute_later);
    let first = look(&mut scanner);
    let before = read_at(&scanner);
    look(&mut scanner);
    assert_eq!(read_at(&scanner), before);

    write(directory.path(), "a", "a.example", Duration::ZERO, DAY);
    let changed = look(&mut scanner);
    let after = read_at(&scanner);
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1]);
    assert_ne!(objects(&changed, 0), objects(&first, 0));
    assert!(Arc::ptr_eq(&objects(&changed, 1), &objects(&first, 1)));
}

#[test]
fn times_alone_are_not_trusted_within_their_resolution() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a", "a.example", Duration::ZERO, DAY);
    let mut scanner = scanner(directory.path(), SystemTime::now);
    let first = look(&mut scanner);
    let before = read_at(&scanner);
    let again = look(&mut scanner);
    assert_ne!(read_at(&scanner), before, "it was written just now");
    assert!(Arc::ptr_eq(&objects(&again, 0), &objects(&first, 0)));
}

static DAYS: AtomicU64 = AtomicU64::new(0);

fn days_later() -> SystemTime {
    let days = u32::try_from(DAYS.load(Ordering::Relaxed)).unwrap();
    a_minute_later() + DAY * days
}

#[test]
fn a_validity_that_begins_is_another_judgement_without_a_changed_file() {
    let directory = tempfile::tempdir().unwrap();
    let name = "a.example";
    write(directory.path(), "now", name, Duration::ZERO, DAY * 100);
    write(directory.path(), "soon", name, DAY, DAY * 50);
    let mut scanner = scanner(directory.path(), days_later);
    // Sōzu would serve the one that expires last: whoever loses to the other is told otherwise.
    let words = |scan: &Scan| {
        [0, 1].map(|index| match &*objects(scan, index)[0].object {
            Object::Certificate(add) => add.expired_at.is_some(),
            _ => panic!("a certificate"),
        })
    };
    assert_eq!(words(&look(&mut scanner)), [false, false]);
    let before = read_at(&scanner);
    DAYS.store(2, Ordering::Relaxed);
    assert_eq!(words(&look(&mut scanner)), [true, false]);
    assert_eq!(read_at(&scanner), before);
}
