//! The proof, step by step; each prints one line with what was measured, or fails.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use testkit::{Error, Load, Result, SOON, get, wait_for};

use crate::{
    certificates,
    source::Source,
    stage::{FILE, HOST, Stage, seconds},
};

/// All steps in their order.
pub(crate) fn all(stage: &mut Stage, failing: &Path) -> Result<()> {
    written(stage)?;
    re_pointed(stage)?;
    broken(stage)?;
    certificates::step(stage)?;
    killed(stage)?;
    crashed(stage, failing)
}

/// A route file appears.
fn written(stage: &Stage) -> Result<()> {
    let before = stage.ask().map_or_else(
        |error| error.to_string(),
        |answer| answer.status.to_string(),
    );
    let begin = Instant::now();
    stage.write(&stage.text("demo-a", &stage.a))?;
    wait_for("200 from backend A", SOON, || stage.answers("A"))?;
    println!(
        "route {}: {before} before, 200 from backend A after {}",
        stage.source.done(),
        seconds(begin.elapsed())
    );
    Ok(())
}

/// The same host goes to another cluster, under load.
fn re_pointed(stage: &Stage) -> Result<()> {
    let load = Load::start(stage.sozu.http_port(), HOST, "/");
    wait_for("requests answered by A", SOON, || {
        load.tally().of(200, "A") >= 50
    })?;
    let begin = Instant::now();
    stage.write(&stage.text("demo-b", &stage.b))?;
    wait_for("200 from backend B", SOON, || load.tally().of(200, "B") > 0)?;
    let took = begin.elapsed();
    let after = load.tally().total();
    wait_for("100 requests more", SOON, || {
        load.tally().total() >= after + 100
    })?;
    let tally = load.stop();
    println!(
        "re-pointed: 200 from backend B after {}, {tally}",
        seconds(took)
    );
    // Sōzu itself cannot swap a frontend in one step: a request may fall between its removal and its return
    if tally.failed() * 100 > tally.total() {
        return Err(Error::new(format!(
            "more than one request of a hundred failed: {:?} {:?}",
            tally.answers, tally.errors
        )));
    }
    Ok(())
}

/// The file no longer parses: its last good content stays, and nothing of it is published.
fn broken(stage: &Stage) -> Result<()> {
    let good = stage.text("demo-b", &stage.b);
    let bad = good.replace("backends = [", "backends [");
    if let Source::Topic { .. } = stage.source {
        return refused(stage, &bad);
    }
    let begin = Instant::now();
    stage.write(&bad)?;
    let said = wait_for("routes.local degraded in /health", SOON, || {
        component(stage, "degraded")
    })?;
    let took = begin.elapsed();
    stage
        .answers("B")
        .map_err(|seen| Error::new(format!("the broken file changed what is served: {seen}")))?;
    println!(
        "file broken: still 200 from backend B; /health after {}: {said}",
        seconds(took)
    );
    stage.write(&good)?;
    wait_for("routes.local running again", SOON, || {
        component(stage, "running")
    })?;
    Ok(())
}

/// `publish` says what is wrong with the file, and sends nothing.
fn refused(stage: &Stage, bad: &str) -> Result<()> {
    let output = stage.source.publish(&stage.daemon, FILE, bad)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim_end().replace('\n', "; ");
    if output.status.code() != Some(1) {
        return Err(Error::new(format!(
            "a broken file was published: {} {said}",
            output.status
        )));
    }
    stage
        .answers("B")
        .map_err(|seen| Error::new(format!("the broken file changed what is served: {seen}")))?;
    println!("file broken: still 200 from backend B; publish says: {said}");
    Ok(())
}

