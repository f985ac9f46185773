//! What one reading shows, family by family, and how it is written piece by piece.

use std::{fmt::Write, sync::Arc};

use super::{names::Family, number::Number};
use crate::metrics::text::{Format, Header, Observations, Text};

/// So large is a piece of the text, about, in bytes.
const PIECE: usize = 64 << 10;

/// What one reading shows.
#[derive(Debug, Default, PartialEq)]
pub struct Snapshot {
    pub(super) families: Vec<(Arc<Family>, Vec<Sample>)>,
}

/// One series.
#[derive(Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) cluster: Option<Arc<str>>,
    pub(super) backend: Option<Arc<str>>,
    pub(super) labels: Arc<[(&'static str, String)]>,
    pub(super) worker: Option<Arc<str>>,
    pub(super) value: Reading,
}

#[derive(Debug, PartialEq)]
pub(super) enum Reading {
    Gauge(f64),
    /// And since when it counts, in seconds since 1970.
    Number(Number, f64),
}

/// How far the text was written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    family: usize,
    sample: usize,
}

impl Snapshot {
    /// How many series it has, a histogram's being several.
    #[cfg(test)]
    pub(super) fn series(&self) -> usize {
        let samples = self.families.iter().flat_map(|(_, samples)| samples);
        samples.map(Sample::series).sum()
    }

    /// The next piece of the text, until there is none.
    pub(crate) fn next_piece(&self, cursor: &mut Cursor, format: Format) -> Option<String> {
        let mut text = Text::with_capacity(format, PIECE + (PIECE >> 3));
        let mut buffer = String::new();
        while let Some((family, samples)) = self.families.get(cursor.family) {
            let header = Header {
                name: &family.name,
                kind: family.kind,
                help: &family.help,
            };
            while let Some(sample) = samples.get(cursor.sample) {
                let mut writing = if cursor.sample == 0 {
                    text.family(header)
                } else {
                    text.resume(header)
                };
                sample.write(&mut writing, &mut buffer);
                cursor.sample += 1;
                if text.len() >= PIECE {
                    return Some(text.finish());
                }
            }
            *cursor = Cursor {
                family: cursor.family + 1,
                sample: 0,
            };
        }
        (text.len() > 0).then(|| text.finish())
    }
}

impl Sample {
    #[cfg(test)]
    fn series(&self) -> usize {
        super::budget::series(match &self.value {
            Reading::Number(number, _) => Some(number),
            Reading::Gauge(_) => None,
        })
    }

    fn write(&self, family: &mut crate::metrics::text::Family<'_>, buffer: &mut String) {
        let mut labels: [(&str, &str); 8] = [("", ""); 8];
        let mut used = 0;
        let named = [
            ("cluster", self.cluster.as_deref()),
            ("backend", self.backend.as_deref()),
            ("worker", self.worker.as_deref()),
        ];
        let named = named
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| (name, value)));
        let own = self
            .labels
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        for (place, label) in labels.iter_mut().zip(named.chain(own)) {
            *place = label;
            used += 1;
        }
        let labels = &labels[..used];
        match &self.value {
            Reading::Gauge(value) => family.sample(labels, value),
            Reading::Number(Number::One(count), created) => family.counter(labels, count, *created),
            Reading::Number(Number::Many(counts), created) => {
                if let [buckets @ .., count, sum] = &counts[..] {
                    buffer.clear();
                    // Whole milliseconds as seconds, exactly.
                    let _ = write!(buffer, "{}.{:03}", sum / 1_000, sum % 1_000);
                    let seen = Observations {
                        buckets,
                        count: *count,
                        sum: &*buffer,
                    };
                    family.histogram(labels, seen, *created);
                }
            }
        }
    }
}
