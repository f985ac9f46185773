//! Each warning once, then at most every ten minutes with how many were folded.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

const AGAIN_AFTER: Duration = Duration::from_mins(10);

/// What is to be logged now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A warning, with how often it came since it was last logged.
    Warning { text: String, folded: u64 },
    /// What was warned of is no more.
    Over { text: String },
}

/// The warnings that stand.
#[derive(Debug, Default)]
pub(super) struct LogOnce {
    standing: BTreeMap<String, (Instant, u64)>,
}

impl LogOnce {
    /// Takes all warnings that stand now, and tells what to log of it.
    pub(super) fn stand(&mut self, now: Instant, texts: BTreeSet<String>) -> Vec<Line> {
        let mut lines = Vec::new();
        self.standing.retain(|text, _| {
            let stands = texts.contains(text);
            if !stands {
                lines.push(Line::Over { text: text.clone() });
            }
            stands
        });
        for text in texts {
            match self.standing.get_mut(&text) {
                Some((last, folded)) if now < *last + AGAIN_AFTER => *folded += 1,
                Some((last, folded)) => {
                    *last = now;
                    lines.push(Line::Warning {
                        text,
                        folded: std::mem::take(folded),
                    });
                }
                None => {
                    self.standing.insert(text.clone(), (now, 0));
                    lines.push(Line::Warning { text, folded: 0 });
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_standing_warning_is_folded_and_said_again_and_its_end_is_said() {
        let start = Instant::now();
        let mut log = LogOnce::default();
        let warning = |folded| Line::Warning {
            text: "a".to_owned(),
            folded,
        };
        assert_eq!(log.stand(start, set(&["a"])), [warning(0)]);
        for n in 1..20 {
            let at = start + Duration::from_secs(30 * n);
            assert_eq!(log.stand(at, set(&["a"])), []);
        }
        assert_eq!(log.stand(start + AGAIN_AFTER, set(&["a"])), [warning(19)]);
        let over = Line::Over {
            text: "a".to_owned(),
        };
        assert_eq!(log.stand(start + AGAIN_AFTER, set(&[])), [over]);
        assert_eq!(log.stand(start + AGAIN_AFTER, set(&["a"])), [warning(0)]);
    }
}
