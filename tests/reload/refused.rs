//! What cannot be taken: it is told, and nothing is changed.

use std::{fs, net::TcpListener};

use nix::sys::signal::Signal;
use testkit::{Backend, SOON, wait_until};

use crate::{
    stand::{
        connections, edit, identity, last_successful, listener, refused, reload, reloaded, reloads,
        text,
    },
    support::{answer, served, sozu_and_daemon, write_route},
};

#[test]
fn a_bad_file_changes_nothing_and_is_told() {
    let (sozu, mut daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    let good = fs::read_to_string(daemon.config_file()).unwrap();
    let http = |text: &str, address: &str| {
        let own = format!("127.0.0.1:{}", daemon.http_port());
        text.replace(&own, address)
    };
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let restart = "it cannot change while the daemon runs; restart the daemon";
    let pulsar = "\n[pulsar.bus]\nurl = \"pulsar://127.0.0.1:1\"\ntopic = \"persistent://a/b/c\"\ntoken_file = \"/nonexistent/token\"\n";
    // what is written; what is said; each brings a good source along, which must not come
    let table = [
        (format!("{good}\nno toml"), "mend the TOML"),
        (format!("{good}\n[http2]\n"), "there is no `http2`"),
        (
            format!("{good}\n[guard]\nremoval_share = 7\n"),
            "is no share",
        ),
        (http(&good, &taken), "cannot be listened on"),
        (
            format!("{good}{pulsar}"),
            "/nonexistent/token: it cannot be read",
        ),
        (good.replace("/state\"", "/elsewhere\""), restart),
        (format!("instance = \"another\"\n{good}"), restart),
        (good.replace("exchange\"", "exchange-2\""), restart),
        (
            good.replace("[http]", "[log]\nformat = \"text\"\n[http]"),
            restart,
        ),
        (
            good.replace("[admin]", "[admin]\ngroup = \"root\""),
            restart,
        ),
    ];
    fs::create_dir(daemon.routes_of("more")).unwrap();
    let more = format!(
        "\n[routes.more]\ndirectory = \"{}\"\n",
        daemon.routes_of("more").display()
    );
    let running = daemon.health().unwrap()["components"]
        .as_array()
        .unwrap()
        .len();
    let http = (listener(&daemon), identity(&daemon, "http_server"));
    let connected = connections(&sozu);
    for (failures, (text, why)) in (1_u8..).zip(&table) {
        assert_ne!(*text, good, "{why}");
        edit(&daemon, |_| format!("{text}{more}"));
        let said = refused(&daemon);
        assert!(said.contains(why), "{why}: {said}");
        assert_eq!(last_successful(&daemon), Some(0.0), "{why}");
        assert_eq!(
            reloads(&daemon, "refused"),
            Some(f64::from(failures)),
            "{why}"
        );
        let now = daemon.health().unwrap()["components"]
            .as_array()
            .unwrap()
            .len();
        assert_eq!(now, running, "{why}");
    }
    // one who only signals finds it in the log
    daemon.signal(Signal::SIGHUP).unwrap();
    wait_until("the last one in the log", SOON, || {
        daemon.log().matches("was not reloaded").count() == table.len() + 1
    });
    assert_eq!((listener(&daemon), identity(&daemon, "http_server")), http);
    assert!(connected.is_subset(&connections(&sozu)));
    assert_eq!(answer(&sozu, "a.example"), (200, "A".to_owned()));

    edit(&daemon, |_| good);
    assert!(reloaded(&daemon).contains("Nothing has changed"));
    assert_eq!(last_successful(&daemon), Some(1.0));
    assert_eq!(reloads(&daemon, "unchanged"), Some(1.0));
    drop(other);
}

#[test]
fn after_an_edit_of_the_admin_socket_the_daemon_is_reached_on_the_one_that_it_has() {
    let (_sozu, daemon) = sozu_and_daemon();
    let own = daemon.admin_socket().display().to_string();
    let good = fs::read_to_string(daemon.config_file()).unwrap();
    let edited = good.replace(&own, &format!("{own}.new"));
    assert_ne!(edited, good);
    edit(&daemon, |_| edited);

    // nobody listens there: who asks is told what to do
    let output = reload(&daemon);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    for part in [
        &format!("{own}.new"),
        "[admin] socket was edited",
        "--socket",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(last_successful(&daemon), Some(1.0));
    assert!(daemon.log().contains(&own), "the log says which");

    // the daemon itself refuses it by name
    let output = daemon.command(&["reload", "--socket", &own]).output();
    let output = output.unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let fixed = "[admin] socket: it cannot change while the daemon runs; restart the daemon";
    assert!(said.contains(fixed), "{said}");
    assert_eq!(last_successful(&daemon), Some(0.0));

    edit(&daemon, |_| good);
    assert!(reloaded(&daemon).contains("Nothing has changed"));
}
