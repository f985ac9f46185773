//! The configuration changes while the daemon runs: what differs is changed, and nothing else notices.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use support::{
    Since, answer, as_held, holds_exactly, mutations_of, not_found, route, served, sozu_and_daemon,
    systemd::Systemd, told_of, write_route,
};
use testkit::{Backend, Daemon, Load, Port, SOON, Sozu, get, routes, wait_until};

/// Changes the configuration's text.
fn edit(daemon: &Daemon, change: impl FnOnce(String) -> String) {
    let file = daemon.config_file();
    let text = change(fs::read_to_string(&file).unwrap());
    // written in place in one go would do; as an editor does it, nobody sees a half
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

/// One more routes directory, which is made.
fn with_source(daemon: &Daemon, name: &str) {
    fs::create_dir_all(daemon.routes_of(name)).unwrap();
    let directory = daemon.routes_of(name);
    edit(daemon, |text| {
        let directory = directory.display();
        format!("{text}\n[routes.{name}]\ndirectory = \"{directory}\"\n")
    });
}

fn reload(daemon: &Daemon) -> Output {
    daemon.command(&["reload"]).output().unwrap()
}

/// Reloads, and says what was changed.
#[track_caller]
fn reloaded(daemon: &Daemon) -> String {
    let output = reload(daemon);
    let (said, wrong) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}{wrong}");
    said
}

/// Reloads in vain, and says why.
#[track_caller]
fn refused(daemon: &Daemon) -> String {
    let output = reload(daemon);
    let (said, wrong) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}{wrong}");
    wrong
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn reloads(daemon: &Daemon, outcome: &str) -> Option<f64> {
    let name = "sozu_manager_config_reloads_total";
    daemon.metric(name, &[("outcome", outcome)])
}

fn last_successful(daemon: &Daemon) -> Option<f64> {
    daemon.metric("sozu_manager_config_last_reload_successful", &[])
}

/// The number of objects of a source, as far as it is shown at all.
fn clusters(daemon: &Daemon, source: &str) -> Option<f64> {
    let labels = [("source", source), ("kind", "cluster")];
    daemon.metric("sozu_manager_objects", &labels)
}

fn orphans(daemon: &Daemon, source: &str) -> Option<f64> {
    daemon.metric("sozu_manager_orphaned_objects", &[("source", source)])
}

/// What stays the same as long as a component was neither restarted nor replaced.
fn identity(daemon: &Daemon, component: &str) -> String {
    let component = daemon.component(component).unwrap();
    format!("{} {}", component["since"], component["restarts"])
}

/// Sōzu's ends of the connections to its command socket: their inodes, by the kernel's word.
fn connections(sozu: &Sozu) -> BTreeSet<String> {
    let socket = sozu.command_socket().display().to_string();
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    let of_sozu = table.lines().filter(|line| line.ends_with(&socket));
    of_sozu
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[5] == "03") // connected
        .map(|fields| fields[6].to_owned())
        .collect()
}

