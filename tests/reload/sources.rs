//! Sources come, change and go.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use testkit::{Backend, Load, Port, SOON, Sozu, get, routes, wait_until};

use crate::{
    stand::{clusters, edit, identity, orphans, reloaded, reloads, with_source},
    support::{
        self, Since, answer, as_held, holds_exactly, mutations_of, not_found, route, served,
        sozu_and_daemon, told_of, write_route,
    },
};

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
