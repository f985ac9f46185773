//! What the daemon's user cannot read is told with the remedy, stops no other, and stays served.

use crate::{
    stand::{Setup, mode},
    support::all_well,
};

const USER: u32 = 61_021;

#[test]
fn what_this_user_cannot_read_is_named_with_the_remedy_and_stops_no_other() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("only root can start the daemon as another user: nothing is shown");
        return;
    }
    let setup = Setup {
        user: Some(USER),
        ..Setup::default()
    };
    let mut stand = setup.start();
    let folder = stand.at("lost+found");
    let found = stand.issue("found.example");
    found.write(&folder, "found.crt", "found.key").unwrap();
    stand.served("found.example", &found);
    let closed = stand.add("closed", "closed.example");
    let clients = stand.clients(&["found.example", "closed.example"]);

    // Renewed as root does it, with its own umask.
    let renewed = stand.issue("closed.example");
    stand.write("closed", &renewed);
    mode(&stand.at("closed.key"), 0o600);
    mode(&folder, 0o700);
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
    stand.add("open", "open.example");

    // Over a restart, too.
    stand.daemon.kill9().unwrap();
    stand.daemon.start().unwrap();
    stand.told(&["closed.key", "lost+found"]);
    assert!(stand.shows("found.example", &found));
    mode(&folder, 0o755);
    mode(&stand.at("closed.key"), 0o644);
    stand.served("closed.example", &renewed);
    all_well(&stand.daemon);
    clients.end(&[
        ("found.example", &[&found]),
        ("closed.example", &[&closed, &renewed]),
    ]);
}
