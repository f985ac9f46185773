//! Looks at a certificate directory without anybody who would take it.

use std::{
    net::Ipv4Addr,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{Scanner, Settings};
use crate::state_keeper::report::{Listeners, Protocol};

/// What a directory would give, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What would be loaded.
    pub loaded: Vec<String>,
    /// What would not, why, and what to do.
    pub problems: Vec<String>,
    /// What is ignored, and names that another certificate serves.
    pub notes: Vec<String>,
}

/// Reads a directory as the daemon would. Whether Sōzu has the listeners is not judged. Blocks on the
/// file system.
///
/// # Errors
/// Why it cannot be listed, and what to do.
pub fn check(directory: &Path, settings: Settings) -> Result<Found, String> {
    let stand_in = ((Ipv4Addr::UNSPECIFIED, 443).into(), Protocol::Https.into());
    let mut scanner = Scanner::new(directory, settings);
    let scan = scanner
        .scan(&Listeners::from([stand_in]), false)
        .map_err(|error| error.to_string())?;
    let mut found = Found {
        problems: scan.problems.iter().map(ToString::to_string).collect(),
        ..Found::default()
    };
    if let Some(told) = &scan.pki {
        found.notes = told.notes.iter().map(ToString::to_string).collect();
        found.loaded = told
            .certificates
            .iter()
            .map(|it| {
                let seconds = Duration::from_secs(u64::try_from(it.facts.not_after).unwrap_or(0));
                let until =
                    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + seconds.min(LAST));
                format!(
                    "{}: {} ({}, {}), until {until}",
                    it.path.display(),
                    it.facts.names.join(", "),
                    it.facts.key_type.name(),
                    it.layout,
                )
            })
            .collect();
    }
    Ok(found)
}

/// The last moment that can be written as RFC 3339.
const LAST: Duration = Duration::from_secs(253_402_300_799);
