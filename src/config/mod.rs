//! The configuration: one TOML file, overridden by `SOZU_MANAGER__…` variables.
//!
//! It is read in three steps, and each says all that it finds wrong, with its place:
//! 1. `schema` and `file`: which keys there are, and whether each value in the file is of its
//!    type. Strict; this is where lines and columns come from.
//! 2. `environment`: the same for each variable.
//! 3. the `config` crate lays defaults, file and environment over each other, and `rules` judges
//!    the values: ranges, paths, names.

mod environment;
mod file;
mod problem;
mod rules;
mod schema;
mod size;
pub mod tables;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use environment::Environment;
pub use problem::{Origin, Origins, Problem};
pub use size::Size;
pub use tables::Config;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no file.
    #[error(
        "{0}: there is no such file; write one with `sozu-manager default-config > {0}`, or name another one with --config FILE or $SOZU_MANAGER_CONFIG"
    )]
    NoFile(String),
    /// The file is there and cannot be read.
    #[error("{file}: it cannot be read: {error}; {remedy}")]
    Unreadable {
        /// Which file.
        file: String,
        /// Why.
        error: io::Error,
        /// What helps.
        remedy: &'static str,
    },
    /// It can be read, and is wrong.
    #[error("{}", problem::lines(.0))]
    Invalid(Vec<Problem>),
}

/// A configuration, and where each value of it was set.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Their places, for messages about them.
    pub origins: Origins,
}

/// Keys whose value cannot change while the daemon runs: what is locked, what a life of the database
/// or of Sōzu stands on, and the way by which a reload is asked for.
const FIXED: [&[&str]; 9] = [
    &["state_directory"],
    &["instance"],
    &["log", "format"],
    &["sozu", "command_socket"],
    &["sozu", "exchange_directory"],
    &["sozu", "exchange_directory_in_sozu"],
    &["admin", "socket"],
    &["admin", "group"],
    &["admin", "group_may_write"],
];

impl Loaded {
    /// What differs from the running configuration and cannot change while the daemon runs.
    pub fn fixed(&self, running: &Config) -> Vec<Problem> {
        let differs = |path: &&&[&str]| schema::differ(&self.config, running, path);
        let told = |path: &&[&str]| {
            let path: Vec<String> = path.iter().map(|&key| key.to_owned()).collect();
            let what = format!(
                "{}: it cannot change while the daemon runs; restart the daemon, or write the value that it runs with",
                schema::dotted(&path)
            );
            Problem::new(self.origins.of(&path), what)
        };
        FIXED.iter().filter(differs).map(told).collect()
    }
}

/// Reads the file and lays the environment over it.
pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, LoadError> {
    let name = path.display().to_string();
    match std::fs::read(path) {
        Ok(bytes) => parse(&name, &bytes, environment).map_err(LoadError::Invalid),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(LoadError::NoFile(name)),
        Err(error) => Err(LoadError::Unreadable {
            file: name,
            remedy: match error.kind() {
                io::ErrorKind::PermissionDenied => "let the user of this process read it",
                io::ErrorKind::IsADirectory => "name the file in it",
                _ => "mend the file system, then try again",
            },
            error,
        }),
    }
}

/// Where the daemon's admin socket is most likely, by a configuration that is wrong.
pub fn admin_socket(path: &Path, environment: &Environment) -> PathBuf {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let set = environment
        .admin_socket()
        .or_else(|| file::value(&text, &["admin", "socket"]));
    set.map_or_else(|| environment.default_admin_socket(), PathBuf::from)
}

/// Reads a file's content; `name` is what messages call it.
pub fn parse(name: &str, bytes: &[u8], environment: &Environment) -> Result<Loaded, Vec<Problem>> {
    let schema = schema::Schema::new();
    let mut origins = Origins::new(name);
    let text = file::text(name, bytes).map_err(|problem| vec![problem])?;
    let mut problems = file::check(&schema, name, text, &mut origins);
    problems.extend(environment.check(&schema, &mut origins));
    if !problems.is_empty() {
        return Err(problems);
    }
    let config: Config = environment
        .layer_over(text)
        .map_err(|error| vec![Problem::new(Origin::File(name.into()), error.to_string())])?;
    let problems: Vec<Problem> = rules::broken(&config)
        .into_iter()
        .map(|(path, what)| Problem::new(origins.of(&path), what))
        .collect();
    if problems.is_empty() {
        Ok(Loaded { config, origins })
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests;
