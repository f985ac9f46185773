//! What a configuration names, looked at without changing anything: what `check` prints beyond
//! the configuration's own problems. The environment may mend each of these, so the daemon
//! starts all the same and shows them in `/health`.

use std::{fs, io, path::Path};

use crate::config::{Loaded, Origin, Problem};

/// All that is wrong with what the configuration names.
pub fn problems(loaded: &Loaded) -> Vec<Problem> {
    let mut problems = Vec::new();
    let config = &loaded.config;
    if !config.routes.is_empty() {
        for (key, directory) in [
            (vec!["state_directory"], &config.state_directory),
            (
                vec!["sozu", "exchange_directory"],
                &config.sozu.exchange_directory,
            ),
        ] {
            problems.extend(not_a_directory(loaded.origins.of(&key), directory));
        }
    }
    for (name, routes) in &config.routes {
        let origin = loaded.origins.of(&["routes", name, "directory"]);
        match fs::read_dir(&routes.directory) {
            Err(error) => problems.push(unlistable(origin, &routes.directory, &error)),
            Ok(_) => problems.extend(check_routes(&routes.directory)),
        }
    }
    problems
}

/// What is wrong in the route files of a directory.
fn check_routes(_directory: &Path) -> Vec<Problem> {
    Vec::new()
}

/// `run` makes these two where they are missing; it cannot where something else lies there.
fn not_a_directory(origin: Origin, path: &Path) -> Option<Problem> {
    let metadata = fs::metadata(path).ok()?;
    (!metadata.is_dir()).then(|| {
        let what = format!("{} is no directory; move it away", path.display());
        Problem::new(origin, what)
    })
}

fn unlistable(origin: Origin, directory: &Path, error: &io::Error) -> Problem {
    let directory = directory.display();
    let what = match error.kind() {
        io::ErrorKind::NotFound => format!(
            "the directory {directory} is not there; create it (mkdir -p {directory}) or name another one"
        ),
        io::ErrorKind::NotADirectory => {
            format!("{directory} is no directory; name the directory that holds the files")
        }
        io::ErrorKind::PermissionDenied => format!(
            "the directory {directory} cannot be listed by this user; give it r-x, and x to the directories above it"
        ),
        _ => format!("the directory {directory} cannot be listed: {error}; mend the file system"),
    };
    Problem::new(origin, what)
}
