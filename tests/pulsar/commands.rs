//! `publish` and `unsubscribe`, as a person or a script uses them.

use std::{fs, path::Path};

use sozu_command_lib::proto::command::request::RequestType;
use testkit::{Backend, Daemon, SOON, Sozu, get, routes, wait_until};

use crate::{
    LONG,
    pulsar::{broker, daemon, new_topic, subscription},
    support::cluster,
};

/// What a command said, and how it ended.
struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

fn run(daemon: &Daemon, arguments: &[&str]) -> Said {
    let output = daemon.command(arguments).output().unwrap();
    Said {
        status: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[track_caller]
fn done(daemon: &Daemon, arguments: &[&str]) -> String {
    let said = run(daemon, arguments);
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    said.out
}

#[track_caller]
fn failed(daemon: &Daemon, status: i32, arguments: &[&str]) -> String {
    let said = run(daemon, arguments);
    assert_eq!(said.status, Some(status), "{} {}", said.out, said.err);
    said.err
}

/// How many messages were ever stored in the topic.
fn stored(topic: &str) -> u64 {
    broker().stats(topic).unwrap()["msgInCounter"]
        .as_u64()
        .unwrap()
}

fn status(sozu: &Sozu, host: &str) -> u16 {
    get(sozu.http_port(), host, "/").unwrap().status
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn what_is_published_is_live_when_the_command_ends() {
    let (sozu, topic) = (Sozu::start().unwrap(), new_topic());
    let backend = Backend::start("A").unwrap();
    let mut daemon = daemon(&sozu, &broker().url(), &topic, "publish")
        .start()
        .unwrap();
    daemon.wait_ready(LONG).unwrap();
    let socket = daemon.admin_socket().display().to_string();
    let wait = ["--wait", socket.as_str(), "--within", "1m"];

    let text = routes::http(
        "a",
        sozu.http_address(),
        &["a.example"],
        &[backend.address()],
    );
    let file = write(daemon.directory(), "a.toml", &text);
    let said = done(&daemon, &[&["publish", &file][..], &wait].concat());
    assert!(said.contains("published 3 changes"), "{said}");
    assert!(said.contains("live: 3 of 3"), "{said}");
    assert_eq!(status(&sozu, "a.example"), 200);

    // The same again changes nothing, and is live as well.
    let said = done(&daemon, &[&["publish", &file][..], &wait].concat());
    assert!(said.contains("live: 3 of 3"), "{said}");

    // One change after the other.
    let address = sozu.http_address().to_string();
    let at = backend.address().to_string();
    let change = |change: &[&str]| {
        let said = done(&daemon, &[&["publish"], change, &wait].concat());
        assert!(said.contains("live: 1 of 1"), "{said}");
    };
    change(&["add-cluster", "--id", "b"]);
    change(&[
        "add-backend",
        "--id",
        "b",
        "--backend-id",
        "b-1",
        "--address",
        &at,
    ]);
    let route = ["--address", address.as_str(), "--hostname", "b.example"];
    change(&[&["add-http-frontend", "--id", "b"][..], &route].concat());
    assert_eq!(status(&sozu, "b.example"), 200);
    change(&[&["remove-http-frontend"][..], &route].concat());
    assert_eq!(status(&sozu, "b.example"), 404);

    // What another Sōzu saved, in one go.
    let other = Sozu::start().unwrap();
    let names: Vec<String> = (0..1_000).map(|n| format!("s{n}")).collect();
    let clusters = names
        .iter()
        .map(|name| RequestType::AddCluster(cluster(name)));
    other.apply(clusters).unwrap();
    let saved = daemon.directory().join("saved.json");
    other.save_state(&saved).unwrap();
    let saved = saved.display().to_string();
    let said = done(&daemon, &[&["publish", &saved][..], &wait].concat());
    assert!(said.contains("live: 1000 of 1000"), "{said}");
    assert_eq!(sozu.held().unwrap().clusters().len(), 1_002);
    let messages = testkit::pulsar::read(&broker().url(), &testkit::pulsar::topic(&topic), 3);
    let keys: Vec<_> = messages.unwrap().into_iter().map(|it| it.key).collect();
    assert_eq!(keys[0].as_deref(), Some("cluster/a"));
}

#[test]
fn what_cannot_be_published_is_told_and_nothing_is_sent() {
    let (sozu, topic) = (Sozu::start().unwrap(), new_topic());
    let backend = Backend::start("A").unwrap();
    let mut daemon = daemon(&sozu, &broker().url(), &topic, "unpublished")
        .start()
        .unwrap();
    daemon.wait_ready(LONG).unwrap();
    let socket = daemon.admin_socket().display().to_string();
    let text = routes::http(
        "a",
        sozu.http_address(),
        &["a.example"],
        &[backend.address()],
    );
    let directory = daemon.directory().to_owned();
    let good = write(&directory, "good.toml", &text);
    let bad = write(&directory, "bad.toml", &text.replace("hostname", "hostnme"));
    let other = text.replace("[clusters.a]", "[clusters.b]");
    let other = write(
        &directory,
        "other.toml",
        &other.replace("clusters.a", "clusters.b"),
    );
    let none = write(&directory, "none.toml", "");

    let told = failed(&daemon, 1, &["publish", &good, &bad]);
    assert!(told.contains("bad.toml:"), "{told}");
    assert!(told.contains("did you mean `hostname`"), "{told}");
    let told = failed(&daemon, 1, &["publish", &good, &other]);
    assert!(told.contains("declared differently"), "{told}");
    let told = failed(&daemon, 1, &["publish", &none]);
    assert!(told.contains("no file declares anything"), "{told}");
    failed(&daemon, 2, &["publish"]);
    failed(&daemon, 2, &["publish", "add-backend", "--id", "a"]);
    failed(
        &daemon,
        2,
        &["publish", &good, "remove-cluster", "--id", "a"],
    );
    let told = failed(&daemon, 1, &["publish", &good, "--source", "x"]);
    assert!(told.contains("[pulsar.x]"), "{told}");
    // This source's `verbs` are routing alone.
    let authority = testkit::pki::Authority::new().unwrap();
    let issued = authority.issue(&["a.example"]).unwrap();
    issued.write(&directory, "a.crt", "a.key").unwrap();
    let [certificate, key] = ["a.crt", "a.key"].map(|it| directory.join(it).display().to_string());
    let add = ["publish", "add-certificate", "--address", "127.0.0.1:443"];
    let with = ["--certificate", certificate.as_str(), "--key", &key];
    let told = failed(&daemon, 1, &[&add[..], &with].concat());
    assert!(told.contains("add_certificate is not among"), "{told}");
    // Somebody else's topic, and nobody's broker.
    let elsewhere = testkit::pulsar::topic("elsewhere");
    let told = failed(
        &daemon,
        1,
        &["publish", &good, "--topic", &elsewhere, "--wait", &socket],
    );
    assert!(told.contains("does not read"), "{told}");
    let port = testkit::Port::free().unwrap();
    let nobody = format!("pulsar://{}", port.address());
    let told = failed(&daemon, 1, &["publish", &good, "--url", &nobody]);
    assert!(told.contains("cannot be reached"), "{told}");
    assert_eq!(stored(&topic), 0, "nothing was sent");

    // What only Sōzu refuses is told by its daemon.
    let address = sozu.http_address().to_string();
    let route = ["--address", address.as_str(), "--hostname", "x/.example"];
    let add = ["publish", "add-http-frontend", "--deny"];
    let wait = ["--wait", socket.as_str()];
    let told = failed(&daemon, 1, &[&add[..], &route, &wait].concat());
    assert!(told.contains("refused: http_frontend"), "{told}");

    daemon.terminate().unwrap();
    let told = failed(&daemon, 69, &["publish", &good, "--wait", &socket]);
    assert!(told.contains("no daemon answers"), "{told}");
    assert_eq!(stored(&topic), 1);
    // Nobody waits for it: the broker keeps it.
    done(&daemon, &["publish", &good]);
    assert_eq!(stored(&topic), 4);
}

/// Whether the broker keeps a subscription of that host.
fn is_kept(topic: &str, instance: &str) -> bool {
    let stats = broker().stats(topic).unwrap();
    stats["subscriptions"].get(subscription(instance)).is_some()
}

/// Whether the daemon has come to its place in the topic, and reads from there.
fn reads(daemon: &Daemon) -> bool {
    daemon.component("pulsar.platform").unwrap()["state"] == "running"
}

#[test]
fn a_host_that_goes_leaves_no_subscription_behind() {
    let topic = new_topic();
    let [first, second] = [(), ()].map(|()| Sozu::start().unwrap());
    let start = |sozu: &Sozu, instance: &str| {
        daemon(sozu, &broker().url(), &topic, instance)
            .start()
            .unwrap()
    };
    let mut one = start(&first, "goes");
    let mut two = start(&second, "stays");
    one.wait_ready(LONG).unwrap();
    two.wait_ready(LONG).unwrap();
    // An empty topic is caught up with a moment before it is read; until then nobody may be there to object.
    wait_until("both to read", SOON, || reads(&one) && reads(&two));
    assert!(is_kept(&topic, "goes") && is_kept(&topic, "stays"));

    let told = failed(&one, 1, &["unsubscribe", "platform"]);
    assert!(told.contains("still reads platform"), "{told}");
    assert!(told.contains("systemctl stop"), "{told}");
    // From another host, of one that lives.
    let of_the_other = ["unsubscribe", "platform", "--instance", "goes"];
    let told = failed(&two, 1, &of_the_other);
    assert!(told.contains("sozu-manager-goes"), "{told}");
    assert!(told.contains("stop that daemon"), "{told}");
    let told = failed(&two, 1, &["unsubscribe", "none"]);
    assert!(told.contains("[pulsar.none]"), "{told}");
    assert!(is_kept(&topic, "goes") && is_kept(&topic, "stays"));

    one.kill9().unwrap();
    wait_until("the broker to see that it is gone", SOON, || {
        let said = run(&two, &of_the_other);
        match said.status {
            Some(0) => Ok(said.out),
            _ => Err(said.err),
        }
    });
    assert!(!is_kept(&topic, "goes") && is_kept(&topic, "stays"));
    done(&two, &of_the_other);
    assert!(!is_kept(&topic, "goes"));

    // Its own, by the name that its database keeps.
    two.terminate().unwrap();
    let config = fs::read_to_string(two.config_file()).unwrap();
    assert!(!config.contains("stays"), "{config}");
    let mut command = two.command(&["unsubscribe", "platform"]);
    let output = command.env_remove("SOZU_MANAGER__INSTANCE").output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!is_kept(&topic, "stays"));
    // A topic that is not there has no subscription, and is not made.
    let absent = config.replace(&topic, "absent");
    fs::write(two.config_file(), absent).unwrap();
    done(&two, &["unsubscribe", "platform"]);
    assert!(broker().stats("absent").is_err());
}
