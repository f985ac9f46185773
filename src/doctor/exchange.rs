//! The exchange directory from both sides: Sōzu reads a file of ours, and we read one of Sōzu's.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

use sozu_command_lib::proto::command::{Status, request::RequestType};
use sozu_socket::{Builder, ExchangeError};

use super::{
    Doctor, Finding,
    admin::Daemon,
    paths,
    us::{group, user},
};

const CHECK: &str = "sozu.exchange_directory";

/// What is known without a file in it.
enum Look {
    /// A file can be passed through it.
    Try,
    /// Nothing more is to be found out.
    Said(Finding),
}

pub(super) async fn finding(doctor: &Doctor<'_>, sozu_answers: bool) -> Finding {
    let sozu = &doctor.config.sozu;
    let path = &sozu.exchange_directory;
    if let Some(finding) = of_daemon(&doctor.daemon, path) {
        return finding;
    }
    let owner = fs::metadata(&sozu.command_socket).ok();
    match look(path, owner.as_ref(), doctor.us.uid) {
        Look::Said(finding) => finding,
        Look::Try if !sozu_answers => Finding::warning(
            CHECK,
            format!(
                "{} is there; whether Sōzu can use it is not known",
                path.display()
            ),
            "mend what is said of Sōzu above first",
        ),
        Look::Try => {
            let builder = doctor.sozu().exchange_directory(path);
            let in_sozu = &sozu.exchange_directory_in_sozu;
            let builder = if in_sozu.as_os_str().is_empty() {
                builder
            } else {
                builder.exchange_directory_in_sozu(in_sozu)
            };
            let new_lock = fs::symlink_metadata(path.join(".lock")).is_err();
            let result = pass_both_ways(&builder).await;
            if new_lock {
                // While we hold it: nobody else can.
                let _ = fs::remove_file(path.join(".lock"));
            }
            drop(builder);
            match result {
                Ok(objects) => Finding::ok(
                    CHECK,
                    format!(
                        "Sōzu reads what we write into {} and writes what we read ({objects} records)",
                        path.display()
                    ),
                ),
                Err(error) => failed(path, &error, owner.as_ref(), doctor.us.uid),
            }
        }
    }
}

/// The running daemon has the directory to itself, and knows better.
fn of_daemon(daemon: &Daemon, path: &Path) -> Option<Finding> {
    let shown = path.display();
    match daemon {
        Daemon::Away => None,
        Daemon::Denied(_) | Daemon::Broken(_) => Some(Finding::warning(
            CHECK,
            format!("{shown} is in use by a running daemon, which does not tell us how it is"),
            "run this as root or as the daemon's user",
        )),
        Daemon::Runs(_) => {
            let (state, says) = daemon.component("state_keeper")?;
            Some(if state == "running" {
                let says =
                    format!("{shown} is in use by the running daemon, which reads Sōzu through it");
                Finding::ok(CHECK, says)
            } else {
                Finding::warning(
                    CHECK,
                    format!(
                        "{shown} is in use by the running daemon, whose state_keeper is {state}: {says}"
                    ),
                    "see `sozu-manager status`; stop the daemon to have the directory tried here",
                )
            })
        }
    }
}

/// Looks at the directory without touching it. A file in it is tried only where that leaves nothing
/// behind that another user would have to remove.
fn look(path: &Path, socket: Option<&Metadata>, us: u32) -> Look {
    let shown = path.display();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(_) if paths::may_write(paths::nearest(path)) => {
            return Look::Said(Finding::warning(
                CHECK,
                format!(
                    "{shown} is not there; the daemon makes it, and only then it can be tried with Sōzu"
                ),
                "start the daemon, then run this again",
            ));
        }
        Err(error) => {
            let place = paths::nearest(path).display();
            return Look::Said(Finding::wrong(
                CHECK,
                format!(
                    "{shown}: {error}; and {} cannot make it in {place}",
                    user(us)
                ),
                format!(
                    "start the daemon by systemd, which makes its RuntimeDirectory; or run `install -d -m 0711 -o {} {}`",
                    user(us),
                    path.parent().unwrap_or(path).display()
                ),
            ));
        }
    };
    if found.is_symlink() || !found.is_dir() {
        return Look::Said(Finding::wrong(
            CHECK,
            format!("{shown} is no directory, or a link to one"),
            "remove it, or set [sozu] exchange_directory to the directory itself",
        ));
    }
    let sozu = socket.map(MetadataExt::uid);
    if found.uid() != us && Some(found.uid()) != sozu {
        return Look::Said(Finding::wrong(
            CHECK,
            format!(
                "{shown} belongs to {} (uid {}), neither to {} nor to Sōzu",
                user(found.uid()),
                found.uid(),
                user(us)
            ),
            format!(
                "run `chown {} {shown}`, or this as the daemon's user",
                user(us)
            ),
        ));
    }
    if found.uid() != us && us == 0 {
        return Look::Said(Finding::warning(
            CHECK,
            format!(
                "{shown} belongs to {}: root's files in it would tell nothing",
                user(found.uid())
            ),
            "run this as the daemon's user",
        ));
    }
    let allowed = if sozu == Some(us) { 0o700 } else { 0o710 };
    let mode = found.mode() & 0o777;
    if mode & !allowed != 0 {
        return Look::Said(Finding::warning(
            CHECK,
            format!("{shown} has mode {mode:04o}, wider than {allowed:04o}"),
            format!(
                "run `chmod {allowed:04o} {shown}`, then this again; the daemon does it if the directory is its own"
            ),
        ));
    }
    Look::Try
}

