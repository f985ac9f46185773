//! What one file declares, for who sends it on: a routes file, a whole configuration of Sōzu, or a saved state.

use std::{path::Path, sync::Arc};

use super::{
    file::{self, ReadError},
    problem::Fault,
    routes::{self, NamedFiles},
};
use crate::state_keeper::key::Keyed;

/// All objects of a file, certificates with their keys too, in the order in which they serve traffic soonest: what
/// something needs comes before it. Names of backends are resolved here. Blocks on the file system and on the resolver.
///
/// # Errors
/// `FILE:LINE:COLUMN: what is wrong; what to do`.
pub fn declared_by(path: &Path) -> Result<Vec<Keyed>, String> {
    let mut objects = read(path).map_err(|fault| fault.of(&Arc::new(path.into())).to_string())?;
    objects.sort_by_key(|it| it.key.kind());
    Ok(objects)
}

fn read(path: &Path) -> Result<Vec<Keyed>, Fault> {
    let bytes = file::read(path).map_err(|error| match error {
        ReadError::Gone => Fault::whole("there is no such file; correct its name"),
        error => Fault::whole(error.to_string()),
    })?;
    let (parsed, listeners) = routes::parse_all(path, bytes)?;
    let resolved = routes::resolve_all(parsed.names());
    parsed.objects(&listeners, &mut NamedFiles::of(path), &resolved)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const WHOLE: &str = r#"
command_socket = "/run/sozu.sock"

[[listeners]]
address = "0.0.0.0:443"
protocol = "https"

[clusters.a]
protocol = "http"
frontends = [
  { address = "0.0.0.0:443", hostname = "a.example" },
  { address = "0.0.0.0:80", hostname = "a.example" },
]
backends = [{ address = "127.0.0.1:80" }]
"#;

    fn kinds(name: &str, text: &str) -> Result<Vec<&'static str>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        let objects = declared_by(&path)?;
        Ok(objects.iter().map(|it| it.key.kind().name()).collect())
    }

    #[test]
    fn a_whole_configuration_tells_its_frontends_protocols() {
        let in_order = ["cluster", "backend", "http_frontend", "https_frontend"];
        assert_eq!(kinds("sozu.toml", WHOLE).unwrap(), in_order);
        // A routes file says nothing of listeners: what is not HTTPS by itself is HTTP.
        let routes = &WHOLE[WHOLE.find("[clusters").unwrap()..];
        let in_order = ["cluster", "backend", "http_frontend", "http_frontend"];
        assert_eq!(kinds("routes.toml", routes).unwrap(), in_order);
    }

    #[test]
    fn a_bad_line_is_told_at_its_place() {
        let bad = WHOLE.replace("hostname = \"a.example\" },\n]", "hostnme = \"a\" },\n]");
        let told = kinds("sozu.toml", &bad).unwrap_err();
        assert!(told.contains("sozu.toml:12:"), "{told}");
        assert!(told.contains("did you mean `hostname`"), "{told}");
        let dir = tempfile::tempdir().unwrap();
        let none = declared_by(&dir.path().join("none.toml")).unwrap_err();
        assert!(none.contains("no such file"), "{none}");
    }
}
