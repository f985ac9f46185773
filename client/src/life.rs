//! Which life of Sōzu's main process answers.
//!
//! Sōzu tells no identity over its socket, and `SO_PEERCRED` goes on naming a process that a hot upgrade ended. So
//! the main process is found as the parent of its workers, whose pids it tells. Where `/proc` does not show them
//! (another container, `hidepid`), the file of the socket, made anew at each start, and the workers must do.

use std::{collections::BTreeMap, fmt, fs, io, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use nix::errno::Errno;

/// One life of Sōzu's main process: equal lives are the same one, in doubt they are not.
///
/// It outlives us as text: a caller may store [`Life::as_str`] and compare after its own restart with [`Life::from`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Life {
    text: Arc<str>,
}

impl Life {
    /// What stands for it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<&str> for Life {
    fn from(text: &str) -> Self {
        Self { text: text.into() }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A process, told apart from a later one of the same pid by its start time (clock ticks since the boot).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    start: u64,
}

/// The file of the command socket: device, inode, and when it was made.
pub(crate) type SocketFile = (u64, u64, i64, i64);

/// What could be learnt of who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observation {
    boot: String,
    socket: Option<SocketFile>,
    /// Worker ids (never used twice by one main process) and pids in Sōzu's eyes.
    workers: BTreeMap<u32, i32>,
    main: Option<Process>,
}

/// The life that was last seen, and how it looked then.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) life: Life,
    observation: Observation,
}

impl Seen {
    /// The life of this observation: the one before if it goes on, else a new one. Reads `/proc`: blocking.
    ///
    /// # Errors
    /// If this process could not look, for want of file descriptors or memory: nothing follows from that.
    pub(crate) fn next(
        previous: Option<&Seen>,
        command_socket: &Path,
        workers: &BTreeMap<u32, i32>,
    ) -> io::Result<Self> {
        let boot = looked(fs::read_to_string("/proc/sys/kernel/random/boot_id"))?;
        let now = Observation {
            boot: boot.map_or_else(|| "unknown".to_owned(), |id| id.trim().to_owned()),
            socket: looked(socket_file(command_socket))?,
            workers: workers.clone(),
            main: main_process(workers)?,
        };
        let known = previous.and_then(|seen| seen.observation.main);
        let start = match known {
            Some(main) => start_time(main.pid)?,
            None => None,
        };
        Ok(decide(previous, now, |process| {
            start == Some(process.start)
        }))
    }
}

/// Whether the previous life goes on. `lives` tells of a process whether `/proc` still shows it.
fn decide(previous: Option<&Seen>, now: Observation, lives: impl Fn(Process) -> bool) -> Seen {
    let life = match previous {
        Some(seen) if goes_on(&seen.observation, &now, lives) => seen.life.clone(),
        _ => Life::from(text(&now).as_str()),
    };
    // A main process that was once known stays known as long as its life goes on, also while no worker is there.
    let main = now.main.or_else(|| {
        previous
            .filter(|seen| seen.life == life)
            .and_then(|seen| seen.observation.main)
    });
    Seen {
        life,
        observation: Observation { main, ..now },
    }
}

fn goes_on(before: &Observation, now: &Observation, lives: impl Fn(Process) -> bool) -> bool {
    if before.boot != now.boot {
        return false;
    }
    match (before.main, now.main) {
        (Some(before), Some(now)) => before == now,
        (Some(main), None) => lives(main),
        (None, _) => {
            let met = before
                .workers
                .iter()
                .any(|(id, pid)| now.workers.get(id) == Some(pid));
            let none = before.workers.is_empty() || now.workers.is_empty();
            before.socket.is_some() && before.socket == now.socket && (met || none)
        }
    }
}

fn text(now: &Observation) -> String {
    if let Some(main) = now.main {
        return format!("boot {} main {} start {}", now.boot, main.pid, main.start);
    }
    let workers: Vec<_> = now
        .workers
        .iter()
        .map(|(id, pid)| format!("{id}:{pid}"))
        .collect();
    let socket = now.socket.map_or_else(
        // nothing to go by: never the same again
        || format!("unknown-{:016x}", rand::random::<u64>()),
        |(device, inode, seconds, nanoseconds)| format!("{device}.{inode}.{seconds}.{nanoseconds}"),
    );
    format!(
        "boot {} socket {socket} workers {}",
        now.boot,
        workers.join(",")
    )
}

