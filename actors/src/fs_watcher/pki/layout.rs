//! What the names in one folder say: which files are pairs, by whose habit, and which are none.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
};

/// Whose habit of laying out certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layout {
    /// sozu-pki-connector: `NAME/NAME.crt`, `NAME/NAME.key`, `NAME/options.json`.
    Connector,
    /// certbot's `live`: `NAME/fullchain.pem`, `NAME/privkey.pem`.
    Certbot,
    /// dehydrated: as certbot, links beside the files they lead to.
    Dehydrated,
    /// Caddy: `ISSUER/NAME/NAME.crt`, `NAME.key`, `NAME.json`.
    Caddy,
    /// acme.sh: `NAME/fullchain.cer`, `NAME/NAME.key`; `NAME_ecc/…` for ECDSA.
    AcmeSh,
    /// Kubernetes: `tls.crt` and `tls.key`, links through `..data`.
    Kubernetes,
    /// HAProxy: certificate, chain and key in one file.
    Haproxy,
    /// `NAME.crt` or `NAME.pem` with `NAME.key` (also lego's).
    Flat,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Layout; 8] = [
        Layout::Connector,
        Layout::Certbot,
        Layout::Dehydrated,
        Layout::Caddy,
        Layout::AcmeSh,
        Layout::Kubernetes,
        Layout::Haproxy,
        Layout::Flat,
    ];

    /// As the configuration and `/health` name it.
    pub const fn name(self) -> &'static str {
        match self {
            Layout::Connector => "connector",
            Layout::Certbot => "certbot",
            Layout::Dehydrated => "dehydrated",
            Layout::Caddy => "caddy",
            Layout::AcmeSh => "acme.sh",
            Layout::Kubernetes => "kubernetes",
            Layout::Haproxy => "haproxy",
            Layout::Flat => "flat",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The files of one pair, in one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) layout: Layout,
    pub(super) certificate: OsString,
    /// Nothing: it may be in the certificate's file.
    pub(super) key: Option<OsString>,
    /// sozu-pki-connector's options.
    pub(super) options: Option<OsString>,
}

/// What a folder's names say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) pairs: Vec<Parts>,
    /// Files that belong to no pair, with the reason.
    pub(super) ignored: Vec<(OsString, &'static str)>,
}

/// Reads a folder's names, in order. `folder`: its own name; nothing for the watched directory
/// itself, whose name means nothing. `only`: no other layout is looked for.
pub(super) fn plan(
    folder: Option<&OsStr>,
    names: &BTreeSet<OsString>,
    only: Option<Layout>,
) -> Plan {
    let mut rest = Rest {
        left: names.iter().cloned().collect(),
        plan: Plan::default(),
        only,
    };
    rest.kubernetes();
    rest.certbot();
    if let Some(folder) = folder {
        rest.acme_sh(folder);
        rest.named(folder);
    }
    rest.flat();
    rest.combined();
    rest.plan
}

struct Rest {
    left: BTreeSet<OsString>,
    plan: Plan,
    only: Option<Layout>,
}

impl Rest {
    fn looks_for(&self, layout: Layout) -> bool {
        self.only.is_none_or(|only| only == layout)
    }

    fn has(&self, name: &OsStr) -> bool {
        self.left.contains(name)
    }

    fn pair(&mut self, layout: Layout, certificate: OsString, key: Option<OsString>) {
        self.left.remove(&certificate);
        if let Some(key) = &key {
            self.left.remove(key);
        }
        self.plan.pairs.push(Parts {
            layout,
            certificate,
            key,
            options: None,
        });
    }

    /// They belong to the layout and say nothing.
    fn drop(&mut self, names: &[&str]) {
        for name in names {
            self.left.remove(OsStr::new(name));
        }
    }

    fn kubernetes(&mut self) {
        let [certificate, key] = ["tls.crt", "tls.key"].map(OsString::from);
        if self.looks_for(Layout::Kubernetes) && (self.has(&certificate) || self.has(&key)) {
            self.pair(Layout::Kubernetes, certificate, Some(key));
            self.drop(&["ca.crt"]);
        }
    }

