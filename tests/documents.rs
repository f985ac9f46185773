//! The documents tell the truth as far as a test can tell: what they name exists, and what they
//! show to be copied is what is tested elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    fs,
    path::{Component, Path, PathBuf},
    process::Command,
};

use sozu_command_lib::config::{FileConfig, parse_command_socket_mode};
use sozu_manager::config::{self, Environment, tables::Mode};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file under a folder of the repository, as its path from the root.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn documents() -> Vec<String> {
    let mut documents = files("docs");
    documents.retain(|path| extension(path) == Some("md"));
    documents.extend(["README.md".to_owned(), "CHANGELOG.md".to_owned()]);
    documents
}

fn extension(path: &str) -> Option<&str> {
    Path::new(path).extension()?.to_str()
}

/// The blocks of code of one language, without their fences.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let starts = text.match_indices(&opening);
    starts
        .map(|(at, _)| {
            let rest = &text[at + opening.len()..];
            rest[..rest.find("```").expect("a closed block")].to_owned()
        })
        .collect()
}

/// What stands in backticks within a line; blocks of code are left out.
fn spans(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut spans = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            let parts = line.split('`').skip(1).step_by(2);
            spans.extend(parts.map(ToOwned::to_owned));
        }
    }
    spans
}

fn is_path(span: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    !span.is_empty() && span.chars().all(word)
}

/// The files that a path, or the end of one, may mean.
fn sources_of<'a>(sources: &'a [String], path: &str) -> Vec<&'a String> {
    let end = format!("/{path}");
    let whole = sources.iter().find(|source| *source == path);
    match whole {
        Some(whole) => vec![whole],
        None => sources.iter().filter(|path| path.ends_with(&end)).collect(),
    }
}

/// Whether a source defines a function, a type or a constant of this name.
fn defines(text: &str, name: &str) -> bool {
    let kinds = ["fn", "struct", "enum", "trait", "const", "type"];
    kinds.iter().any(|kind| {
        let definition = format!("{kind} {name}");
        text.match_indices(&definition).any(|(at, _)| {
            let after = text[at + definition.len()..].chars().next();
            after.is_some_and(|c| !c.is_alphanumeric() && c != '_')
        })
    })
}

fn problem(span: &str, sources: &[String], top: &[String]) -> Option<String> {
    let (path, name) = match span.split_once("::") {
        Some((path, name)) => (path, Some(name)),
        None => (span, None),
    };
    if !is_path(path) {
        return None;
    }
    if extension(path) == Some("rs") {
        let found = sources_of(sources, path);
        return match (found.as_slice(), name) {
            ([], _) => Some(format!("`{path}` is not there")),
            ([_], None) => None,
            (_, None) => Some(format!(
                "`{path}` may be any of {found:?}; write more of it"
            )),
            (_, Some(name)) => {
                let is_defined = found.iter().any(|source| defines(&read(source), name));
                (!is_defined).then(|| format!("{found:?} define no `{name}`"))
            }
        };
    }
    let first = Path::new(path).components().next();
    let is_ours = matches!(first, Some(Component::Normal(first)) if top.iter().any(|name| first == name.as_str()));
    (is_ours && path.contains('/') && !root().join(path).exists())
        .then(|| format!("`{path}` is not there"))
}

