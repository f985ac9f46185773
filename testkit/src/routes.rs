//! Route files as a person or a deployment writes them.

use std::{
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// A route file's text: one HTTP cluster, its frontends on one listener, its backends.
///
/// ```
/// let listener = "127.0.0.1:8080".parse().unwrap();
/// let backend = "127.0.0.1:9001".parse().unwrap();
/// let text = testkit::routes::http("shop", listener, &["shop.example"], &[backend]);
/// assert!(text.starts_with("[clusters.shop]\nprotocol = \"http\"\n"));
/// ```
pub fn http(
    cluster: &str,
    listener: SocketAddr,
    hostnames: &[&str],
    backends: &[SocketAddr],
) -> String {
    let mut text = format!("[clusters.{cluster}]\nprotocol = \"http\"\nfrontends = [\n");
    for hostname in hostnames {
        let _ = writeln!(
            text,
            "  {{ address = \"{listener}\", hostname = \"{hostname}\" }},"
        );
    }
    text.push_str("]\nbackends = [\n");
    for backend in backends {
        let _ = writeln!(text, "  {{ address = \"{backend}\" }},");
    }
    text.push_str("]\n");
    text
}

/// Writes a file as a careful tool does: beside it under a hidden name, then a rename.
pub fn write(directory: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    let beside = directory.join(format!(".{name}.new"));
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, &path))
        .map_err(Error::while_doing(format!("writing {}", path.display())))?;
    Ok(path)
}

/// Writes a file as an editor may do: truncated, then filled in two steps, so that a reader can meet it half written.
pub fn write_in_place(directory: &Path, name: &str, text: &str) -> Result<PathBuf> {
    use std::io::Write;
    let path = directory.join(name);
    let (first, second) = text.as_bytes().split_at(text.len() / 2);
    fs::File::create(&path)
        .and_then(|mut file| {
            file.write_all(first)?;
            file.flush()?;
            file.write_all(second)
        })
        .map_err(Error::while_doing(format!("writing {}", path.display())))?;
    Ok(path)
}

/// Removes a file.
pub fn remove(directory: &Path, name: &str) -> Result<()> {
    let path = directory.join(name);
    fs::remove_file(&path).map_err(Error::while_doing(format!("removing {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_leave_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let listener = "127.0.0.1:8080".parse().unwrap();
        let text = http(
            "shop",
            listener,
            &["a.example", "b.example"],
            &["127.0.0.1:9001".parse().unwrap()],
        );
        let careful = write(directory.path(), "a.toml", &text).unwrap();
        let careless = write_in_place(directory.path(), "b.toml", &text).unwrap();
        assert_eq!(fs::read_to_string(careful).unwrap(), text);
        assert_eq!(fs::read_to_string(careless).unwrap(), text);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        remove(directory.path(), "a.toml").unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
