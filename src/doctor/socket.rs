//! Sōzu's command socket: there, ours to use, answering, with all workers.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::UnixStream,
    },
    path::Path,
    time::{Duration, Instant},
};

use sozu_command_lib::proto::command::{
    RunState, Status, request::RequestType, response_content::ContentType,
};
use sozu_socket::ExchangeError;

use super::{
    Doctor, Finding, paths,
    us::{Us, group, user},
};

const FILE: &str = "sozu.socket";
const ANSWER: &str = "sozu.answer";
/// How far a measured `worker_timeout` may be off.
const NEAR: Duration = Duration::from_millis(1500);

/// Owner, group and mode of the socket file.
#[derive(Clone, Copy)]
struct Owned {
    uid: u32,
    gid: u32,
    mode: u32,
}

/// Whether Sōzu answers us.
pub(super) async fn findings(doctor: &Doctor<'_>, findings: &mut Vec<Finding>) -> bool {
    let path = &doctor.config.sozu.command_socket;
    let file = file(path, &doctor.us);
    let usable = file.as_ref().is_ok();
    findings.push(file.unwrap_or_else(|wrong| wrong));
    if !usable {
        return false;
    }
    let asked = Instant::now();
    let pool = doctor.sozu().build();
    let answer = pool.exchange(RequestType::Status(Status {}).into()).await;
    let took = asked.elapsed();
    let workers = match answer {
        Ok(answer) => match answer.content.and_then(|it| it.content_type) {
            Some(ContentType::Workers(workers)) => workers.vec,
            _ => Vec::new(),
        },
        Err(error) => {
            findings.push(no_answer(&error, doctor.us.uid));
            return false;
        }
    };
    let silent = |state| state == RunState::NotAnswering as i32;
    let running = workers
        .iter()
        .filter(|it| it.run_state != RunState::Stopped as i32);
    let workers: Vec<(u32, bool)> = running.map(|it| (it.id, !silent(it.run_state))).collect();
    findings.extend(judge_workers(
        &workers,
        took,
        doctor.config.sozu.worker_timeout,
    ));
    true
}

/// Looks at the file and connects to it.
fn file(path: &Path, us: &Us) -> Result<Finding, Finding> {
    let shown = path.display();
    let found = match fs::metadata(path) {
        Ok(found) if found.file_type().is_socket() => found,
        Ok(_) => {
            return Err(Finding::wrong(
                FILE,
                format!("{shown} is no socket"),
                "set [sozu] command_socket to what `command_socket` says in Sōzu's configuration",
            ));
        }
        Err(error) => return Err(not_seen(path, us, &error)),
    };
    let owned = Owned {
        uid: found.uid(),
        gid: found.gid(),
        mode: found.mode() & 0o777,
    };
    match UnixStream::connect(path) {
        Ok(_) => Ok(judge_mode(path, owned)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(denied(path, us, owned))
        }
        Err(error) => Err(Finding::wrong(
            FILE,
            format!("nobody listens on {shown}: {error}"),
            "start Sōzu: `systemctl start sozu`; its log says why it ended",
        )),
    }
}

fn not_seen(path: &Path, us: &Us, error: &io::Error) -> Finding {
    let shown = path.display();
    if let Some(blocked) = paths::blocked_at(path) {
        let blocked = blocked.display();
        return Finding::wrong(
            FILE,
            format!("{shown}: uid {} may not pass through {blocked}", us.uid),
            format!("run `chmod o+x {blocked}`, or let a group that both are in pass"),
        );
    }
    Finding::wrong(
        FILE,
        format!("{shown}: {error}"),
        "start Sōzu: `systemctl start sozu`; or set [sozu] command_socket to what `command_socket` says in Sōzu's \
         configuration",
    )
}

/// We may not connect: what to write into Sōzu's configuration, and whom to add to its group.
fn denied(path: &Path, us: &Us, owned: Owned) -> Finding {
    let Owned { uid, gid, mode } = owned;
    let group = group(gid);
    let says = format!(
        "{} is closed to {} (uid {}): it belongs to {}:{group} with mode {mode:04o}",
        path.display(),
        user(us.uid),
        us.uid,
        user(uid)
    );
    let mut steps = Vec::new();
    if mode & 0o060 != 0o060 {
        steps.push(
            "write `command_socket_mode = \"0660\"` at the top of Sōzu's configuration and restart Sōzu".to_owned(),
        );
    }
    if !us.is_in(gid) {
        steps.push(format!(
            "run `usermod -aG {group} {}` and restart sozu-manager",
            user(us.uid)
        ));
    }
    if steps.is_empty() {
        steps.push(
            "look for an access list on it (`getfacl`) and at SELinux or AppArmor".to_owned(),
        );
    }
    Finding::wrong(FILE, says, steps.join("; "))
}

fn judge_mode(path: &Path, owned: Owned) -> Finding {
    let Owned { uid, gid, mode } = owned;
    let says = format!(
        "{} is open to us; it belongs to {}:{} with mode {mode:04o}",
        path.display(),
        user(uid),
        group(gid)
    );
    if mode & 0o002 == 0 {
        return Finding::ok(FILE, says);
    }
    Finding::warning(
        FILE,
        format!("{says}: every user of this host may command Sōzu"),
        "write `command_socket_mode = \"0660\"` at the top of Sōzu's configuration and restart Sōzu",
    )
}

