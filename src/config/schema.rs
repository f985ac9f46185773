//! Which keys there are. Read off the defaults of [`Config`], so that a field added there is known
//! here.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::tables::{Config, Pki, Pulsar, Routes};

/// Tables that hold one table per named source.
const NAMED: [&str; 3] = ["routes", "pki", "pulsar"];
/// Tables of sources that a later version brings.
const LATER: [&str; 1] = ["amqp"];
/// From this likeness on (Jaro-Winkler, 0 to 1) a key is taken for a misspelt one.
const LIKE: f64 = 0.8;

/// What stands at a path.
#[derive(Debug, PartialEq)]
pub(super) enum Place {
    /// A table.
    Table,
    /// A value.
    Leaf,
}

/// All keys, with a value that shows how each is written.
pub(super) struct Schema {
    top: Table,
    routes: Table,
    pki: Table,
    pulsar: Table,
}

impl Schema {
    pub(super) fn new() -> Self {
        let routes = Routes {
            directory: "/etc/sozu-manager/routes.d".into(),
        };
        let pki = Pki {
            directory: "/etc/letsencrypt/live".into(),
            root: "/etc/letsencrypt".into(),
            listeners: vec![([0, 0, 0, 0], 443).into()],
            allow_names: vec!["*.example.com".to_owned()],
            ..Pki::default()
        };
        Self {
            top: table_of(&Config::default()),
            routes: table_of(&routes),
            pki: table_of(&pki),
            pulsar: table_of(&Pulsar::example()),
        }
    }

    /// The keys of one source of the kind that the table is for.
    fn of_source(&self, table: &str) -> Option<&Table> {
        match table {
            "routes" => Some(&self.routes),
            "pki" => Some(&self.pki),
            "pulsar" => Some(&self.pulsar),
            _ => None,
        }
    }

    /// What stands at the path, or why nothing does, and what to do.
    pub(super) fn find(&self, path: &[String]) -> Result<Place, String> {
        if let Some(first) = path.first().filter(|first| LATER.contains(&first.as_str())) {
            return Err(format!(
                "this version does not know [{first}.*] yet; remove the table, or install a version that has it"
            ));
        }
        let mut table = &self.top;
        for (depth, key) in path.iter().enumerate() {
            if depth == 1
                && let Some(source) = self.of_source(&path[0])
            {
                source_name(key)?;
                table = source;
                continue;
            }
            match table.get(key) {
                Some(Value::Table(inner)) => table = inner,
                Some(_) if depth + 1 == path.len() => return Ok(Place::Leaf),
                Some(_) => {
                    return Err(format!(
                        "{} is a value, not a table; {}",
                        dotted(&path[..=depth]),
                        self.example(&path[..=depth])
                    ));
                }
                None => return Err(unknown(&path[..depth], key, table)),
            }
        }
        Ok(Place::Table)
    }

    /// How the value at the path is written: the end of a message.
    pub(super) fn example(&self, path: &[String]) -> String {
        match self.shown(path) {
            Some(value) => format!("write it like {value}"),
            None => "see `sozu-manager default-config`".to_owned(),
        }
    }

    /// The text as a value of the type that its key has; as a text where it cannot be one.
    pub(super) fn typed(&self, path: &[String], text: &str) -> Value {
        let typed = match self.shown(path) {
            Some(Value::Integer(_)) => text.parse().ok().map(Value::Integer),
            Some(Value::Float(_)) => text.parse().ok().map(Value::Float),
            Some(Value::Boolean(_)) => text.parse().ok().map(Value::Boolean),
            _ => None,
        };
        typed.unwrap_or_else(|| Value::String(text.to_owned()))
    }

    fn shown(&self, path: &[String]) -> Option<&Value> {
        let table = match path {
            [top, _, _] => self.of_source(top),
            [_] => Some(&self.top),
            [top, _] => self.top.get(top).and_then(Value::as_table),
            _ => None,
        };
        table
            .zip(path.last())
            .and_then(|(table, key)| table.get(key))
    }

