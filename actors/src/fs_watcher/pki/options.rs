//! `options.json` of sozu-pki-connector: a list of TLS versions, by Sōzu's numbers or names.

use serde_json::Value;

/// Sōzu's number of TLS 1.2, and of TLS 1.3 (`TlsVersion` of sozu-command-lib).
const TLS_1_2: i32 = 4;
const TLS_1_3: i32 = 5;

/// The versions that an options file asks for.
///
/// # Errors
/// With what is wrong and what to do. A version that Sōzu does not speak, or a file that cannot be
/// understood, must never read as "any version".
pub(super) fn versions(bytes: &[u8]) -> Result<Vec<i32>, String> {
    const SHAPE: &str =
        "write a list such as [\"TLS_V12\", \"TLS_V13\"] (or [4, 5]), or remove the file";
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| format!("line {} is no JSON; {SHAPE}", error.line()))?;
    let Value::Array(values) = value else {
        return Err(format!("it is no list; {SHAPE}"));
    };
    let mut versions = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let version = version(value).ok_or_else(|| {
            format!(
                "entry {} is no TLS version that Sōzu serves; {SHAPE}",
                index + 1
            )
        })?;
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    Ok(versions)
}

fn version(value: &Value) -> Option<i32> {
    match value {
        Value::Number(number) => match number.as_i64()? {
            4 => Some(TLS_1_2),
            5 => Some(TLS_1_3),
            _ => None,
        },
        Value::String(text) => match text.as_str() {
            "TLS_V12" | "TLS_V1_2" | "TLSv1.2" => Some(TLS_1_2),
            "TLS_V13" | "TLS_V1_3" | "TLSv1.3" => Some(TLS_1_3),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_refused_and_never_loosens_anything() {
        assert_eq!(versions(b"[4, \"TLS_V13\", 5]"), Ok(vec![4, 5]));
        assert_eq!(versions(b"[]"), Ok(vec![]));
        for bad in [
            "",
            "{}",
            "[3]",
            "[\"TLSv1\"]",
            "[null]",
            "[4",
            "4",
            "[0]",
            "[4.5]",
        ] {
            let why = versions(bad.as_bytes()).unwrap_err();
            assert!(why.contains("write a list"), "{bad}: {why}");
        }
    }
}
