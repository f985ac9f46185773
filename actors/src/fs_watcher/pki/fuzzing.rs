//! What the fuzz target throws bytes at: no file, whatever is in it, may panic, and what is taken is whole.
//!
//! Compiled for tests and by `cargo fuzz` only; no part of the interface.

use super::pair::{Files, read};

/// Two files, the certificate's and its key's, with a zero byte between them; without one, both in one file.
pub fn pair(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let files = Files {
        certificate: parts.next().unwrap_or_default(),
        key: parts.next().map(|key| (key, "a.key".to_owned())),
    };
    match read(&files, Vec::new(), &[]) {
        Ok(pair) => {
            assert!(!format!("{pair:?}").contains("PRIVATE KEY"));
            // what Sōzu gets of it is the same pair again
            let mut texts = vec![pair.material.certificate.as_str()];
            texts.extend(pair.material.certificate_chain.iter().map(String::as_str));
            texts.push(&pair.material.key);
            let file = texts.join("\n");
            let again = Files {
                certificate: file.as_bytes(),
                key: None,
            };
            assert_eq!(read(&again, Vec::new(), &[]), Ok(pair));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Every input that the fuzz target found worth keeping.
    #[test]
    fn pair() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/pair");
        let mut count = 0;
        for input in fs::read_dir(&corpus).unwrap() {
            super::pair(&fs::read(input.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{} is empty", corpus.display());
    }
}
