//! The commands about dead letters.

use std::{fmt::Write as _, io::Write as _};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    arguments::DeadLetters,
    client::{Client, ClientError, encoded},
    done, printed, refused, show,
};
use crate::{
    cli::{print, write},
    exit::Exit,
};

/// So many letters are asked for at once.
const PAGE: usize = 500;

pub(super) fn answer(command: &DeadLetters, client: &Client) -> Result<Exit, ClientError> {
    match command {
        DeadLetters::List {
            source,
            limit,
            output,
        } => {
            let letters = client.get(&path(source.as_deref(), *limit as usize))?;
            Ok(printed(*output, &letters, show::letters))
        }
        DeadLetters::Show { id, output } => {
            let letter = client.get(&format!("/v1/dead-letters/{id}"))?;
            Ok(printed(*output, &letter, show::letter))
        }
        DeadLetters::Retry { id, force, output } => {
            let force = force.to_string();
            let id = id.to_string();
            let retried =
                client.post_with(&["dead-letters", &id, "retry"], &[("force", &force)])?;
            Ok(printed(*output, &retried, show::retried).or(done(&retried)))
        }
        DeadLetters::Discard {
            ids,
            source,
            confirmed,
            output,
            all: _,
        } => {
            let which = match source {
                Some(source) => format!("all dead letters of {source}"),
                None if ids.is_empty() => "all dead letters".to_owned(),
                None => format!("{} dead letters", ids.len()),
            };
            let question = || Ok(Some(format!("Discard {which}?")));
            if let Some(exit) = refused(*confirmed, question)? {
                return Ok(exit);
            }
            let discarded = if ids.is_empty() {
                let source = source.as_deref().map(|source| ("source", source));
                client.post_with(&["dead-letters", "discard"], source.as_slice())?
            } else {
                for id in ids {
                    client.post(&["dead-letters", &id.to_string(), "discard"])?;
                }
                json!({ "objects": ids.len() })
            };
            Ok(printed(*output, &discarded, show::thrown_away))
        }
        DeadLetters::Export {
            id: Some(id), raw, ..
        } => {
            let letter = client.get(&format!("/v1/dead-letters/{id}"))?;
            Ok(if *raw {
                bytes_of(&letter)
            } else {
                print(&format!("{letter}\n"))
            })
        }
        DeadLetters::Export { source, .. } => export(source.as_deref(), client),
    }
}

fn path(source: Option<&str>, limit: usize) -> String {
    let mut path = format!("/v1/dead-letters?limit={limit}");
    if let Some(source) = source {
        // Writing into a String cannot fail.
        let _ = write!(path, "&source={}", encoded(source));
    }
    path
}

/// All of them, page by page.
fn export(source: Option<&str>, client: &Client) -> Result<Exit, ClientError> {
    let mut after = 0;
    loop {
        let page = format!("{}&payload=true&after={after}", path(source, PAGE));
        let letters = client.get(&page)?;
        let letters = show::rows(&letters);
        let Some(last) = letters.last().and_then(|letter| letter["id"].as_u64()) else {
            return Ok(Exit::Fine);
        };
        let lines: Vec<String> = letters.iter().map(Value::to_string).collect();
        match print(&(lines.join("\n") + "\n")) {
            Exit::Fine => after = last,
            exit => return Ok(exit),
        }
    }
}

/// The very bytes, or why they are not given.
fn bytes_of(letter: &Value) -> Exit {
    let bytes = letter["payload"].as_str();
    let bytes = bytes.and_then(|text| STANDARD.decode(text).ok());
    let lacks = letter["payload_lacks"].as_str();
    if let Some(lacks) = lacks {
        // Nobody is left to tell if standard error is gone.
        let _ = writeln!(std::io::stderr(), "{lacks}");
    }
    match bytes {
        Some(bytes) => write(&bytes),
        None => Exit::Failed,
    }
}