/// Sōzu loses everything.
fn killed(stage: &mut Stage) -> Result<()> {
    let port = stage.sozu.http_port();
    let pids = stage.sozu.pids().len();
    stage.sozu.kill()?;
    let away = wait_for("/readyz to say that Sōzu is away", SOON, || {
        not_ready(stage)
    })?;
    let begin = Instant::now();
    let watcher = thread::spawn(move || first_success(port, begin));
    stage.sozu.start_again()?;
    let back = watcher.join().ok().flatten().ok_or_else(|| {
        Error::new("after Sōzu was started empty, its route did not come back within 20 s")
    })?;
    stage
        .answers("B")
        .map_err(|seen| Error::new(format!("the route came back, but not to backend B: {seen}")))?;
    println!("Sōzu killed with -9, all {pids} processes: /readyz says {away}");
    println!(
        "Sōzu started empty: routes back {} after its start",
        seconds(back)
    );
    stage.daemon.wait_ready(SOON)
}

/// A part of the daemon crashes under load. No release can be made to: this is a build for tests, in its place for a while.
fn crashed(stage: &mut Stage, failing: &Path) -> Result<()> {
    const COMPONENT: &str = "state_keeper";
    let config = fs::read(stage.daemon.config_file())
        .map_err(|error| Error::new(format!("reading the configuration: {error}")))?;
    stage.daemon.terminate()?;
    // its third tick, which comes every second
    let mut daemon = stage
        .in_its_place(failing)
        .env("FAILPOINTS", &format!("{COMPONENT}::tick=2*off->1*panic"))
        .start()?;
    daemon.wait_ready(SOON)?;
    let load = Load::start(stage.sozu.http_port(), HOST, "/");
    let restarts = |state: Option<&str>| {
        let seen = daemon
            .component(COMPONENT)
            .map_err(|error| error.to_string())?;
        let is_so = seen["restarts"] == 1 && state.is_none_or(|state| seen["state"] == state);
        if is_so { Ok(()) } else { Err(seen.to_string()) }
    };
    wait_for("the crash", SOON, || restarts(None))?;
    let begin = Instant::now();
    wait_for("the next life", SOON, || restarts(Some("running")))?;
    let took = begin.elapsed();
    let after = load.tally().total();
    wait_for("100 requests more", SOON, || {
        load.tally().total() >= after + 100
    })?;
    let tally = load.stop();
    println!(
        "{COMPONENT} crashed (a build with failpoints): restarted, running after {}, {tally}",
        seconds(took)
    );
    if tally.failed() > 0 {
        return Err(Error::new(format!(
            "a crash of the daemon cost requests: {:?} {:?}",
            tally.answers, tally.errors
        )));
    }
    daemon.terminate()?;
    fs::write(stage.daemon.config_file(), config)
        .map_err(|error| Error::new(format!("writing the configuration: {error}")))?;
    stage.daemon.start()?;
    stage.daemon.wait_ready(SOON)
}

/// The first condition that fails, once `/readyz` is 503.
fn not_ready(stage: &Stage) -> std::result::Result<String, String> {
    let answer = stage
        .daemon
        .fetch("/readyz")
        .map_err(|error| error.to_string())?;
    let failing = answer.body.lines().find(|line| line.starts_with("[-]"));
    match failing {
        Some(line) if answer.status == 503 => Ok(line.to_owned()),
        _ => Err(format!("{} {:?}", answer.status, answer.body)),
    }
}

fn first_success(port: u16, begin: Instant) -> Option<Duration> {
    let end = begin + Duration::from_secs(20);
    while Instant::now() < end {
        if get(port, HOST, "/").is_ok_and(|answer| answer.status == 200) {
            return Some(begin.elapsed());
        }
        thread::sleep(Duration::from_millis(5));
    }
    None
}

/// What `/health` says of the routes directory, once its state is this one.
fn component(stage: &Stage, wanted: &str) -> std::result::Result<String, String> {
    let component = stage
        .daemon
        .component("routes.local")
        .map_err(|error| error.to_string())?;
    let said = |key: &str| {
        component
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or("nothing")
            .to_owned()
    };
    if said("state") == wanted {
        Ok(format!("{wanted}: {}", said("error")))
    } else {
        Err(component.to_string())
    }
}
