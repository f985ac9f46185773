//! What systemd is told (`Type=notify`): ready, how things are, alive, reloading, stopping. Without systemd nothing happens.
//!
//! It is told from the supervisor's own loop, so that a loop that stands still is a watchdog that is not fed; only a reload
//! tells of itself when it begins and ends.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    sys::time::TimeValLike,
    time::{ClockId, clock_gettime},
};
use supervisors::{Component, Health, State, Turn};
use tracing::warn;

/// The supervisor's loop turns so often at least.
const TURN: Duration = Duration::from_secs(1);
/// A critical component that was silent for so long is as good as dead. As `/livez` has it.
const SILENT: Duration = Duration::from_mins(1);
/// While the tree starts, systemd's patience is renewed for so long. What bounds the start is the supervisor: who is not
/// ready in time is replaced, and who never is, ends the daemon.
const PATIENCE: Duration = Duration::from_secs(15);
/// systemd's line of status; longer words are cut.
const STATUS_CHARACTERS: usize = 300;

/// One datagram's content.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Ready,
    Stopping,
    Status(String),
    Alive,
    Extend,
    /// At this time, in microseconds of the monotonic clock: a stamp that systemd asks for.
    Reloading(i64),
}

/// Tells systemd, turn by turn.
pub struct Notifier {
    socket: UnixDatagram,
    /// A third of systemd's patience, if it watches.
    every: Option<Duration>,
    told: Mutex<Told>,
}

/// What it was told already.
#[derive(Clone, Debug, Default)]
struct Told {
    ready: bool,
    stopping: bool,
    status: String,
    alive: Option<Instant>,
    failed: bool,
    /// About reloads, in this order, a datagram each.
    pending: VecDeque<Word>,
    /// Why the last reload failed.
    reload_failed: Option<String>,
}

impl Notifier {
    /// From `$NOTIFY_SOCKET` and `$WATCHDOG_USEC`; nothing, if systemd does not listen.
    pub fn from_environment() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET")?;
        match connect(&name) {
            Ok(socket) => Some(Self {
                socket,
                every: watchdog().map(|patience| patience / 3),
                told: Mutex::default(),
            }),
            Err(error) => {
                warn!(%error, socket = ?name, "systemd cannot be told how things are; it may end the daemon.");
                None
            }
        }
    }

    /// In a turn of the supervisor's loop.
    pub fn turn(&self, turn: Turn, health: &Health) {
        let mut told = self.told();
        self.flush(&mut told);
        if !told.pending.is_empty() {
            return;
        }
        // what could not be sent now is said in a later turn
        let mut then = told.clone();
        let words = words(
            &mut then,
            turn,
            &health.components(),
            self.every,
            Instant::now(),
        );
        if words.is_empty() {
            return;
        }
        if self.send(&mut told, &words) {
            then.failed = false;
            *told = then;
        }
    }

    /// A reload begins. Before the tree has started there is no reload to speak of.
    pub fn reloading(&self) {
        let mut told = self.told();
        if told.ready {
            told.pending.push_back(Word::Reloading(monotonic()));
            self.flush(&mut told);
        }
    }

    /// A reload ended. That it failed, systemd cannot be told but in words: it waits for `READY=1`.
    pub fn reloaded(&self, failed: Option<&str>) {
        let mut told = self.told();
        told.reload_failed = failed.map(str::to_owned);
        if told.ready {
            told.pending.push_back(Word::Ready);
            self.flush(&mut told);
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What could not be sent is tried again in the next turn.
    fn flush(&self, told: &mut Told) {
        while let Some(word) = told.pending.front().cloned() {
            if !self.send(told, &[word]) {
                return;
            }
            told.pending.pop_front();
        }
    }

    /// One datagram.
    fn send(&self, told: &mut Told, words: &[Word]) -> bool {
        let lines: Vec<_> = words.iter().map(line).collect();
        match self.socket.send(lines.join("\n").as_bytes()) {
            Ok(_) => true,
            Err(error) => {
                if !std::mem::replace(&mut told.failed, true) {
                    warn!(%error, "systemd does not take what it is told; it is tried again.");
                }
                false
            }
        }
    }
}

/// systemd's socket, and where it is: a path, or after `@` a name without a file.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // a systemd that does not listen must not hold up the supervisor
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// One line of a datagram.
fn line(word: &Word) -> String {
    match word {
        Word::Ready => "READY=1".to_owned(),
        Word::Stopping => "STOPPING=1".to_owned(),
        Word::Status(text) => format!("STATUS={text}"),
        Word::Alive => "WATCHDOG=1".to_owned(),
        Word::Extend => format!("EXTEND_TIMEOUT_USEC={}", PATIENCE.as_micros()),
        Word::Reloading(stamp) => format!("RELOADING=1\nMONOTONIC_USEC={stamp}"),
    }
}

/// Now, in microseconds of the monotonic clock.
fn monotonic() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| now.num_microseconds())
}

