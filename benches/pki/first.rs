//! (a) All certificates from an empty Sōzu to all served, against one bare `LoadState` of the same. They are served once
//! Sōzu has said its OK to all of them, which is when `/readyz` says 200; the verdicts are on disk some time later.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use sozu_command_lib::proto::command::{
    AddCertificate, CertificateAndKey, Request, ResponseStatus, SocketAddress, request::RequestType,
};
use testkit::{Daemon, Fate, Sozu, Tap, pki::Issued, tls::shake};

use crate::{
    Directory,
    ground::{self, LONG, cpu, cpu_of_workers},
    name, sozu,
    table::Table,
};

const BINARY: &str = env!("CARGO_BIN_EXE_sozu-manager");
/// One of so many is shaken hands for at the end.
const LOOKED_AT: usize = 20;
/// `/readyz` is asked so often.
const READY_LOOKED_AT: Duration = Duration::from_millis(3);

/// What Sōzu needs by itself for all of them in one file: the better of two.
pub(crate) fn bare(all: &[Issued]) -> Duration {
    let mut best = LONG;
    for _ in 0..2 {
        let sozu = sozu();
        let path = sozu.directory().join("all.json");
        let address = sozu.https_addresses()[0].into();
        let adds = all.iter().enumerate();
        let requests: Vec<Request> = adds.map(|(n, issued)| add(n, issued, address)).collect();
        ground::write_state(&path, &requests);
        let began = Instant::now();
        let load = RequestType::LoadState(path.display().to_string());
        let answers = sozu.exchange(load).unwrap();
        best = best.min(began.elapsed());
        let last = answers.last().unwrap();
        assert_eq!(last.status, i32::from(ResponseStatus::Ok), "{last:?}");
        println!(
            "bare LoadState of {}: {best:.2?} at best; CPU of the main process {:.2} s, of its workers {:.2} s",
            all.len(),
            cpu(sozu.main_pid().unwrap()),
            cpu_of_workers(&sozu)
        );
    }
    best
}

/// As the daemon adds it.
fn add(n: usize, issued: &Issued, address: SocketAddress) -> Request {
    RequestType::AddCertificate(AddCertificate {
        address,
        certificate: CertificateAndKey {
            certificate: issued.leaf.trim().to_owned(),
            certificate_chain: vec![issued.chain.trim().to_owned()],
            key: issued.key.trim().to_owned(),
            names: vec![name(n)],
            versions: Vec::new(),
        },
        expired_at: None,
    })
    .into()
}

/// How long it took.
pub(crate) struct Loaded {
    count: usize,
    /// `check --pki`, which reads and parses all and nothing else.
    reading: Duration,
    /// From the daemon's start to the first request that Sōzu is given.
    preparation: Duration,
    /// From that request until `/readyz` says 200: every one of them is served.
    serving: Duration,
    /// From that request until all of them have their verdict on disk.
    settling: Duration,
    /// Of the daemon, of Sōzu's main process and of its workers, in seconds.
    cpu: [f64; 3],
}

/// Starts a daemon beside an empty Sōzu, and waits until all are served.
pub(crate) fn load(sozu: &Sozu, directory: &Directory) -> (Daemon, Loaded) {
    let count = directory.all.len();
    let tap = Tap::before(sozu).unwrap();
    let first: Arc<Mutex<Option<Instant>>> = Arc::default();
    let noted = first.clone();
    tap.rule(move |request| {
        use RequestType::{AddCertificate, LoadState};
        if let Some(LoadState(_) | AddCertificate(_)) = request.request_type {
            noted.lock().unwrap().get_or_insert_with(Instant::now);
        }
        Fate::Pass
    });
    let path = directory.path();
    let table = format!(
        "[pki.bench]\ndirectory = \"{}\"\n\n[reconcile]\ninterval = \"1h\"\n",
        path.display()
    );
    let mut daemon = Daemon::builder(BINARY, sozu)
        .routes(&[])
        .env(
            "SOZU_MANAGER__SOZU__COMMAND_SOCKET",
            &tap.socket().display().to_string(),
        )
        .extra_toml(&table)
        .prepare()
        .unwrap();
    let began = Instant::now();
    let mut check = daemon.command(&["check", "--pki", path.to_str().unwrap()]);
    assert!(check.output().unwrap().status.success());
    let reading = began.elapsed();

    let began = Instant::now();
    daemon.start().unwrap();
    let served = when_ready(&daemon);
    let on_disk = ground::when(ground::final_on_disk(&daemon.state_directory(), count));
    let first = first.lock().unwrap().unwrap();
    let cpu = [
        cpu(daemon.pid().unwrap()),
        cpu(sozu.main_pid().unwrap()),
        cpu_of_workers(sozu),
    ];
    for (n, issued) in directory.all.iter().enumerate().step_by(LOOKED_AT) {
        let shown = shake(sozu.https_addresses()[0], &name(n)).unwrap();
        assert!(shown.leaf == issued.der, "{} is not served", name(n));
    }
    // The tap passes requests on as long as the bench lives.
    std::mem::forget(tap);
    let loaded = Loaded {
        count,
        reading,
        preparation: first - began,
        serving: served - first,
        settling: on_disk - first,
        cpu,
    };
    (daemon, loaded)
}

/// Waits until `/readyz` says 200.
fn when_ready(daemon: &Daemon) -> Instant {
    let until = Instant::now() + LONG;
    let is_ready = || matches!(daemon.fetch("/readyz"), Ok(answer) if answer.status == 200);
    while !is_ready() {
        assert!(Instant::now() < until, "it never gets ready");
        std::thread::sleep(READY_LOOKED_AT);
    }
    Instant::now()
}

impl Loaded {
    pub(crate) fn judge(&self, bare: Duration, table: &mut Table) {
        let rate = |took: Duration| self.count as f64 / took.as_secs_f64();
        let share = bare.as_secs_f64() / self.serving.as_secs_f64();
        table.judged(
            &format!(
                "(a) {} certificates: first request → all served (`/readyz`)",
                self.count
            ),
            format!("{:.2?}, {:.0}/s", self.serving, rate(self.serving)),
            format!("one bare LoadState {bare:.2?}, {:.0}/s", rate(bare)),
            &format!("{share:.2} of its rate"),
            "≥ 0.9",
            share >= 0.9,
        );
        table.shown(
            "(a) first request → all verdicts on disk",
            format!("{:.2?}, {:.0}/s", self.settling, rate(self.settling)),
            format!(
                "{:.2} of the bare rate",
                bare.as_secs_f64() / self.settling.as_secs_f64()
            ),
        );
        table.shown(
            "(a) before it: read, parsed, compared, in the log",
            format!("{:.2?} from the daemon's start", self.preparation),
            format!(
                "reading and parsing alone (`check --pki`) {:.2?}",
                self.reading
            ),
        );
        let [ours, main, workers] = self.cpu;
        table.shown(
            "(a) CPU time of both",
            format!("{ours:.1} s"),
            format!("Sōzu: main process {main:.1} s, workers {workers:.1} s"),
        );
    }
}
