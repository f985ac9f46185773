//! The same through the published `sozu-client`, by a program of its own.

use std::{env, path::Path, process::Command, time::Duration};

/// Exchanges per second, if the program is there; `what` are `questions` or `changes`.
pub(crate) fn rate(what: &str, socket: &Path, connections: usize, round: Duration) -> Option<f64> {
    Some(run(what, socket, connections, round)?[0])
}

/// What each light exchange took while so many ask for much.
pub(crate) fn light_among(socket: &Path, heavy: usize, round: Duration) -> Option<Vec<Duration>> {
    let took = run("light-among", socket, heavy, round)?;
    Some(took.into_iter().map(Duration::from_secs_f64).collect())
}

/// The figures that it prints, one a line.
fn run(what: &str, socket: &Path, count: usize, round: Duration) -> Option<Vec<f64>> {
    let output = Command::new(env::var_os("SOZU_CLIENT_PEER")?)
        .arg(what)
        .arg(socket)
        .args([count.to_string(), round.as_secs_f64().to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let figures = String::from_utf8(output.stdout).unwrap();
    Some(figures.lines().map(|line| line.parse().unwrap()).collect())
}
