//! `/livez`: whether a restart of the whole process would help.

use std::time::{Duration, SystemTime};

use supervisors::{Component, State};

/// A supervisor whose loop stands still so long is dead.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// A critical component that is down or silent for so long does not come back by itself.
const BACK_WITHIN: Duration = Duration::from_mins(1);

/// `Ok`, or why the process is as good as dead. The absence of Sōzu, of a disk or of a broker makes
/// a component degraded, which does not count here.
///
/// `last_turn` is how long ago the supervisor's loop turned.
pub(super) fn livez(
    components: &[Component],
    last_turn: Duration,
    now: SystemTime,
) -> Result<(), String> {
    if last_turn >= TURN_WITHIN {
        return Err(format!(
            "the supervisor has not turned for {} s",
            last_turn.as_secs()
        ));
    }
    for component in components {
        // A clock that was set back makes it younger, never dead.
        let down_for = now.duration_since(component.since).unwrap_or_default();
        let (down, down_for) = match component.state {
            State::Backoff => ("in backoff", down_for),
            State::Stopped => ("stopped", down_for),
            _ => ("without a heartbeat", component.silent_for),
        };
        if component.critical && down_for >= BACK_WITHIN {
            return Err(format!(
                "{} has been {down} for {} s",
                component.name,
                down_for.as_secs()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_server::health::tests::component;

    const NEVER: Duration = Duration::from_secs(u64::MAX);

    #[test]
    fn only_a_still_supervisor_or_a_critical_component_long_down_is_dead() {
        let second = Duration::from_secs(1);
        let now = SystemTime::UNIX_EPOCH + 1_000_000 * second;
        let table = [
            // critical, state, for so long, the loop turned so long ago, live
            (true, State::Running, NEVER, second, true),
            (true, State::Running, second, 9 * second, true),
            (true, State::Running, second, 10 * second, false),
            (true, State::Degraded, 3600 * second, second, true),
            (true, State::Starting, 3600 * second, second, true),
            (true, State::Stopping, 3600 * second, second, true),
            (true, State::Backoff, 59 * second, second, true),
            (true, State::Backoff, 60 * second, second, false),
            (true, State::Stopped, 59 * second, second, true),
            (true, State::Stopped, 60 * second, second, false),
            (false, State::Backoff, 3600 * second, second, true),
            (false, State::Stopped, 3600 * second, second, true),
            (false, State::Parked, 3600 * second, second, true),
        ];
        for (critical, state, down_for, last_turn, live) in table {
            let mut one = component("socket_pool", state);
            one.critical = critical;
            one.since = now.checked_sub(down_for).unwrap_or(SystemTime::UNIX_EPOCH);
            let verdict = livez(&[one], last_turn, now);
            assert_eq!(
                verdict.is_ok(),
                live,
                "critical {critical}, {state:?} for {down_for:?}, turned {last_turn:?} ago: {verdict:?}"
            );
        }
    }

    #[test]
    fn a_critical_component_without_a_heartbeat_is_dead() {
        let second = Duration::from_secs(1);
        let now = SystemTime::UNIX_EPOCH + 1_000_000 * second;
        let up = [State::Starting, State::Running, State::Degraded];
        for (critical, silent_for, live) in [
            (true, 59 * second, true),
            (true, 60 * second, false),
            (false, NEVER, true),
        ] {
            for state in up {
                let mut one = component("state_keeper", state);
                one.critical = critical;
                one.silent_for = silent_for;
                let verdict = livez(&[one], second, now);
                let expected = if live {
                    Ok(())
                } else {
                    Err("state_keeper has been without a heartbeat for 60 s".to_owned())
                };
                assert_eq!(verdict, expected, "{state:?} for {silent_for:?}");
            }
        }
    }

    #[test]
    fn the_reason_names_the_component() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let mut keeper = component("state_keeper", State::Backoff);
        keeper.since = now - Duration::from_secs(75);
        let components = [component("socket_pool", State::Running), keeper];
        assert_eq!(
            livez(&components, Duration::ZERO, now),
            Err("state_keeper has been in backoff for 75 s".into())
        );
    }

    #[test]
    fn a_clock_that_was_set_back_kills_nobody() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let mut keeper = component("state_keeper", State::Backoff);
        keeper.since = now + Duration::from_hours(1);
        assert_eq!(livez(&[keeper], Duration::ZERO, now), Ok(()));
    }
}
