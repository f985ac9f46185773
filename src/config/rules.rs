//! What a value of the right type must still be: ranges, paths, characters.

use std::{collections::BTreeMap, fmt::Display, path::Path, time::Duration};

use actors::{fs_watcher::pki, state_keeper::policy};

use super::tables::{Config, Pki, Pulsar};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// As `humantime` counts years.
const YEAR: Duration = Duration::from_hours(8766);
const MILLISECOND: Duration = Duration::from_millis(1);

/// The paths of the values that break a rule, each with what is wrong and what to do.
pub(super) fn broken(config: &Config) -> Vec<(Vec<String>, String)> {
    let mut broken = Broken(Vec::new());
    let sozu = &config.sozu;
    broken.path("state_directory", &config.state_directory);
    broken.instance(&config.instance);
    broken.path("sozu.command_socket", &sozu.command_socket);
    broken.range("sozu.connections", sozu.connections, 1, 256);
    broken.duration(
        "sozu.worker_timeout",
        sozu.worker_timeout,
        100 * MILLISECOND,
        HOUR,
    );
    broken.range(
        "sozu.max_request_bytes",
        sozu.max_request_bytes,
        10_000,
        1_000_000_000,
    );
    broken.path("sozu.exchange_directory", &sozu.exchange_directory);
    if !sozu.exchange_directory_in_sozu.as_os_str().is_empty() {
        let key = "sozu.exchange_directory_in_sozu";
        broken.path(key, &sozu.exchange_directory_in_sozu);
    }
    broken.path("admin.socket", &config.admin.socket);
    broken.range(
        "metrics.max_series",
        config.metrics.max_series,
        1,
        usize::MAX,
    );
    broken.duration(
        "metrics.share_for",
        config.metrics.share_for,
        MILLISECOND,
        HOUR,
    );
    broken.share("guard.removal_share", config.guard.removal_share);
    broken.duration("reconcile.interval", config.reconcile.interval, SECOND, DAY);
    broken.duration("journal.keep", config.journal.keep, HOUR, 10 * YEAR);
    broken.range(
        "journal.max_rows",
        config.journal.max_rows,
        1000,
        i64::MAX as u64,
    );
    broken.range(
        "dead_letters.max_rows",
        config.dead_letters.max_rows,
        1,
        i64::MAX as u64,
    );
    broken.range(
        "dead_letters.max_bytes",
        config.dead_letters.max_bytes,
        super::Size(1_000_000),
        super::Size(i64::MAX as u64),
    );
    for (name, routes) in &config.routes {
        broken.path(&format!("routes.{name}.directory"), &routes.directory);
    }
    for (name, pki) in &config.pki {
        broken.pki(name, pki);
    }
    for (name, pulsar) in &config.pulsar {
        broken.pulsar(name, pulsar);
    }
    broken.names(config);
    broken.0
}

struct Broken(Vec<(Vec<String>, String)>);

impl Broken {
    fn add(&mut self, key: &str, what: &str) {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let what = format!("{}: {what}", super::schema::dotted(&path));
        self.0.push((path, what));
    }

    /// A relative one would mean another place at the next start.
    fn path(&mut self, key: &str, path: &Path) {
        if path.as_os_str().is_empty() {
            self.add(key, "it is not set; give an absolute path");
        } else if !path.is_absolute() {
            let what = format!(
                "{} is relative; write the whole path, from /",
                path.display()
            );
            self.add(key, &what);
        }
    }

    /// Whatever the kinds: what a source declares is kept under its bare name.
    fn names(&mut self, config: &Config) {
        let tables = [
            ("routes", config.routes.keys().collect::<Vec<_>>()),
            ("pki", config.pki.keys().collect()),
            ("pulsar", config.pulsar.keys().collect()),
        ];
        let mut first = BTreeMap::new();
        for (table, names) in tables {
            for name in names {
                if let Some(other) = first.get(name) {
                    let what =
                        format!("[{other}.{name}] has this name already; give each source its own");
                    self.0.push((vec![table.to_owned(), name.clone()], what));
                } else {
                    first.insert(name, table);
                }
            }
        }
    }