/// Gives Sōzu a file that holds nothing it could apply, and has it write one. How many records that
/// has.
async fn pass_both_ways(builder: &Builder) -> Result<usize, ExchangeError> {
    let pool = builder.clone().build();
    // A question is no object: Sōzu reads the record and skips it.
    let nothing = RequestType::Status(Status {}).into();
    pool.bulk(vec![nothing]).await?;
    let saved = pool.saved_state().await?;
    Ok(saved.requests.len() + saved.opaque)
}

fn failed(path: &Path, error: &ExchangeError, socket: Option<&Metadata>, us: u32) -> Finding {
    let says = format!(
        "a file could not be passed through {}: {error}",
        path.display()
    );
    let other = socket.filter(|it| it.uid() != us);
    let remedy = match other {
        _ if says.contains("is in use by") => {
            "it is in use: see `sozu-manager status` of that daemon".to_owned()
        }
        Some(sozu) if says.contains("ermission denied") || says.contains("ermitted") => {
            let (sozu, group) = (user(sozu.uid()), group(sozu.gid()));
            format!(
                "let both be in one group: run `usermod -aG {group} {}` and `install -d -m 0710 -o {} -g {group} {}`, and \
                 see that {sozu} may pass through the directories above it",
                user(us),
                user(us),
                path.display()
            )
        }
        _ => "mend that, then run this again".to_owned(),
    };
    Finding::wrong(CHECK, says, remedy)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use serde_json::json;

    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn a_directory_that_would_not_do_is_told_before_anything_is_tried() {
        let ground = tempfile::tempdir().unwrap();
        let us = nix::unistd::geteuid().as_raw();
        let at = |name: &str| ground.path().join(name);
        let own = fs::metadata(ground.path()).unwrap();
        for (name, mode) in [("wide", 0o755), ("fine", 0o700)] {
            fs::create_dir(at(name)).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink(at("fine"), at("link")).unwrap();
        for (name, uid, state, part) in [
            ("missing", us, State::Warning, "start the daemon"),
            ("wide", us, State::Warning, "chmod 0700"),
            ("link", us, State::Wrong, "remove it"),
            ("fine", us + 1, State::Ok, ""),
            ("fine", us, State::Ok, ""),
        ] {
            match look(&at(name), Some(&own), uid) {
                Look::Try => assert_eq!(state, State::Ok, "{name}"),
                Look::Said(found) => {
                    assert_eq!(found.state, state, "{found:?}");
                    assert!(found.remedy.unwrap().contains(part), "{name}");
                }
            }
        }
        let Look::Said(stranger) = look(&at("fine"), None, us + 1) else {
            panic!("somebody else's directory is not used")
        };
        assert_eq!(stranger.state, State::Wrong);
        assert!(stranger.remedy.unwrap().contains("chown"));
    }

    #[test]
    fn a_running_daemon_knows_better() {
        let status = |state: &str| {
            let keeper =
                json!({"name": "state_keeper", "state": state, "detail": "", "error": "why"});
            Daemon::Runs(json!({"components": [keeper]}))
        };
        let path = Path::new("/run/x");
        for (daemon, state) in [
            (status("running"), Some(State::Ok)),
            (status("degraded"), Some(State::Warning)),
            (Daemon::Denied("no".to_owned()), Some(State::Warning)),
            (Daemon::Away, None),
        ] {
            assert_eq!(of_daemon(&daemon, path).map(|it| it.state), state);
        }
    }
}
