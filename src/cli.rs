//! The command line.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Parser, Subcommand};

use crate::{
    admin, check,
    config::{self, Environment, LoadError, Loaded},
    doctor,
    exit::Exit,
    output::Output,
    publish, run, unsubscribe,
};

/// What `default-config` prints.
pub const DEFAULT_CONFIG: &str = include_str!("../configs/default.toml");
/// Where the configuration is, unless somebody says otherwise.
const DEFAULT_PATH: &str = "/etc/sozu-manager/config.toml";
/// The variable that says otherwise.
const PATH_VARIABLE: &str = "SOZU_MANAGER_CONFIG";

/// Feeds a Sōzu reverse proxy its routes, proves that it holds them, and shows what it does.
#[derive(Debug, Parser)]
#[command(name = "sozu-manager", version)]
pub struct Arguments {
    /// The configuration file [default: $SOZU_MANAGER_CONFIG, else /etc/sozu-manager/config.toml]
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Where the daemon to ask listens [default: the configuration's `[admin] socket`]
    #[arg(long, value_name = "SOCKET", global = true)]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    Run,
    /// Check the configuration and everything that it names; change nothing
    Check {
        /// Only tell what would be loaded from this certificate directory, and why the rest would not
        #[arg(long, value_name = "DIR")]
        pki: Option<PathBuf>,
    },
    /// Look at all that the daemon needs, say what is wrong and what mends it; change nothing
    Doctor {
        #[command(flatten)]
        output: Output,
    },
    /// Print the commented default configuration
    DefaultConfig,
    /// Send what files declare, or one change, to a topic that daemons read
    Publish(Box<publish::Publish>),
    /// End a host's subscription at the broker: that of a host that is gone keeps the topic's backlog for ever
    Unsubscribe(unsubscribe::Unsubscribe),
    #[command(flatten)]
    Ask(admin::Command),
}

/// Does what the arguments say.
pub fn run(arguments: &Arguments) -> Exit {
    let path = || path(arguments.config.as_deref());
    if arguments.socket.is_some() && !matches!(arguments.command, Command::Ask(_)) {
        let hint = "--socket is for commands that ask the running daemon, see --help; leave it out";
        let _ = writeln!(io::stderr(), "{hint}");
        return Exit::Usage;
    }
    match &arguments.command {
        Command::DefaultConfig => print(DEFAULT_CONFIG),
        Command::Check {
            pki: Some(directory),
        } => match check::of_certificates(directory) {
            Ok((text, true)) => print(&text),
            Ok((text, false)) => print(&text).or(Exit::Failed),
            Err(why) => print(&format!("{why}\n")).or(Exit::Failed),
        },
        Command::Check { pki: None } => match load(&path()) {
            Ok(loaded) => report(&check::problems(&loaded)),
            Err(error) => print(&format!("{error}\n")).or(status(&error)),
        },
        Command::Doctor { output } => match load(&path()) {
            Ok(loaded) => doctor::run(&loaded, *output),
            Err(error) => complain(&error),
        },
        Command::Run => match load(&path()) {
            Ok(loaded) => run::run(&path(), &loaded),
            Err(error) => complain(&error),
        },
        Command::Publish(publish) => match publish::run(publish, || load(&path())) {
            Ok(exit) => exit,
            Err(error) => complain(&error),
        },
        Command::Unsubscribe(unsubscribe) => match load(&path()) {
            Ok(loaded) => unsubscribe::run(unsubscribe, &loaded.config),
            Err(error) => complain(&error),
        },
        Command::Ask(command) => match &arguments.socket {
            Some(socket) => admin::run(command, socket),
            None => ask(command, &path()),
        },
    }
}

/// Asks the daemon that the configuration of this file names.
fn ask(command: &admin::Command, path: &Path) -> Exit {
    match load(path) {
        Ok(loaded) => admin::run(command, &loaded.config.admin.socket),
        // The daemon is to say so itself: in its log, its metrics, to systemd.
        Err(error) if command.is_reload() => {
            let socket = config::admin_socket(path, &Environment::of_process());
            match admin::run(command, &socket) {
                Exit::NoDaemon => complain(&error),
                exit => exit,
            }
        }
        Err(error) => complain(&error),
    }
}

fn complain(error: &LoadError) -> Exit {
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(io::stderr(), "{error}");
    status(error)
}

fn path(argument: Option<&Path>) -> PathBuf {
    argument
        .map(Path::to_owned)
        .or_else(|| {
            let set = std::env::var_os(PATH_VARIABLE)?;
            (!set.is_empty()).then(|| set.into())
        })
        .unwrap_or_else(|| DEFAULT_PATH.into())
}

fn load(path: &Path) -> Result<Loaded, LoadError> {
    config::load(path, &Environment::of_process())
}

/// A file that cannot be read is the environment's to mend; all else needs an editor.
fn status(error: &LoadError) -> Exit {
    match error {
        LoadError::Unreadable { .. } => Exit::Failed,
        LoadError::NoFile(_) | LoadError::Invalid(_) => Exit::Configuration,
    }
}

fn report(problems: &[String]) -> Exit {
    if problems.is_empty() {
        return print("ok\n");
    }
    print(&(problems.join("\n") + "\n")).or(Exit::Failed)
}

/// Prints to standard output. A reader that closed it early (`| head`) has what it wanted.
pub(crate) fn print(text: &str) -> Exit {
    write(text.as_bytes())
}

/// As [`print()`], whatever the bytes are.
pub(crate) fn write(bytes: &[u8]) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "standard output: {error}");
            Exit::Failed
        }
        _ => Exit::Fine,
    }
}
