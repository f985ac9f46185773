//! The PEM blocks of a file, each with its own text and its bytes.
//!
//! The text goes to Sōzu block by block, as its own tools send it; what stands between the blocks
//! (comments, bag attributes, parameters) does not.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const CLOSE: &str = "-----";
/// More blocks are in no file that somebody means.
const MAX_BLOCKS: usize = 100;

/// What a PEM file holds that matters here.
#[derive(Default)]
pub(super) struct Blocks {
    /// The certificates in their order.
    pub(super) certificates: Vec<(String, CertificateDer<'static>)>,
    /// The first private key.
    pub(super) key: Option<(Zeroizing<String>, Zeroizing<PrivateKeyDer<'static>>)>,
    /// How many private keys there are.
    pub(super) keys: usize,
}

/// Why a PEM file cannot be taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PemError {
    #[error("it is no PEM text: it is not UTF-8; convert it with `openssl x509 -inform der`")]
    NotText,
    #[error("it ends within a PEM block: it is half written, or cut off; write it again")]
    CutOff,
    #[error("its PEM block {0} is damaged; write it again")]
    Damaged(usize),
    #[error("it has more than {MAX_BLOCKS} PEM blocks; leave only this certificate's in it")]
    TooMany,
    #[error(
        "its private key is encrypted, and nobody is there to give a passphrase; decrypt it with `openssl pkey`"
    )]
    Encrypted,
}

/// Cuts a file into its blocks.
pub(super) fn blocks(bytes: &[u8]) -> Result<Blocks, PemError> {
    let text = str::from_utf8(bytes).map_err(|_| PemError::NotText)?;
    let mut blocks = Blocks::default();
    let mut count = 0;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(label) = label(line, BEGIN) else {
            continue;
        };
        count += 1;
        if count > MAX_BLOCKS {
            return Err(PemError::TooMany);
        }
        let mut block = Zeroizing::new(String::new());
        push(&mut block, line);
        loop {
            let line = lines.next().ok_or(PemError::CutOff)?;
            push(&mut block, line);
            if label_is(line, label) {
                break;
            }
            if line.trim_start().starts_with(BEGIN) {
                return Err(PemError::CutOff);
            }
        }
        take(&mut blocks, label, &block)
            .map_err(|error| error.unwrap_or(PemError::Damaged(count)))?;
    }
    Ok(blocks)
}

/// `None`: the block is damaged.
fn take(blocks: &mut Blocks, label: &str, block: &str) -> Result<(), Option<PemError>> {
    match label {
        "CERTIFICATE" => {
            let der = CertificateDer::from_pem_slice(block.as_bytes()).map_err(|_| None)?;
            blocks.certificates.push((block.to_owned(), der));
        }
        "ENCRYPTED PRIVATE KEY" => return Err(Some(PemError::Encrypted)),
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
            if block.contains("Proc-Type: 4,ENCRYPTED") {
                return Err(Some(PemError::Encrypted));
            }
            let der = PrivateKeyDer::from_pem_slice(block.as_bytes()).map_err(|_| None)?;
            let der = Zeroizing::new(der);
            blocks.keys += 1;
            if blocks.key.is_none() {
                blocks.key = Some((Zeroizing::new(block.to_owned()), der));
            }
        }
        _ => {}
    }
    Ok(())
}

fn label<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.trim().strip_prefix(start)?.strip_suffix(CLOSE)
}

fn label_is(line: &str, wanted: &str) -> bool {
    label(line, END) == Some(wanted)
}

fn push(block: &mut Zeroizing<String>, line: &str) {
    if !block.is_empty() {
        block.push('\n');
    }
    block.push_str(line.trim());
}