/// `$WATCHDOG_USEC`, if it is meant for this process.
fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    if std::env::var_os("WATCHDOG_PID").is_some()
        && number("WATCHDOG_PID") != Some(std::process::id().into())
    {
        return None;
    }
    number("WATCHDOG_USEC").map(Duration::from_micros)
}

/// What to say now.
fn words(
    told: &mut Told,
    turn: Turn,
    components: &[Component],
    every: Option<Duration>,
    now: Instant,
) -> Vec<Word> {
    let mut words = Vec::new();
    if turn == Turn::Stops && !std::mem::replace(&mut told.stopping, true) {
        words.push(Word::Stopping);
    }
    if turn == Turn::Tends && !told.ready {
        if started(components) {
            told.ready = true;
            words.push(Word::Ready);
        } else {
            words.push(Word::Extend);
        }
    }
    let status = status(turn, told, components);
    if told.status != status {
        words.push(Word::Status(status.clone()));
        told.status = status;
    }
    if let (Some(every), Turn::Tends) = (every, turn) {
        // rather a turn too early than one too late
        let due = told.alive.is_none_or(|last| now + TURN > last + every);
        if due && lives(components) {
            told.alive = Some(now);
            words.push(Word::Alive);
        }
    }
    words
}

/// Whether the tree has started: every critical component has had its say, every other one its chance. What they talk to
/// may be away.
fn started(components: &[Component]) -> bool {
    components.iter().all(|component| match component.state {
        State::Running | State::Degraded => true,
        State::Backoff | State::Parked => !component.critical,
        State::Starting | State::Stopping | State::Stopped => false,
    })
}

/// Whether every critical component lives. One in backoff does: its supervisor is at it, until it gives up.
fn lives(components: &[Component]) -> bool {
    let mut critical = components.iter().filter(|component| component.critical);
    critical.all(|component| component.state != State::Stopped && component.silent_for < SILENT)
}

