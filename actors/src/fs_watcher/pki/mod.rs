//! The `pki` reading: from a directory of certificates to what it declares, with its problems.
//!
//! `layout` tells from the names in a folder which files are pairs; `beneath` opens them, and
//! nothing outside; `pem` and `pair` take one whole or not at all; `overlap` decides which of two
//! certificates serves a name. `scan` looks at the directory: `folders` lists what has changed, `entry`
//! is one pair as it was last read, `whole` is what all of them say together, and `told` what is worth
//! knowing besides. `served` finds out what is really served, by asking Sōzu and by shaking hands
//! (`handshake`); `board` holds what is known of each certificate.

mod beneath;
mod board;
mod check;
mod entry;
mod folders;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod layout;
mod names;
mod options;
mod overlap;
mod pair;
mod pem;
mod scan;
mod served;
#[cfg(test)]
mod tests;
mod told;
mod whole;

use std::{net::SocketAddr, path::PathBuf};

pub use board::{Board, Row, Rows, State};
pub use check::{Found, check};
pub use layout::Layout;
pub use names::is_dns_name;
pub(super) use scan::Scanner;
pub(super) use served::Looker;
pub(super) use told::Told;

/// How a directory of certificates is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// No link leads out of it.
    pub root: PathBuf,
    /// The listeners that get the certificates; empty: every HTTPS listener that Sōzu has.
    pub listeners: Vec<SocketAddr>,
    /// The only layout that is looked for; nothing: any.
    pub layout: Option<Layout>,
    /// What its certificates may be for, such as `*.example.com`; empty: any name.
    pub allow_names: Vec<String>,
    /// Whether listeners are shaken hands with, to see what they serve.
    pub handshakes: bool,
}
