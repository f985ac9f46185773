//! The environment: `SOZU_MANAGER__HTTP__ADDRESS` overrides `[http] address`, and systemd's
//! directories are the defaults of ours. No other variable is read as a setting: Kubernetes sets
//! `SOZU_MANAGER_PORT` by itself for a service of that name.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use config::{ConfigError, File, FileFormat};

use super::{
    problem::{Origin, Origins, Problem},
    schema::{Place, Schema, dotted},
    tables::Config,
};

const PREFIX: &str = "SOZU_MANAGER__";
const SEPARATOR: &str = "__";

/// The variables that matter here, taken once: so that tests can make one up.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    settings: BTreeMap<String, OsString>,
    state_directory: Option<String>,
    runtime_directory: Option<String>,
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        let mut taken = Self::default();
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            match name {
                "STATE_DIRECTORY" => taken.state_directory = first_directory(&value),
                "RUNTIME_DIRECTORY" => taken.runtime_directory = first_directory(&value),
                _ if name.starts_with(PREFIX) => {
                    taken.settings.insert(name.to_owned(), value);
                }
                _ => {}
            }
        }
        taken
    }
}

/// systemd lists several directories with colons between them.
fn first_directory(value: &OsString) -> Option<String> {
    let first = value.to_str()?.split(':').next()?;
    Path::new(first).is_absolute().then(|| first.to_owned())
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// `[admin] socket`, if it is set here.
    pub(super) fn admin_socket(&self) -> Option<String> {
        let value = self.settings.get("SOZU_MANAGER__ADMIN__SOCKET")?;
        value.to_str().map(str::to_owned)
    }

    /// `[admin] socket`, if it is set nowhere.
    pub(super) fn default_admin_socket(&self) -> PathBuf {
        self.runtime_directory.as_ref().map_or_else(
            || Config::default().admin.socket,
            |directory| Path::new(directory).join("admin.sock"),
        )
    }

    /// All that is wrong in it. Notes in `origins` what it sets.
    pub(super) fn check(&self, schema: &Schema, origins: &mut Origins) -> Vec<Problem> {
        for (path, variable, _) in self.directories() {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            if !origins.is_set(&path) {
                origins.set(&path, Origin::Variable(variable.into()));
            }
        }
        let mut problems = Vec::new();
        for (name, value) in &self.settings {
            let origin = Origin::Variable(name.clone());
            let path = path_of(name);
            match judge(schema, name, &path, value) {
                Ok(()) => origins.set(&path, origin),
                Err(what) => problems.push(Problem::new(origin, what)),
            }
        }
        problems
    }

    /// Lays defaults, the file's text and the variables over each other.
    pub(super) fn layer_over(&self, text: &str) -> Result<Config, ConfigError> {
        let mut builder = config::Config::builder();
        for (path, _, directory) in self.directories() {
            builder = builder.set_default(path, directory)?;
        }
        builder
            .add_source(File::from_str(text, FileFormat::Toml))
            .add_source(self.source())
            .build()?
            .try_deserialize()
    }

    /// The variables as the `config` crate reads them. It converts a text to the number or the truth
    /// value that a key asks for; `try_parsing` would guess by the text instead, and make 123 of
    /// "0123".
    fn source(&self) -> config::Environment {
        let variables = self
            .settings
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.to_str()?.to_owned())))
            .collect();
        config::Environment::default()
            .prefix("SOZU_MANAGER")
            .prefix_separator(SEPARATOR)
            .separator(SEPARATOR)
            .source(Some(variables))
    }

    /// Which defaults systemd's directories replace: path, variable, value.
    fn directories(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut directories = Vec::new();
        if let Some(state) = &self.state_directory {
            directories.push(("state_directory", "STATE_DIRECTORY", state.clone()));
        }
        if let Some(runtime) = &self.runtime_directory {
            let variable = "RUNTIME_DIRECTORY";
            let exchange = format!("{runtime}/exchange");
            directories.push(("sozu.exchange_directory", variable, exchange));
            directories.push(("admin.socket", variable, format!("{runtime}/admin.sock")));
        }
        directories
    }
}

fn path_of(name: &str) -> Vec<String> {
    let key = name.strip_prefix(PREFIX).unwrap_or(name).to_lowercase();
    key.split(SEPARATOR).map(str::to_owned).collect()
}

/// Judges one variable as strictly as the same value in the file.
fn judge(schema: &Schema, name: &str, path: &[String], value: &OsString) -> Result<(), String> {
    if name.chars().any(char::is_lowercase) {
        return Err(format!(
            "settings are written in upper case; write {}",
            name.to_uppercase()
        ));
    }
    let Some(text) = value.to_str() else {
        return Err("its value is not UTF-8; set it to text".to_owned());
    };
    match schema.find(path)? {
        Place::Table => Err(format!(
            "[{}] is a table; name one of its keys: {name}__KEY",
            path.join(".")
        )),
        Place::Leaf => Schema::judge(path, schema.typed(path, text)).map_err(|error| {
            let example = schema.example(path);
            format!("{}: {error}; {example}", dotted(path))
        }),
    }
}