/// The line that `systemctl status` shows: what is wrong, or that nothing is.
fn status(turn: Turn, told: &Told, components: &[Component]) -> String {
    // while the tree starts, one that is stopped is one whose turn has not come
    let not = |component: &&Component| match component.state {
        State::Running => false,
        State::Stopped => told.ready,
        _ => true,
    };
    let wrong: Vec<_> = components.iter().filter(not).collect();
    let named = |component: &&Component| {
        let word = component.error.as_deref().unwrap_or(&component.detail);
        let (name, state) = (&component.name, component.state.name());
        if word.is_empty() {
            format!("{name} is {state}")
        } else {
            format!("{name} is {state} ({word})")
        }
    };
    let text = if turn == Turn::Stops {
        let gone = components
            .iter()
            .filter(|component| component.state == State::Stopped);
        format!(
            "stops: {} of {} components are gone",
            gone.count(),
            components.len()
        )
    } else if wrong.is_empty() && !told.ready {
        "starts".to_owned()
    } else if wrong.is_empty() {
        format!("all {} components are running", components.len())
    } else {
        let list: Vec<_> = wrong.iter().map(named).collect();
        let begin = if told.ready { "degraded" } else { "starts" };
        format!("{begin}: {}", list.join("; "))
    };
    let text = match &told.reload_failed {
        Some(why) if turn == Turn::Tends => format!("reload failed: {why}; {text}"),
        _ => text,
    };
    // a line of a datagram
    let mut line = text.replace(['\n', '\r'], " ");
    if let Some((end, _)) = line.char_indices().nth(STATUS_CHARACTERS) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::SystemTime};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn component(name: &str, state: State, critical: bool) -> Component {
        Component {
            name: name.to_owned(),
            kind: "socket_pool",
            state,
            critical,
            restarts: BTreeMap::new(),
            since: SystemTime::UNIX_EPOCH,
            silent_for: Duration::ZERO,
            detail: String::new(),
            error: None,
        }
    }

    fn at(state: State) -> [Component; 1] {
        [component("socket_pool", state, true)]
    }

    #[test]
    fn ready_once_and_the_same_status_never_twice() {
        let (mut told, now) = (Told::default(), Instant::now());
        let mut say =
            |turn, components: &[Component]| words(&mut told, turn, components, None, now);
        let begun = say(Turn::Tends, &at(State::Stopped));
        assert_eq!(begun, [Word::Extend, Word::Status("starts".into())]);
        let starting = say(Turn::Tends, &at(State::Starting));
        assert_eq!(
            starting,
            [
                Word::Extend,
                Word::Status("starts: socket_pool is starting".into())
            ]
        );
        let running = "all 1 components are running".to_owned();
        assert_eq!(
            say(Turn::Tends, &at(State::Running)),
            [Word::Ready, Word::Status(running)]
        );
        assert_eq!(say(Turn::Tends, &at(State::Running)), []);
        assert_eq!(
            say(Turn::Tends, &at(State::Backoff)),
            [Word::Status("degraded: socket_pool is backoff".into())]
        );
        let stops = "stops: 1 of 1 components are gone".to_owned();
        assert_eq!(
            say(Turn::Stops, &at(State::Stopped)),
            [Word::Stopping, Word::Status(stops)]
        );
        assert_eq!(say(Turn::Stops, &at(State::Stopped)), []);
    }

    #[test]
    fn the_tree_has_started_when_the_critical_had_their_say_and_the_others_their_chance() {
        for (state, critical, other) in [
            (State::Starting, false, false),
            (State::Running, true, true),
            (State::Degraded, true, true),
            (State::Backoff, false, true),
            (State::Parked, false, true),
            (State::Stopping, false, false),
            (State::Stopped, false, false),
        ] {
            let running = component("one", State::Running, true);
            for (is_critical, expected) in [(true, critical), (false, other)] {
                let components = [running.clone(), component("two", state, is_critical)];
                assert_eq!(started(&components), expected, "{state:?} {is_critical}");
            }
        }
    }

    #[test]
    fn alive_at_a_third_while_every_critical_component_lives() {
        let begun = Instant::now();
        let mut told = Told {
            ready: true,
            ..Told::default()
        };
        let mut alive = |seconds: u32, turn, components: &[Component]| {
            let now = begun + seconds * SECOND;
            words(&mut told, turn, components, Some(10 * SECOND), now).contains(&Word::Alive)
        };
        let fine = at(State::Running);
        assert!(alive(0, Turn::Tends, &fine));
        assert!(!alive(9, Turn::Tends, &fine));
        assert!(alive(10, Turn::Tends, &fine));
        assert!(alive(20, Turn::Tends, &at(State::Backoff)));
        assert!(!alive(30, Turn::Tends, &at(State::Stopped)));
        let mut silent = at(State::Running);
        silent[0].silent_for = SILENT;
        assert!(!alive(30, Turn::Tends, &silent));
        silent[0].critical = false;
        assert!(alive(30, Turn::Tends, &silent));
        assert!(!alive(40, Turn::Stops, &fine));
    }

    #[test]
    fn a_failed_reload_is_told_until_one_succeeds() {
        let mut told = Told {
            ready: true,
            reload_failed: Some("c.toml:1:1: no".to_owned()),
            ..Told::default()
        };
        let running = at(State::Running);
        let failed = "reload failed: c.toml:1:1: no; all 1 components are running";
        assert_eq!(status(Turn::Tends, &told, &running), failed);
        told.reload_failed = None;
        let fine = "all 1 components are running";
        assert_eq!(status(Turn::Tends, &told, &running), fine);
        assert_eq!(line(&Word::Reloading(7)), "RELOADING=1\nMONOTONIC_USEC=7");
        assert!(monotonic() > 0);
    }

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        let mut one = component("routes.local", State::Degraded, false);
        one.error = Some(format!("a.toml\nWATCHDOG=1\n{}", "ü".repeat(1000)));
        let ready = Told {
            ready: true,
            ..Told::default()
        };
        let status = status(Turn::Tends, &ready, &[one]);
        assert!(status.starts_with("degraded: routes.local is degraded (a.toml WATCHDOG=1 ü"));
        assert_eq!(status.chars().count(), STATUS_CHARACTERS + 1);
    }
}
