//! systemd's side of `NOTIFY_SOCKET`: every datagram that the daemon sends, line by line.

use std::{os::unix::net::UnixDatagram, path::PathBuf, time::Duration};

use tempfile::TempDir;
use testkit::{SOON, wait_until};

pub struct Systemd {
    socket: UnixDatagram,
    directory: TempDir,
    /// Every line so far.
    pub heard: Vec<String>,
}

impl Systemd {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            socket,
            directory,
            heard: Vec::new(),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("notify")
    }

    /// Takes what has come; how many lines there are now.
    pub fn hear(&mut self) -> usize {
        let mut buffer = [0; 4096];
        while let Ok(size) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8(buffer[..size].to_vec()).unwrap();
            self.heard.extend(text.lines().map(str::to_owned));
        }
        self.heard.len()
    }

    /// Waits until a line comes that begins so, behind the first `behind` lines; its index.
    #[track_caller]
    pub fn until(&mut self, line: &str, behind: usize) -> usize {
        self.until_within(line, behind, SOON)
    }

    #[track_caller]
    pub fn until_within(&mut self, line: &str, behind: usize, deadline: Duration) -> usize {
        wait_until(&format!("{line} for systemd"), deadline, || {
            self.hear();
            let found = self.heard[behind..]
                .iter()
                .position(|heard| heard.starts_with(line));
            found
                .map(|index| behind + index)
                .ok_or_else(|| format!("{:?}", self.heard))
        })
    }

    /// How many lines are exactly this one.
    pub fn count(&self, line: &str) -> usize {
        self.heard.iter().filter(|heard| *heard == line).count()
    }
}
