//! The running daemon, by its admin socket: what it says of itself counts more than what is seen
//! from outside.

use std::path::Path;

use nix::unistd::Group;
use serde_json::Value;

use super::{Doctor, Finding, paths};
use crate::admin::{Client, ClientError};

const CHECK: &str = "admin.socket";

/// Whether a daemon answers.
pub(super) enum Daemon {
    /// It does, with this status.
    Runs(Value),
    /// Somebody does, but not us.
    Denied(String),
    /// What answers is none, or does not answer in order.
    Broken(String),
    /// None does.
    Away,
}

impl Daemon {
    /// Asks on the admin socket.
    pub(super) fn of(socket: &Path) -> Self {
        match Client::new(socket).get("/v1/status") {
            Ok(status) => Self::Runs(status),
            Err(ClientError::NoDaemon { .. }) => Self::Away,
            Err(error @ ClientError::Denied { .. }) => Self::Denied(error.to_string()),
            Err(ClientError::Refused(why)) => Self::Denied(why),
            Err(error @ ClientError::Broken { .. }) => Self::Broken(error.to_string()),
        }
    }

    /// What one component says: its state, and its detail with its error.
    pub(super) fn component(&self, name: &str) -> Option<(String, String)> {
        let Self::Runs(status) = self else {
            return None;
        };
        let components = status["components"].as_array()?;
        let found = components.iter().find(|it| it["name"] == name)?;
        let says = [&found["detail"], &found["error"]].map(|it| it.as_str().unwrap_or_default());
        let says: Vec<&str> = says.into_iter().filter(|it| !it.is_empty()).collect();
        let state = found["state"].as_str().unwrap_or_default().to_owned();
        Some((state, says.join(": ")))
    }
}

pub(super) fn finding(doctor: &Doctor<'_>) -> Finding {
    let admin = &doctor.config.admin;
    let path = admin.socket.display();
    match &doctor.daemon {
        Daemon::Runs(status) if status["status"] == "ok" => Finding::ok(
            CHECK,
            format!("a daemon answers on {path}, and all is well"),
        ),
        Daemon::Runs(status) => {
            let word = status["status"].as_str().unwrap_or("unwell");
            let says = format!("a daemon answers on {path}: {word}");
            Finding::warning(CHECK, says, "run `sozu-manager status`: it says why")
        }
        Daemon::Denied(why) => Finding::warning(
            CHECK,
            format!("a daemon answers on {path}, but not us: {why}"),
            "run this as root or as the daemon's user, or set [admin] group to one of our groups",
        ),
        Daemon::Broken(why) => Finding::wrong(
            CHECK,
            why.clone(),
            "look at the daemon's log: `journalctl -u sozu-manager`",
        ),
        Daemon::Away => away(&admin.socket, &admin.group),
    }
}

/// Whether a daemon that starts could listen there.
fn away(socket: &Path, group: &str) -> Finding {
    let shown = socket.display();
    if !group.is_empty() && !matches!(Group::from_name(group), Ok(Some(_))) {
        return Finding::wrong(
            CHECK,
            format!("[admin] group: there is no group {group}"),
            format!("run `groupadd --system {group}`, or name another one"),
        );
    }
    let is_file = socket.symlink_metadata().is_ok_and(|found| {
        use std::os::unix::fs::FileTypeExt;
        !found.file_type().is_socket()
    });
    if is_file {
        let says = format!("{shown} is there and is no socket");
        return Finding::wrong(CHECK, says, "move it away, or set another [admin] socket");
    }
    let parent = socket.parent().unwrap_or(Path::new("/"));
    let place = if parent.is_dir() {
        parent
    } else {
        paths::nearest(socket)
    };
    if !paths::may_write(place) {
        return Finding::wrong(
            CHECK,
            format!(
                "no daemon answers on {shown}, and this user cannot make it: {} is closed",
                place.display()
            ),
            format!(
                "start the daemon by systemd, which makes its RuntimeDirectory; or run \
                 `install -d -m 0711 -o USER {}` for the daemon's user",
                parent.display()
            ),
        );
    }
    Finding::warning(
        CHECK,
        format!("no daemon answers on {shown}"),
        "start it: `systemctl start sozu-manager`",
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn without_a_daemon_the_place_of_its_socket_is_judged() {
        let ground = tempfile::tempdir().unwrap();
        fs::write(ground.path().join("file"), "").unwrap();
        for (name, group, state, part) in [
            ("admin.sock", "", State::Warning, "systemctl start"),
            ("new/admin.sock", "", State::Warning, "systemctl start"),
            ("file", "", State::Wrong, "move it away"),
            (
                "admin.sock",
                "no-such-group-here",
                State::Wrong,
                "groupadd --system no-such-group-here",
            ),
        ] {
            let found = away(&ground.path().join(name), group);
            assert_eq!(found.state, state, "{name} {group}");
            assert!(found.remedy.unwrap().contains(part), "{name} {group}");
        }
    }

    #[test]
    fn a_component_says_what_is_wrong_with_it() {
        let status = json!({"components": [
            {"name": "state_keeper", "state": "degraded", "detail": "3 objects", "error": "no space"},
            {"name": "socket_pool", "state": "running", "detail": "", "error": null}]});
        let daemon = Daemon::Runs(status);
        let (state, says) = daemon.component("state_keeper").unwrap();
        assert_eq!(
            (state.as_str(), says.as_str()),
            ("degraded", "3 objects: no space")
        );
        assert_eq!(daemon.component("socket_pool").unwrap().1, "");
        assert!(daemon.component("other").is_none());
    }
}