/// Sōzu took our connection and gave no answer.
fn no_answer(error: &ExchangeError, uid: u32) -> Finding {
    match error {
        // sozu 2.3.3, `requests.rs`, `handle_client_request`
        ExchangeError::Refused(refusal) if refusal.message.contains("command_allowed_uids") => {
            Finding::wrong(
                ANSWER,
                format!("Sōzu refuses uid {uid}: {}", refusal.message),
                format!(
                    "add {uid} to `command_allowed_uids = [{uid}]` in Sōzu's configuration, beside those that are there, \
                     and restart Sōzu"
                ),
            )
        }
        ExchangeError::Refused(refusal) => Finding::wrong(
            ANSWER,
            format!("Sōzu does not say how its workers are: {}", refusal.message),
            "look at Sōzu's log",
        ),
        error => Finding::wrong(
            ANSWER,
            format!("Sōzu takes connections and does not answer: {error}"),
            "look at Sōzu's log and at its main process (`systemctl status sozu`); if its `worker_timeout` is longer than \
             ours, set [sozu] worker_timeout to it",
        ),
    }
}

fn judge_workers(workers: &[(u32, bool)], took: Duration, timeout: Duration) -> Vec<Finding> {
    let silent: Vec<String> = workers
        .iter()
        .filter(|(_, answers)| !answers)
        .map(|(id, _)| id.to_string())
        .collect();
    if workers.is_empty() {
        let says = "Sōzu answers, but has no worker";
        let remedy = "look at Sōzu's log, then restart Sōzu";
        return vec![Finding::wrong(ANSWER, says, remedy)];
    }
    if silent.is_empty() {
        let says = format!("Sōzu answers, with all {} workers", workers.len());
        return vec![Finding::ok(ANSWER, says)];
    }
    let ids = silent.join(", ");
    let mut findings = vec![Finding::warning(
        ANSWER,
        format!("Sōzu answers, but its worker {ids} does not"),
        format!(
            "look at its log, then replace it: `sozu upgrade --worker {}`",
            silent[0]
        ),
    )];
    // A silent worker is waited for as long as Sōzu's own setting says.
    if took.abs_diff(timeout) > NEAR {
        findings.push(Finding::warning(
            "sozu.worker_timeout",
            format!(
                "Sōzu waited {:.1} s for its silent worker, and [sozu] worker_timeout is {}",
                took.as_secs_f64(),
                humantime::format_duration(timeout)
            ),
            "set [sozu] worker_timeout to what `worker_timeout` says in Sōzu's configuration",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use sozu_socket::Refusal;

    use super::*;
    use crate::doctor::finding::State;

    fn owned(mode: u32) -> Owned {
        Owned {
            uid: 54_321,
            gid: 54_322,
            mode,
        }
    }

    #[test]
    fn a_closed_socket_is_told_with_the_lines_that_open_it() {
        // (mode, what the remedy holds, what it does not)
        let usermod = "usermod -aG 54322";
        let line = "command_socket_mode = \"0660\"";
        for (mode, holds, lacks) in [
            (0o600, vec![line, usermod], ""),
            (0o660, vec![usermod], line),
        ] {
            let finding = denied(Path::new("/run/sozu.sock"), &Us::now(), owned(mode));
            assert_eq!(finding.state, State::Wrong);
            let remedy = finding.remedy.unwrap();
            assert!(holds.iter().all(|part| remedy.contains(part)), "{remedy}");
            assert!(lacks.is_empty() || !remedy.contains(lacks), "{remedy}");
            assert!(
                finding.says.contains("54321:54322 with mode"),
                "{}",
                finding.says
            );
        }
    }

    #[test]
    fn a_socket_for_everybody_is_a_warning() {
        for (mode, state) in [
            (0o600, State::Ok),
            (0o660, State::Ok),
            (0o666, State::Warning),
        ] {
            let finding = judge_mode(Path::new("/run/sozu.sock"), owned(mode));
            assert_eq!(finding.state, state, "{mode:o}");
        }
    }

    #[test]
    fn a_uid_that_sozu_refuses_gets_the_line_for_its_configuration() {
        let message = "unauthorized: actor UID 998 not in command_allowed_uids".to_owned();
        let refusal = Refusal {
            message,
            ..Refusal::default()
        };
        let refused = no_answer(&ExchangeError::Refused(Box::new(refusal)), 998);
        let remedy = refused.remedy.unwrap();
        assert!(remedy.contains("command_allowed_uids = [998]"), "{remedy}");
        let silent = no_answer(
            &ExchangeError::Unknown("no answer within 15 s".to_owned()),
            998,
        );
        assert_eq!(silent.state, State::Wrong);
    }

    #[test]
    fn a_silent_worker_shows_how_long_sozu_waits() {
        let seconds = Duration::from_secs;
        // (workers, Sōzu took, we believe, the findings)
        for (workers, took, timeout, states) in [
            (vec![(0, true), (1, true)], 0, 10, vec![State::Ok]),
            (vec![(0, true), (1, false)], 10, 10, vec![State::Warning]),
            (vec![(0, true), (1, false)], 2, 10, vec![State::Warning; 2]),
            (vec![], 0, 10, vec![State::Wrong]),
        ] {
            let found = judge_workers(&workers, seconds(took), seconds(timeout));
            let found: Vec<State> = found.iter().map(|it| it.state).collect();
            assert_eq!(found, states, "{workers:?}");
        }
    }
}