/// The file that is at this path now.
pub(crate) fn socket_file(path: &Path) -> io::Result<SocketFile> {
    let file = fs::metadata(path)?;
    Ok((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
}

/// The parent of the workers, if `/proc` shows that they are the workers that Sōzu speaks of.
///
/// After a hot upgrade workers of the old main process may still drain, with another parent: the youngest counts.
fn main_process(workers: &BTreeMap<u32, i32>) -> io::Result<Option<Process>> {
    let mut youngest: Option<Process> = None;
    for (id, pid) in workers {
        if !is_worker(&arguments(*pid)?, *id) {
            continue;
        }
        let Some(main) = parent(*pid)? else { continue };
        let older = youngest.is_some_and(|found| found.start >= main.start);
        if !older && is_main(&arguments(main.pid)?) {
            youngest = Some(main);
        }
    }
    Ok(youngest)
}

/// What was seen, or nothing where there is nothing to be seen. An error only if this process cannot look at all.
fn looked<T>(seen: io::Result<T>) -> io::Result<Option<T>> {
    const SHORTAGES: [Errno; 3] = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM];
    match seen {
        Ok(seen) => Ok(Some(seen)),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(errno) if SHORTAGES.contains(&errno) => Err(error),
            _ => Ok(None),
        },
    }
}

/// `sozu worker --id 0 …` (sozu 2.3.3, `worker.rs`). Another process has that pid if Sōzu counts in its own namespace.
fn is_worker(arguments: &[String], id: u32) -> bool {
    let id = id.to_string();
    arguments
        .windows(3)
        .any(|found| found == ["worker", "--id", &id])
}

/// `sozu … start`, or `sozu main …` after a hot upgrade (sozu 2.3.3, `cli.rs`, `upgrade.rs`). Orphans have an init.
fn is_main(arguments: &[String]) -> bool {
    arguments
        .iter()
        .skip(1)
        .any(|argument| argument == "start" || argument == "main")
}

fn arguments(pid: i32) -> io::Result<Vec<String>> {
    let line = looked(fs::read(format!("/proc/{pid}/cmdline")))?.unwrap_or_default();
    Ok(line
        .split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect())
}

fn parent(pid: i32) -> io::Result<Option<Process>> {
    let Some((pid, _)) = stat(pid)? else {
        return Ok(None);
    };
    Ok(start_time(pid)?.map(|start| Process { pid, start }))
}

fn start_time(pid: i32) -> io::Result<Option<u64>> {
    Ok(stat(pid)?.map(|(_, start)| start))
}

/// Parent and start time of a process that is not dead, from `/proc/PID/stat` (proc(5)).
fn stat(pid: i32) -> io::Result<Option<(i32, u64)>> {
    let line = looked(fs::read_to_string(format!("/proc/{pid}/stat")))?;
    Ok(line.and_then(|line| parse_stat(&line)))
}

