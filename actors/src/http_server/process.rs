//! What Linux says of this process, as Prometheus' own client libraries tell it.

use std::{fs, time::Duration};

use nix::unistd::{SysconfVar, sysconf};

use crate::metrics::{PROCESS_CPU, PROCESS_MEMORY, PROCESS_OPEN_FDS, PROCESS_START, text::Text};

/// One look at the process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Process {
    pub(super) cpu: Duration,
    pub(super) resident_bytes: u64,
    pub(super) open_fds: usize,
    /// Since 1970.
    pub(super) started: Duration,
}

impl Process {
    /// Reads `/proc`. `None` where there is none: then these metrics are left out.
    pub(super) fn read() -> Option<Self> {
        let ticks = unit(SysconfVar::CLK_TCK)?;
        let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
        let boot = boot_time(&fs::read_to_string("/proc/stat").ok()?)?;
        // One of them is the directory that is being read.
        let open_fds = fs::read_dir("/proc/self/fd")
            .ok()?
            .count()
            .saturating_sub(1);
        Some(Self {
            cpu: duration(stat.cpu_ticks, ticks),
            resident_bytes: stat.resident_pages * unit(SysconfVar::PAGE_SIZE)?,
            open_fds,
            started: boot + duration(stat.started_ticks, ticks),
        })
    }

    pub(super) fn write(&self, text: &mut Text) {
        text.family(&PROCESS_CPU)
            .sample(&[], self.cpu.as_secs_f64());
        text.family(&PROCESS_MEMORY)
            .sample(&[], self.resident_bytes);
        text.family(&PROCESS_OPEN_FDS).sample(&[], self.open_fds);
        text.family(&PROCESS_START)
            .sample(&[], self.started.as_secs_f64());
    }
}

fn unit(name: SysconfVar) -> Option<u64> {
    u64::try_from(sysconf(name).ok()??).ok().filter(|n| *n > 0)
}

fn duration(ticks: u64, per_second: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(1_000) / per_second)
}

/// Of `/proc/self/stat`, what is used here (`man 5 proc_pid_stat`).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    /// Since the machine was booted.
    started_ticks: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in brackets, which may hold anything; the third
        // is the first one after it.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            started_ticks: field(22)?,
            resident_pages: field(24)?,
        })
    }
}

fn boot_time(stat: &str) -> Option<Duration> {
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(Duration::from_secs(seconds.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_named_anything() {
        let stat = "42 (so) zu (x) S 1 42 42 0 -1 4194560 900 0 0 0 150 25 0 0 20 0 9 0 7700 \
                    123456789 2048 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0";
        let expected = Stat {
            cpu_ticks: 175,
            started_ticks: 7_700,
            resident_pages: 2_048,
        };
        assert_eq!(Stat::parse(stat), Some(expected));
        assert_eq!(Stat::parse("42 (sozu"), None);
        assert_eq!(Stat::parse("42 (sozu) S 1"), None);
    }

    #[test]
    fn the_boot_time_is_found_among_the_rest() {
        let stat = "cpu  1 2 3\nbtime 1700000000\nprocesses 7\n";
        assert_eq!(boot_time(stat), Some(Duration::from_secs(1_700_000_000)));
        assert_eq!(boot_time("cpu 1 2 3\n"), None);
    }

    #[test]
    fn this_very_process_is_seen() {
        let process = Process::read().unwrap();
        assert!(process.resident_bytes > 100_000, "{process:?}");
        assert!(process.open_fds >= 3, "{process:?}");
        let now = Duration::from_secs_f64(crate::metrics::seconds(std::time::SystemTime::now()));
        assert!(
            process.started <= now + Duration::from_secs(5),
            "{process:?}"
        );
    }
}
