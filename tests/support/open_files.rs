//! The open files of another process, and how many it may have.

use std::{fs, process::Command};

/// How many it has.
pub fn count(pid: i32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64
}

/// How many it may have: the soft limit.
pub fn limit(pid: i32) -> u64 {
    let output = prlimit(pid)
        .args(["--nofile", "--output=SOFT", "--noheadings", "--raw"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().parse().unwrap()
}

/// From now on.
pub fn set_limit(pid: i32, soft: u64) {
    let status = prlimit(pid)
        .arg(format!("--nofile={soft}:"))
        .status()
        .unwrap();
    assert!(status.success());
}

fn prlimit(pid: i32) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--pid={pid}"));
    command
}
