//! A command socket between the daemon and Sōzu, on which a test decides what becomes of each exchange.

use std::{
    fmt,
    io::{self, Read as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use sozu_command_lib::proto::command::Request;
use tempfile::TempDir;

use crate::{Error, Result, Sozu, sozu::wire};

/// How long Sōzu's end of a connection is not looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// What becomes of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Sōzu gets the request, the daemon its answer.
    Pass,
    /// Sōzu gets the request; the daemon's connection ends before the answer.
    Cut,
    /// The daemon's connection ends before Sōzu gets the request.
    CutBefore,
    /// Sōzu gets the request; its answer is kept back, and the connection stays open.
    Mute,
    /// Nobody gets anything, and the connection stays open.
    Swallow,
}

type Rule = Box<dyn FnMut(&mut Request) -> Fate + Send>;

/// A socket that passes everything on to Sōzu's, except what a rule says otherwise.
pub struct Tap {
    directory: TempDir,
    rule: Arc<Mutex<Rule>>,
    stopping: Arc<AtomicBool>,
}

impl Tap {
    /// Listens in front of this Sōzu, and passes everything on.
    pub fn before(sozu: &Sozu) -> Result<Self> {
        let doing = "listening in front of Sōzu";
        let directory = tempfile::tempdir().map_err(Error::while_doing(doing))?;
        let listener =
            UnixListener::bind(socket_in(directory.path())).map_err(Error::while_doing(doing))?;
        let rule: Rule = Box::new(|_| Fate::Pass);
        let tap = Self {
            directory,
            rule: Arc::new(Mutex::new(rule)),
            stopping: Arc::default(),
        };
        let (rule, stopping) = (Arc::clone(&tap.rule), Arc::clone(&tap.stopping));
        let behind = sozu.command_socket();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let (rule, behind) = (Arc::clone(&rule), behind.clone());
                // Either side's end ends it.
                thread::spawn(move || drop(serve(client, &behind, &rule)));
            }
        });
        Ok(tap)
    }

    /// Where the daemon is told to find Sōzu.
    pub fn socket(&self) -> PathBuf {
        socket_in(self.directory.path())
    }

    /// Decides, from now on, of each request; it may change it on its way.
    pub fn rule(&self, rule: impl FnMut(&mut Request) -> Fate + Send + 'static) {
        *self.rule.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(rule);
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("socket", &self.socket())
            .finish_non_exhaustive()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // one connection more wakes the acceptor
        let _ = UnixStream::connect(self.socket());
    }
}

fn socket_in(directory: &Path) -> PathBuf {
    directory.join("command.sock")
}

/// One exchange after the other, until a side closes or the rule cuts.
fn serve(mut client: UnixStream, behind: &Path, rule: &Mutex<Rule>) -> Result<()> {
    let mut sozu = UnixStream::connect(behind).map_err(Error::while_doing("reaching Sōzu"))?;
    loop {
        let Some(first) = next_byte(&mut client, &mut sozu) else {
            return Ok(());
        };
        let mut request = wire::read::<Request>(&mut [first].as_slice().chain(&mut client))?;
        let fate = (rule.lock().unwrap_or_else(PoisonError::into_inner))(&mut request);
        match fate {
            Fate::Swallow => continue,
            Fate::CutBefore => return Ok(()),
            _ => {}
        }
        send(&mut sozu, &wire::frame(&request))?;
        if fate == Fate::Cut {
            // Sōzu still finds somebody to answer to.
            drop(client);
            return wire::answer(&mut sozu, |_| Ok(()));
        }
        wire::answer(&mut sozu, |answer| match fate {
            Fate::Mute => Ok(()),
            _ => send(&mut client, &wire::frame(answer)),
        })?;
    }
}

/// The first byte of the client's next request; nothing once either side has closed. That Sōzu has is noticed at
/// once, as it is on a connection without us.
fn next_byte(client: &mut UnixStream, sozu: &mut UnixStream) -> Option<u8> {
    let mut byte = [0];
    let first = loop {
        client.set_read_timeout(Some(GLANCE)).ok()?;
        match client.read(&mut byte) {
            Ok(1) => break byte[0],
            Err(error) if is_nothing_yet(&error) => {}
            _ => return None,
        }
        sozu.set_nonblocking(true).ok()?;
        match sozu.read(&mut byte) {
            Err(error) if is_nothing_yet(&error) => {}
            _ => return None,
        }
    };
    client.set_read_timeout(None).ok()?;
    sozu.set_nonblocking(false).ok()?;
    Some(first)
}

fn is_nothing_yet(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

fn send(stream: &mut UnixStream, frame: &[u8]) -> Result<()> {
    io::Write::write_all(stream, frame).map_err(Error::while_doing("passing a frame on"))
}
