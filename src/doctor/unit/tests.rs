//! The unit as systemd would tell it, against what a configuration asks for.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::doctor::finding::State;

/// The shipped unit as `systemctl show` tells it, with other lines behind.
fn shipped(more: &str) -> Unit {
    Unit::read(&format!(
        "LoadState=loaded\nUser=sozu-manager\nGroup=sozu-manager\nSupplementaryGroups=\nStateDirectory=sozu-manager\n\
         RuntimeDirectory=sozu-manager\nRuntimeDirectoryMode=0711\nProtectSystem=strict\nProtectHome=yes\n\
         ProtectProc=default\nProcSubset=all\nPrivateTmp=yes\nReadWritePaths=\nReadOnlyPaths=\nInaccessiblePaths=\n{more}"
    ))
}

fn needs(state: &str, exchange: &str, routes: &str) -> Needs {
    Needs {
        written: vec![
            ("state_directory", state.into()),
            ("[sozu] exchange_directory", exchange.into()),
            ("[admin] socket", "/run/sozu-manager".into()),
        ],
        read: vec![
            ("[sozu] command_socket", "/run/sozu/command.sock".into()),
            ("a routes directory", routes.into()),
        ],
        exchange: Some(exchange.into()),
    }
}

const STATE: &str = "/var/lib/sozu-manager";
const EXCHANGE: &str = "/run/sozu-manager/exchange";
const ROUTES: &str = "/etc/sozu-manager/routes.d";

#[test]
fn the_shipped_unit_fits_the_default_configuration() {
    let found = paths(&shipped(""), &needs(STATE, EXCHANGE, ROUTES));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].state, State::Ok);
    assert_eq!(proc(&shipped("")).state, State::Ok);
}

#[test]
fn each_path_that_the_unit_closes_is_told_with_the_line_that_opens_it() {
    // (lines of a drop-in, state, exchange, routes, the finding)
    let table = [
        (
            "",
            "/srv/state",
            EXCHANGE,
            ROUTES,
            Some((State::Wrong, "ReadWritePaths=/srv/state")),
        ),
        ("ReadWritePaths=-/srv", "/srv/state", EXCHANGE, ROUTES, None),
        (
            "ReadWritePaths=/srv\nReadOnlyPaths=/srv/state",
            "/srv/state",
            EXCHANGE,
            ROUTES,
            Some((State::Wrong, "ReadWritePaths=/srv/state")),
        ),
        (
            "",
            STATE,
            "/tmp/exchange",
            ROUTES,
            Some((State::Wrong, "below /run or /var/lib")),
        ),
        (
            "",
            STATE,
            EXCHANGE,
            "/home/deploy/routes",
            Some((State::Wrong, "BindReadOnlyPaths=/home/deploy/routes")),
        ),
        (
            "",
            STATE,
            EXCHANGE,
            "/tmp/routes",
            Some((State::Wrong, "PrivateTmp=no")),
        ),
        (
            "ProtectHome=read-only",
            STATE,
            EXCHANGE,
            "/home/routes",
            None,
        ),
        (
            "InaccessiblePaths=/etc/sozu-manager",
            STATE,
            EXCHANGE,
            ROUTES,
            Some((State::Wrong, "InaccessiblePaths=")),
        ),
        (
            "RuntimeDirectoryMode=0700",
            STATE,
            EXCHANGE,
            ROUTES,
            Some((State::Warning, "RuntimeDirectoryMode=0711")),
        ),
        ("ProtectSystem=full", "/srv/state", EXCHANGE, ROUTES, None),
        (
            "ProtectSystem=full",
            "/etc/state",
            EXCHANGE,
            ROUTES,
            Some((State::Wrong, "ReadWritePaths=/etc/state")),
        ),
    ];
    for (more, state, exchange, routes, expected) in table {
        let found = paths(&shipped(more), &needs(state, exchange, routes));
        assert_eq!(found.len(), 1, "{found:?}");
        let finding = &found[0];
        match expected {
            None => assert_eq!(finding.state, State::Ok, "{finding:?}"),
            Some((state, remedy)) => {
                assert_eq!(finding.state, state, "{finding:?}");
                let told = finding.remedy.as_deref().unwrap();
                assert!(told.contains(remedy), "{told}");
            }
        }
    }
}

#[test]
fn a_unit_that_hides_processes_is_a_warning() {
    for more in ["ProtectProc=invisible", "ProcSubset=pid"] {
        assert_eq!(proc(&shipped(more)).state, State::Warning, "{more}");
    }
    let root = shipped("ProtectProc=invisible\nUser=");
    assert_eq!(proc(&root).state, State::Ok);
}

#[test]
fn the_group_of_sozus_socket_has_to_come_from_somewhere() {
    let ground = tempfile::tempdir().unwrap();
    let socket = ground.path().join("sock");
    fs::write(&socket, "").unwrap();
    let set_mode = |mode| fs::set_permissions(&socket, fs::Permissions::from_mode(mode)).unwrap();
    let gid = fs::metadata(&socket).unwrap().gid();
    let judged = |more: &str| socket_group(&shipped(more), &socket);

    set_mode(0o600);
    let closed = judged("").unwrap();
    assert_eq!(closed.state, State::Wrong);
    assert!(closed.remedy.unwrap().contains("command_socket_mode"));
    set_mode(0o660);
    let lacking = judged("").unwrap();
    assert_eq!(lacking.state, State::Wrong);
    let line = format!("SupplementaryGroups={}", group_name(gid));
    assert!(lacking.remedy.unwrap().contains(&line));
    assert_eq!(judged(&line).unwrap().state, State::Ok);
    let by_number = format!("SupplementaryGroups=4 {gid}");
    assert_eq!(judged(&by_number).unwrap().state, State::Ok);
    assert_eq!(judged("User=root").unwrap().state, State::Ok);
    set_mode(0o666);
    assert_eq!(judged(""), None);
}