    /// Whether the value has its key's type, when nothing else is set: so each is judged alone,
    /// and one that is wrong hides no other.
    pub(super) fn judge(path: &[String], value: Value) -> Result<(), String> {
        let document = path.iter().rev().fold(value, |value, key| {
            Value::Table(Table::from_iter([(key.clone(), value)]))
        });
        Config::deserialize(document)
            .map(drop)
            .map_err(|error| plain(error.message()))
    }
}

/// Serde's words, without Rust's names of types.
fn plain(message: &str) -> String {
    ["usize", "u64", "f64"]
        .iter()
        .find_map(|name| message.strip_suffix(&format!("expected {name}")))
        .map_or_else(
            || message.to_owned(),
            |start| format!("{start}expected a number"),
        )
}

/// Whether the values at the path differ.
pub(super) fn differ(one: &Config, other: &Config, path: &[&str]) -> bool {
    let value = |config| {
        let first = Value::Table(table_of(config));
        path.iter()
            .try_fold(first, |value, key| value.get(key).cloned())
    };
    value(one) != value(other)
}

/// `[http] address`, as messages call a path.
pub(super) fn dotted(path: &[String]) -> String {
    match path {
        [] => String::new(),
        [key] => key.clone(),
        [tables @ .., key] => format!("[{}] {key}", tables.join(".")),
    }
}

/// Where a table should be, there is something else, of the kind that is given.
pub(super) fn not_a_table(path: &[String], kind: &str) -> String {
    let name = path.join(".");
    match path {
        [top] | [top, _] if NAMED.contains(&top.as_str()) => format!(
            "`{name}` is a single value ({kind}), and should be a table; give the source a name: [{top}.NAME], and its keys below it"
        ),
        _ => format!(
            "`{name}` is a single value ({kind}), and should be a table; write [{name}] on a line of its own and its keys below it"
        ),
    }
}

fn unknown(tables: &[String], key: &str, table: &Table) -> String {
    let place = if tables.is_empty() {
        "at the top".to_owned()
    } else {
        format!("in [{}]", tables.join("."))
    };
    let others = LATER.iter().copied().filter(|_| tables.is_empty());
    let nearest = table
        .keys()
        .map(String::as_str)
        .chain(others)
        .map(|known| (strsim::jaro_winkler(known, key), known))
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    let remedy = nearest.map_or_else(
        || {
            let mut keys: Vec<&str> = table.keys().map(String::as_str).collect();
            keys.sort_unstable();
            format!("the keys are {}", keys.join(", "))
        },
        |(_, known)| format!("did you mean `{known}`?"),
    );
    format!("there is no `{key}` {place}; {remedy}")
}

fn source_name(name: &str) -> Result<(), String> {
    let right = (1..=32).contains(&name.len())
        && !name.contains("__")
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    if right {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no name of a source; take 1 to 32 of a-z, 0-9, _ and -, without `__`"
    ))
}

fn table_of(value: &impl Serialize) -> Table {
    // Cannot fail for our own structs, and a test holds it to that.
    Table::try_from(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Place, Schema, dotted};

    fn path(dotted: &str) -> Vec<String> {
        dotted.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn every_kind_of_path_is_found() {
        let schema = Schema::new();
        for (key, place) in [
            ("instance", Place::Leaf),
            ("http", Place::Table),
            ("http.address", Place::Leaf),
            ("routes", Place::Table),
            ("routes.a-b_1", Place::Table),
            ("routes.local.directory", Place::Leaf),
            ("pki.public.layout", Place::Leaf),
        ] {
            assert_eq!(schema.find(&path(key)), Ok(place), "{key}");
        }
        for key in [
            "http.address.x",
            "htp",
            "routes.A",
            "routes.a__b",
            "pulsar.a.b",
            "amqp",
            "pki.a.b",
            "amqp.a",
        ] {
            assert!(schema.find(&path(key)).is_err(), "{key}");
        }
    }

    #[test]
    fn examples_are_the_defaults() {
        let schema = Schema::new();
        assert_eq!(
            schema.example(&path("sozu.worker_timeout")),
            "write it like \"10s\""
        );
        assert_eq!(schema.example(&path("sozu.connections")), "write it like 8");
        assert_eq!(
            schema.example(&path("routes.a.directory")),
            "write it like \"/etc/sozu-manager/routes.d\""
        );
        assert_eq!(dotted(&path("routes.a.directory")), "[routes.a] directory");
    }
}
