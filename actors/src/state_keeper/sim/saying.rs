//! What a day says to the keeper, one thing after the other, and what it looks at.

use super::*;

impl World {
    pub(super) fn lists(&mut self, files: &[(&str, Option<&[Object]>)]) {
        let files = files.iter().map(|(path, content)| ListedFile {
            path: Arc::new((*path).into()),
            content: match content {
                Some(objects) => FileContent::Objects(keyed(objects)),
                None => FileContent::Unreadable("broken".to_owned()),
            },
        });
        let listing = Listing {
            source: source(),
            device: 1,
            files: files.collect(),
        };
        // The watcher lists again until it is heard; a full disk is for the test to mend.
        for _ in 0..5 {
            self.replies.clear();
            let listing = listing.clone();
            self.tell(Event::Listing { listing, reply: 0 });
            self.rest();
            match self.replies.last() {
                None | Some(Err(DeclareError::Starting)) => {}
                Some(_) => return,
            }
        }
        panic!("the keeper never takes the listing");
    }

    /// The bus subscribes while its topic ends at `end`.
    pub(super) fn subscribes(&mut self, end: Option<u64>) {
        let subscribed = Subscribed {
            source: bus(),
            end: end.map(place),
        };
        self.tell(Event::Subscribed {
            subscribed,
            reply: 0,
        });
        self.rest();
    }

    /// The bus sends its topic from its `first` message on.
    pub(super) fn sends(&mut self, first: u64, requests: &[Request]) {
        let changes = bus_changes(first, requests);
        for _ in 0..5 {
            self.replies.clear();
            let changes = changes.clone();
            self.tell(Event::Changes { changes, reply: 0 });
            self.rest();
            if matches!(self.replies.last(), Some(Ok(_))) {
                return;
            }
        }
        panic!("the keeper never takes the changes: {:?}", self.replies);
    }

    pub(super) fn acknowledges(&self) -> Option<u64> {
        self.report().sources[&bus()]
            .settled
            .map(|position| position.entry)
    }

    /// One file, whose objects are these.
    pub(super) fn declares(&mut self, objects: &[Object]) {
        self.lists(&[("a.toml", Some(objects))]);
    }

    pub(super) fn report(&self) -> Report {
        self.keeper.report(now(self.at))
    }

    pub(super) fn verdicts(&self) -> Vec<&'static str> {
        self.disk
            .journal
            .iter()
            .map(|(_, verdict)| verdict.as_ref().map_or("open", Verdict::name))
            .collect()
    }

    #[track_caller]
    pub(super) fn sozu_holds(&self, objects: &[Object]) {
        let held = sort_records(records(&self.sozu.main), Duration::ZERO).held;
        let mut held: Vec<String> = held
            .values()
            .map(|object| format!("{object:?} {:?}", object.cluster()))
            .collect();
        let mut expected: Vec<String> = objects
            .iter()
            .map(|object| format!("{object:?} {:?}", object.cluster()))
            .collect();
        held.sort();
        expected.sort();
        assert_eq!(held, expected);
    }
}
