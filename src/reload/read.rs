//! Reading and judging: all that can be found wrong before anything is changed.

use std::{net::TcpListener, path::Path};

use crate::{
    check,
    config::{self, Config, Environment},
    run,
    sources::{self, Secrets, Sources},
};

/// A configuration that may be turned to.
pub(super) struct Read {
    pub(super) config: Config,
    pub(super) sources: Sources,
    /// Components of sources that begin anew although their settings are the same: a secret changed.
    pub(super) renewed: Vec<String>,
    pub(super) secrets: Secrets,
    /// Bound already, if the address is another one.
    pub(super) listener: Option<TcpListener>,
    /// What is wrong with what new sources name. The environment may mend it.
    pub(super) notes: Vec<String>,
}

/// Reads the file again. Blocks.
pub(super) fn read(file: &Path, running: &Config, known: &Secrets) -> Result<Read, String> {
    let loaded =
        config::load(file, &Environment::of_process()).map_err(|error| error.to_string())?;
    let fixed = loaded.fixed(running);
    if !fixed.is_empty() {
        let lines: Vec<String> = fixed.iter().map(ToString::to_string).collect();
        return Err(lines.join("\n"));
    }
    let config = &loaded.config;
    let (before, sources) = (sources::of(running), sources::of(config));
    let secrets = sources::secrets(&sources);
    for (file, content) in &secrets {
        if let Err(error) = content {
            return Err(format!(
                "{}: it cannot be read: {error}; let the daemon's user read it",
                file.display()
            ));
        }
    }
    let changed = |file: &&Path| known.get(*file) != secrets.get(*file);
    let renewed = sources
        .iter()
        .filter(|(_, source)| source.secrets().iter().any(changed));
    let renewed = renewed.map(|(component, _)| component.clone()).collect();
    let is_news = |component: &str| before.get(component) != sources.get(component);
    let notes = check::of_sources(&loaded, is_news);
    let address = config.http.address;
    let listener = if address == running.http.address {
        None
    } else {
        Some(run::bind(address)?)
    };
    Ok(Read {
        sources,
        renewed,
        secrets,
        listener,
        notes,
        config: loaded.config,
    })
}
