//! Whatever becomes of the directory takes no certificate away by accident.

use std::{fs, path::Path, process::Command, time::Duration};

use testkit::{pki::Issued, wait_until};

use crate::{
    stand::{Setup, UNTOUCHED, mode, stand},
    support::{self, all_well},
    tools,
};

#[test]
fn nothing_that_happens_to_the_directory_takes_all_away() {
    let stand = stand();
    let (directory, away) = (&stand.directory, stand.base.path().join("away"));
    let issued = stand.add("a", "a.example");
    let clients = stand.clients(&["a.example"]);

    fs::rename(directory, &away).unwrap();
    stand.told(&["is not there", "stays"]);
    // Emptied: held, however few they are.
    fs::create_dir(directory).unwrap();
    stand.told(&["holds release"]);
    assert_eq!(support::certificates_held(&stand.sozu), 2);
    // Replaced by one with the same content.
    fs::remove_dir(directory).unwrap();
    fs::rename(&away, directory).unwrap();
    all_well(&stand.daemon);
    fs::remove_dir_all(directory).unwrap();
    stand.told(&["is not there"]);

    // Made again, with a renewal.
    let next = stand.issue("a.example");
    let made = stand.base.path().join("made");
    next.write(&made, "a.crt", "a.key").unwrap();
    tools::flat(&made, UNTOUCHED, &stand.untouched);
    fs::rename(made, directory).unwrap();
    stand.served("a.example", &next);
    all_well(&stand.daemon);

    // Open to everybody: not read at all.
    mode(directory, 0o777);
    stand.told(&["anybody may write into it", "chmod o-w"]);
    assert!(stand.shows("a.example", &next));
    mode(directory, 0o755);
    all_well(&stand.daemon);
    clients.end(&[("a.example", &[&issued, &next])]);
}

#[test]
fn a_large_part_of_the_directory_that_vanishes_is_held() {
    let stand = stand();
    let away = stand.base.path().join("away");
    let (part, all) = (stand.at("part"), 80);
    let issued: Vec<Issued> = (0..all)
        .map(|n| {
            let issued = stand.issue(&format!("c{n}.example"));
            let (certificate, key) = (format!("c{n}.crt"), format!("c{n}.key"));
            let folder = if n < 60 { &part } else { &stand.directory };
            issued.write(folder, &certificate, &key).unwrap();
            issued
        })
        .collect();
    for n in [0, all - 1] {
        stand.served(&format!("c{n}.example"), &issued[n]);
    }
    all_well(&stand.daemon);
    let clients = stand.clients(&["c0.example", "c59.example", "c79.example"]);
    fs::rename(&part, &away).unwrap();
    stand.told(&["60 removals", "holds release"]);
    assert_eq!(support::certificates_held(&stand.sozu), all + 1);
    // One more goes as it is written, whatever is held.
    let next = stand.add("c79", "c79.example");
    fs::rename(&away, &part).unwrap();
    all_well(&stand.daemon);
    assert_eq!(support::certificates_held(&stand.sozu), all + 1);
    clients.end(&[
        ("c0.example", &[&issued[0]]),
        ("c59.example", &[&issued[59]]),
        ("c79.example", &[&issued[79], &next]),
    ]);
}

/// A directory is looked at every 30 s, told or not.
const NEXT_RESCAN: Duration = Duration::from_mins(1);

#[test]
fn an_unmounted_directory_declares_nothing() {
    if !may_mount("directory::an_unmounted_directory_declares_nothing") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let [directory, elsewhere] = ["certs", "elsewhere"].map(|name| {
        let path = place.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    });
    let tmpfs = ["-t", "tmpfs", "-o", "mode=755", "certificates"];
    let mounted = Mounted::on(&directory, &tmpfs);
    let base = tempfile::tempdir().unwrap();
    let mut stand = Setup::default().start_in(base, directory.clone());
    let issued = stand.add("a", "a.example");
    all_well(&stand.daemon);
    let clients = stand.clients(&["a.example"]);
    let another = Mounted::on(&elsewhere, &tmpfs);

    // inotify does not tell of a mount: the look that this makes finds it.
    fs::write(directory.join(".kick"), "").unwrap();
    drop(mounted);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    stand.told(&["another device"]);
    // Over a restart of the daemon, too.
    stand.daemon.kill9().unwrap();
    stand.daemon.start().unwrap();
    stand.told(&["another device"]);
    assert_eq!(support::certificates_held(&stand.sozu), 2);

    // Mounted again: another device, as a pod's secret is in the next pod, with a renewal.
    let next = stand.issue("a.example");
    next.write(&elsewhere, "a.crt", "a.key").unwrap();
    tools::flat(&elsewhere, UNTOUCHED, &stand.untouched);
    let again = Mounted::on(&directory, &["--bind", elsewhere.to_str().unwrap()]);
    wait_until("the renewal is served", NEXT_RESCAN, || {
        stand.shows("a.example", &next)
    });
    all_well(&stand.daemon);
    clients.end(&[("a.example", &[&issued, &next])]);
    drop((stand, again, another));
}

/// Whether this test may mount something. It runs itself once more for that, in a mount namespace of
/// its own, which ends with it.
fn may_mount(test: &str) -> bool {
    const INSIDE: &str = "SOZU_MANAGER_TEST_MAY_MOUNT";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        command.arg(program).args(arguments).env(INSIDE, "1");
        command.output()
    };
    if !unshare(Path::new("true"), &[]).is_ok_and(|tried| tried.status.success()) {
        eprintln!("nothing can be mounted here: nothing is shown");
        return false;
    }
    let me = std::env::current_exe().unwrap();
    let output = unshare(&me, &[test, "--exact", "--nocapture"]).unwrap();
    let [said, errors] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{errors}"
    );
    false
}

/// A mount that ends with it.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn on(path: &'a Path, what: &[&str]) -> Self {
        let mount = Command::new("mount").args(what).arg(path).status();
        assert!(
            mount.unwrap().success(),
            "mount {what:?} {}",
            path.display()
        );
        Self(path)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}
