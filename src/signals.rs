//! The one place that touches the operating system's signals.

use std::{io, thread};

use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};

/// What somebody outside asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// To stop in order; a second time, at once. With the signal's name.
    Stop(&'static str),
    /// To read the configuration again.
    Reload,
}

/// Calls `on` for each signal, for as long as the process lives. Once this returns, none of them
/// ends the process by itself. They are heard on a thread of their own, so that a component that
/// blocks the others cannot keep anybody from stopping the program.
pub fn listen(mut on: impl FnMut(Cause) + Send + 'static) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt, mut hangup) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        )
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                while let Some(cause) = next(&mut terminate, &mut interrupt, &mut hangup).await {
                    on(cause);
                }
            });
        })?;
    Ok(())
}

/// The next one. `None` cannot come while the process lives: a signal's stream has no end.
async fn next(
    terminate: &mut Signal,
    interrupt: &mut Signal,
    hangup: &mut Signal,
) -> Option<Cause> {
    tokio::select! {
        got = terminate.recv() => got.map(|()| Cause::Stop("SIGTERM")),
        got = interrupt.recv() => got.map(|()| Cause::Stop("SIGINT")),
        got = hangup.recv() => got.map(|()| Cause::Reload),
    }
}
