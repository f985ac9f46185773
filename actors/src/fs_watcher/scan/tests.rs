use std::{fs, os::unix::fs::symlink, time::Duration};

use super::*;
use crate::state_keeper::{key::Object, report::Protocol};

fn listeners() -> Arc<Listeners> {
    Arc::new([("0.0.0.0:80".parse().unwrap(), Protocol::Http.into())].into())
}

/// A scanner that believes the times of files, however young they are.
fn trusting(directory: &Path) -> Scanner {
    let mut scanner = Scanner::new(directory);
    scanner.now = || SystemTime::now() + Duration::from_mins(1);
    scanner
}

fn route(cluster: &str, backend: &str) -> String {
    format!(
        "[clusters.{cluster}]\nprotocol = \"http\"\nfrontends = [{{ address = \"0.0.0.0:80\", hostname = \"{cluster}.example\" }}]\nbackends = [{{ address = \"{backend}\" }}]\n"
    )
}

fn keys(scan: &Scan) -> Vec<String> {
    let shown = |file: &ListedFile| match &file.content {
        FileContent::Objects(objects) => format!("{objects:?}"),
        FileContent::Unreadable(why) => why.clone(),
    };
    scan.files.iter().map(shown).collect()
}

fn objects(scan: &Scan, file: usize) -> &Arc<Vec<Keyed>> {
    match &scan.files[file].content {
        FileContent::Objects(objects) => objects,
        FileContent::Unreadable(why) => panic!("{why}"),
    }
}

#[test]
fn what_did_not_change_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        fs::write(
            dir.path().join(format!("{name}.toml")),
            route(name, "10.0.0.1:80"),
        )
        .unwrap();
    }
    let mut scanner = trusting(dir.path());
    let first = scanner.scan(&listeners(), true).unwrap();
    assert_eq!((first.files.len(), first.objects), (2, 6));
    let names = list(dir.path()).unwrap();
    assert_eq!(scanner.drafts(&names, false, true).unwrap().len(), 0);
    fs::write(dir.path().join("b.toml"), route("b", "10.0.0.2:80")).unwrap();
    assert_eq!(scanner.drafts(&names, false, true).unwrap().len(), 1);
    let second = scanner.scan(&listeners(), true).unwrap();
    assert!(Arc::ptr_eq(objects(&first, 0), objects(&second, 0)));
    assert!(format!("{:?}", objects(&second, 1)).contains("10.0.0.2:80"));
}

#[test]
fn a_file_that_is_younger_than_its_times_can_tell_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.toml"), route("a", "10.0.0.1:80")).unwrap();
    let mut scanner = Scanner::new(dir.path());
    let first = scanner.scan(&listeners(), true).unwrap();
    let names = list(dir.path()).unwrap();
    assert_eq!(scanner.drafts(&names, false, false).unwrap().len(), 1);
    // Read again, the same content is the same objects.
    let second = scanner.scan(&listeners(), true).unwrap();
    assert!(Arc::ptr_eq(objects(&first, 0), objects(&second, 0)));
}

#[test]
fn other_listeners_mean_that_all_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.toml"), route("a", "10.0.0.1:80")).unwrap();
    let mut scanner = trusting(dir.path());
    scanner.scan(&listeners(), true).unwrap();
    let https = Arc::new([("0.0.0.0:80".parse().unwrap(), Protocol::Https.into())].into());
    let scan = scanner.scan(&https, false).unwrap();
    assert!(
        keys(&scan)[0].contains("https_frontend"),
        "{:?}",
        keys(&scan)
    );
}

#[test]
fn names_are_resolved_again_only_when_the_file_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    let text = route("a", "localhost:8080");
    fs::write(&path, &text).unwrap();
    let mut scanner = Scanner::new(dir.path());
    scanner.scan(&listeners(), true).unwrap();
    let remembered = vec!["10.9.9.9:8080".parse().unwrap()];
    let entry = scanner.entries.get_mut(&path).unwrap();
    assert!(
        entry
            .resolved
            .insert("localhost:8080".to_owned(), Ok(remembered))
            .is_some()
    );
    // Written again with the same content, and read again: not resolved.
    fs::write(&path, &text).unwrap();
    let scan = scanner.scan(&listeners(), true).unwrap();
    assert!(
        keys(&scan)[0].contains("10.9.9.9:8080"),
        "{:?}",
        keys(&scan)
    );
    fs::write(&path, format!("{text}# changed\n")).unwrap();
    let scan = scanner.scan(&listeners(), true).unwrap();
    assert!(
        !keys(&scan)[0].contains("10.9.9.9:8080"),
        "{:?}",
        keys(&scan)
    );
}

