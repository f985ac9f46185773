//! Turns what parsers say into words for the person who wrote the file, without what the file
//! holds: a value in the wrong place may be a secret. Keys are no secrets.

/// How many candidates a message lists.
const MAX_CANDIDATES: usize = 12;

/// The candidate that was probably meant.
pub(super) fn meant<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .iter()
        .map(|candidate| {
            let lower = candidate.to_lowercase();
            (strsim::jaro_winkler(&word, &lower), *candidate)
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// A key as a message shows it: one line, bounded.
pub(super) fn shown(key: &str) -> String {
    let short: String = key.chars().take(64).collect();
    let dots = if short.len() < key.len() { "…" } else { "" };
    format!("`{}{dots}`", short.escape_debug())
}

/// A message of serde or of a parser, without values.
pub(super) fn explained(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let (key, candidates) = quoted(rest);
        return format!("unknown key {}; {}", shown(key), advice(key, &candidates));
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        let (value, candidates) = quoted(rest);
        return format!("unknown value; {}", advice(value, &candidates));
    }
    if let Some(rest) = message.strip_prefix("missing field ") {
        return format!("the key {} is missing; add it", one_line(rest));
    }
    if let Some(rest) = message.strip_prefix("duplicate field ") {
        return format!("the key {} stands here twice; remove one", one_line(rest));
    }
    for prefix in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some(rest) = message.strip_prefix(prefix) {
            let expected = rest
                .rsplit_once(", expected ")
                .map(|(_, expected)| expected);
            let kind: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphabetic() || *c == ' ')
                .collect();
            return match expected {
                Some(expected) if !kind.trim().is_empty() => {
                    format!("this is no fit value ({}); write {expected}", kind.trim())
                }
                Some(expected) => format!("this is no fit value; write {expected}"),
                None => "this is no fit value".to_owned(),
            };
        }
    }
    if message.contains("socket address") {
        return "this is no address; write IP:PORT".to_owned();
    }
    without_values(message)
}

/// What stands between backticks: first what was found, then what is known.
fn quoted(text: &str) -> (&str, Vec<&str>) {
    // What was found may itself hold a backtick: the candidates begin after the last `expected`.
    let (found, known) = match text.rsplit_once(", expected ") {
        Some(parts) => parts,
        None => text.rsplit_once(", there are no ").unwrap_or((text, "")),
    };
    let found = found.trim_matches('`');
    let known = known.split('`').skip(1).step_by(2).collect();
    (found, known)
}

fn advice(word: &str, candidates: &[&str]) -> String {
    if let Some(candidate) = meant(word, candidates) {
        return format!("did you mean `{candidate}`?");
    }
    if candidates.is_empty() {
        return "nothing may stand here".to_owned();
    }
    let listed: Vec<&str> = candidates.iter().take(MAX_CANDIDATES).copied().collect();
    let more = if candidates.len() > MAX_CANDIDATES {
        ", …"
    } else {
        ""
    };
    format!("known here: {}{more}", listed.join(", "))
}

/// Drops what stands between double quotes, and all but the first line.
fn without_values(message: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    let mut escaped = false;
    for c in one_line(message).chars() {
        match c {
            '"' if !escaped => {
                inside = !inside;
                if inside {
                    out.push('…');
                }
            }
            _ if !inside => out.push(c),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    out
}

fn one_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_keys_and_lose_values() {
        for (message, words) in [
            (
                "unknown field `hostnme`, expected one of `address`, `hostname`",
                "unknown key `hostnme`; did you mean `hostname`?",
            ),
            (
                "unknown field `zzz`, expected `a` or `b`",
                "unknown key `zzz`; known here: a, b",
            ),
            (
                "unknown field `zzz`, there are no fields",
                "unknown key `zzz`; nothing may stand here",
            ),
            (
                "unknown variant `hunter2`, expected one of `HTTP`, `TCP`",
                "unknown value; known here: HTTP, TCP",
            ),
            (
                "unknown variant `http2`, expected `http` or `tcp`",
                "unknown value; did you mean `http`?",
            ),
            (
                "invalid type: string \"hunter2, expected x\", expected u32",
                "this is no fit value (string); write u32",
            ),
            (
                "invalid value: integer `4711`, expected u8",
                "this is no fit value (integer); write u8",
            ),
            (
                "missing field `backends`",
                "the key `backends` is missing; add it",
            ),
            ("odd \"hunter\\\"2\" thing", "odd … thing"),
        ] {
            assert_eq!(explained(message), words);
            assert!(!explained(message).contains("hunter"));
        }
    }
}