    fn pki(&mut self, name: &str, pki: &Pki) {
        let key = |key: &str| format!("pki.{name}.{key}");
        self.path(&key("directory"), &pki.directory);
        if !pki.root.as_os_str().is_empty() {
            self.path(&key("root"), &pki.root);
        }
        if !pki.directory.starts_with(pki.root()) {
            let what = format!(
                "{} does not hold the directory {}; name one that does",
                pki.root.display(),
                pki.directory.display()
            );
            self.add(&key("root"), &what);
        }
        for pattern in &pki.allow_names {
            if !pki::is_dns_name(pattern) {
                let what = format!(
                    "{pattern:?} is no name; write it like \"a.example.com\" or \"*.example.com\""
                );
                self.add(&key("allow_names"), &what);
            }
        }
    }

    fn range<T: PartialOrd + Display + Copy>(&mut self, key: &str, value: T, low: T, high: T) {
        if value < low {
            self.add(key, &format!("{value} is too little; write {low} or more"));
        } else if value > high {
            self.add(key, &format!("{value} is too much; write {high} or less"));
        }
    }

    fn duration(&mut self, key: &str, value: Duration, low: Duration, high: Duration) {
        let text = humantime::format_duration;
        if value < low {
            let what = format!("{} is too short; write {} or more", text(value), text(low));
            self.add(key, &what);
        } else if value > high {
            let what = format!("{} is too long; write {} or less", text(value), text(high));
            self.add(key, &what);
        }
    }

    fn share(&mut self, key: &str, value: f64) {
        if !(0.0..=1.0).contains(&value) {
            self.add(
                key,
                &format!("{value} is no share; write a number from 0 to 1"),
            );
        }
    }

    fn pulsar(&mut self, name: &str, pulsar: &Pulsar) {
        let key = |key: &str| format!("pulsar.{name}.{key}");
        let host = pulsar
            .url
            .strip_prefix("pulsar://")
            .or_else(|| pulsar.url.strip_prefix("pulsar+ssl://"));
        if host.is_none_or(|host| host.is_empty() || host.starts_with([':', '/'])) {
            // The value may hold a secret and is not shown.
            self.add(
                &key("url"),
                "it is no broker's URL; write it like \"pulsar+ssl://pulsar.example:6651\"",
            );
        }
        for (of, topic) in [
            ("topic", &pulsar.topic),
            ("dead_letter_topic", &pulsar.dead_letter_topic),
        ] {
            if !is_topic(topic) && (of == "topic" || !topic.is_empty()) {
                let what = format!(
                    "{topic:?} is no topic; write it like \"persistent://public/default/sozu\""
                );
                self.add(&key(of), &what);
            }
        }
        if pulsar.topic == pulsar.dead_letter_topic && !pulsar.topic.is_empty() {
            let what = "it is the topic that is read; name another one";
            self.add(&key("dead_letter_topic"), what);
        }
        if pulsar.subscription.is_empty() || pulsar.subscription.contains('/') {
            let what = "it is no name of a subscription; write it like \"sozu-manager-{instance}\"";
            self.add(&key("subscription"), what);
        }
        for file in [&pulsar.token_file, &pulsar.ca_file] {
            let is_name = file.components().count() == 1;
            if !file.as_os_str().is_empty() && !file.is_absolute() && !is_name {
                let of = if file == &pulsar.token_file {
                    "token_file"
                } else {
                    "ca_file"
                };
                let what = format!(
                    "{} is relative; write the whole path, from /, or the bare name of a systemd credential",
                    file.display()
                );
                self.add(&key(of), &what);
            }
        }
        for verb in &pulsar.verbs {
            if !policy::is_verb(verb) {
                let what = format!(
                    "{verb:?} is no verb that a source may send; write \"routing\", \"certificates\", or a verb such as \"add_backend\""
                );
                self.add(&key("verbs"), &what);
            }
        }
    }

    fn instance(&mut self, name: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.len() > 64 || !name.chars().all(plain) {
            let what =
                format!("{name:?} is no name; take up to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`");
            self.add("instance", &what);
        }
    }
}

/// `persistent://TENANT/NAMESPACE/TOPIC`.
fn is_topic(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("persistent://") else {
        return false;
    };
    let parts: Vec<&str> = rest.split('/').collect();
    parts.len() == 3 && parts.iter().all(|part| !part.is_empty())
}
