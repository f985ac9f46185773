//! Stories of refused messages, and of the person who decides.

use prost::Message;

use super::*;
use crate::{
    messages::{Again, Letter, Order, Ordered, What},
    state_keeper::{
        events::Room,
        store::{Count, Counts},
    },
};

impl World {
    fn retries(&mut self, letter: &Letter, force: bool) -> Result<Ordered, OrderError> {
        let letter = letter.clone();
        let what = What::Retry { letter, force };
        let order = Order { uid: 1000, what };
        self.tell(Event::Order { order, reply: 1 });
        self.rest();
        match self.answers.pop() {
            Some(Answer::Order(result)) => result,
            other => panic!("no answer to an order: {other:?}"),
        }
    }

    /// The last refused message that was not tried again.
    pub(super) fn last_letter(&self) -> Option<Letter> {
        let is_letter = |(entry, verdict): &(Arc<Entry>, Option<Verdict>)| {
            let is_refused = matches!(verdict, Some(Verdict::Refused(_)));
            is_refused && entry.position.is_some() && !self.disk.retried.contains(&entry.seq)
        };
        let place = self.disk.journal.iter().rposition(is_letter)?;
        Some(self.letter(place))
    }

    /// The refused message at this place of the journal, as it is read for another try.
    fn letter(&self, place: usize) -> Letter {
        let (entry, verdict) = &self.disk.journal[place];
        assert!(matches!(verdict, Some(Verdict::Refused(_))), "{verdict:?}");
        let again = Again {
            id: entry.position.expect("a bus's"),
            change: entry.seq,
        };
        Letter {
            seq: entry.seq,
            source: entry.source.clone(),
            original: Arc::new(Original {
                bytes: entry.request.encode_to_vec(),
                again: Some(again),
                ..Original::default()
            }),
        }
    }

    fn has_letters(&mut self, rows: u64) {
        let count = Count {
            rows,
            ..Count::default()
        };
        let counts: Counts = [(bus(), count)].into_iter().collect();
        self.tell(Event::Letters(Arc::new(counts)));
    }
}

/// A world in which the backend of a route was refused for where it is, and may be there now.
fn refused_backend() -> (World, Letter) {
    let mut world = World::new(empty_sozu());
    world.rest();
    world.subscribes(None);
    let before = world.keeper.settings.clone();
    let mut settings = before.clone();
    let policy = settings.policies.get_mut(&bus()).unwrap();
    policy.allow_backends = vec!["10.0.0.0/8".parse().unwrap()];
    world.tell(Event::Settings(settings));
    world.sends(0, &adds(&route("a", 1)));
    assert_eq!(world.verdicts(), ["applied", "refused", "applied"]);
    world.tell(Event::Settings(before));
    world.rest();
    let letter = world.letter(1);
    (world, letter)
}

#[test]
fn what_is_tried_again_is_judged_by_the_settings_of_today() {
    let (mut world, letter) = refused_backend();
    let ordered = world.retries(&letter, false).unwrap();
    assert_eq!(ordered.verdicts, [("applied", 1)].into());
    world.sozu_holds(&route("a", 1));
    assert_eq!(world.acknowledges(), Some(2), "it has no position");
}

#[test]
fn what_is_refused_again_says_why() {
    let (mut world, letter) = refused_backend();
    let mut settings = world.keeper.settings.clone();
    settings.policies.get_mut(&bus()).unwrap().verbs = vec!["add_cluster".to_owned()];
    world.tell(Event::Settings(settings));
    let ordered = world.retries(&letter, false).unwrap();
    assert_eq!(ordered.verdicts, [("refused", 1)].into());
    assert!(ordered.reasons[0].contains("`verbs`"), "{ordered:?}");
}

#[test]
fn a_retry_does_not_undo_what_is_under_way_unless_it_is_forced() {
    let (mut world, letter) = refused_backend();
    // Under way: Sōzu has not answered yet.
    let later = letter.original.request().unwrap();
    world.hands_over(3, &[later.as_ref().clone()]);
    let by = world.keeper.last_seq;
    let order = Order {
        uid: 1000,
        what: What::Retry {
            letter: letter.clone(),
            force: false,
        },
    };
    world.tell(Event::Order { order, reply: 1 });
    world.rest();
    let overtaken = OrderError::Overtaken {
        letter: letter.seq,
        by,
    };
    assert_eq!(world.answers.pop(), Some(Answer::Order(Err(overtaken))));
    assert!(world.retries(&letter, true).is_ok());
}

#[test]
fn a_death_during_a_retry_leaves_all_or_nothing_of_it() {
    for dies_at in 0..40 {
        let (mut world, letter) = refused_backend();
        world.death = Some((world.carried_out * 2 + dies_at, Death::Alone));
        let what = What::Retry {
            letter,
            force: false,
        };
        let order = Order { uid: 1000, what };
        world.tell(Event::Order { order, reply: 1 });
        world.rest();
        world.lists(&[]);
        world.subscribes(Some(2));
        let is_taken = world.disk.journal.len() == 4;
        let route = route("a", 1);
        if is_taken {
            assert_eq!(world.verdicts()[3], "applied", "died at {dies_at}");
            world.sozu_holds(&route);
        } else {
            world.sozu_holds(&[route[0].clone(), route[2].clone()]);
        }
    }
}

#[test]
fn a_bus_waits_where_there_is_no_room_and_goes_on_once_there_is() {
    let mut world = World::new(empty_sozu());
    world.rest();
    world.subscribes(None);
    let mut settings = world.keeper.settings.clone();
    settings.letter_room = Some(Room {
        rows: 2,
        bytes: 1_000,
    });
    world.tell(Event::Settings(settings));
    let bad = RequestType::LoadState("/etc/passwd".to_owned());
    let good = |name: &str| cluster(name).add();
    let requests: Vec<Request> = vec![
        good("a"),
        bad.clone().into(),
        good("b"),
        bad.clone().into(),
        good("c"),
        bad.into(),
        good("d"),
    ];
    let changes = bus_changes(0, &requests);
    world.tell(Event::Changes { changes, reply: 0 });
    world.rest();
    // Up to the third bad one.
    let full = Err(DeclareError::LettersFull {
        taken: Some(place(4)),
    });
    assert_eq!(world.replies.pop(), Some(full.clone()));
    assert_eq!(
        world.verdicts(),
        ["applied", "refused", "applied", "refused", "applied"]
    );
    world.sozu_holds(&[cluster("a"), cluster("b"), cluster("c")]);
    assert_eq!(world.acknowledges(), Some(4));
    // Whatever comes.
    world.has_letters(2);
    let changes = bus_changes(5, &requests[5..]);
    world.tell(Event::Changes { changes, reply: 0 });
    world.rest();
    assert_eq!(world.replies.pop(), Some(full));
    // One is discarded.
    world.has_letters(1);
    world.sends(5, &requests[5..]);
    assert_eq!(world.disk.journal.len(), 7);
    world.sozu_holds(&[cluster("a"), cluster("b"), cluster("c"), cluster("d")]);
}
