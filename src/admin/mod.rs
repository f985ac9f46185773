//! The commands that ask the running daemon through its admin socket.

mod arguments;
mod client;
mod letters;
mod show;
mod table;

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
};

use serde_json::Value;

pub(crate) use self::arguments::Command;
use self::arguments::{Confirmed, Holds, Orphans, Sources};
pub(crate) use self::client::{Client, ClientError, encoded, parse};
use crate::{
    cli::print,
    exit::Exit,
    output::{Form, Output},
};

/// Does what the command says, with the daemon that listens on this socket.
pub(crate) fn run(command: &Command, socket: &Path) -> Exit {
    match answer(command, &Client::new(socket)) {
        Ok(exit) => exit,
        Err(error) => {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(io::stderr(), "{error}");
            error.exit()
        }
    }
}

fn answer(command: &Command, client: &Client) -> Result<Exit, ClientError> {
    match command {
        Command::Status { output } => {
            let status = client.get("/v1/status")?;
            let fine = status["status"] == "ok";
            Ok(printed(*output, &status, show::status).or(unless(fine)))
        }
        Command::Diff { output } => {
            let differences = client.get("/v1/diff")?;
            let fine = show::rows(&differences)
                .iter()
                .all(|it| it["difference"] == "foreign");
            Ok(printed(*output, &differences, show::diff).or(unless(fine)))
        }
        Command::Journal(journal) => {
            let lines = client.get(&journal.path())?;
            Ok(printed(journal.output, &lines, show::journal))
        }
        Command::Pause { lasts, output } => {
            let lasts = humantime::format_duration(*lasts).to_string();
            let paused = client.post_with(&["pause"], &[("for", &lasts)])?;
            Ok(printed(*output, &paused, show::paused))
        }
        Command::Reload { output } => {
            let reloaded = client.post(&["reload"])?;
            Ok(printed(*output, &reloaded, show::reloaded))
        }
        Command::Resume { output } => {
            let resumed = client.post(&["resume"])?;
            Ok(printed(*output, &resumed, show::resumed))
        }
        Command::Holds(holds) => about_holds(holds, client),
        Command::Orphans(orphans) => about_orphans(orphans, client),
        Command::Sources(Sources::Accept { source, output }) => {
            let accepted = client.post(&["sources", source, "accept"])?;
            Ok(printed(*output, &accepted, |_| {
                format!("{source} goes on as it is.\n")
            }))
        }
        Command::DeadLetters(command) => letters::answer(command, client),
    }
}

fn about_holds(holds: &Holds, client: &Client) -> Result<Exit, ClientError> {
    match holds {
        Holds::List { output } => {
            let holds = client.get("/v1/holds")?;
            Ok(printed(*output, &holds, show::holds))
        }
        Holds::Release {
            id,
            confirmed,
            output,
        } => {
            let question = || {
                let holds = client.get("/v1/holds")?;
                Ok(show::objects_of(&holds, "id", id)
                    .map(|objects| format!("Remove the {objects} objects that hold {id} keeps?")))
            };
            if let Some(exit) = refused(*confirmed, question)? {
                return Ok(exit);
            }
            let ordered = client.post(&["holds", id, "release"])?;
            Ok(printed(*output, &ordered, show::ordered).or(done(&ordered)))
        }
        Holds::Discard { id, output } => {
            let ordered = client.post(&["holds", id, "discard"])?;
            Ok(printed(*output, &ordered, show::discarded).or(done(&ordered)))
        }
    }
}

fn about_orphans(orphans: &Orphans, client: &Client) -> Result<Exit, ClientError> {
    match orphans {
        Orphans::List { output } => {
            let orphans = client.get("/v1/orphans")?;
            Ok(printed(*output, &orphans, show::orphans))
        }
        Orphans::Remove {
            source,
            confirmed,
            output,
        } => {
            let question = || {
                let orphans = client.get("/v1/orphans")?;
                Ok(show::objects_of(&orphans, "source", source).map(|objects| {
                    format!("Remove the {objects} objects that {source} left behind?")
                }))
            };
            if let Some(exit) = refused(*confirmed, question)? {
                return Ok(exit);
            }
            let ordered = client.post(&["orphans", source, "remove"])?;
            Ok(printed(*output, &ordered, show::ordered).or(done(&ordered)))
        }
    }
}

fn printed(output: Output, value: &Value, text: impl Fn(&Value) -> String) -> Exit {
    match output.output {
        Form::Text => print(&text(value)),
        // A `Value` can always be written.
        Form::Json => print(&format!("{value:#}\n")),
    }
}

fn unless(fine: bool) -> Exit {
    if fine {
        Exit::Fine
    } else {
        Exit::NotAsItShouldBe
    }
}

/// What was refused failed. What is open follows by itself.
fn done(ordered: &Value) -> Exit {
    if ordered["verdicts"]["refused"].is_null() {
        Exit::Fine
    } else {
        Exit::Failed
    }
}

/// How it ends if a person does not want it, or cannot be asked. Nothing is asked about what is not
/// there: the daemon says so.
fn refused(
    confirmed: Confirmed,
    question: impl Fn() -> Result<Option<String>, ClientError>,
) -> Result<Option<Exit>, ClientError> {
    if confirmed.yes {
        return Ok(None);
    }
    let mut err = io::stderr();
    if !io::stdin().is_terminal() {
        let hint = "this removes something, and there is no terminal to ask on; add --yes";
        let _ = writeln!(err, "{hint}");
        return Ok(Some(Exit::Usage));
    }
    let Some(question) = question()? else {
        return Ok(None);
    };
    let _ = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
    let mut said = String::new();
    let heard = io::stdin().lock().read_line(&mut said).is_ok();
    if heard && matches!(said.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(None);
    }
    let _ = writeln!(err, "Nothing was changed.");
    Ok(Some(Exit::Failed))
}
