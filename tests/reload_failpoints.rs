//! A reload that fails half-way puts back what was before. Needs the feature `failpoints`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;

use support::{answer, served, write_route};
use testkit::{Backend, SOON, Sozu, wait_until};

#[test]
fn what_was_before_is_put_back_and_that_is_said() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    // the first watcher is well, the second one, which the reload brings, is not
    let mut daemon = support::daemon(&sozu)
        .env("FAILPOINTS", "routes_watcher::start=1*off->1*panic")
        .prepare()
        .unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    served(&sozu, "a.example", "A");
    fs::create_dir(daemon.routes_of("other")).unwrap();
    let text = fs::read_to_string(daemon.config_file()).unwrap();
    let more = format!(
        "{text}\n[routes.other]\ndirectory = \"{}\"\n[guard]\nremoval_minimum = 7\n",
        daemon.routes_of("other").display()
    );
    fs::write(daemon.config_file(), more).unwrap();

    let failed = daemon.command(&["reload"]).output().unwrap();
    let why = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(1), "{why}");
    for word in ["routes.other", "what was before was put back"] {
        assert!(why.contains(word), "{why}");
    }
    let page = daemon.metrics().unwrap();
    assert!(!page.contains("routes.other"), "{page}");
    let rolled_back = [("outcome", "rolled_back")];
    let reloads = "sozu_manager_config_reloads_total";
    assert_eq!(daemon.metric(reloads, &rolled_back), Some(1.0));
    assert_eq!(answer(&sozu, "a.example"), (200, "A".to_owned()));
    assert_eq!(daemon.component("routes.local").unwrap()["restarts"], 0);

    // the next try is well
    let output = daemon.command(&["reload"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("state_keeper has new settings"), "{said}");
    assert!(said.contains("routes.other is started"), "{said}");
}

#[test]
fn when_putting_back_fails_too_both_errors_are_said_and_supervision_mends_it() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    // the watcher of another directory is not well, nor is the one that is put back
    let mut daemon = support::daemon(&sozu)
        .env("FAILPOINTS", "routes_watcher::start=1*off->2*panic")
        .prepare()
        .unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    let other = daemon.routes_of("other");
    fs::create_dir(&other).unwrap();
    let before = daemon.routes_of("local");
    for entry in fs::read_dir(&before).unwrap() {
        let file = entry.unwrap();
        fs::copy(file.path(), other.join(file.file_name())).unwrap();
    }
    let text = fs::read_to_string(daemon.config_file()).unwrap();
    let [old, new] =
        [&before, &other].map(|directory| format!("{:?}", directory.display().to_string()));
    assert!(text.contains(&old), "{text}");
    fs::write(daemon.config_file(), text.replace(&old, &new)).unwrap();

    let failed = daemon.command(&["reload"]).output().unwrap();
    let why = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(1), "{why}");
    let (first, second) = why
        .split_once("what was before could not be put back")
        .unwrap_or_else(|| panic!("{why}"));
    for part in [first, second] {
        assert!(part.contains("routes.local: "), "{why}");
    }
    // what it was told to be is what is restarted
    wait_until("routes.local runs again", SOON, || {
        daemon.component("routes.local").unwrap()["state"] == "running"
    });
    assert_eq!(answer(&sozu, "a.example"), (200, "A".to_owned()));
    write_route(&daemon, &sozu, "b", &backend);
    served(&sozu, "b.example", "A");
}
