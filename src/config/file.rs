//! The file alone: its syntax, its keys, and each value's type, with line and column.

use serde::Deserialize;
use toml::{
    Spanned, Value,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{
    problem::{Origin, Origins, Problem},
    schema::{self, Place, Schema, dotted},
};

/// The file's text.
pub(super) fn text<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        Problem::new(
            place(file, &before, before.len()),
            "this is not UTF-8; save the file as UTF-8",
        )
    })
}

/// The text at this path, as far as the file can be read at all.
pub(super) fn value(text: &str, path: &[&str]) -> Option<String> {
    let (document, _) = DeTable::parse_recoverable(text);
    let (last, tables) = path.split_last()?;
    let mut table = document.get_ref();
    for name in tables {
        table = table.get(*name)?.get_ref().as_table()?;
    }
    Some(table.get(*last)?.get_ref().as_str()?.to_owned())
}

/// All that is wrong in the file, in its order. Notes in `origins` where each value is set.
pub(super) fn check(
    schema: &Schema,
    file: &str,
    text: &str,
    origins: &mut Origins,
) -> Vec<Problem> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return syntax(file, text, &errors);
    }
    let mut walk = Walk {
        schema,
        file,
        text,
        origins,
        found: Vec::new(),
    };
    walk.table(&mut Vec::new(), document.get_ref());
    let mut found = walk.found;
    found.sort_by_key(|(offset, _)| *offset);
    found.into_iter().map(|(_, problem)| problem).collect()
}

/// What the parser says. One slip often makes several errors: the first of a line says enough.
fn syntax(file: &str, text: &str, errors: &[toml::de::Error]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for error in errors {
        let origin = error.span().map_or_else(
            || Origin::File(file.to_owned()),
            |span| place(file, text, span.start),
        );
        let key = error.span().and_then(|span| text.get(span)).unwrap_or("");
        let what = match error.message() {
            "duplicate key" => format!("the key `{key}` is there twice; remove one of the two"),
            other => format!("{other}; mend the TOML at this place"),
        };
        let told = problems
            .last()
            .is_some_and(|last| same_line(&last.origin, &origin));
        if !told {
            problems.push(Problem::new(origin, what));
        }
    }
    problems
}

fn same_line(a: &Origin, b: &Origin) -> bool {
    matches!((a, b), (Origin::Place { line: a, .. }, Origin::Place { line: b, .. }) if a == b)
}

struct Walk<'a> {
    schema: &'a Schema,
    file: &'a str,
    text: &'a str,
    origins: &'a mut Origins,
    found: Vec<(usize, Problem)>,
}

impl Walk<'_> {
    fn table(&mut self, path: &mut Vec<String>, table: &DeTable<'_>) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            self.entry(path, key.span().start, value);
            path.pop();
        }
    }

    fn entry(&mut self, path: &mut Vec<String>, key: usize, value: &Spanned<DeValue<'_>>) {
        match (self.schema.find(path), value.get_ref()) {
            (Err(what), _) => self.found(key, what),
            (Ok(Place::Table), DeValue::Table(inner)) => {
                self.origins.set(path, place(self.file, self.text, key));
                self.table(path, inner);
            }
            (Ok(Place::Table), other) => {
                let kind = other.type_str();
                self.found(value.span().start, schema::not_a_table(path, kind));
            }
            (Ok(Place::Leaf), _) => {
                let start = value.span().start;
                self.origins.set(path, place(self.file, self.text, start));
                let judged = Value::deserialize(ValueDeserializer::from(value.clone()))
                    .map_err(|_| "the number is too large".to_owned())
                    .and_then(|value| Schema::judge(path, value));
                if let Err(error) = judged {
                    let example = self.schema.example(path);
                    self.found(start, format!("{}: {error}; {example}", dotted(path)));
                }
            }
        }
    }

    fn found(&mut self, offset: usize, what: String) {
        let origin = place(self.file, self.text, offset);
        self.found.push((offset, Problem::new(origin, what)));
    }
}

/// Line and column of a byte.
fn place(file: &str, text: &str, offset: usize) -> Origin {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    Origin::Place {
        file: file.to_owned(),
        line,
        column,
    }
}
