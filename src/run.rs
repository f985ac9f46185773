//! `run`: the daemon, from its start to its end.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    panic::{self, AssertUnwindSafe},
    time::Duration,
};

use actors::admin_server::socket::{self, SocketError};
use sozu_socket::LockError;
use supervisors::Exit as Ended;
use tokio::{sync::watch, time::timeout};
use tracing::{error, info, warn};

use crate::{
    config::{Config, Loaded},
    exit::Exit,
    log,
    signals::{self, Cause},
    systemd::Notifier,
    tree::{self, Directories},
};

/// How long the last write may take at the end.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("{address} cannot be listened on: {error}; {remedy}")]
    Bind {
        address: SocketAddr,
        error: io::Error,
        remedy: String,
    },
    #[error(transparent)]
    Admin(#[from] SocketError),
    #[error(transparent)]
    Locked(#[from] LockError),
    #[error("signals cannot be caught: {0}; raise the limits on threads and open files")]
    Signals(io::Error),
}

/// Runs the daemon until it is told to stop.
pub fn run(loaded: &Loaded) -> Exit {
    let config = &loaded.config;
    let _log = log::start(config.log);
    for idle in loaded.idle() {
        warn!(place = %idle.origin, setting = idle.what, "A setting has no effect.");
    }
    // Children are caught by their supervisor. What is left is our own mistake, and told as a
    // failure like any other.
    match panic::catch_unwind(AssertUnwindSafe(|| start(config))) {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            error!(error = %error, "The daemon did not start.");
            Exit::Failed
        }
        Err(_) => Exit::Failed,
    }
}

fn start(config: &Config) -> Result<Exit, StartError> {
    #[cfg(feature = "failpoints")]
    let _failpoints = failpoints();
    let stop = told_to_stop().map_err(StartError::Signals)?;
    let directories = Directories::lock(config)?;
    let socket = &config.admin.socket;
    if socket::is_answered(socket) {
        return Err(SocketError::InUse(socket.clone()).into());
    }
    let address = config.http.address;
    let listener = bind(address).map_err(|error| StartError::Bind {
        address,
        remedy: remedy(address, &error),
        error,
    })?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        sources = config.sources(),
        address = %listener.local_addr().unwrap_or(address),
        "The daemon starts."
    );
    let system = actix::System::new();
    let ended = system.block_on(async move {
        let done = directories.done();
        let mut tree = tree::build(config, directories, listener);
        if let Some(systemd) = Notifier::from_environment() {
            let health = tree.health();
            tree.on_turn(move |turn| systemd.turn(turn, &health));
        }
        let ended = tree.run(stopped(stop)).await;
        if timeout(CLOSES_WITHIN, done).await.is_err() {
            warn!("The last work on files did not end in time: the database is not complete without the -wal file beside it, and a file may be left in the exchange directory until the next start.");
        }
        ended
    });
    // The process ends now. Dropping the runtime would wait for threads that may hang in a file
    // system that does not answer.
    std::mem::forget(system);
    Ok(said(&ended))
}

/// Makes components fail as `$FAILPOINTS` says, as long as this is kept.
#[cfg(feature = "failpoints")]
fn failpoints() -> fail::FailScenario<'static> {
    warn!("This build is for tests only: it fails on demand.");
    fail::FailScenario::setup()
}

/// Turns true when somebody asks for a stop. The second time the process ends there and then.
fn told_to_stop() -> io::Result<watch::Receiver<bool>> {
    let (told, stop) = watch::channel(false);
    let mut before = false;
    signals::listen(move |cause| match cause {
        Cause::Stop(signal) if !before => {
            info!(
                signal,
                "Told to stop; a second signal ends the daemon at once."
            );
            before = true;
            told.send_replace(true);
        }
        Cause::Stop(signal) => {
            error!(
                signal,
                "Told to stop a second time: the daemon ends at once."
            );
            std::process::exit(i32::from(Exit::Failed as u8));
        }
        Cause::Reload => {
            warn!("This version cannot reload yet: nothing changed; restart the daemon instead.");
        }
    })?;
    Ok(stop)
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|told| *told).await.is_err() {
        // The thread that hears signals is gone, so nobody can ask any more.
        std::future::pending::<()>().await;
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What to do where an address cannot be listened on.
pub(crate) fn remedy(address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "stop the process that has it (`ss -ltnp 'sport = :{port}'` shows it) or set another [http] address"
        ),
        io::ErrorKind::PermissionDenied => {
            "set [http] address to a port from 1024 on, or grant CAP_NET_BIND_SERVICE".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "set [http] address to an address that this host has".to_owned()
        }
        _ => "set another [http] address".to_owned(),
    }
}

/// Logs how it ended, and what that means for whoever started it.
fn said(ended: &Ended) -> Exit {
    match ended {
        Ended::Stopped { survivors } if survivors.is_empty() => {
            info!("The daemon stopped in order.");
            Exit::Fine
        }
        Ended::Stopped { survivors } => {
            let survivors = survivors.join(", ");
            error!(
                survivors,
                "The daemon stopped, but some components did not in time."
            );
            Exit::Failed
        }
        Ended::Escalated { component, error } => {
            error!(
                component,
                error, "A critical component crashed too often: the daemon ends."
            );
            Exit::Failed
        }
    }
}