/// The socket on which HTTP is served: its inode, by the kernel's word. What waits for an answer waits in it.
fn listener(daemon: &Daemon) -> String {
    let address = format!("0100007F:{:04X}", daemon.http_port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let lines = table.lines().map(|line| line.split_whitespace().collect());
    lines
        .filter(|fields: &Vec<_>| fields[1] == address && fields[3] == "0A") // listens
        .map(|fields| fields[9].to_owned())
        .collect()
}

#[test]
fn a_source_comes_changes_and_goes() {
    let (sozu, daemon) = sozu_and_daemon();
    let (a, b, c) = (
        Backend::start("A").unwrap(),
        Backend::start("B").unwrap(),
        Backend::start("C").unwrap(),
    );
    write_route(&daemon, &sozu, "a", &a);
    served(&sozu, "a.example", "A");
    let untouched = ["socket_pool", "state_keeper", "routes.local", "http_server"];
    let before = untouched.map(|component| identity(&daemon, component));

    // it comes
    with_source(&daemon, "other");
    routes::write(&daemon.routes_of("other"), "b.toml", &route(&sozu, "b", &b)).unwrap();
    let said = reloaded(&daemon);
    assert!(said.contains("routes.other is started"), "{said}");
    served(&sozu, "b.example", "B");
    wait_until("its change is counted", SOON, || {
        let labels = [("source", "other"), ("verdict", "applied")];
        daemon.metric("sozu_manager_changes_total", &labels) >= Some(1.0)
    });

    // it changes: what the new directory lacks goes, what it has comes
    fs::create_dir(daemon.routes_of("third")).unwrap();
    routes::write(&daemon.routes_of("third"), "c.toml", &route(&sozu, "c", &c)).unwrap();
    let (old, new) = (daemon.routes_of("other"), daemon.routes_of("third"));
    let path = |path: &std::path::Path| format!("\"{}\"", path.display());
    edit(&daemon, |text| text.replace(&path(&old), &path(&new)));
    let said = reloaded(&daemon);
    assert!(said.contains("routes.other is started"), "{said}");
    served(&sozu, "c.example", "C");
    not_found(&sozu, "b.example");

    // it goes: its objects stay
    edit(&daemon, |text| {
        text.split("\n[routes.other]").next().unwrap().to_owned()
    });
    let said = reloaded(&daemon);
    assert!(said.contains("routes.other has left"), "{said}");
    assert_eq!(orphans(&daemon, "other"), Some(3.0));
    assert_eq!(answer(&sozu, "c.example"), (200, "C".to_owned()));
    let page = daemon.metrics().unwrap();
    assert!(!page.contains("component=\"routes.other\""), "{page}");
    let counted = page
        .lines()
        .filter(|line| line.contains("source=\"other\""));
    let counted: Vec<&str> = counted.filter(|line| line.contains("_total")).collect();
    assert_eq!(counted, Vec::<&str>::new());
    let held = [as_held("a", a.address()), as_held("c", c.address())];
    holds_exactly(&sozu, &held).unwrap();

    // until a person removes them
    let orphans = daemon.command(&["orphans", "remove", "other", "--yes"]);
    let status = { orphans }.status().unwrap();
    assert!(status.success());
    not_found(&sozu, "c.example");
    wait_until("nothing is left of it in /metrics", SOON, || {
        !daemon.metrics().unwrap().contains("source=\"other\"")
    });
    assert_eq!(answer(&sozu, "a.example"), (200, "A".to_owned()));
    assert_eq!(
        untouched.map(|component| identity(&daemon, component)),
        before
    );
    assert_eq!(reloads(&daemon, "applied"), Some(3.0));
}

/// What left is its own again when it comes back, as after a restart of the daemon.
#[test]
fn a_source_that_comes_back_owns_what_it_left() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("B").unwrap();
    with_source(&daemon, "other");
    let file = |name: &str| format!("{name}.toml");
    for name in ["b", "c"] {
        let text = route(&sozu, name, &backend);
        routes::write(&daemon.routes_of("other"), &file(name), &text).unwrap();
    }
    reloaded(&daemon);
    served(&sozu, "c.example", "B");
    let with = fs::read_to_string(daemon.config_file()).unwrap();
    let without = with.split("\n[routes.other]").next().unwrap().to_owned();
    edit(&daemon, |_| without);
    reloaded(&daemon);
    assert_eq!(orphans(&daemon, "other"), Some(6.0));
    routes::remove(&daemon.routes_of("other"), "c.toml").unwrap();
    assert_eq!(answer(&sozu, "c.example"), (200, "B".to_owned()));

    let since = Since::now(&sozu);
    edit(&daemon, |_| with);
    reloaded(&daemon);
    not_found(&sozu, "c.example");
    assert_eq!(answer(&sozu, "b.example"), (200, "B".to_owned()));
    assert_eq!(orphans(&daemon, "other"), Some(0.0));
    let sent = mutations_of(daemon.pid().unwrap(), &sozu, &since);
    assert!(sent.iter().all(|verb| !verb.contains("added")), "{sent:?}");
}

#[test]
fn a_rename_under_load_moves_nothing() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    let load = Load::start(sozu.http_port(), "a.example", "/");
    wait_until("requests", SOON, || load.tally().of(200, "A") > 20);

    let since = Since::now(&sozu);
    edit(&daemon, |text| {
        text.replace("[routes.local]", "[routes.renamed]")
    });
    reloaded(&daemon);
    wait_until("the new one owns it all", SOON, || {
        clusters(&daemon, "renamed") == Some(1.0) && clusters(&daemon, "local").is_none()
    });
    let so_far = load.tally().total();
    wait_until("more requests", SOON, || load.tally().total() > so_far + 20);
    assert_eq!(load.stop().failed(), 0);
    let sent = mutations_of(daemon.pid().unwrap(), &sozu, &since);
    assert_eq!(sent, Vec::<String>::new());
    // and what the new one lets go is gone
    routes::remove(&daemon.routes(), "a.toml").unwrap();
    not_found(&sozu, "a.example");
}

