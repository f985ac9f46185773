//! Every number is right, whoever dies.

use std::collections::BTreeMap;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sozu_command_lib::proto::command::{UpgradeMain, request::RequestType};
use testkit::{Backend, Load, SOON, Sozu, get, wait_until};

use crate::{
    stand::{exporter, valid},
    support::{daemon, requests, sozu_up},
};

/// All samples of Sōzu's counters and histograms.
fn totals(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| line.starts_with("sozu_") && !line.starts_with("sozu_manager_"))
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(series, _)| {
            let name = series.split('{').next().unwrap();
            ["_total", "_count", "_sum", "_bucket"]
                .iter()
                .any(|end| name.ends_with(end))
        })
        .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
        .collect()
}

#[track_caller]
fn none_fell(before: &str, after: &str) {
    let after = totals(after);
    for (series, value) in totals(before) {
        let now = after.get(&series).copied();
        assert!(now >= Some(value), "{series} was {value} and is {now:?}");
    }
}

#[test]
fn every_request_is_counted_once_over_the_death_of_a_worker_too() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    sozu.apply(requests(&sozu, "a", "a.example", backend.address()))
        .unwrap();
    let daemon = exporter(&sozu);
    let send = |count: usize| {
        for _ in 0..count {
            assert_eq!(get(sozu.http_port(), "a.example", "/").unwrap().status, 200);
        }
    };
    let of_a = [("cluster", "a")];
    let counted = |expected: f64| {
        for name in [
            "sozu_cluster_requests_total",
            "sozu_cluster_request_seconds_count",
            "sozu_cluster_backend_response_seconds_count",
        ] {
            // The session's end, where some are counted, may come after the client's last byte.
            wait_until(&format!("{name} is {expected}"), SOON, || {
                let value = daemon.metric(name, &of_a);
                if value == Some(expected) {
                    Ok(())
                } else {
                    Err(format!("{value:?}"))
                }
            });
        }
        let labels = [("cluster", "a"), ("class", "2xx")];
        assert_eq!(
            daemon.metric("sozu_cluster_http_responses_total", &labels),
            Some(expected)
        );
        assert_eq!(
            daemon.metric("sozu_http_requests_total", &[]),
            Some(expected)
        );
        daemon.metrics().unwrap()
    };
    send(50);
    let before = counted(50.0);

    let worker = sozu.worker_pids()[0];
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    wait_until("a new worker", SOON, || {
        let pids = sozu.worker_pids();
        pids.len() == 2 && !pids.contains(&worker)
    });
    wait_until("two workers tell", SOON, || {
        let text = daemon.metrics().unwrap();
        none_fell(&before, &text);
        text.lines()
            .filter(|line| line.starts_with("sozu_worker_uptime_seconds{"))
            .count()
            == 2
    });
    send(50);
    let after = counted(100.0);
    none_fell(&before, &after);
    assert_eq!(backend.requests(), 100);
}

/// The main process and both workers are replaced while they run.
#[test]
fn no_total_falls_over_a_hot_upgrade() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    sozu.apply(requests(&sozu, "a", "a.example", backend.address()))
        .unwrap();
    let daemon = exporter(&sozu);
    let send = || {
        for _ in 0..30 {
            assert_eq!(get(sozu.http_port(), "a.example", "/").unwrap().status, 200);
        }
    };
    let counted = |expected: f64| {
        wait_until(&format!("{expected} are counted"), SOON, || {
            let value = daemon.metric("sozu_cluster_requests_total", &[("cluster", "a")]);
            if value == Some(expected) {
                Ok(())
            } else {
                Err(format!("{value:?}"))
            }
        });
        daemon.metrics().unwrap()
    };
    send();
    let before = counted(30.0);
    let pids = sozu.pids();
    sozu.apply([RequestType::UpgradeMain(UpgradeMain {})])
        .unwrap();
    wait_until("a new main process", SOON, || sozu.pids().len() == 3);
    for worker in 0..2 {
        sozu.apply([RequestType::UpgradeWorker(worker)]).unwrap();
    }
    wait_until("everything is new", 2 * SOON, || {
        let now = sozu.pids();
        now.len() == 3 && now.iter().all(|pid| !pids.contains(pid))
    });
    send();
    let after = counted(60.0);
    none_fell(&before, &after);
}

