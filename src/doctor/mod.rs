//! `doctor`: looks at everything that the daemon stands on, with or without the daemon, and says
//! what is wrong and what mends it. One file for each group of checks.
//!
//! It changes nothing: what it passes through the exchange directory is removed again (and with it
//! what a killed daemon left there, as at every start), and what it asks of Sōzu leaves Sōzu as it was.

mod admin;
mod exchange;
mod finding;
mod http;
mod listeners;
mod paths;
mod socket;
mod sources;
mod state;
mod topics;
mod unit;
mod us;

use std::{
    io::{self, Write},
    time::Duration,
};

use sozu_socket::Builder;

pub(crate) use self::finding::Finding;
use self::{admin::Daemon, us::Us};
use crate::{
    cli::print,
    config::{Config, Loaded},
    exit::Exit,
    output::{Form, Output},
};

/// What the checks are made with.
struct Doctor<'a> {
    config: &'a Config,
    us: Us,
    daemon: Daemon,
}

impl Doctor<'_> {
    /// Without a source there is nothing on disk and nothing to pass to Sōzu.
    fn has_sources(&self) -> bool {
        self.config.sources() > 0
    }

    /// How Sōzu is reached, without the exchange directory.
    fn sozu(&self) -> Builder {
        let sozu = &self.config.sozu;
        Builder::new(&sozu.command_socket)
            .connections(1)
            .worker_timeout(sozu.worker_timeout)
    }
}

/// Makes every check and prints what it found.
pub fn run(loaded: &Loaded, output: Output) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(
                io::stderr(),
                "doctor cannot start: {error}; raise the limit on open files"
            );
            return Exit::Failed;
        }
    };
    let findings = runtime.block_on(findings(loaded));
    // A file system that does not answer is not waited for at the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let printed = match output.output {
        Form::Text => print(&finding::text(&findings)),
        Form::Json => print(&finding::json(&findings)),
    };
    printed.or(if finding::is_wrong(&findings) {
        Exit::Failed
    } else {
        Exit::Fine
    })
}

async fn findings(loaded: &Loaded) -> Vec<Finding> {
    let config = &loaded.config;
    let doctor = Doctor {
        config,
        us: Us::now(),
        daemon: Daemon::of(&config.admin.socket),
    };
    let mut findings = vec![us::finding(&doctor)];
    let is_there = socket::findings(&doctor, &mut findings).await;
    let mut listeners = None;
    if is_there {
        let (finding, found) = listeners::finding(&doctor).await;
        findings.push(finding);
        listeners = found;
    }
    if doctor.has_sources() {
        findings.push(exchange::finding(&doctor, is_there).await);
        findings.extend(state::findings(&doctor));
    }
    findings.extend(sources::findings(&doctor, listeners.as_ref()));
    findings.extend(topics::findings(&doctor).await);
    findings.push(http::finding(&doctor));
    findings.push(admin::finding(&doctor));
    findings.extend(unit::findings(&doctor).await);
    findings
}
