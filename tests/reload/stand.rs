//! The configuration's text, a reload, and what of the daemon is seen from outside.

use std::{collections::BTreeSet, fs, process::Output};

use testkit::{Daemon, Sozu};

/// Changes the configuration's text.
pub fn edit(daemon: &Daemon, change: impl FnOnce(String) -> String) {
    let file = daemon.config_file();
    let text = change(fs::read_to_string(&file).unwrap());
    // written in place in one go would do; as an editor does it, nobody sees a half
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

/// One more routes directory, which is made.
pub fn with_source(daemon: &Daemon, name: &str) {
    fs::create_dir_all(daemon.routes_of(name)).unwrap();
    let directory = daemon.routes_of(name);
    edit(daemon, |text| {
        let directory = directory.display();
        format!("{text}\n[routes.{name}]\ndirectory = \"{directory}\"\n")
    });
}

pub fn reload(daemon: &Daemon) -> Output {
    daemon.command(&["reload"]).output().unwrap()
}

/// Reloads, and says what was changed.
#[track_caller]
pub fn reloaded(daemon: &Daemon) -> String {
    let output = reload(daemon);
    let (said, wrong) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}{wrong}");
    said
}

/// Reloads in vain, and says why.
#[track_caller]
pub fn refused(daemon: &Daemon) -> String {
    let output = reload(daemon);
    let (said, wrong) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}{wrong}");
    wrong
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub fn reloads(daemon: &Daemon, outcome: &str) -> Option<f64> {
    let name = "sozu_manager_config_reloads_total";
    daemon.metric(name, &[("outcome", outcome)])
}

pub fn last_successful(daemon: &Daemon) -> Option<f64> {
    daemon.metric("sozu_manager_config_last_reload_successful", &[])
}

/// The number of objects of a source, as far as it is shown at all.
pub fn clusters(daemon: &Daemon, source: &str) -> Option<f64> {
    let labels = [("source", source), ("kind", "cluster")];
    daemon.metric("sozu_manager_objects", &labels)
}

pub fn orphans(daemon: &Daemon, source: &str) -> Option<f64> {
    daemon.metric("sozu_manager_orphaned_objects", &[("source", source)])
}

/// What stays the same as long as a component was neither restarted nor replaced.
pub fn identity(daemon: &Daemon, component: &str) -> String {
    let component = daemon.component(component).unwrap();
    format!("{} {}", component["since"], component["restarts"])
}

/// Sōzu's ends of the connections to its command socket: their inodes, by the kernel's word.
pub fn connections(sozu: &Sozu) -> BTreeSet<String> {
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
pub fn listener(daemon: &Daemon) -> String {
    let address = format!("0100007F:{:04X}", daemon.http_port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let lines = table.lines().map(|line| line.split_whitespace().collect());
    lines
        .filter(|fields: &Vec<_>| fields[1] == address && fields[3] == "0A") // listens
        .map(|fields| fields[9].to_owned())
        .collect()
}
