//! (b) One message at a time: publish → live, against Pulsar's own publish → receive and Sōzu's own time for the request.

use std::time::{Duration, Instant};

use prost::Message;
use sozu_command_lib::proto::command::{
    AddBackend, Cluster, Request, SocketAddress, request::RequestType,
};
use testkit::{Backend, Daemon, Pulsar, Sozu, get, pulsar::Echo};

use crate::{
    ground::{self, LONG},
    table::Table,
    topic::{Topic, percentiles},
};

/// What is added in goal's words.
const MORE: Duration = Duration::from_millis(1);

pub(crate) fn on_an_empty_sozu(broker: &Pulsar, table: &mut Table) {
    let sozu = ground::sozu();
    let mut topic = Topic::new(broker, "one");
    let mut daemon = topic.daemon(&sozu);
    daemon.start().unwrap();
    daemon.wait_ready(LONG).unwrap();
    on(broker, &daemon, &sozu, &mut topic, "empty", table);
    daemon.terminate().unwrap();
}

/// In turns, so that whatever else the machine does happens to all of them.
pub(crate) fn on(
    broker: &Pulsar,
    daemon: &Daemon,
    sozu: &Sozu,
    topic: &mut Topic,
    state: &str,
    table: &mut Table,
) {
    let backend = Backend::start("A").unwrap();
    let frontend = |host: &str| Request::from(ground::frontend("one", host, sozu));
    let first = [
        RequestType::AddCluster(Cluster {
            cluster_id: "one".to_owned(),
            ..Cluster::default()
        }),
        RequestType::AddBackend(AddBackend {
            cluster_id: "one".to_owned(),
            backend_id: "one-0".to_owned(),
            address: SocketAddress::from(backend.address()),
            ..AddBackend::default()
        }),
    ];
    let mut first: Vec<Request> = first.into_iter().map(Request::from).collect();
    first.push(frontend("first.example"));
    topic.publish(&first);
    served(sozu, "first.example");
    // of its own each time: what the one before has left would come first
    let echoes = testkit::pulsar::topic(&state.replace(' ', "-"));
    let mut echo = Echo::new(&broker.url(), &echoes).unwrap();
    echo.once(b"first".to_vec()).unwrap();

    let (mut ours, mut of_sozu, mut of_pulsar) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..ground::number("TIMES", 200) {
        let host = format!("one{n}.example");
        let request = frontend(&host);
        let payload = request.encode_to_vec();
        let began = Instant::now();
        topic.publish(&[request]);
        served(sozu, &host);
        ours.push(began.elapsed());

        let host = format!("bare{n}.example");
        let request = ground::frontend("one", &host, sozu);
        let began = Instant::now();
        sozu.apply([request]).unwrap();
        served(sozu, &host);
        of_sozu.push(began.elapsed());

        of_pulsar.push(echo.once(payload).unwrap());
    }
    let [ours, of_sozu, of_pulsar] = [ours, of_sozu, of_pulsar].map(percentiles);
    let shown = |[p50, p99]: [Duration; 2]| format!("p50 {p50:.1?}, p99 {p99:.1?}");
    let theirs = of_sozu[0] + of_pulsar[0];
    let more = ours[0].saturating_sub(theirs);
    table.judged(
        &format!("(b) one message, Sōzu {state}: publish → first 200"),
        shown(ours),
        format!(
            "Pulsar's publish → receive: {}; Sōzu, the request alone → first 200: {}",
            shown(of_pulsar),
            shown(of_sozu)
        ),
        &format!("+{more:.1?} at the median"),
        "≤ +1 ms",
        more <= MORE,
    );
    assert!(daemon.pid().is_some());
}

fn served(sozu: &Sozu, host: &str) {
    let until = Instant::now() + LONG;
    while !matches!(get(sozu.http_port(), host, "/"), Ok(answer) if answer.status == 200) {
        assert!(Instant::now() < until, "{host} is never served");
        std::thread::sleep(Duration::from_micros(200));
    }
}
