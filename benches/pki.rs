//! Certificates by the thousand: how long until all are served, until a renewal is, what an idle
//! directory costs, and memory. Sōzu's own time for the same certificates is in the same run.
//!
//! `CERTIFICATES=10000` is the size.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss
)]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sozu_command_lib::proto::command::{
    AddCertificate, CertificateAndKey, Request, ResponseStatus, SocketAddress, WorkerRequest,
    request::RequestType,
};
use testkit::{
    Daemon, Sozu,
    pki::{Authority, Issued},
    tls::shake,
};

const LONG: Duration = Duration::from_mins(10);
const BINARY: &str = env!("CARGO_BIN_EXE_sozu-manager");
const RENEWALS: usize = 100;
const IDLE: Duration = Duration::from_secs(95);
/// Rescans of a watched directory in that time: one every 30 s.
const RESCANS: f64 = 3.0;

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let count = std::env::var("CERTIFICATES").map_or(10_000, |text| text.parse().unwrap());
    println!("{count} ECDSA certificates in one flat directory; two workers");
    let authority = Authority::new().unwrap();
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("certificates");
    let all: Vec<Issued> = (0..count)
        .map(|n| {
            let issued = authority.issue(&[&name(n)]).unwrap();
            issued
                .write(&directory, &format!("c{n}.crt"), &format!("c{n}.key"))
                .unwrap();
            issued
        })
        .collect();

    let bare = bare(&all);
    let sozu = Sozu::builder()
        .https_listeners(1)
        .worker_timeout(10)
        .start()
        .unwrap();
    let mut daemon = first_load(&sozu, &directory, count, bare);
    let resident = resident(daemon.pid().unwrap());
    println!(
        "memory: {} MB resident, {:.1} kB for each",
        resident >> 20,
        resident as f64 / 1024.0 / count as f64
    );
    renewals(&sozu, &directory, &authority, count);
    idle(&daemon);
    daemon.terminate().unwrap();
}

fn name(n: usize) -> String {
    format!("c{n}.bench.example")
}

/// Sōzu's own time for one `LoadState` of all of them; the better of two.
fn bare(all: &[Issued]) -> Duration {
    let mut best = LONG;
    for _ in 0..2 {
        let sozu = Sozu::builder()
            .https_listeners(1)
            .worker_timeout(10)
            .start()
            .unwrap();
        let path = sozu.directory().join("all.json");
        let address = SocketAddress::from(sozu.https_addresses()[0]);
        let mut file = std::io::BufWriter::new(fs::File::create(&path).unwrap());
        for (n, issued) in all.iter().enumerate() {
            let add = AddCertificate {
                address,
                certificate: CertificateAndKey {
                    certificate: issued.leaf.clone(),
                    certificate_chain: vec![issued.chain.clone()],
                    key: issued.key.clone(),
                    names: vec![name(n)],
                    versions: Vec::new(),
                },
                expired_at: None,
            };
            let record = WorkerRequest {
                id: format!("SAVE-{n}"),
                content: Request::from(RequestType::AddCertificate(add)),
            };
            serde_json::to_writer(&mut file, &record).unwrap();
            file.write_all(b"\n\0").unwrap();
        }
        file.flush().unwrap();
        let began = Instant::now();
        let load = RequestType::LoadState(path.display().to_string());
        let answers = sozu.exchange(load).unwrap();
        best = best.min(began.elapsed());
        assert_eq!(
            answers.last().unwrap().status,
            i32::from(ResponseStatus::Ok)
        );
    }
    let rate = all.len() as f64 / best.as_secs_f64();
    println!("bare LoadState: {best:.2?}, {rate:.0} certificates/s");
    best
}

/// From an empty Sōzu to all of them served; reading and parsing told apart.
fn first_load(sozu: &Sozu, directory: &Path, count: usize, bare: Duration) -> Daemon {
    let table = format!(
        "[pki.bench]\ndirectory = \"{}\"\n\n[reconcile]\ninterval = \"1h\"\n",
        directory.display()
    );
    let mut daemon = Daemon::builder(BINARY, sozu)
        .routes(&[])
        .extra_toml(&table)
        .prepare()
        .unwrap();
    let began = Instant::now();
    let check = daemon
        .command(&["check", "--pki", directory.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(check.status.success());
    let reading = began.elapsed();
    let began = Instant::now();
    daemon.start().unwrap();
    daemon.wait_ready(LONG).unwrap();
    let all = began.elapsed();
    shake(sozu.https_addresses()[0], &name(count - 1)).unwrap();
    println!("reading and parsing (`check --pki`): {reading:.2?}");
    println!(
        "first load: {all:.2?} from the daemon's start; without reading {:.2?}, {:.2} of a bare LoadState's rate",
        all.saturating_sub(reading),
        bare.as_secs_f64() / all.saturating_sub(reading).as_secs_f64()
    );
    daemon
}

/// From the end of the write to the handshake that shows it.
fn renewals(sozu: &Sozu, directory: &Path, authority: &Authority, count: usize) {
    let mut times: Vec<Duration> = (0..RENEWALS)
        .map(|round| {
            let n = (round * 97) % count;
            let issued = authority.issue(&[&name(n)]).unwrap();
            issued
                .write(directory, &format!("c{n}.crt"), &format!("c{n}.key"))
                .unwrap();
            let began = Instant::now();
            while shake(sozu.https_addresses()[0], &name(n)).unwrap().leaf != issued.der {
                assert!(began.elapsed() < LONG);
                std::thread::sleep(Duration::from_millis(5));
            }
            began.elapsed()
        })
        .collect();
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!(
        "one renewed among {count}: p50 {:.2?}, p99 {:.2?} (0.3 s of it is settling)",
        at(50),
        at(99)
    );
}

fn idle(daemon: &Daemon) {
    let pid = daemon.pid().unwrap();
    // What follows the renewals is over.
    std::thread::sleep(Duration::from_secs(10));
    let before = cpu_seconds(pid);
    std::thread::sleep(IDLE);
    let spent = cpu_seconds(pid) - before;
    println!(
        "idle: {:.0} ms of CPU in {IDLE:?}, {:.0} ms for each rescan, all else included",
        spent * 1000.0,
        spent * 1000.0 / RESCANS
    );
}

fn resident(pid: i32) -> u64 {
    let path = PathBuf::from(format!("/proc/{pid}/statm"));
    let text = fs::read_to_string(path).unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn cpu_seconds(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks = |n: usize| fields[n].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}