    fn certbot(&mut self) {
        let [certificate, key] = ["fullchain.pem", "privkey.pem"].map(OsString::from);
        if !self.has(&certificate) && !self.has(&key) {
            return;
        }
        let dated = |name: &OsString| {
            let name = name.as_bytes();
            name.starts_with(b"fullchain-") || name.starts_with(b"privkey-")
        };
        let layout = if self.only == Some(Layout::Dehydrated) || self.left.iter().any(dated) {
            Layout::Dehydrated
        } else {
            Layout::Certbot
        };
        if !self.looks_for(layout) {
            return;
        }
        self.pair(layout, certificate, Some(key));
        self.drop(&["cert.pem", "chain.pem", "README"]);
        if layout == Layout::Dehydrated {
            let starts = [
                "fullchain-",
                "privkey-",
                "cert-",
                "chain-",
                "cert.csr",
                "ocsp",
                "privkey.roll.pem",
            ];
            self.left.retain(|name| {
                !starts
                    .iter()
                    .any(|start| name.as_bytes().starts_with(start.as_bytes()))
            });
        }
    }

    fn acme_sh(&mut self, folder: &OsStr) {
        let certificate = OsString::from("fullchain.cer");
        if !self.looks_for(Layout::AcmeSh) {
            return;
        }
        let name = folder.as_bytes();
        let name = name.strip_suffix(b"_ecc").unwrap_or(name);
        let [key, leaf, csr, conf, csr_conf] =
            [".key", ".cer", ".csr", ".conf", ".csr.conf"].map(|ending| with(name, ending));
        if !(self.has(&certificate) || self.has(&key) && self.has(&leaf)) {
            return;
        }
        self.pair(Layout::AcmeSh, certificate, Some(key));
        for known in [leaf, csr, conf, csr_conf] {
            self.left.remove(&known);
        }
        self.drop(&["ca.cer", "backup"]);
    }

    /// sozu-pki-connector's and Caddy's: files named as their folder.
    fn named(&mut self, folder: &OsStr) {
        let [certificate, key, json] =
            [".crt", ".key", ".json"].map(|ending| with(folder.as_bytes(), ending));
        if !self.has(&certificate) && !self.has(&key) {
            return;
        }
        let options = OsString::from("options.json");
        let layout = if self.has(&json) && !self.has(&options) {
            Layout::Caddy
        } else {
            Layout::Connector
        };
        if !self.looks_for(layout) {
            return;
        }
        self.pair(layout, certificate, Some(key));
        if layout == Layout::Caddy {
            self.left.remove(&json);
        } else if self.left.remove(&options)
            && let Some(pair) = self.plan.pairs.last_mut()
        {
            pair.options = Some(options);
        }
    }

    fn flat(&mut self) {
        if !self.looks_for(Layout::Flat) {
            return;
        }
        for certificate in self.certificates() {
            if !self.has(&certificate) {
                continue;
            }
            let stem = stem(&certificate);
            let beside = [with(stem, ".key"), with(certificate.as_bytes(), ".key")];
            if let Some(key) = beside.into_iter().find(|key| self.has(key)) {
                let own = stem.to_vec();
                self.pair(Layout::Flat, certificate, Some(key));
                self.belonging_to(&own);
            }
        }
    }

    /// What lego and others write beside a pair.
    fn belonging_to(&mut self, stem: &[u8]) {
        for ending in [
            ".issuer.crt",
            ".json",
            ".csr",
            ".ocsp",
            ".pfx",
            ".pem",
            ".crt",
            ".cer",
        ] {
            self.left.remove(&with(stem, ending));
        }
    }

    /// What is left: files that hold all in one, and what is none of it.
    fn combined(&mut self) {
        let left = std::mem::take(&mut self.left);
        for name in left {
            let is_certificate = CERTIFICATE_ENDINGS
                .iter()
                .any(|ending| name.as_bytes().ends_with(ending.as_bytes()));
            if is_certificate && self.looks_for(Layout::Haproxy) {
                self.plan.pairs.push(Parts {
                    layout: Layout::Haproxy,
                    certificate: name,
                    key: None,
                    options: None,
                });
                continue;
            }
            let reason = if self.only.is_some() && is_certificate {
                "it is no part of the layout that the configuration asks for"
            } else if name.as_bytes().ends_with(b".key") {
                "there is no certificate beside this key"
            } else {
                "its name is none of a certificate or a key"
            };
            self.plan.ignored.push((name, reason));
        }
    }

    fn certificates(&self) -> Vec<OsString> {
        let of = |ending: &'static str| {
            let names = self.left.iter();
            names.filter(move |name| name.as_bytes().ends_with(ending.as_bytes()))
        };
        CERTIFICATE_ENDINGS
            .into_iter()
            .flat_map(of)
            .cloned()
            .collect()
    }
}

/// In the order in which they are preferred.
const CERTIFICATE_ENDINGS: [&str; 3] = [".crt", ".pem", ".cer"];