#[test]
fn what_is_absent_at_the_start_is_taken_up_when_it_comes() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    let mut daemon = support::daemon(&sozu)
        .routes(&["local", "absent"])
        .prepare()
        .unwrap();
    fs::remove_dir(daemon.routes_of("absent")).unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    served(&sozu, "a.example", "A");
    told_of(&daemon, "routes.absent", &["absent"]);
    let pid = daemon.pid().unwrap();

    // a reload meanwhile is no failure either
    assert!(reloaded(&daemon).contains("Nothing has changed"));
    fs::create_dir(daemon.routes_of("absent")).unwrap();
    let text = route(&sozu, "b", &backend);
    routes::write(&daemon.routes_of("absent"), "b.toml", &text).unwrap();
    served(&sozu, "b.example", "A");
    support::all_well(&daemon);
    assert_eq!(daemon.pid().unwrap(), pid);
    assert_eq!(daemon.component("routes.absent").unwrap()["restarts"], 0);
}

#[test]
fn a_secret_that_is_absent_at_the_start_stops_no_other_and_is_read_when_it_comes() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    // the broker is not the matter here: nobody is there
    let port = Port::free().unwrap();
    let port = port.number();
    let secrets = tempfile::tempdir().unwrap();
    let [token, authority] = ["token", "ca.pem"].map(|name| secrets.path().join(name));
    let mut daemon = support::daemon(&sozu)
        .extra_toml(&format!(
            "[pulsar.token]\nurl = \"pulsar://127.0.0.1:{port}\"\ntopic = \"persistent://a/b/c\"\ntoken_file = \"{}\"\n\
             [pulsar.authority]\nurl = \"pulsar+ssl://127.0.0.1:{port}\"\ntopic = \"persistent://a/b/c\"\nca_file = \"{}\"\n",
            token.display(),
            authority.display()
        ))
        .start()
        .unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    told_of(&daemon, "pulsar.token", &[token.to_str().unwrap()]);
    told_of(&daemon, "pulsar.authority", &[authority.to_str().unwrap()]);

    fs::write(&token, "a.b.c").unwrap();
    fs::write(&authority, "").unwrap();
    for (component, path) in [("pulsar.token", &token), ("pulsar.authority", &authority)] {
        wait_until(
            &format!("{component} speaks of something else"),
            SOON,
            || {
                let seen = daemon.component(component).unwrap();
                let error = seen["error"].as_str().unwrap_or_default().to_owned();
                if error.contains(path.to_str().unwrap()) {
                    return Err(error);
                }
                assert_eq!(seen["restarts"], 0);
                Ok(())
            },
        );
    }
    served(&sozu, "a.example", "A");
    daemon.terminate().unwrap();
}

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
fn a_storm_of_hangups_ends_with_the_last_file() {
    let (sozu, mut daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
    let load = Load::start(sozu.http_port(), "a.example", "/");
    let before = identity(&daemon, "routes.local");
    with_source(&daemon, "other");
    let with = fs::read_to_string(daemon.config_file()).unwrap();
    let without = with.split("\n[routes.other]").next().unwrap();
    for hangup in 0..200 {
        edit(&daemon, |_| {
            if hangup % 2 == 0 {
                without.to_owned()
            } else {
                with.clone()
            }
        });
        daemon.signal(Signal::SIGHUP).unwrap();
        thread::sleep(Duration::from_millis(3));
    }
    let text = route(&sozu, "b", &backend);
    routes::write(&daemon.routes_of("other"), "b.toml", &text).unwrap();
    served(&sozu, "b.example", "A");
    assert!(reloaded(&daemon).contains("Nothing has changed"));
    let all: f64 = ["applied", "unchanged", "refused", "rolled_back"]
        .map(|outcome| reloads(&daemon, outcome).unwrap())
        .iter()
        .sum();
    assert!((2.0..=201.0).contains(&all), "{all}");
    assert_eq!(reloads(&daemon, "refused"), Some(0.0));
    assert_eq!(reloads(&daemon, "rolled_back"), Some(0.0));
    assert_eq!(identity(&daemon, "routes.local"), before);
    assert_eq!(load.stop().failed(), 0);
}

#[test]
fn a_reload_in_the_middle_of_a_bulk_loses_nothing() {
    const ROUTES: usize = 3_000;
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    let name = |number: usize| format!("r{number}");
    let text: String = (0..ROUTES)
        .map(|it| route(&sozu, &name(it), &backend))
        .collect();
    routes::write(&daemon.routes(), "many.toml", &text).unwrap();
    wait_until("the bulk has begun", SOON, || {
        let held = sozu.held().unwrap().clusters().len();
        held > 0 || clusters(&daemon, "local") > Some(0.0)
    });
    with_source(&daemon, "other");
    let text = route(&sozu, "b", &backend);
    routes::write(&daemon.routes_of("other"), "b.toml", &text).unwrap();
    reloaded(&daemon);
    served(&sozu, "b.example", "A");
    let mut routes: Vec<_> = (0..ROUTES)
        .map(|it| as_held(&name(it), backend.address()))
        .collect();
    routes.push(as_held("b", backend.address()));
    wait_until("all are there", Duration::from_mins(1), || {
        holds_exactly(&sozu, &routes)
    });
    assert_eq!(daemon.component("state_keeper").unwrap()["restarts"], 0);
}

#[test]
fn connections_of_what_is_unchanged_are_the_same_ones() {
    let (sozu, daemon) = sozu_and_daemon();
    let http = || (listener(&daemon), identity(&daemon, "http_server"));
    let served_by = http();
    assert!(!served_by.0.is_empty());
    let before = connections(&sozu);
    assert!(!before.is_empty());
    with_source(&daemon, "other");
    edit(&daemon, |text| {
        format!("{text}\n[guard]\nremoval_minimum = 10\n[journal]\nkeep = \"1d\"\n")
    });
    let said = reloaded(&daemon);
    assert!(said.contains("state_keeper has new settings"), "{said}");
    assert!(before.is_subset(&connections(&sozu)), "{before:?}");
    assert_eq!(http(), served_by);

    // and another setting of the pool makes others, while the rest stays
    let keeper = identity(&daemon, "state_keeper");
    edit(&daemon, |text| {
        text.replace("[sozu]\n", "[sozu]\nconnections = 3\n")
    });
    let said = reloaded(&daemon);
    assert!(said.contains("socket_pool has new settings"), "{said}");
    wait_until("other connections", SOON, || {
        before.is_disjoint(&connections(&sozu))
    });
    assert_eq!(http(), served_by);
    assert_eq!(identity(&daemon, "state_keeper"), keeper);
    let backend = Backend::start("A").unwrap();
    write_route(&daemon, &sozu, "a", &backend);
    served(&sozu, "a.example", "A");
}

#[test]
fn another_port_answers_before_the_old_one_ends() {
    let (_sozu, daemon) = sozu_and_daemon();
    let (old, new) = (daemon.http_port(), Port::free().unwrap());
    let over = Arc::new(AtomicBool::new(false));
    let asking = {
        let (over, new) = (Arc::clone(&over), new.number());
        let live = |port| get(port, "a", "/livez").is_ok_and(|it| it.status == 200);
        thread::spawn(move || {
            let mut gaps = 0;
            while !over.load(Ordering::Relaxed) {
                // the old one may end between the two questions, but then the new one answers
                if !live(old) && !live(new) && !live(new) {
                    gaps += 1;
                }
            }
            gaps
        })
    };
    edit(&daemon, |text| {
        text.replace(&format!("127.0.0.1:{old}"), &new.address().to_string())
    });
    let said = reloaded(&daemon);
    assert!(said.contains("http_server listens on"), "{said}");
    wait_until("the old one ends", SOON, || {
        get(old, "a", "/livez").is_err()
    });
    assert_eq!(get(new.number(), "a", "/livez").unwrap().status, 200);
    over.store(true, Ordering::Relaxed);
    assert_eq!(asking.join().unwrap(), 0);
}

#[test]
fn an_added_empty_source_keeps_a_ready_host_ready() {
    let (_sozu, daemon) = sozu_and_daemon();
    with_source(&daemon, "empty");
    let port = daemon.http_port();
    let over = Arc::new(AtomicBool::new(false));
    let asking = {
        let over = Arc::clone(&over);
        thread::spawn(move || {
            let mut answers = Vec::new();
            while !over.load(Ordering::Relaxed) || answers.is_empty() {
                answers.push(get(port, "a", "/readyz").unwrap().status);
            }
            answers
        })
    };
    reloaded(&daemon);
    wait_until("it is read", SOON, || {
        daemon.component("routes.empty").unwrap()["state"] == "running"
    });
    over.store(true, Ordering::Relaxed);
    let answers = asking.join().unwrap();
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
}

#[test]
fn an_exporter_becomes_a_manager_and_keeps_what_its_last_source_left() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    let mut daemon = support::daemon(&sozu).routes(&[]).prepare().unwrap();
    fs::remove_dir(daemon.state_directory()).unwrap();
    daemon.start().unwrap();
    daemon.wait_ready(SOON).unwrap();
    assert!(!daemon.state_directory().exists());
    let alone = fs::read_to_string(daemon.config_file()).unwrap();
    with_source(&daemon, "local");
    write_route(&daemon, &sozu, "a", &backend);
    reloaded(&daemon);
    served(&sozu, "a.example", "A");
    daemon.wait_ready(SOON).unwrap();

    edit(&daemon, |_| alone);
    reloaded(&daemon);
    assert_eq!(orphans(&daemon, "local"), Some(3.0));
    assert_eq!(answer(&sozu, "a.example"), (200, "A".to_owned()));
    let mut remove = daemon.command(&["orphans", "remove", "local", "--yes"]);
    assert!(remove.status().unwrap().success());
    not_found(&sozu, "a.example");
}

