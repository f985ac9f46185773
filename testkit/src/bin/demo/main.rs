//! `make demo`: a real Sōzu, two small backends and the daemon, and what happens to a route, measured.
//!
//! `demo BINARY FAILING [--pulsar] [--once]`: BINARY is the built `sozu-manager`, FAILING the same with the feature
//! `failpoints`. With `--pulsar` the routes come over a topic of a real broker; with `--once` it stops everything after the
//! proof, without, everything stays until Ctrl-C. The exit status is 1 if anything was not as it should be.

mod certificates;
mod source;
mod stage;
mod steps;

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use source::Kind;
use stage::Stage;
use testkit::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = env::args_os().skip(1);
    let mut binary = || {
        let path = arguments.next().map(PathBuf::from);
        path.filter(|path| path.is_file()).ok_or_else(|| {
            Error::new(
                "the first arguments are the paths of sozu-manager, built without and with failpoints; run it with `make demo`",
            )
        })
    };
    let (binary, failing) = (binary()?, binary()?);
    let flags: Vec<_> = arguments.collect();
    let is_asked = |flag: &str| flags.iter().any(|argument| argument == flag);
    let once = is_asked("--once");
    let kind = if is_asked("--pulsar") {
        Kind::Pulsar
    } else {
        Kind::Files
    };

    let mut stage = Stage::set(&binary, kind)?;
    let proof = steps::all(&mut stage, &failing)
        .and_then(|()| if once { Ok(()) } else { stay(&mut stage) });
    if proof.is_err() {
        eprintln!("--- the daemon's log ---\n{}---", stage.daemon.log());
    }
    let end = stage.end();
    proof.and(end)
}

/// Leaves everything running until Ctrl-C or SIGTERM, and starts again what was killed.
fn stay(stage: &mut Stage) -> Result<()> {
    stage.invite()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(format!("starting a runtime: {error}")))?;
    runtime.block_on(async {
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                () = tokio::time::sleep(Duration::from_millis(200)) => stage.start_what_was_killed()?,
            }
        }
    })
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|error| Error::new(format!("listening to signals: {error}")))
}
