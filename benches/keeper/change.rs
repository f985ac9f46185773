//! (b) One changed file among many, against Sōzu's own time for the request.

use std::time::{Duration, Instant};

use testkit::{Backend, Daemon, Sozu, get, routes};

use crate::{
    ground::{self, FILES, LONG},
    table::Table,
};

/// Changes in a row.
const TIMES: usize = 100;

pub(crate) fn on_an_empty_sozu(table: &mut Table) {
    let sozu = ground::sozu();
    let mut daemon = ground::prepared(&sozu, &sozu.command_socket(), 0);
    daemon.start().unwrap();
    daemon.wait_ready(LONG).unwrap();
    on(&daemon, &sozu, "empty", table);
    daemon.terminate().unwrap();
}

/// From the end of the write of a file that has one frontend more to the first 200 through it, and
/// Sōzu's own time for the same request.
pub(crate) fn on(daemon: &Daemon, sozu: &Sozu, state: &str, table: &mut Table) {
    let backend = Backend::start("A").unwrap();
    let mut hosts = vec!["first.example".to_owned()];
    let write = |hosts: &[String]| {
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let text = routes::http("one", sozu.http_address(), &hosts, &[backend.address()]);
        routes::write(&daemon.routes(), "one.toml", &text).unwrap();
        Instant::now()
    };
    write(&hosts);
    served(sozu, &hosts[0]);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 0..TIMES {
        hosts.push(format!("one{n}.example"));
        let began = write(&hosts);
        served(sozu, &hosts[n + 1]);
        ours.push(began.elapsed());
        let host = format!("bare{n}.example");
        let request = ground::frontend("one", &host, sozu);
        let began = Instant::now();
        sozu.apply([request]).unwrap();
        served(sozu, &host);
        theirs.push(began.elapsed());
    }
    let figures = |times: &mut Vec<Duration>| {
        times.sort();
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        format!("p50 {:.1?}, p99 {:.1?}", at(50), at(99))
    };
    table.shown(
        &format!("(b) one changed file among {FILES}, Sōzu {state}: write → first 200"),
        figures(&mut ours),
        format!("the request alone: {}", figures(&mut theirs)),
    );
}

fn served(sozu: &Sozu, host: &str) {
    let until = Instant::now() + LONG;
    while !matches!(get(sozu.http_port(), host, "/"), Ok(answer) if answer.status == 200) {
        assert!(Instant::now() < until, "{host} is never served");
        std::thread::sleep(Duration::from_micros(500));
    }
}