/// What was done after the last scrape goes with the worker, and no more.
#[test]
fn a_dead_worker_takes_at_most_what_it_did_since_the_last_scrape() {
    let sozu = Sozu::builder().workers(1).start().unwrap();
    let backend = Backend::start("A").unwrap();
    sozu.apply(requests(&sozu, "a", "a.example", backend.address()))
        .unwrap();
    let daemon = exporter(&sozu);
    let total = || daemon.metric("sozu_cluster_requests_total", &[("cluster", "a")]);
    for _ in 0..20 {
        get(sozu.http_port(), "a.example", "/").unwrap();
    }
    wait_until("twenty are counted", SOON, || total() == Some(20.0));
    for _ in 0..7 {
        get(sozu.http_port(), "a.example", "/").unwrap();
    }
    let worker = sozu.worker_pids()[0];
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    wait_until("a new worker", SOON, || {
        sozu.worker_pids().first().is_some_and(|pid| *pid != worker)
    });
    wait_until("the new worker serves", SOON, || {
        get(sozu.http_port(), "a.example", "/").is_ok_and(|answer| answer.status == 200)
    });
    wait_until("one more is counted", SOON, || {
        let value = total();
        if value == Some(21.0) {
            Ok(())
        } else {
            Err(format!("{value:?}"))
        }
    });
}

#[test]
fn a_histogram_agrees_with_who_sent_the_requests() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    sozu.apply(requests(&sozu, "a", "a.example", backend.address()))
        .unwrap();
    let daemon = exporter(&sozu);
    let load = Load::start(sozu.http_port(), "a.example", "/");
    wait_until("some load", SOON, || load.tally().total() >= 300);
    let tally = load.stop();
    assert_eq!(tally.failed(), 0, "{tally}");
    let sent = f64::from(u32::try_from(backend.requests()).unwrap());
    wait_until("all of it is counted", SOON, || {
        let counted = daemon.metric("sozu_cluster_request_seconds_count", &[("cluster", "a")]);
        if counted == Some(sent) {
            Ok(())
        } else {
            Err(format!("{counted:?} of {sent}"))
        }
    });
    let text = daemon.metrics().unwrap();
    let bucket = |le| {
        daemon.metric(
            "sozu_cluster_request_seconds_bucket",
            &[("cluster", "a"), ("le", le)],
        )
    };
    assert_eq!(bucket("+Inf"), Some(sent), "{text}");
    let mut last = 0.0;
    for le in [
        "0.001", "0.004", "0.016", "0.064", "0.256", "1.024", "4.096", "16.384",
    ] {
        let now = bucket(le).unwrap();
        assert!(now >= last, "{le}: {now} < {last}");
        last = now;
    }
    // Whole milliseconds: the sum is within what the buckets allow.
    let sum = daemon
        .metric("sozu_cluster_request_seconds_sum", &[("cluster", "a")])
        .unwrap();
    assert!((0.0..=sent * 4.0).contains(&sum), "{sum}");
}

#[test]
fn beyond_the_budget_the_busiest_are_named_and_the_sums_are_right() {
    let sozu = Sozu::start().unwrap();
    let backend = Backend::start("A").unwrap();
    for n in 0..30 {
        let (id, host) = (format!("c{n:02}"), format!("c{n:02}.example"));
        let cluster = requests(&sozu, &id, &host, backend.address());
        sozu.apply(cluster).unwrap();
    }
    let requests_sent = f64::from(29 * 2 + 20);
    let send = || {
        for n in 0..30 {
            let host = format!("c{n:02}.example");
            for _ in 0..if n == 17 { 20 } else { 2 } {
                get(sozu.http_port(), &host, "/").unwrap();
            }
        }
    };
    send();
    let daemon = daemon(&sozu)
        .routes(&[])
        .extra_toml("[metrics]\nshare_for = \"1ms\"\nmax_series = 1300")
        .start()
        .unwrap();
    sozu_up(&daemon, 1.0);
    let sum = |text: &str| -> f64 {
        totals(text)
            .iter()
            .filter(|(series, _)| series.starts_with("sozu_cluster_requests_total{"))
            .map(|(_, value)| value)
            .sum()
    };
    let counted = |expected: f64| {
        wait_until("all is counted", SOON, || {
            let sum = sum(&daemon.metrics().unwrap());
            if (sum - expected).abs() < 0.5 {
                Ok(())
            } else {
                Err(format!("{sum} of {expected}"))
            }
        });
    };
    counted(requests_sent);
    let before = daemon.metrics().unwrap();
    send();
    counted(2.0 * requests_sent);
    let text = valid(&daemon, "beyond the budget");
    none_fell(&before, &text);
    for cluster in ["c17", "other"] {
        let series = format!("sozu_cluster_requests_total{{cluster=\"{cluster}\"}}");
        assert!(text.contains(&series), "no {series} in {text}");
    }
    let left_out = daemon.metric("sozu_manager_clusters_in_other", &[]);
    let left_out = left_out.unwrap();
    assert!((1.0..30.0).contains(&left_out), "{left_out}");
    let of_sozu = |line: &&str| line.starts_with("sozu_") && !line.starts_with("sozu_manager_");
    // `sozu_up` and `sozu_workers` are not in the budget.
    assert!(text.lines().filter(of_sozu).count() <= 1_302);
}
