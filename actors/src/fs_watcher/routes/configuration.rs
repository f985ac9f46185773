//! A whole configuration of Sōzu, of which a routes file is a part: its clusters, and what its listeners speak.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
    forward_to_deserialize_any,
};
use sozu_command_lib::config::{FileClusterConfig, FileConfig, ListenerProtocol};

use super::document::{misread, parse_among};
use crate::{
    fs_watcher::problem::Fault,
    state_keeper::report::{Listener, Listeners, Protocol},
};

/// Understands it, in sozu-command-lib's own types.
pub(super) fn parse(text: &str) -> Result<(BTreeMap<String, FileClusterConfig>, Listeners), Fault> {
    let clusters = parse_among(text, keys())?;
    let whole: FileConfig = toml::from_str(text).map_err(|error| misread(text, &error))?;
    let listeners = whole.listeners.unwrap_or_default().into_iter();
    let listeners = listeners.filter_map(|it| {
        let listener = Listener {
            protocol: match it.protocol? {
                ListenerProtocol::Http => Protocol::Http,
                ListenerProtocol::Https => Protocol::Https,
                ListenerProtocol::Tcp => Protocol::Tcp,
                ListenerProtocol::Udp => Protocol::Udp,
            },
            expect_proxy: it.expect_proxy == Some(true),
        };
        Some((it.address, listener))
    });
    Ok((clusters, listeners.collect()))
}

/// The keys that may stand at the top. Sōzu itself overlooks any other one, and with it a misspelt `[cluster.a]`.
fn keys() -> &'static [&'static str] {
    let mut fields = Fields(&[]);
    // It reads nothing: the type only says which fields it has.
    let _ = FileConfig::deserialize(&mut fields);
    fields.0
}

/// Hears which fields a struct asks for.
struct Fields(&'static [&'static str]);

/// That is all that it gives.
#[derive(Debug)]
struct Nothing;

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is nothing to read")
    }
}

impl std::error::Error for Nothing {}

impl de::Error for Nothing {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for &mut Fields {
    type Error = Nothing;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Nothing> {
        Err(Nothing)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Nothing> {
        self.0 = fields;
        Err(Nothing)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_of_sozus_own_type() {
        let keys = keys();
        assert!(keys.contains(&"clusters") && keys.contains(&"listeners"));
        assert!(keys.contains(&"worker_count"), "{keys:?}");
    }

    #[test]
    fn a_misspelt_table_is_an_error_and_so_is_a_bad_value_anywhere() {
        for (text, told) in [
            (
                "worker_count = 2\n[cluster.a]\nprotocol = \"http\"\n",
                "did you mean `clusters`",
            ),
            ("worker_count = \"two\"\n", "this is no fit value"),
            ("nonsense = 1\n", "none of that name"),
        ] {
            let fault = parse(text).unwrap_err();
            assert!(fault.text.contains(told), "{fault:?}");
            assert!(fault.at.is_some(), "{fault:?}");
        }
    }
}
