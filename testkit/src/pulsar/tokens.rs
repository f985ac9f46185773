//! Tokens that a broker under test takes: JSON Web Tokens (RFC 7519), signed with HMAC-SHA-256.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// Of SHA-256, in bytes.
const BLOCK: usize = 64;

/// Who signs them.
#[derive(Debug)]
pub struct Tokens {
    key: [u8; 32],
    file: PathBuf,
}

impl Tokens {
    /// With a key of its own, in a file in this directory.
    pub fn new(directory: &Path) -> Result<Self> {
        let mut key = [0; 32];
        File::open("/dev/urandom")
            .and_then(|mut random| random.read_exact(&mut key))
            .map_err(Error::while_doing("making a key for tokens"))?;
        let file = directory.join("tokens.key");
        fs::write(&file, key).map_err(Error::while_doing("writing the key of tokens"))?;
        Ok(Self { key, file })
    }

    /// The key's file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// A token for this role, which ends at that time.
    pub fn until(&self, role: &str, end: SystemTime) -> String {
        let end = end.duration_since(SystemTime::UNIX_EPOCH);
        let end = end.unwrap_or_default().as_secs();
        let claims = format!("{{\"sub\":\"{role}\",\"exp\":{end}}}");
        let signed = format!(
            "{}.{}",
            base64(b"{\"alg\":\"HS256\"}"),
            base64(claims.as_bytes())
        );
        let signature = hmac(&self.key, signed.as_bytes());
        format!("{signed}.{}", base64(&signature))
    }

    /// One that outlives the test.
    pub fn lasting(&self, role: &str) -> String {
        self.until(role, SystemTime::now() + Duration::from_hours(24))
    }
}

/// RFC 2104.
fn hmac(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    let padded = |with: u8| {
        let mut block = [with; BLOCK];
        for (byte, key) in block.iter_mut().zip(key) {
            *byte ^= key;
        }
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text);
    let outer = Sha256::new().chain_update(padded(0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

/// RFC 4648, for URLs, without padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let at = |n: usize| u32::from(three.get(n).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for n in 0..=three.len() {
            let letter = bits >> (18 - 6 * n) & 0x3f;
            text.push(char::from(LETTERS[letter as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_others_come_out() {
        assert_eq!(base64(b"{\"alg\":\"HS256\"}"), "eyJhbGciOiJIUzI1NiJ9");
        for (plain, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v")] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
        // RFC 4231, its second case, with the key padded by zeros as the standard does it
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let digest = hmac(&key, b"what do ya want for nothing?");
        assert_eq!(digest[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    }
}
