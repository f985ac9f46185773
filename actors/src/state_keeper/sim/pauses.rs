//! Stories of a person who pauses.

use super::*;
use crate::messages::Paused;

const HOUR: Duration = Duration::from_hours(1);

impl World {
    fn pauses(&mut self, lasts: Option<Duration>) -> Paused {
        let event = Event::Pause {
            uid: 1000,
            lasts,
            reply: 3,
        };
        self.tell(event);
        while let Some(effect) = self.pending.pop_front() {
            self.step(effect);
        }
        match self.answers.pop() {
            Some(Answer::Paused(paused)) => paused,
            other => panic!("no answer to a pause: {other:?}"),
        }
    }

    fn passes(&mut self, time: Duration) {
        let until = self.at + time;
        while self.at < until {
            self.at += Duration::from_secs(30).min(until.saturating_sub(self.at));
            self.tell(Event::Tick);
            self.rest();
        }
    }

    fn says(&self) -> (String, Option<String>) {
        self.keeper.word(now(self.at)).unwrap()
    }
}

/// Sōzu holds a route, and then a person pauses for an hour.
fn paused() -> World {
    let mut world = World::new(empty_sozu());
    world.declares(&route("a", 1));
    let paused = world.pauses(Some(HOUR));
    assert!(paused.paused_until.is_some() && !paused.was_paused);
    assert_eq!((paused.uid, paused.not_kept), (Some(1000), None));
    world.sent.clear();
    world
}

#[test]
fn nothing_is_sent_in_a_pause_and_all_of_it_after_its_end() {
    let mut world = paused();
    world.declares(&route("a", 2));
    world.subscribes(None);
    world.sends(1, &[cluster("b").add()]);
    assert_eq!(world.sent, [], "a pause sends nothing");
    assert_eq!(world.acknowledges(), None, "and nothing is settled");
    assert!(world.report().ready(), "a ready proxy stays ready");
    let (detail, error) = world.says();
    assert!(detail.starts_with("paused until 2027-01-15T"), "{detail}");
    assert!(
        detail.ends_with("by uid 1000; 4 objects, 3 to be sent"),
        "{detail}"
    );
    assert!(error.unwrap().contains("resume"));

    let resumed = world.pauses(None);
    assert!(resumed.was_paused && resumed.waiting == 3, "{resumed:?}");
    world.rest();
    world.sozu_holds(&[route("a", 2), vec![cluster("b")]].concat());
    assert_eq!(world.acknowledges(), Some(1));
    assert_eq!(world.says().1, None);
    assert!(!world.pauses(None).was_paused);
}

#[test]
fn a_pause_ends_by_itself_whatever_the_restarts() {
    for (restarts, disk_is_full) in [(false, false), (true, false), (true, true), (false, true)] {
        let mut world = World::new(empty_sozu());
        world.declares(&route("a", 1));
        world.disk.full = disk_is_full;
        let paused = world.pauses(Some(HOUR));
        assert_eq!(paused.not_kept.is_some(), disk_is_full);
        world.disk.full = false;
        let is_lost = restarts && disk_is_full;
        if restarts {
            world.passes(HOUR / 4);
            world.dies();
        }
        world.declares(&route("a", 2));
        world.passes(HOUR / 2);
        let held = if is_lost { 2 } else { 1 };
        world.sozu_holds(&route("a", held));
        assert!(world.report().ready(), "ready all along: {restarts}");
        world.passes(HOUR / 2);
        world.sozu_holds(&route("a", 2));
        assert!(world.report().ready());
        assert_eq!(world.says().1, None);
    }
}

#[test]
fn a_pause_is_replaced_by_a_shorter_one() {
    let mut world = paused();
    let shorter = world.pauses(Some(HOUR / 4));
    assert!(shorter.was_paused);
    world.declares(&route("a", 2));
    world.sozu_holds(&route("a", 1));
    world.passes(HOUR / 4);
    world.sozu_holds(&route("a", 2));
}

#[test]
fn a_sozu_that_starts_anew_in_a_pause_is_not_ready_and_is_told_why() {
    let mut world = paused();
    world.sozu_restarts(empty_sozu());
    world.rest();
    world.sozu_holds(&[]);
    let report = world.report();
    let complete = &report.conditions[0];
    assert!(matches!(&complete.state, Err(why) if why.starts_with("paused until")));
    world.pauses(None);
    world.rest();
    world.sozu_holds(&route("a", 1));
    assert!(world.report().ready());
}

/// What was changed by hand meanwhile is read before anything is sent.
#[test]
fn after_a_pause_sozu_is_read_first() {
    let mut world = paused();
    let remove = http("a", "a.example").remove().unwrap();
    world.sozu.dispatch(&remove).unwrap();
    world.pauses(None);
    world.rest();
    world.sozu_holds(&route("a", 1));
    assert_eq!(world.sent.len(), 1, "{:?}", world.sent);
}

#[test]
fn what_is_under_way_when_a_pause_begins_is_told() {
    let mut world = World::new(empty_sozu());
    world.rest();
    let file = ListedFile {
        path: Arc::new("a.toml".into()),
        content: FileContent::Objects(keyed(&route("a", 1))),
    };
    let listing = Listing {
        source: source(),
        device: 1,
        files: vec![file],
    };
    world.tell(Event::Listing { listing, reply: 0 });
    let on_its_way = loop {
        match world.pending.pop_front().unwrap() {
            effect @ Effect::Send(_) => break effect,
            effect => world.step(effect),
        }
    };
    let paused = world.pauses(Some(HOUR));
    assert_eq!((paused.under_way, paused.waiting), (3, 0));
    world.step(on_its_way);
    world.rest();
    world.sozu_holds(&route("a", 1));
}