fn parse_stat(line: &str) -> Option<(i32, u64)> {
    // the name may hold blanks and parentheses: the fields begin after the last one
    let (_, fields) = line.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    // field 3 is the state, 4 the parent, 22 the start time
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    Some((fields.next()?.parse().ok()?, fields.nth(17)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Process = Process { pid: 100, start: 5 };
    const B: Process = Process { pid: 200, start: 9 };

    fn seen_as(main: Option<Process>, workers: &[(u32, i32)], socket: u64) -> Observation {
        Observation {
            boot: "boot".to_owned(),
            socket: Some((1, socket, 0, 0)),
            workers: workers.iter().copied().collect(),
            main,
        }
    }

    /// Whether the second observation counts as the life of the first.
    fn same(before: Observation, now: Observation, main_lives: bool) -> bool {
        let first = decide(None, before, |_| true);
        decide(Some(&first), now, |_| main_lives).life == first.life
    }

    #[test]
    fn a_known_main_process_decides() {
        let before = seen_as(Some(A), &[(0, 10), (1, 11)], 1);
        assert!(same(
            before.clone(),
            seen_as(Some(A), &[(1, 11), (2, 12)], 1),
            true
        ));
        assert!(same(
            before.clone(),
            seen_as(Some(A), &[(2, 12), (3, 13)], 1),
            true
        ));
        assert!(
            !same(
                before.clone(),
                seen_as(Some(B), &[(0, 10), (1, 11)], 1),
                true
            ),
            "a hot upgrade"
        );
        let reused = Process { start: 6, ..A };
        assert!(
            !same(before.clone(), seen_as(Some(reused), &[(0, 10)], 1), true),
            "a pid used again"
        );
        let other_boot = Observation {
            boot: "later".to_owned(),
            ..before.clone()
        };
        assert!(!same(before, other_boot, true));
    }

    #[test]
    fn a_main_process_without_workers_lives_as_long_as_proc_shows_it() {
        let before = seen_as(Some(A), &[(0, 10)], 1);
        assert!(same(before.clone(), seen_as(None, &[], 1), true));
        assert!(
            !same(before, seen_as(None, &[(0, 10)], 1), false),
            "upgraded, its workers orphaned"
        );
    }

    #[test]
    fn a_main_process_stays_known_while_its_workers_are_gone() {
        let first = decide(None, seen_as(Some(A), &[(0, 10)], 1), |_| true);
        let alone = decide(Some(&first), seen_as(None, &[], 1), |_| true);
        let other = decide(Some(&alone), seen_as(Some(B), &[(0, 20)], 1), |_| true);
        assert_ne!(other.life, first.life);
    }

    #[test]
    fn without_proc_the_socket_and_a_worker_decide_and_doubt_is_a_new_life() {
        let before = seen_as(None, &[(0, 10), (1, 11)], 1);
        assert!(
            same(before.clone(), seen_as(None, &[(1, 11), (2, 12)], 1), false),
            "a worker relaunched"
        );
        assert!(
            !same(before.clone(), seen_as(None, &[(0, 20), (1, 21)], 1), false),
            "other workers"
        );
        assert!(
            !same(before.clone(), seen_as(None, &[(0, 10), (1, 11)], 2), false),
            "a restart with the same pids"
        );
        let no_socket = Observation {
            socket: None,
            ..before
        };
        assert!(
            !same(no_socket.clone(), no_socket, false),
            "nothing to go by"
        );
    }

    #[test]
    fn the_text_is_the_same_after_our_own_restart_and_for_relaunched_workers() {
        let one = decide(None, seen_as(Some(A), &[(0, 10), (1, 11)], 1), |_| true);
        let again = decide(None, seen_as(Some(A), &[(1, 11), (2, 12)], 1), |_| true);
        assert_eq!(one.life, again.life);
        let upgraded = decide(None, seen_as(Some(B), &[(3, 30)], 1), |_| true);
        assert_ne!(one.life, upgraded.life);
    }

    #[test]
    fn stat_is_read_behind_any_name() {
        let line = "42 (a) S (x) ) S 7 1 1 0 -1 4194304 1 0 0 0 3 1 0 0 20 0 1 0 98765 1 2 3";
        assert_eq!(parse_stat(line), Some((7, 98765)));
        assert_eq!(
            parse_stat(&line.replace(") S 7", ") Z 7")),
            None,
            "a zombie is no life"
        );
        assert_eq!(parse_stat("42 (sozu) S 7"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_pid_of_another_namespace_is_not_taken_for_a_worker() {
        let line = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(is_worker(&line("/usr/bin/sozu worker --id 1 --fd 5"), 1));
        assert!(!is_worker(&line("/usr/bin/sozu worker --id 12 --fd 5"), 1));
        assert!(!is_worker(&line("nginx: worker process"), 1));
        assert!(is_main(&line("sozu start -c sozu.toml")) && is_main(&line("sozu main --fd 3")));
        assert!(!is_main(&line("/sbin/init")));
        let us = i32::try_from(std::process::id()).unwrap();
        assert_eq!(main_process(&BTreeMap::from([(0, us)])).unwrap(), None);
        assert!(parent(us).unwrap().is_some());
    }

    #[test]
    fn only_a_shortage_of_ours_keeps_us_from_looking() {
        let error = |errno: Errno| looked::<()>(Err(errno.into()));
        assert_eq!(looked(Ok(1)).unwrap(), Some(1));
        assert_eq!(error(Errno::ENOENT).unwrap(), None);
        assert_eq!(error(Errno::EACCES).unwrap(), None);
        assert!(error(Errno::EMFILE).is_err());
    }
}
