//! A process under test that never outlives the test, with all its descendants.
//!
//! It runs in a process group of its own, which Sōzu's workers and upgraded main processes share. A guardian (`sh`)
//! waits for the end of a pipe that only the test process holds: if the test is killed, the guardian kills the group
//! and removes the directory. (`PR_SET_PDEATHSIG` would not do: it ends with the *thread* that started the
//! process, and workers do not inherit it.)

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use crate::{Error, Result, wait_for};

/// Runs as `sh -c GUARDIAN guardian GROUP DIRECTORY`. `done` on the pipe releases it.
const GUARDIAN: &str = r#"trap '' INT TERM HUP
read -r word
if [ "$word" = done ]; then exit 0; fi
kill -s KILL -- "-$1"
if [ -n "$2" ]; then rm -rf -- "$2"; fi"#;

/// A started process, its group and its captured output.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Pid,
    guardian: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts it in a group of its own, with both outputs appended to `log`. If the test process dies, the guardian
    /// removes `directory`.
    pub fn start(mut command: Command, log: &Path, directory: Option<&Path>) -> Result<Self> {
        let output = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .map_err(Error::while_doing(format!("opening {}", log.display())))?;
        let errors = output
            .try_clone()
            .map_err(Error::while_doing("duplicating a file"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(Error::while_doing(format!(
                "starting {}",
                command.get_program().display()
            )))?;
        let group = pid_of(&child);
        let guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian", &group.to_string()])
            .arg(directory.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::while_doing("starting the guardian"));
        let guardian = match guardian {
            Ok(guardian) => guardian,
            Err(error) => {
                let _ = killpg(group, Signal::SIGKILL);
                return Err(error);
            }
        };
        Ok(Self {
            child,
            group,
            guardian,
            log: log.to_owned(),
            ended: None,
        })
    }

    /// The pid of the process that was started; also its group.
    pub fn pid(&self) -> i32 {
        self.group.as_raw()
    }

    /// Every living process of the group, in order of its pid.
    pub fn members(&self) -> Vec<i32> {
        members_of(self.group.as_raw())
    }

    /// Everything it wrote to its outputs so far.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Sends a signal to the process that was started.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal_to(self.pid(), signal)
    }

    /// The exit status, if it has ended.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self
                .child
                .try_wait()
                .map_err(Error::while_doing("waiting for a process"))?;
        }
        Ok(self.ended)
    }

    /// Waits for its end; an error after `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let pid = self.pid();
        wait_for(
            &format!("the end of process {pid}"),
            deadline,
            || match self.exit_status() {
                Ok(Some(status)) => Ok(status),
                Ok(None) => Err("it is running".to_owned()),
                Err(error) => Err(error.to_string()),
            },
        )
    }

    /// Kills the whole group with SIGKILL and waits until nothing of it is left.
    pub fn kill_group(&mut self) -> Result<()> {
        match killpg(self.group, Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => {
                return Err(Error::new(format!(
                    "killing process group {}: {error}",
                    self.group
                )));
            }
        }
        self.wait(Duration::from_secs(10))?;
        let group = self.group.as_raw();
        wait_for(
            "the end of the whole process group",
            Duration::from_secs(10),
            || match members_of(group).as_slice() {
                [] => Ok(()),
                left => Err(format!("{left:?} are left")),
            },
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill_group() {
            eprintln!("{error}");
        }
        if let Some(mut pipe) = self.guardian.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.guardian.wait();
        if std::thread::panicking() {
            print_end_of(&self.log);
        }
    }
}

/// Sends a signal to a process by its pid.
pub fn signal_to(pid: i32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid), signal).map_err(Error::while_doing(format!(
        "sending {signal} to process {pid}"
    )))
}

/// A command that runs as another user and group, without further groups, if one is given.
pub(crate) fn command_as(program: &Path, user: Option<(u32, u32)>) -> Command {
    let Some((uid, gid)) = user else {
        return Command::new(program);
    };
    // it replaces itself by the program: the pid stays
    let mut command = Command::new("setpriv");
    command
        .args([
            format!("--reuid={uid}"),
            format!("--regid={gid}"),
            "--clear-groups".to_owned(),
        ])
        .arg(program);
    command
}

/// A program where that user can run it: a copy, since build and cache directories may be closed to others.
pub(crate) fn runnable_by(
    program: &Path,
    user: Option<(u32, u32)>,
    directory: &Path,
) -> Result<PathBuf> {
    if user.is_none() {
        return Ok(program.to_owned());
    }
    let copy = directory.join(program.file_name().unwrap_or_default());
    // by another process: a file that we have open for writing while another thread forks is "text file busy"
    let copied = Command::new("cp").arg(program).arg(&copy).status();
    if !copied.is_ok_and(|status| status.success()) {
        return Err(Error::new(format!(
            "copying {} to {} failed",
            program.display(),
            copy.display()
        )));
    }
    Ok(copy)
}

/// Makes a path that user's.
pub(crate) fn give(path: &Path, uid: u32, gid: u32) -> Result<()> {
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(Error::while_doing(format!(
        "giving {} to user {uid}",
        path.display()
    )))
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

fn print_end_of(log: &Path) {
    const LINES: usize = 80;
    let text = fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let begin = lines.len().saturating_sub(LINES);
    eprintln!("--- the end of {} ---", log.display());
    for line in &lines[begin..] {
        eprintln!("{line}");
    }
    eprintln!("---");
}

/// The processes whose group this is, without those that ended and wait to be reaped.
fn members_of(group: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut members: Vec<i32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            state_and_group(*pid)
                .is_some_and(|(state, of)| of == group && state != 'Z' && state != 'X')
        })
        .collect();
    members.sort_unstable();
    members
}

/// From `/proc/PID/stat`, proc(5): `pid (comm) state ppid pgrp …`; comm may hold anything, even parentheses.
fn state_and_group(pid: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    Some((state, group))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SOON, wait_until};

    fn family() -> (Process, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo hello; sleep 1000 & sleep 1000 & wait"]);
        let process = Process::start(
            command,
            &directory.path().join("log"),
            Some(directory.path()),
        )
        .unwrap();
        wait_until("three processes", SOON, || process.members().len() == 3);
        (process, directory)
    }

    #[test]
    fn dropping_it_ends_the_whole_family() {
        let (process, _directory) = family();
        assert_eq!(process.log(), "hello\n");
        let group = process.pid();
        drop(process);
        assert_eq!(members_of(group), Vec::<i32>::new());
    }

    #[test]
    fn the_guardian_ends_the_family_when_the_pipe_breaks() {
        let (mut process, directory) = family();
        let group = process.pid();
        drop(process.guardian.stdin.take());
        wait_until("the family's end", SOON, || {
            let _ = process.exit_status();
            members_of(group).is_empty()
        });
        wait_until("the directory's end", SOON, || !directory.path().exists());
    }
}
