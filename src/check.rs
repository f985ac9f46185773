//! What a configuration names, looked at without changing anything: what `check` prints beyond
//! the configuration's own problems. The environment may mend each of these, so the daemon
//! starts all the same and shows them in `/health`.

use std::{fs, path::Path};

use actors::fs_watcher::{self, pki};

use crate::{
    config::{Loaded, Origin, Problem, tables},
    sources::{self, reading},
};

/// All that is wrong with what the configuration names, one line each.
pub fn problems(loaded: &Loaded) -> Vec<String> {
    let mut problems: Vec<String> = Vec::new();
    let config = &loaded.config;
    // Without a source neither of these two is used.
    if config.sources() > 0 {
        let state = &["state_directory"][..];
        let exchange = &["sozu", "exchange_directory"][..];
        for (key, directory) in [
            (state, &config.state_directory),
            (exchange, &config.sozu.exchange_directory),
        ] {
            let problem = not_a_directory(loaded.origins.of(key), directory);
            problems.extend(problem.map(|problem| problem.to_string()));
        }
    }
    problems.extend(of_sources(loaded, |_| true));
    problems
}

/// All that is wrong with what these sources name, by their components.
pub fn of_sources(loaded: &Loaded, which: impl Fn(&str) -> bool) -> Vec<String> {
    let mut problems = Vec::new();
    let routes = loaded.config.routes.iter();
    for (name, routes) in routes.filter(|(name, _)| which(&format!("routes.{name}"))) {
        let origin = loaded.origins.of(&["routes", name, "directory"]);
        match fs_watcher::check(&routes.directory) {
            Ok(of_files) => problems.extend(of_files),
            Err(why) => problems.push(Problem::new(origin, why).to_string()),
        }
    }
    let pki = loaded.config.pki.iter();
    for (name, pki) in pki.filter(|(name, _)| which(&format!("pki.{name}"))) {
        let origin = loaded.origins.of(&["pki", name, "directory"]);
        match pki::check(&pki.directory, reading(pki)) {
            Ok(found) => problems.extend(found.problems),
            Err(why) => problems.push(Problem::new(origin, why).to_string()),
        }
    }
    let pulsar = loaded.config.pulsar.iter();
    for (name, table) in pulsar.filter(|(name, _)| which(&format!("pulsar.{name}"))) {
        let broker = sources::broker(table);
        for (key, file) in [
            ("token_file", broker.token_file),
            ("ca_file", broker.ca_file),
        ] {
            let unread = file.and_then(|file| Some((fs::read(&file).err()?, file)));
            if let Some((error, file)) = unread {
                let origin = loaded.origins.of(&["pulsar", name, key]);
                let what = format!(
                    "{} cannot be read: {error}; put it there and let this user read it",
                    file.display()
                );
                problems.push(Problem::new(origin, what).to_string());
            }
        }
    }
    problems
}

/// What would be loaded from one certificate directory, and why the rest would not, as `check --pki`
/// prints it; and whether all of it would.
///
/// # Errors
/// Why the directory cannot be listed, and what to do.
pub fn of_certificates(directory: &Path) -> Result<(String, bool), String> {
    let directory = std::path::absolute(directory).map_err(|error| error.to_string())?;
    let alone = tables::Pki {
        directory: directory.clone(),
        ..tables::Pki::default()
    };
    let found = pki::check(&directory, reading(&alone))?;
    let good = found.problems.is_empty();
    let mut text = String::new();
    for (heading, lines) in [
        ("would be loaded:", found.loaded),
        ("would not be loaded:", found.problems),
        ("to know:", found.notes),
    ] {
        if !lines.is_empty() {
            text = format!("{text}{heading}\n  {}\n", lines.join("\n  "));
        }
    }
    if text.is_empty() {
        "there is nothing in it\n".clone_into(&mut text);
    }
    Ok((text, good))
}

/// `run` makes these two where they are missing; it cannot where something else lies there.
fn not_a_directory(origin: Origin, path: &Path) -> Option<Problem> {
    let metadata = fs::metadata(path).ok()?;
    (!metadata.is_dir()).then(|| {
        let what = format!("{} is no directory; move it away", path.display());
        Problem::new(origin, what)
    })
}
