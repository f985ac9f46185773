//! Where a broker is, and what it takes to be let in.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// A broker and how it is spoken with. Nothing of it is read before a connection is made.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// `pulsar://HOST:PORT`, or `pulsar+ssl://…` with TLS.
    pub url: String,
    /// Holds the token, if one is needed. Read again at every connection and whenever the broker asks.
    pub token_file: Option<PathBuf>,
    /// Authorities (PEM) that are trusted beside the well-known ones.
    pub ca_file: Option<PathBuf>,
}

impl Address {
    /// The URL without what it may hold of a secret.
    pub fn shown(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
        let host = authority.rsplit('@').next().unwrap_or("");
        format!("{scheme}://{host}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("url", &self.shown())
            .field("token_file", &self.token_file)
            .field("ca_file", &self.ca_file)
            .finish()
    }
}

/// Where a secret lies: an absolute path as it is, a bare name among systemd's credentials of this process
/// (`LoadCredential=`). Nothing, if there are no credentials.
pub fn secret_file(named: &Path, credentials: Option<&Path>) -> Option<PathBuf> {
    if named.is_absolute() {
        return Some(named.to_owned());
    }
    credentials.map(|directory| directory.join(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("pulsar://a.example:6650", "pulsar://a.example:6650"),
            (
                "pulsar+ssl://user:pass@a.example:6651/x?token=y",
                "pulsar+ssl://a.example:6651",
            ),
            ("a.example:6650", "://a.example:6650"),
        ] {
            let address = Address {
                url: url.to_owned(),
                ..Address::default()
            };
            assert_eq!(address.shown(), shown);
            assert!(!format!("{address:?}").contains("pass"));
        }
    }

    #[test]
    fn a_bare_name_is_a_credential() {
        let credentials = Path::new("/run/credentials/x");
        let of = |named: &str, directory| secret_file(Path::new(named), directory);
        assert_eq!(of("/a/token", None), Some("/a/token".into()));
        assert_eq!(
            of("token", Some(credentials)),
            Some("/run/credentials/x/token".into())
        );
        assert_eq!(of("token", None), None);
    }
}
