//! What Sōzu needs by itself: one `LoadState` of everything.

use std::time::{Duration, Instant};

use sozu_command_lib::proto::command::{ResponseStatus, request::RequestType};

use crate::ground::{self, LONG, cpu, cpu_of_workers};

/// What Sōzu needs by itself for all requests in one file: the better of two.
pub(crate) fn bare(clusters: usize) -> Duration {
    let mut best = LONG;
    for _ in 0..2 {
        let sozu = ground::sozu();
        let path = sozu.directory().join("all.json");
        ground::write_state(&path, &ground::requests(&sozu, clusters));
        let main = sozu.main_pid().unwrap();
        let before = (cpu(main), cpu_of_workers(&sozu));
        let began = Instant::now();
        let load = RequestType::LoadState(path.display().to_string());
        let answers = sozu.exchange(load).unwrap();
        let took = began.elapsed();
        let last = answers.last().unwrap();
        assert_eq!(last.status, i32::from(ResponseStatus::Ok), "{last:?}");
        println!(
            "bare LoadState of {}: {took:.2?}; CPU of the main process {:.2} s, of its workers {:.2} s",
            clusters * 3,
            cpu(main) - before.0,
            cpu_of_workers(&sozu) - before.1
        );
        best = best.min(took);
    }
    best
}