#[test]
fn every_path_and_every_name_in_the_documents_exists() {
    let entries = fs::read_dir(root()).unwrap();
    let top: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let folders = [
        "src",
        "client",
        "supervisors",
        "actors",
        "testkit",
        "tests",
        "benches",
    ];
    let sources: Vec<String> = folders.iter().flat_map(|folder| files(folder)).collect();
    let mut problems = Vec::new();
    for document in documents() {
        for span in spans(&read(&document)) {
            let found = problem(&span, &sources, &top);
            problems.extend(found.map(|found| format!("{document}: {found}")));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    for document in documents() {
        let folder: PathBuf = root().join(&document).parent().unwrap().into();
        for target in read(&document).split("](").skip(1) {
            let target = target.split([')', '#']).next().unwrap();
            let is_here =
                target.is_empty() || target.contains("://") || folder.join(target).exists();
            assert!(is_here, "{document} links to {target}, which is not there");
        }
    }
}

/// The file itself is read by a test of the routes reading: `the_file_of_the_readme_is_one_route`.
#[test]
fn the_route_file_of_the_readme_is_the_tested_one() {
    let shown = &blocks(&read("README.md"), "toml")[0];
    assert_eq!(*shown, read("actors/src/fs_watcher/testdata/readme.toml"));
}

#[test]
fn the_configuration_of_the_readme_is_right_and_sends_nothing() {
    let shown = &blocks(&read("README.md"), "toml")[1];
    let loaded = config::parse("README.md", shown.as_bytes(), &Environment::default()).unwrap();
    assert_eq!(loaded.config.reconcile.mode, Mode::Observe);
    assert_eq!(loaded.config.routes.len(), 1);
    assert_eq!(shown.lines().count(), 3);
}

/// The lines for Sōzu's own configuration are read by Sōzu's own reader.
#[test]
fn the_lines_that_let_another_user_in_are_sozus() {
    let shown = &blocks(&read("docs/operations.md"), "toml")[0];
    let sozu: FileConfig = toml::from_str(shown).unwrap();
    let mode = sozu.command_socket_mode.unwrap();
    assert_eq!(parse_command_socket_mode(&mode).unwrap(), 0o660);
    assert_eq!(sozu.command_allowed_uids.unwrap(), [0, 998]);
}

/// Documents that name commands and metrics for people to use.
const FOR_USERS: [&str; 2] = ["README.md", "docs/operations.md"];

#[test]
fn each_command_that_users_are_told_is_one_of_the_program() {
    let binary = env!("CARGO_BIN_EXE_sozu-manager");
    let help = Command::new(binary).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for document in FOR_USERS {
        let text = read(document);
        let shown = blocks(&text, "sh").join("\n") + &spans(&text).join("\n");
        for after in shown.split("sozu-manager ").skip(1) {
            let command: String = after
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                .collect();
            let is_command = !command.is_empty() && !command.starts_with('-');
            assert!(
                !is_command || help.contains(&format!("\n  {command} ")),
                "{document} names `sozu-manager {command}`, which the program does not know:\n{help}"
            );
        }
    }
}

#[test]
fn each_check_of_doctor_is_explained() {
    let operations = read("docs/operations.md");
    let explained: Vec<&str> = operations
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(check, _)| check)
        .collect();
    let mut checks = 0;
    let mut sources = files("src/doctor");
    sources.retain(|path| !path.ends_with("tests.rs"));
    for source in sources {
        let text = read(&source);
        let named = text.split("const ").skip(1).filter_map(|constant| {
            let (_, value) = constant.split_once(": &str = \"")?;
            let (value, _) = value.split_once("\";\n")?;
            constant.lines().next()?.contains(value).then_some(value)
        });
        for check in named {
            checks += 1;
            assert!(
                explained.contains(&check),
                "{source}: {check} is not explained"
            );
        }
    }
    assert!(checks > 6, "{checks} checks were found");
}

#[test]
fn each_metric_that_users_are_told_is_one_of_ours() {
    let metrics = read("actors/src/metrics/families.rs");
    for document in FOR_USERS {
        let text = read(document);
        let named = text.match_indices("sozu_manager_").map(|(at, _)| {
            let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
            let end = text[at..].find(|c| !is_name(c)).unwrap();
            &text[at..at + end]
        });
        let unknown: Vec<&str> = named
            .filter(|name| !metrics.contains(&format!("\"{name}\"")))
            .collect();
        assert!(unknown.is_empty(), "{document}: {unknown:?}");
    }
}
