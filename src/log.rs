//! The log: one line per event on standard error, for people on a terminal and as JSON otherwise.

use std::{
    io::{self, IsTerminal},
    panic::PanicHookInfo,
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::config::tables::{Level, Log, LogFormat};

/// Our crates. Others are heard from `warn` on.
const OURS: [&str; 4] = ["sozu_manager", "actors", "supervisors", "sozu_socket"];

/// Changes the level of the running log.
#[derive(Clone, Debug)]
pub struct Handle(reload::Handle<Targets, Registry>);

/// Why the level stayed as it was.
#[derive(Debug, thiserror::Error)]
#[error("the log's level cannot be changed: {0}; start the program again")]
pub struct LevelError(#[from] reload::Error);

impl Handle {
    /// From now on, this level.
    pub fn set_level(&self, level: Level) -> Result<(), LevelError> {
        Ok(self.0.reload(targets(level))?)
    }
}

/// Starts the log of this process; a second call changes nothing.
pub fn start(settings: Log) -> Handle {
    let (filter, handle) = reload::Layer::new(targets(settings.level));
    let terminal = io::stderr().is_terminal();
    let json = match settings.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A line that cannot be written must not become a panic of whoever wrote it.
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .log_internal_errors(false)
        .with_ansi(colour);
    let lines = if json {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    } else {
        lines.boxed()
    };
    let started = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    if started.is_ok() {
        std::panic::set_hook(Box::new(panicked));
    }
    Handle(handle)
}

/// A panic is one line like any other. What it means is the supervisor's to tell.
fn panicked(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string);
    let error = info.payload_as_str().unwrap_or("no text");
    tracing::error!(error, location, "A panic: please report it.");
}

fn targets(level: Level) -> Targets {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(OURS.map(|ours| (ours, level)))
}

#[cfg(test)]
mod tests {
    use tracing::Level as L;

    use super::{Level, targets};

    #[test]
    fn others_are_heard_from_warn_on_and_never_above_our_level() {
        let debug = targets(Level::Debug);
        assert!(debug.would_enable("actors::fs_watcher", &L::DEBUG));
        assert!(debug.would_enable("h2", &L::WARN));
        assert!(!debug.would_enable("h2", &L::INFO));
        let error = targets(Level::Error);
        assert!(!error.would_enable("h2", &L::WARN));
        assert!(!error.would_enable("sozu_socket", &L::WARN));
    }
}
