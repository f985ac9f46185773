//! Reads a directory's files without Sōzu, the network or the keeper: what can be known beforehand.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    net::{Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use super::{
    file::{self, ReadError},
    listing::list,
    problem::{Fault, Problem},
    routes::{self, NamedFiles, Resolved, claims},
};
use crate::state_keeper::{admit::admit, key::Keyed, report::Listeners};

/// What is wrong in the routes files of a directory, one line each:
/// `FILE:LINE:COLUMN: what is wrong; what to do`.
///
/// Sōzu's listeners are not known here and no name is looked up: what depends on either is not
/// judged. Blocks on the file system.
///
/// # Errors
/// Why the directory cannot be listed, and what to do.
pub fn check(directory: &Path) -> Result<Vec<String>, String> {
    look(directory, None)
}

/// As [`check`], and what would be refused since Sōzu has these listeners and takes requests of at
/// most so many bytes.
///
/// # Errors
/// As [`check`].
pub fn check_against(
    directory: &Path,
    listeners: &Listeners,
    max_request_bytes: usize,
) -> Result<Vec<String>, String> {
    look(directory, Some((listeners, max_request_bytes)))
}

fn look(directory: &Path, sozu: Option<(&Listeners, usize)>) -> Result<Vec<String>, String> {
    let unknown = Listeners::new();
    let listeners = sozu.map_or(&unknown, |(listeners, _)| listeners);
    let names = list(directory).map_err(|error| error.to_string())?;
    let mut problems: Vec<Problem> = Vec::new();
    let mut claims = Vec::new();
    for path in names.paths {
        let path = Arc::new(path);
        match objects(&path, listeners) {
            Ok(objects) => {
                if let Some((listeners, bytes)) = sozu {
                    let refused = refusals(&objects, listeners, bytes);
                    problems.extend(refused.map(|fault| fault.of(&path)));
                }
                claims.push(claims::Claim {
                    path,
                    objects: Arc::new(objects),
                });
            }
            Err(fault) => problems.push(fault.of(&path)),
        }
    }
    problems.extend(claims::settle(claims).1);
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(problems.iter().map(ToString::to_string).collect())
}

fn refusals<'a>(
    objects: &'a [Keyed],
    listeners: &'a Listeners,
    max_request_bytes: usize,
) -> impl Iterator<Item = Fault> + 'a {
    objects.iter().filter_map(move |Keyed { key, object }| {
        let refusal = admit(object, object.bytes(), listeners, max_request_bytes).err()?;
        let (kind, reason) = (key.kind(), refusal.reason());
        Some(Fault::whole(format!(
            "{kind} {key} would be refused: {reason}"
        )))
    })
}

fn objects(path: &Path, listeners: &Listeners) -> Result<Vec<Keyed>, Fault> {
    let bytes = match file::read(path) {
        Ok(bytes) => bytes,
        // It was removed since it was listed, and declares nothing.
        Err(ReadError::Gone) => return Ok(Vec::new()),
        Err(error) => return Err(Fault::whole(error.to_string())),
    };
    let parsed = routes::parse(path, bytes)?;
    let addresses = stand_ins(&parsed.names());
    parsed.objects(listeners, &mut NamedFiles::of(path), &addresses)
}

/// An address of its own for each name, since equal ones would look like one backend.
fn stand_ins(names: &BTreeSet<String>) -> Resolved {
    let stand_in = |name: &String| {
        let port = name
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .and_then(|(_, port)| port.parse().ok());
        let address = match port {
            Some(port) => Ok(vec![SocketAddr::from((stand_in_host(name), port))]),
            None => Err("it is no HOST:PORT".to_owned()),
        };
        (name.clone(), address)
    };
    names.iter().map(stand_in).collect()
}

/// From 2001:db8::/32, which is nobody's (RFC 3849).
fn stand_in_host(name: &str) -> Ipv6Addr {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    Ipv6Addr::from((0x2001_0db8 << 96) | u128::from(hasher.finish()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::state_keeper::report::Protocol;

    const GOOD: &str = r#"
[clusters.a]
protocol = "http"
frontends = [
  { address = "0.0.0.0:443", hostname = "a.example", hsts = { enabled = true } },
  { address = "0.0.0.0:80", hostname = "a.example" },
]
backends = [
  { address = "app.invalid:80", backend_id = "same" },
  { address = "other.invalid:80", backend_id = "same" },
]
"#;

    #[test]
    fn what_only_sozu_or_a_resolver_could_tell_is_not_judged() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.toml"), GOOD).unwrap();
        fs::write(dir.path().join("notes.txt"), "[cluster]").unwrap();
        assert_eq!(check(dir.path()), Ok(Vec::new()));
    }

    #[test]
    fn against_sozus_listeners_what_would_be_refused_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.toml"), GOOD).unwrap();
        let https = ("0.0.0.0:443".parse().unwrap(), Protocol::Https.into());
        let http = ("0.0.0.0:80".parse().unwrap(), Protocol::Http.into());
        let both = Listeners::from([https, http]);
        assert_eq!(check_against(dir.path(), &both, 10_000), Ok(Vec::new()));
        let one = check_against(dir.path(), &Listeners::from([https]), 10_000).unwrap();
        assert_eq!(one.len(), 1, "{one:?}");
        assert!(
            one[0].contains("Sōzu has no listener at 0.0.0.0:80"),
            "{one:?}"
        );
        let small = check_against(dir.path(), &both, 8).unwrap();
        assert_eq!(small.len(), 5, "{small:?}");
    }

    #[test]
    fn each_problem_is_told_at_its_place_and_all_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).unwrap();
            dir.path().join(name).display().to_string()
        };
        let cut_off = write("a.json", "{");
        write("b.toml", GOOD);
        let shadowed = write("c.toml", GOOD);
        let misspelt = write("d.toml", "[cluster.a]\n");
        let no_port = write("e.toml", &GOOD.replace("app.invalid:80", "app.invalid"));
        let unknown = write(
            "f.toml",
            "[clusters.f]\nprotocol = \"http\"\nfrontends = []\nbackends = []\nhttp3 = true\n",
        );
        let expected = [
            (cut_off, ":1:1: record 1: it has no end"),
            (shadowed, ": the cluster a and 4 more are shadowed by"),
            (misspelt, ":1:2: unknown table `cluster`; did you mean"),
            (
                no_port,
                ":9:3: the backend app.invalid cannot be resolved: it is no HOST:PORT; write",
            ),
            (unknown, ":5:1: "),
        ];
        let lines = check(dir.path()).unwrap();
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, (file, rest)) in lines.iter().zip(expected) {
            let start = format!("{file}{rest}");
            assert!(line.starts_with(&start), "{line} does not start {start}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_listed_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let why = check(&dir.path().join("none")).unwrap_err();
        assert!(why.contains("is not there; make it"), "{why}");
    }
}
