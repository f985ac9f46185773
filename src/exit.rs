//! How the program ends. A promise to scripts and to systemd (`RestartPreventExitStatus=78`).

use std::process::ExitCode;

/// An exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// It failed; trying again may help.
    Failed = 1,
    /// The command line is wrong. (The parser of the command line ends with it by itself.)
    Usage = 2,
    /// It was asked how things are, and they are not as they should be.
    NotAsItShouldBe = 3,
    /// No daemon answers on the admin socket (`EX_UNAVAILABLE`).
    NoDaemon = 69,
    /// The configuration has to be edited first (`EX_CONFIG`): trying again cannot help.
    Configuration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// This one, unless it is fine: then the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self == Exit::Fine { other } else { self }
    }
}