/// The certificates that a key without one may belong to: a renewal may be under way.
pub(super) fn certificates_of(key: &OsStr) -> Vec<OsString> {
    let Some(stem) = key.as_bytes().strip_suffix(b".key") else {
        return Vec::new();
    };
    let mut names: Vec<OsString> = CERTIFICATE_ENDINGS
        .iter()
        .map(|ending| with(stem, ending))
        .collect();
    names.push(OsString::from_vec(stem.to_vec()));
    names
}

fn with(stem: &[u8], ending: &str) -> OsString {
    let mut name = stem.to_vec();
    name.extend_from_slice(ending.as_bytes());
    OsString::from_vec(name)
}

/// A name without its last ending.
fn stem(name: &OsStr) -> &[u8] {
    let bytes = name.as_bytes();
    bytes
        .iter()
        .rposition(|b| *b == b'.')
        .map_or(bytes, |dot| &bytes[..dot])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(folder: Option<&str>, names: &[&str], only: Option<Layout>) -> Vec<String> {
        let names = names.iter().map(OsString::from).collect();
        let plan = plan(folder.map(OsStr::new), &names, only);
        let text = |name: &OsString| name.to_string_lossy().into_owned();
        let pairs = plan.pairs.iter().map(|pair| {
            let key = pair.key.as_ref().map_or_else(|| "?".to_owned(), text);
            let options = pair.options.as_ref().map_or("", |_| " +options");
            format!("{} {} {key}{options}", pair.layout, text(&pair.certificate))
        });
        let ignored = plan
            .ignored
            .iter()
            .map(|(name, _)| format!("- {}", text(name)));
        pairs.chain(ignored).collect()
    }

    #[test]
    fn every_layout_is_known_by_its_names() {
        type Row<'a> = (Option<&'a str>, &'a [&'a str], &'a [&'a str]);
        let table: [Row<'_>; 13] = [
            (
                Some("a.example"),
                &["a.example.crt", "a.example.key", "options.json", "notes"],
                &["connector a.example.crt a.example.key +options", "- notes"],
            ),
            (
                Some("a.example"),
                &[
                    "cert.pem",
                    "chain.pem",
                    "fullchain.pem",
                    "privkey.pem",
                    "README",
                ],
                &["certbot fullchain.pem privkey.pem"],
            ),
            (
                Some("a.example"),
                &[
                    "fullchain.pem",
                    "privkey.pem",
                    "fullchain-17.pem",
                    "privkey-17.pem",
                    "cert-17.csr",
                    "cert.csr",
                    "cert.pem",
                ],
                &["dehydrated fullchain.pem privkey.pem"],
            ),
            (
                Some("a.example"),
                &["a.example.crt", "a.example.key", "a.example.json"],
                &["caddy a.example.crt a.example.key"],
            ),
            (
                Some("a.example_ecc"),
                &[
                    "a.example.cer",
                    "a.example.key",
                    "a.example.conf",
                    "a.example.csr",
                    "ca.cer",
                    "fullchain.cer",
                ],
                &["acme.sh fullchain.cer a.example.key"],
            ),
            (
                None,
                &["tls.crt", "tls.key", "ca.crt"],
                &["kubernetes tls.crt tls.key"],
            ),
            (
                None,
                &["a.crt", "a.issuer.crt", "a.json", "a.key", "a.pem"],
                &["flat a.crt a.key"],
            ),
            (
                None,
                &["a.pem", "a.key", "b.pem"],
                &["flat a.pem a.key", "haproxy b.pem ?"],
            ),
            (None, &["a.pem", "a.pem.key"], &["flat a.pem a.pem.key"]),
            (None, &["a.key", "README"], &["- README", "- a.key"]),
            (
                Some("a"),
                &["privkey.pem"],
                &["certbot fullchain.pem privkey.pem"],
            ),
            (Some("a"), &["a.key"], &["connector a.crt a.key"]),
            (None, &[], &[]),
        ];
        for (folder, names, expected) in table {
            assert_eq!(
                planned(folder, names, None),
                expected,
                "{folder:?} {names:?}"
            );
        }
    }

    #[test]
    fn a_fixed_layout_looks_for_no_other() {
        let names = ["tls.crt", "tls.key", "a.pem"];
        let only = |layout| planned(None, &names, Some(layout));
        assert_eq!(
            only(Layout::Kubernetes),
            ["kubernetes tls.crt tls.key", "- a.pem"]
        );
        assert_eq!(only(Layout::Flat), ["flat tls.crt tls.key", "- a.pem"]);
        assert_eq!(
            only(Layout::Haproxy),
            ["haproxy a.pem ?", "haproxy tls.crt ?", "- tls.key"]
        );
    }
}
