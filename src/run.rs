//! `run`: the daemon, from its start to its end.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actors::{
    admin_server::socket::{self, SocketError},
    metrics::LastReload,
};
use supervisors::Exit as Ended;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{error, info, warn};

use crate::{
    config::{Config, Loaded},
    exit::Exit,
    log,
    reload::Reloader,
    signals::{self, Cause},
    systemd::Notifier,
    tree::{PlantError, Tree},
};

/// How long the last write may take at the end.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// So many may ask for a reload at once before one of them has to wait.
const ASK_AT_ONCE: usize = 16;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Plant(#[from] PlantError),
    #[error("signals cannot be caught: {0}; raise the limits on threads and open files")]
    Signals(io::Error),
}

/// Runs the daemon with the configuration of this file until it is told to stop.
pub fn run(file: &Path, loaded: &Loaded) -> Exit {
    let config = &loaded.config;
    let log = log::start(config.log);
    // Children are caught by their supervisor. What is left is our own mistake, and told as a
    // failure like any other.
    match panic::catch_unwind(AssertUnwindSafe(|| start(file, config, log))) {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            error!(error = %error, "The daemon did not start.");
            Exit::Failed
        }
        Err(_) => Exit::Failed,
    }
}

fn start(file: &Path, config: &Config, log: log::Handle) -> Result<Exit, StartError> {
    #[cfg(feature = "failpoints")]
    let _failpoints = failpoints();
    let (stop, hangups) = listen_to_signals().map_err(StartError::Signals)?;
    let socket = &config.admin.socket;
    let address = config.http.address;
    let (reload, asked) = mpsc::channel(ASK_AT_ONCE);
    let last = LastReload {
        succeeded: true,
        success: SystemTime::now(),
    };
    // the directories' locks first, then whether another daemon answers, then the port
    let listener = || {
        if socket::is_answered(socket) {
            return Err(SocketError::InUse(socket.clone()).into());
        }
        bind(address).map_err(PlantError::Bind)
    };
    let (mut root, tree) = Tree::plant(config, reload, listener, last)?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        sources = tree.sources.len(),
        address = %tree.address().unwrap_or(address),
        admin = %socket.display(),
        "The daemon starts."
    );
    let done = tree.done();
    let systemd = Notifier::from_environment().map(Arc::new);
    if let Some(systemd) = systemd.clone() {
        let health = root.health();
        root.on_turn(move |turn| systemd.turn(turn, &health));
    }
    let reloader = Reloader::new(file.to_owned(), config.clone(), tree, log, systemd);
    let system = actix::System::new();
    let ended = system.block_on(async move {
        actix::spawn(reloader.serve(hangups, asked));
        let ended = root.run(stopped(stop)).await;
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

/// The first turns true when somebody asks for a stop; the second time the process ends there and
/// then. The second counts the hangups.
fn listen_to_signals() -> io::Result<(watch::Receiver<bool>, watch::Receiver<u64>)> {
    let (told, stop) = watch::channel(false);
    let (hangup, hangups) = watch::channel(0);
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
        Cause::Reload => hangup.send_modify(|count| *count += 1),
    })?;
    Ok((stop, hangups))
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|told| *told).await.is_err() {
        // The thread that hears signals is gone, so nobody can ask any more.
        std::future::pending::<()>().await;
    }
}

/// Listens there.
///
/// # Errors
/// With what is wrong, and what to do.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        let remedy = remedy(address, &error);
        format!("{address} cannot be listened on: {error}; {remedy}")
    })
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