#[test]
fn a_broken_file_is_unreadable_keeps_its_claims_and_disturbs_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a.toml", "b.toml", "c.toml"].map(|name| dir.path().join(name));
    fs::write(&a, route("x", "10.0.0.1:80")).unwrap();
    fs::write(&b, route("x", "10.0.0.1:80") + &route("y", "10.0.0.2:80")).unwrap();
    fs::write(&c, route("z", "10.0.0.3:80")).unwrap();
    let mut scanner = Scanner::new(dir.path());
    let whole = scanner.scan(&listeners(), false).unwrap();
    assert_eq!((whole.objects, whole.problems.len()), (9, 1));
    fs::write(&a, "[clusters.x]\nprotocol = \"http\"\nfrontends = [\n").unwrap();
    let broken = scanner.scan(&listeners(), false).unwrap();
    let prefix = format!("{}:3:", a.display());
    assert!(keys(&broken)[0].starts_with(&prefix), "{:?}", keys(&broken));
    assert_eq!(
        objects(&broken, 1),
        objects(&whole, 1),
        "what `a` gave still shadows `b`"
    );
    assert_eq!(objects(&broken, 2), objects(&whole, 2));
    assert_eq!(broken.problems.len(), 2);
    // With `a` gone, `b` has it.
    fs::remove_file(&a).unwrap();
    let gone = scanner.scan(&listeners(), false).unwrap();
    assert_eq!(
        (gone.files.len(), gone.objects, gone.problems.len()),
        (2, 9, 0)
    );
}

#[test]
fn a_file_that_it_names_is_part_of_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[clusters.a]\nprotocol = \"http\"\nfrontends = []\nbackends = []\nanswer_503 = \"busy.http\"\n";
    fs::write(dir.path().join("a.toml"), text).unwrap();
    let mut scanner = trusting(dir.path());
    let missing = scanner.scan(&listeners(), false).unwrap();
    assert!(
        keys(&missing)[0].contains("busy.http that it names: it is not there"),
        "{:?}",
        keys(&missing)
    );
    let answer = |scan: &Scan| match objects(scan, 0)[0].object.as_ref() {
        Object::Cluster(cluster) => cluster.answer_503.clone().unwrap(),
        other => panic!("{other:?}"),
    };
    // It comes, and it changes, while the file that names it stays as it is.
    for content in ["one", "two, longer"] {
        fs::write(dir.path().join("busy.http"), content).unwrap();
        let scan = scanner.scan(&listeners(), false).unwrap();
        assert_eq!(answer(&scan), content);
    }
}

#[test]
fn what_is_no_file_is_told_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("a.toml")).unwrap();
    symlink("nothing", dir.path().join("b.toml")).unwrap();
    fs::write(dir.path().join("c.toml"), route("c", "10.0.0.1:80")).unwrap();
    let scan = Scanner::new(dir.path()).scan(&listeners(), false).unwrap();
    let shown = keys(&scan);
    assert!(shown[0].contains("not a regular file"), "{shown:?}");
    assert!(shown[1].contains("leads to nothing"), "{shown:?}");
    assert_eq!(objects(&scan, 2).len(), 3);
}

#[test]
fn a_file_that_went_meanwhile_means_listing_again() {
    let dir = tempfile::tempdir().unwrap();
    let scanner = Scanner::new(dir.path());
    let names = Names {
        device: 1,
        paths: vec![dir.path().join("gone.toml")],
    };
    assert!(scanner.drafts(&names, false, false).is_none());
}

#[test]
fn two_scanners_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..20 {
        let text = route(&format!("c{}", n % 7), "10.0.0.1:80");
        fs::write(dir.path().join(format!("{n}.toml")), text).unwrap();
    }
    let scans = [(); 2].map(|()| Scanner::new(dir.path()).scan(&listeners(), false).unwrap());
    assert_eq!(keys(&scans[0]), keys(&scans[1]));
    assert_eq!(scans[0].problems, scans[1].problems);
    assert_eq!(scans[0].objects, 21);
}
