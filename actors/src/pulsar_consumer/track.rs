//! Places in a topic: what came, in which entry it lies, and how far the broker may be told.
//!
//! The broker acknowledges entries, and one entry may hold many messages. So an entry may be acknowledged only once the
//! last message in it is settled.

use std::collections::VecDeque;

use pulsar::proto::MessageIdData;

use crate::messages::Position;

/// The broker's word for "before the first message" (-1, as the unsigned number that it is sent as).
const BEFORE_ALL: u64 = u64::MAX;

/// A message's place.
pub(super) fn position(id: &MessageIdData) -> Position {
    Position {
        ledger: id.ledger_id,
        entry: id.entry_id,
        index: id.batch_index.unwrap_or(-1),
    }
}

/// The place of a topic's last message; nothing for a topic that holds none.
pub(super) fn end(id: &MessageIdData) -> Option<Position> {
    (id.entry_id != BEFORE_ALL).then(|| position(id))
}

/// A place as the broker takes it; nothing: before the first message. A message of a batch is named by its entry, which so
/// comes again as a whole.
pub(super) fn id(position: Option<Position>) -> MessageIdData {
    let (ledger_id, entry_id) =
        position.map_or((BEFORE_ALL, BEFORE_ALL), |it| (it.ledger, it.entry));
    MessageIdData {
        ledger_id,
        entry_id,
        ..MessageIdData::default()
    }
}

/// A message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) position: Position,
    /// How many messages its entry holds; nothing: it is alone in it.
    pub(super) batch: Option<u32>,
    /// When it was published, by the producer's clock, in milliseconds since 1970.
    pub(super) published: u64,
}

/// The messages of one session.
#[derive(Debug, Default)]
pub(super) struct Track {
    last: Option<Position>,
    /// What came and is not settled yet.
    open: VecDeque<Arrival>,
    messages: u64,
    entries: u64,
}

/// What was settled by the keeper's word.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// So far the broker may be told: an entry of which every message is settled.
    pub(super) acknowledge: Option<Position>,
    /// When each settled message was published.
    pub(super) published: Vec<u64>,
}

impl Track {
    /// Takes a message. False: it lies behind the last one, so the broker has begun anew further back.
    pub(super) fn arrived(&mut self, arrival: Arrival) -> bool {
        if self.last >= Some(arrival.position) {
            return false;
        }
        self.last = Some(arrival.position);
        self.messages += 1;
        self.entries += u64::from(is_last_of_entry(&arrival));
        self.open.push_back(arrival);
        true
    }

    /// The last message that came.
    pub(super) fn last(&self) -> Option<Position> {
        self.last
    }

    /// How many messages came.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// How many entries came.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// How many messages an entry of this topic holds: a broker counts entries.
    pub(super) fn per_entry(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let (messages, entries) = (self.messages as f64, self.entries.max(1) as f64);
        (messages / entries).max(1.0)
    }

    /// The keeper has settled all up to here.
    pub(super) fn settled(&mut self, up_to: Position) -> Settled {
        let mut settled = Settled::default();
        while let Some(arrival) = self.open.pop_front_if(|arrival| arrival.position <= up_to) {
            settled.published.push(arrival.published);
            if is_last_of_entry(&arrival) {
                settled.acknowledge = Some(arrival.position);
            }
        }
        settled
    }
}

fn is_last_of_entry(arrival: &Arrival) -> bool {
    let index = u32::try_from(arrival.position.index);
    match (index, arrival.batch) {
        (Ok(index), Some(batch)) => index + 1 >= batch,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(entry: u64, index: i32) -> Position {
        Position {
            ledger: 3,
            entry,
            index,
        }
    }

    fn arrival(entry: u64, index: i32, batch: Option<u32>) -> Arrival {
        Arrival {
            position: at(entry, index),
            batch,
            published: entry * 10,
        }
    }

    #[test]
    fn an_entry_is_acknowledged_once_its_last_message_is_settled() {
        let mut track = Track::default();
        for message in [
            arrival(0, -1, None),
            arrival(1, 0, Some(3)),
            arrival(1, 1, Some(3)),
            arrival(1, 2, Some(3)),
            arrival(2, 0, Some(1)),
        ] {
            assert!(track.arrived(message));
        }
        let ack = |track: &mut Track, up_to| track.settled(up_to).acknowledge;
        assert_eq!(ack(&mut track, at(1, 1)), Some(at(0, -1)));
        assert_eq!(ack(&mut track, at(1, 1)), None, "the broker is told once");
        assert_eq!(ack(&mut track, at(1, 2)), Some(at(1, 2)));
        let rest = track.settled(at(9, 0));
        assert_eq!(
            rest,
            Settled {
                acknowledge: Some(at(2, 0)),
                published: vec![20]
            }
        );
        assert!((track.per_entry() - 5.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_step_back_is_seen() {
        let mut track = Track::default();
        assert!(track.arrived(arrival(5, 0, Some(2))));
        assert!(track.arrived(arrival(5, 1, Some(2))));
        assert!(!track.arrived(arrival(5, 1, Some(2))));
        assert!(!track.arrived(arrival(4, -1, None)));
        assert!(track.arrived(arrival(6, -1, None)));
        assert_eq!((track.last(), track.messages()), (Some(at(6, -1)), 3));
    }

    #[test]
    fn places_go_to_the_broker_and_come_from_it() {
        let start = id(None);
        assert_eq!((start.ledger_id, start.entry_id), (u64::MAX, u64::MAX));
        assert_eq!(end(&start), None);
        let place = id(Some(at(7, 4)));
        assert_eq!(
            (place.ledger_id, place.entry_id, place.batch_index),
            (3, 7, None)
        );
        let alone = MessageIdData {
            ledger_id: 3,
            entry_id: 7,
            batch_index: Some(-1),
            ..MessageIdData::default()
        };
        assert_eq!(position(&alone), at(7, -1));
        // A ledger without an entry: nothing is in the topic, though it was once.
        let empty = MessageIdData {
            ledger_id: 9,
            entry_id: u64::MAX,
            ..MessageIdData::default()
        };
        assert_eq!(end(&empty), None);
    }
}