#[test]
fn the_mode_and_the_level_change_at_once() {
    let (sozu, daemon) = sozu_and_daemon();
    let backend = Backend::start("A").unwrap();
    let keeper = identity(&daemon, "state_keeper");
    let applies = fs::read_to_string(daemon.config_file()).unwrap();
    edit(&daemon, |text| {
        format!("{text}\n[reconcile]\nmode = \"observe\"\n[log]\nlevel = \"debug\"\n")
    });
    reloaded(&daemon);
    write_route(&daemon, &sozu, "a", &backend);
    wait_until("it is observed", SOON, || {
        let labels = [("source", "local"), ("verdict", "observed")];
        daemon.metric("sozu_manager_changes_total", &labels) >= Some(3.0)
    });
    assert_eq!(answer(&sozu, "a.example").0, 404);
    assert!(daemon.log().contains("\"level\":\"DEBUG\""));

    edit(&daemon, |_| applies);
    reloaded(&daemon);
    served(&sozu, "a.example", "A");
    assert_eq!(identity(&daemon, "state_keeper"), keeper);
}

#[test]
fn systemd_is_told_of_each_reload() {
    let sozu = Sozu::start().unwrap();
    let mut systemd = Systemd::start();
    let mut daemon = support::daemon(&sozu)
        .env("NOTIFY_SOCKET", systemd.path().to_str().unwrap())
        .start()
        .unwrap();
    let started = systemd.until("STATUS=all ", 0);
    let good = fs::read_to_string(daemon.config_file()).unwrap();
    // by a signal and by a person, in vain and not
    daemon.signal(Signal::SIGHUP).unwrap();
    let mut at = started;
    for round in 0..3 {
        let begun = systemd.until("RELOADING=1", at);
        let stamp = systemd.until("MONOTONIC_USEC=", begun);
        assert_eq!(stamp, begun + 1, "{:?}", systemd.heard);
        let number = systemd.heard[stamp].split_once('=').unwrap().1;
        assert!(number.parse::<u64>().unwrap() > 0);
        at = systemd.until("READY=1", stamp) + 1;
        match round {
            0 => {
                edit(&daemon, |text| format!("{text}\n[nothing]\n"));
                refused(&daemon);
            }
            1 => {
                systemd.until("STATUS=reload failed: ", at);
                edit(&daemon, |_| good.clone());
                reloaded(&daemon);
            }
            _ => {
                systemd.until("STATUS=all ", at);
            }
        }
    }
    assert_eq!(systemd.count("RELOADING=1"), 3);
}
