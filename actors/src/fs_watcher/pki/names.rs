//! The names of a certificate: which of them Sōzu can serve, and which a directory may serve.

use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
};

/// The names in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// DNS names, in lower case, each once, in the certificate's order.
    pub(super) usable: Vec<String>,
    /// What Sōzu cannot serve, as it is shown.
    pub(super) unusable: Vec<String>,
}

/// The names of a certificate: its alternative names of DNS; where it has none, its common names.
/// Sōzu finds a certificate by the server name of the handshake alone, and nobody sends an address
/// there: addresses are unusable.
pub(super) fn of(certificate: &X509Certificate<'_>) -> Names {
    let mut names = Names::default();
    let mut has_dns_name = false;
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(alternative) = extension.parsed_extension()
        else {
            continue;
        };
        for name in &alternative.general_names {
            match name {
                GeneralName::DNSName(name) => {
                    has_dns_name = true;
                    names.add(name);
                }
                GeneralName::IPAddress(bytes) => names.unusable.push(address(bytes)),
                _ => {}
            }
        }
    }
    if !has_dns_name {
        for name in certificate.subject().iter_common_name() {
            if let Ok(name) = name.as_str() {
                names.add(name);
            }
        }
    }
    names
}

impl Names {
    fn add(&mut self, name: &str) {
        let lower = name.to_ascii_lowercase();
        if !is_dns_name(&lower) {
            self.unusable.push(shown(name));
        } else if !self.usable.contains(&lower) {
            self.usable.push(lower);
        }
    }
}

/// A host name, or one with a `*` in the place of its first label.
pub fn is_dns_name(name: &str) -> bool {
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    name.len() <= 253 && labels.split('.').all(label)
}

/// Whether `pattern` covers `name`, as a certificate covers a host: `*.a.example` covers
/// `x.a.example` and itself, not `a.example`, not `x.y.a.example`.
pub(super) fn covers(pattern: &str, name: &str) -> bool {
    pattern == name
        || pattern.strip_prefix("*.").is_some_and(|parent| {
            name.split_once('.')
                .is_some_and(|(first, rest)| first != "*" && rest == parent)
        })
}

/// Names come from a file that anybody may have written.
fn shown(name: &str) -> String {
    let end = name
        .char_indices()
        .nth(64)
        .map_or(name.len(), |(end, _)| end);
    name[..end].escape_debug().to_string()
}

fn address(bytes: &[u8]) -> String {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return std::net::Ipv4Addr::from(v4).to_string();
    }
    if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        return std::net::Ipv6Addr::from(v6).to_string();
    }
    "an address of no known kind".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dns_name_is_what_sozu_can_route_by() {
        for good in [
            "a.example",
            "*.a.example",
            "localhost",
            "_x.a-b.example",
            "xn--bcher-kva.example",
        ] {
            assert!(is_dns_name(good), "{good}");
        }
        let long = format!("{}.example", "x".repeat(64));
        for bad in [
            "",
            "a..example",
            ".a",
            "a.",
            "a b.example",
            "a/b",
            "/.*/.example",
            "x.*.example",
            "*",
            "*a.example",
            "bücher.example",
            "a\n.example",
            &long,
        ] {
            assert!(!is_dns_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        for (pattern, name, expected) in [
            ("a.example", "a.example", true),
            ("*.a.example", "x.a.example", true),
            ("*.a.example", "*.a.example", true),
            ("*.a.example", "a.example", false),
            ("*.a.example", "x.y.a.example", false),
            ("*.example", "*.a.example", false),
            ("a.example", "b.example", false),
        ] {
            assert_eq!(covers(pattern, name), expected, "{pattern} {name}");
        }
    }
}
