//! Whether a topic that is read from its start still has its start.
//!
//! A broker does not say what its retention has removed, and ledgers are numbered for the whole cluster. But each producer numbers
//! what it sends from 0 on: if the first message of a producer that is still there has a higher number, earlier ones are gone.
//! (One whose producers all began after that looks whole.)

use std::collections::HashSet;

/// More producers are not remembered.
const PRODUCERS: usize = 1_000;

/// What was seen of it.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    last: String,
    seen: HashSet<String>,
    gone: Option<String>,
}

impl Beginning {
    /// An entry came: by whom, the number of its first message, and how many it holds.
    pub(super) fn entry(&mut self, producer: &str, number: u64, messages: Option<u32>) {
        if producer == self.last || self.seen.contains(producer) || self.seen.len() >= PRODUCERS {
            return;
        }
        producer.clone_into(&mut self.last);
        self.seen.insert(producer.to_owned());
        // Some clients number a batch by its last message.
        if number >= u64::from(messages.unwrap_or(1)) && self.gone.is_none() {
            self.gone = Some(format!(
                "the first message of the producer {producer} that is there is its number {number}, counted from 0"
            ));
        }
    }

    /// Why the start is known to be gone; told once.
    pub(super) fn gone(&mut self) -> Option<String> {
        self.gone.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_message_with_a_number_tells_that_earlier_ones_are_gone() {
        for (entries, gone) in [
            (
                &[("a", 0, None), ("a", 1, None), ("b", 0, Some(3))][..],
                false,
            ),
            (&[("a", 2, Some(3)), ("a", 5, Some(3))], false),
            (&[("a", 3, Some(3))], true),
            (&[("a", 1, None)], true),
            (&[("a", 0, None), ("b", 7, None)], true),
        ] {
            let mut beginning = Beginning::default();
            for (producer, number, messages) in entries {
                beginning.entry(producer, *number, *messages);
            }
            assert_eq!(beginning.gone().is_some(), gone, "{entries:?}");
            assert_eq!(beginning.gone(), None, "it is told once");
        }
    }
}
