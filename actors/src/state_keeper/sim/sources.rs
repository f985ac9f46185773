//! Sources that say what they have to say until they are heard, as the real ones do.

use super::*;

/// Whether the keeper has heard a source.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    No,
    Asking,
    Yes,
}

/// A bus: its topic, and how far the keeper has taken it.
pub(super) struct Topic {
    pub(super) source: SourceName,
    pub(super) messages: Vec<Request>,
    /// The first message that the keeper has not taken.
    next: usize,
    sent_up_to: Option<usize>,
    subscribed: Heard,
    /// When it tries again.
    again: Duration,
}

/// A directory of one file.
pub(super) struct Folder {
    pub(super) file: Vec<Object>,
    listed: Heard,
    again: Duration,
}

impl Topic {
    pub(super) fn new(source: SourceName) -> Self {
        Self {
            source,
            messages: Vec::new(),
            next: 0,
            sent_up_to: None,
            subscribed: Heard::No,
            again: Duration::ZERO,
        }
    }
}

impl Folder {
    pub(super) fn new() -> Self {
        Self {
            file: Vec::new(),
            listed: Heard::No,
            again: Duration::ZERO,
        }
    }

    pub(super) fn says(&mut self, objects: Vec<Object>) {
        self.file = objects;
        self.listed = Heard::No;
    }
}

// Who asks, by the number in the keeper's answer: a bus's place is added.
const LISTED: u64 = 10;
const CHANGES: u64 = 20;
const SUBSCRIBED: u64 = 30;
/// And when: nobody hears what an earlier one asked.
const EPOCH: u64 = 1000;

/// How long a source waits that was not heard.
const AGAIN: Duration = Duration::from_secs(1);

impl World {
    /// The daemon has died: whoever was not heard asks again.
    pub(super) fn sources_begin_anew(&mut self) {
        for topic in &mut self.topics {
            topic.sent_up_to = None;
            topic.subscribed = Heard::No;
            topic.again = self.at;
        }
        self.epoch += 1;
        self.folder.listed = Heard::No;
        self.folder.again = self.at;
    }

    /// The sources say what was not heard yet.
    pub(super) fn sources_speak(&mut self) {
        for nth in 0..self.topics.len() {
            if !self.absent.contains(&self.topics[nth].source) {
                self.bus_speaks(nth);
            }
        }
        let is_there = !self.absent.contains(&source());
        if is_there && self.folder.listed == Heard::No && self.at >= self.folder.again {
            self.folder.listed = Heard::Asking;
            let file = ListedFile {
                path: Arc::new("a.toml".into()),
                content: FileContent::Objects(keyed(&self.folder.file)),
            };
            let listing = Listing {
                source: source(),
                device: 1,
                files: vec![file],
            };
            self.tell(Event::Listing {
                listing,
                reply: LISTED + self.epoch * EPOCH,
            });
        }
    }

    fn bus_speaks(&mut self, nth: usize) {
        let topic = &mut self.topics[nth];
        if self.at < topic.again {
            return;
        }
        let all = topic.messages.len();
        let source = topic.source.clone();
        if topic.subscribed == Heard::No {
            topic.subscribed = Heard::Asking;
            let subscribed = Subscribed {
                source,
                end: all.checked_sub(1).map(|end| place(end as u64)),
            };
            let reply = SUBSCRIBED + nth as u64 + self.epoch * EPOCH;
            self.tell(Event::Subscribed { subscribed, reply });
        } else if topic.subscribed == Heard::Yes && topic.sent_up_to.is_none() && topic.next < all {
            topic.sent_up_to = Some(all);
            let changes = Changes {
                source,
                ..bus_changes(topic.next as u64, &topic.messages[topic.next..])
            };
            let reply = CHANGES + nth as u64 + self.epoch * EPOCH;
            self.tell(Event::Changes { changes, reply });
        }
    }

    fn of_today(&self, reply: u64) -> Option<u64> {
        (reply / EPOCH == self.epoch).then_some(reply % EPOCH)
    }

    /// The keeper answers a source.
    pub(super) fn is_heard(&mut self, reply: u64, result: &Result<Declared, DeclareError>) {
        let again = self.at + AGAIN;
        let Some(reply) = self.of_today(reply) else {
            return;
        };
        let folder = &mut self.folder;
        if reply == LISTED {
            match result {
                Ok(_) if folder.listed == Heard::Asking => folder.listed = Heard::Yes,
                Ok(_) => {}
                Err(_) => {
                    folder.listed = Heard::No;
                    folder.again = again;
                }
            }
        }
        let nth = reply
            .checked_sub(CHANGES)
            .and_then(|nth| usize::try_from(nth).ok());
        if let Some(topic) = nth.and_then(|nth| self.topics.get_mut(nth)) {
            let sent = topic.sent_up_to.take();
            match result {
                Ok(_) => topic.next = sent.unwrap(),
                Err(_) => topic.again = again,
            }
        }
    }

    /// The keeper tells a bus where to go on from.
    pub(super) fn goes_on(&mut self, reply: u64, result: &Result<Option<Position>, DeclareError>) {
        let nth = self
            .of_today(reply)
            .and_then(|reply| reply.checked_sub(SUBSCRIBED))
            .and_then(|nth| usize::try_from(nth).ok());
        let Some(topic) = nth.and_then(|nth| self.topics.get_mut(nth)) else {
            return;
        };
        if let Ok(position) = result {
            topic.subscribed = Heard::Yes;
            topic.next = position.map_or(0, |it| usize::try_from(it.entry).unwrap() + 1);
        } else {
            topic.subscribed = Heard::No;
            topic.again = self.at + AGAIN;
        }
    }
}
