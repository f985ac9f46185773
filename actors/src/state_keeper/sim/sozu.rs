//! A model of Sōzu 2.3.3: the main process and its workers apart, with the words of its answers. What it does is measured
//! on the real one or read in its source (`src/command/requests.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sozu_command_lib::{
    proto::command::{AddCertificate, CertificateAndKey, Request, request::RequestType},
    state::{ConfigState, StateError},
};
use sozu_socket::{ExchangeError, Refusal};

use super::super::{answer::Outcome, key::Object};
use crate::state_keeper::held::sort_records;

/// Sōzu's `worker_timeout`.
pub(super) const WORKER_TIMEOUT: Duration = Duration::from_secs(2);

/// A worker's words about what every worker refuses.
const REFUSED_BY_WORKERS: &str = "the worker does not take it";

/// And about a route that it has already.
pub(super) const NO_ROUTE: &str = "Could not add route";

/// What goes wrong with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It cannot be sent.
    NotSent,
    /// A record of the file is too large, which its request alone would not be.
    TooLarge,
    /// Sōzu cannot open the file.
    NotOpened,
    /// The connection breaks before Sōzu takes it, and nobody knows.
    RequestLost,
    /// Sōzu takes it, and the answer is lost.
    AnswerLost,
    /// The second record of a file cannot be read.
    Unreadable,
    /// One worker is stopped until the deadline is over.
    OneStalls,
    /// Every worker is.
    AllStall,
    /// A worker is killed; the main process starts another one.
    WorkerKilled,
    /// One worker refuses what comes.
    OneRefuses,
    /// Sōzu is killed before it takes it, and starts empty.
    KilledBefore,
    /// Sōzu is killed after it has taken it, and starts empty.
    KilledAfter,
    /// As before, and it starts from what it held before the batch.
    KilledRestored,
}

impl Fault {
    pub(super) const ALL: [Self; 13] = [
        Self::NotSent,
        Self::TooLarge,
        Self::NotOpened,
        Self::RequestLost,
        Self::AnswerLost,
        Self::Unreadable,
        Self::OneStalls,
        Self::AllStall,
        Self::WorkerKilled,
        Self::OneRefuses,
        Self::KilledBefore,
        Self::KilledAfter,
        Self::KilledRestored,
    ];
}

struct Worker {
    id: u32,
    state: ConfigState,
    stalled_until: Duration,
    waiting: Vec<Request>,
    /// It refuses what comes, because it is not what its main process believes it to be.
    is_contrary: bool,
}

impl Worker {
    /// Nothing, or the worker's words of why not.
    fn take(&mut self, request: &Request) -> Option<&'static str> {
        let adds = || {
            request
                .request_type
                .as_ref()
                .is_some_and(|it| Object::brought_by(it).is_some())
        };
        if mark(request) == Some("workers") || (self.is_contrary && adds()) {
            return Some(REFUSED_BY_WORKERS);
        }
        match (self.state.dispatch(request), &request.request_type) {
            // The main process has to hold one at this address already; a worker puts it there.
            (Err(_), Some(RequestType::ReplaceCertificate(replace))) => {
                let add = AddCertificate {
                    address: replace.address,
                    certificate: replace.new_certificate.clone(),
                    expired_at: replace.new_expired_at,
                };
                let added = self
                    .state
                    .dispatch(&RequestType::AddCertificate(add).into());
                added.err().map(|_| "the worker cannot read it")
            }
            (Err(_), Some(RequestType::AddHttpFrontend(_))) => Some(NO_ROUTE),
            (Err(_), Some(RequestType::RemoveHttpFrontend(_))) => Some("Could not remove route"),
            (Err(_), Some(RequestType::AddBackend(_))) => Some("no such cluster"),
            _ => None,
        }
    }
}

/// What the main process does if no worker takes the request.
fn taken_back(request: &Request) -> Option<Request> {
    match &request.request_type {
        Some(RequestType::AddHttpFrontend(front)) => {
            Some(RequestType::remove_http_frontend(front.clone()).into())
        }
        _ => None,
    }
}

/// What the main process takes back when its deadline is over.
struct TakenBack {
    at: Duration,
    request: Request,
    /// What was added, and how many workers have not answered yet.
    added: Request,
    missing: usize,
}

pub(super) struct Proxy {
    pub(super) life: u32,
    pub(super) main: ConfigState,
    workers: Vec<Worker>,
    next_worker: u32,
    taken_back: Vec<TakenBack>,
    /// What the main process has kept from a file that it could not read to its end, and no worker has.
    pub(super) left_behind: BTreeSet<super::Key>,
    /// Grows with every change.
    pub(super) version: u64,
}

/// By whom an object of the stories is refused: a mark in a field that plays no part.
pub(super) fn mark(request: &Request) -> Option<&'static str> {
    let marks: [&'static str; 2] = ["main", "workers"];
    match &request.request_type {
        Some(RequestType::AddHttpFrontend(front)) if front.hostname.contains('/') => Some("main"),
        Some(RequestType::AddHttpFrontend(front)) => marks
            .into_iter()
            .find(|mark| front.tags.contains_key(*mark) || front.tags.contains_key("refused")),
        Some(RequestType::AddBackend(backend)) if backend.backup == Some(true) => Some("workers"),
        Some(RequestType::AddCluster(cluster)) => {
            let marks = ["workers", "large"].into_iter();
            let said = cluster.www_authenticate.as_deref();
            marks.into_iter().find(|mark| said == Some(mark))
        }
        Some(RequestType::AddCertificate(add)) => mark_of(&add.certificate),
        Some(RequestType::ReplaceCertificate(replace)) => mark_of(&replace.new_certificate),
        _ => None,
    }
}

fn mark_of(certificate: &CertificateAndKey) -> Option<&'static str> {
    let is_marked = certificate.names.iter().any(|name| name == "workers");
    is_marked.then_some("workers")
}

/// What `SaveState` writes. (`ConfigState::diff` loses one of two backends of one id.)
pub(super) fn records(state: &ConfigState) -> Vec<Request> {
    let saved = state.produce_initial_state().requests.into_iter();
    saved.map(|record| record.content).collect()
}

/// What is in a state.
pub(super) fn held_in(state: &ConfigState) -> BTreeMap<super::Key, String> {
    let held = sort_records(records(state), Duration::ZERO).held;
    held.into_iter()
        .map(|(key, object)| (key, super::text(&object)))
        .collect()
}

fn refused(words: String) -> Outcome {
    Outcome::Failed(ExchangeError::Refused(Box::new(Refusal {
        message: words,
        ..Refusal::default()
    })))
}

fn unknown() -> Outcome {
    Outcome::Failed(ExchangeError::Unknown("the connection broke".to_owned()))
}

impl Proxy {
    pub(super) fn new(state: ConfigState) -> Self {
        let mut proxy = Self {
            life: 0,
            main: ConfigState::new(),
            workers: Vec::new(),
            next_worker: 0,
            taken_back: Vec::new(),
            left_behind: BTreeSet::new(),
            version: 0,
        };
        proxy.restarts(state);
        proxy
    }

    /// Another life, which holds `state`.
    pub(super) fn restarts(&mut self, state: ConfigState) {
        self.life += 1;
        self.version += 1;
        self.main = state;
        self.taken_back.clear();
        self.workers.clear();
        self.next_worker = 0;
        self.launch();
        self.launch();
    }

    /// A worker gets its state from the main process, request by request.
    fn launch(&mut self) {
        let mut worker = Worker {
            id: self.next_worker,
            state: ConfigState::new(),
            stalled_until: Duration::ZERO,
            waiting: Vec::new(),
            is_contrary: false,
        };
        for request in records(&self.main) {
            worker.take(&request);
        }
        self.workers.push(worker);
        self.next_worker += 1;
    }

    pub(super) fn saved(&self) -> ConfigState {
        self.main.clone()
    }

    pub(super) fn stall(&mut self, worker: usize, until: Duration) {
        self.workers[worker].stalled_until = until;
    }

    /// From now on a worker refuses what comes.
    pub(super) fn be_contrary(&mut self, worker: usize) {
        self.workers[worker].is_contrary = true;
    }

    /// A worker is replaced by a new one.
    pub(super) fn replace(&mut self, worker: usize) {
        self.version += 1;
        self.workers.remove(worker);
        self.launch();
    }

    /// The worker of this id is.
    pub(super) fn upgrade(&mut self, id: u32) {
        if let Some(place) = self.workers.iter().position(|worker| worker.id == id) {
            self.replace(place);
        }
    }

    /// Somebody else sends a request.
    pub(super) fn dispatch(&mut self, request: &Request) -> Result<(), StateError> {
        self.version += 1;
        self.main.dispatch(request)?;
        let mut somebody = false;
        for worker in &mut self.workers {
            somebody |= worker.take(request).is_none();
        }
        if !somebody && let Some(back) = taken_back(request) {
            self.main.dispatch(&back)?;
        }
        Ok(())
    }

    pub(super) fn put(&mut self, objects: &[Object]) {
        for object in objects {
            self.dispatch(&object.add()).unwrap();
        }
    }

    /// What every process holds: the main process first.
    pub(super) fn holds(&self) -> Vec<BTreeMap<super::Key, String>> {
        let workers = self.workers.iter().map(|worker| &worker.state);
        std::iter::once(&self.main)
            .chain(workers)
            .map(held_in)
            .collect()
    }

    /// Each worker's id, and whether it answers; and how long the answer takes.
    pub(super) fn status(&self, at: Duration) -> (Vec<(u32, bool)>, Duration) {
        let answers = self
            .workers
            .iter()
            .map(|worker| (worker.id, worker.stalled_until <= at));
        let all = self.workers.iter().all(|worker| worker.stalled_until <= at);
        let took = if all { Duration::ZERO } else { WORKER_TIMEOUT };
        (answers.collect(), took)
    }

    /// Time goes on: what nobody took is taken back, and who was stalled wakes, each at its time.
    pub(super) fn advance(&mut self, now: Duration) {
        loop {
            let back = self.taken_back.iter().map(|back| back.at).min();
            let waiting = |worker: &&Worker| !worker.waiting.is_empty();
            let wakes = self
                .workers
                .iter()
                .filter(waiting)
                .map(|worker| worker.stalled_until);
            let Some(next) = back.into_iter().chain(wakes).min().filter(|at| *at <= now) else {
                return;
            };
            self.version += 1;
            let (due, later) = std::mem::take(&mut self.taken_back)
                .into_iter()
                .partition(|back: &TakenBack| back.at <= next);
            self.taken_back = later;
            for back in due {
                let _ = self.main.dispatch(&back.request);
            }
            let mut answers = Vec::new();
            for worker in &mut self.workers {
                if worker.stalled_until <= next {
                    for request in std::mem::take(&mut worker.waiting) {
                        let took = worker.take(&request).is_none();
                        answers.push((request, took));
                    }
                }
            }
            for (request, took) in answers {
                self.hear(&request, took);
            }
        }
    }

    /// A worker that was silent has answered at last. The main process takes back at once what nobody took, and never
    /// what somebody did.
    fn hear(&mut self, request: &Request, took: bool) {
        let mut waiting = self.taken_back.iter_mut();
        let Some(place) = waiting.position(|back| back.added == *request) else {
            return;
        };
        self.taken_back[place].missing -= 1;
        if took {
            self.taken_back.remove(place);
        } else if self.taken_back[place].missing == 0 {
            let back = self.taken_back.remove(place);
            let _ = self.main.dispatch(&back.request);
        }
    }

    /// Takes a batch. Returns what is answered, and after how long.
    pub(super) fn send(
        &mut self,
        requests: &[Request],
        fault: Option<Fault>,
        at: Duration,
    ) -> (Outcome, Duration) {
        self.advance(at);
        self.version += 1;
        let before = self.main.clone();
        let deadline =
            WORKER_TIMEOUT + Duration::from_millis(10) * u32::try_from(requests.len()).unwrap();
        let soon = Duration::from_millis(1);
        let is_large = requests.iter().any(|it| mark(it) == Some("large"));
        // Two may be a frontend that is removed and added: that is one thing.
        if is_large || (fault == Some(Fault::TooLarge) && requests.len() > 2) {
            let too_large = ExchangeError::TooLarge { size: 2, limit: 1 };
            return (Outcome::Failed(too_large), soon);
        }
        match fault {
            Some(Fault::NotSent) => {
                return (
                    Outcome::Failed(ExchangeError::NotSent("away".to_owned())),
                    soon,
                );
            }
            Some(Fault::NotOpened) if requests.len() > 1 => {
                return (
                    refused("Cannot open file at path /x: Permission denied".to_owned()),
                    soon,
                );
            }
            Some(Fault::RequestLost) => return (unknown(), soon),
            Some(Fault::KilledBefore) => {
                self.restarts(super::empty_sozu());
                return (unknown(), soon);
            }
            Some(Fault::OneRefuses) => self.be_contrary(1),
            Some(Fault::OneStalls) => self.stall(1, at + deadline + Duration::from_secs(3)),
            Some(Fault::AllStall) => {
                self.stall(0, at + deadline + Duration::from_secs(3));
                self.stall(1, at + deadline + Duration::from_secs(3));
            }
            _ => {}
        }
        let readable = match fault {
            Some(Fault::Unreadable) if requests.len() > 1 => &requests[..1],
            _ => requests,
        };
        let answer = match requests {
            [request] => self.take_one(request, fault, at, deadline),
            _ => self.load(readable, fault, at, deadline),
        };
        self.end(fault);
        match fault {
            Some(Fault::AnswerLost) => (unknown(), soon),
            Some(Fault::KilledAfter) => {
                self.restarts(super::empty_sozu());
                (unknown(), soon)
            }
            Some(Fault::KilledRestored) => {
                self.restarts(before);
                (unknown(), soon)
            }
            Some(Fault::Unreadable) if requests.len() > 1 => (
                refused("Error consuming load state message".to_owned()),
                soon,
            ),
            _ => answer,
        }
    }

    /// To all workers: the words of each that answered. The main process takes a frontend back if none said OK:
    /// at once if all have answered, else when the deadline is over.
    fn scatter(
        &mut self,
        request: &Request,
        fault: Option<Fault>,
        is_cancelled: bool,
        at: Duration,
        deadline: Duration,
    ) -> Vec<(u32, Option<&'static str>)> {
        let mut answers = Vec::new();
        for worker in &mut self.workers {
            if worker.stalled_until > at {
                worker.waiting.push(request.clone());
            } else {
                answers.push((worker.id, worker.take(request)));
            }
        }
        if fault == Some(Fault::WorkerKilled) {
            let killed = self.workers[1].id;
            answers.retain(|(id, _)| *id != killed);
            answers.push((killed, Some("worker closed before answering")));
        }
        if is_cancelled {
            // The task of a file that cannot be read to its end is cancelled: nobody hears the
            // workers, and nothing is taken back.
            let nobody = answers.iter().all(|(_, words)| words.is_some());
            let object = request.request_type.as_ref().and_then(Object::added_by);
            let key = object.and_then(|object| object.key().ok());
            self.left_behind.extend(key.filter(|_| nobody));
            return answers;
        }
        let nobody = answers.iter().all(|(_, words)| words.is_some());
        let Some(back) = taken_back(request).filter(|_| nobody) else {
            return answers;
        };
        let missing = self.workers.len() - answers.len();
        self.taken_back.push(TakenBack {
            at: if missing == 0 { at } else { at + deadline },
            request: back,
            added: request.clone(),
            missing,
        });
        self.advance(at);
        answers
    }

    fn take_one(
        &mut self,
        request: &Request,
        fault: Option<Fault>,
        at: Duration,
        deadline: Duration,
    ) -> (Outcome, Duration) {
        let soon = Duration::from_millis(1);
        if let Some(reason) = self.main_refuses(request) {
            let words = format!("could not apply request on the main process state: {reason}");
            return (refused(words), soon);
        }
        let answers = self.scatter(request, fault, false, at, deadline);
        let timed_out = answers.len() < self.workers.len();
        if !timed_out && answers.iter().all(|(_, words)| words.is_none()) {
            return (Outcome::Ok { skipped: 0 }, soon);
        }
        let words: Vec<String> = answers
            .iter()
            .map(|(id, words)| format!("{id}: {}", words.unwrap_or("OK")))
            .collect();
        let took = if timed_out { deadline } else { soon };
        (refused(words.join(", ")), took)
    }

    fn load(
        &mut self,
        requests: &[Request],
        fault: Option<Fault>,
        at: Duration,
        deadline: Duration,
    ) -> (Outcome, Duration) {
        let (mut skipped, mut ok, mut errors, mut timed_out) = (0, 0, 0, false);
        let is_cancelled = fault == Some(Fault::Unreadable);
        for request in requests {
            if self.main_refuses(request).is_some() {
                skipped += 1;
                continue;
            }
            let answers = self.scatter(request, fault, is_cancelled, at, deadline);
            timed_out |= answers.len() < self.workers.len();
            let good = answers.iter().filter(|(_, words)| words.is_none()).count();
            ok += good;
            errors += answers.len() - good;
        }
        if errors == 0 && !timed_out {
            return (Outcome::Ok { skipped }, Duration::from_millis(1));
        }
        let words = format!(
            "loading state: {ok} ok messages, {errors} errors, timed out: {timed_out}, reverted entries: 0"
        );
        let took = if timed_out {
            deadline
        } else {
            Duration::from_millis(1)
        };
        (refused(words), took)
    }

    /// What went wrong with a batch is over with it.
    fn end(&mut self, fault: Option<Fault>) {
        match fault {
            Some(Fault::WorkerKilled) => self.replace(1),
            Some(Fault::OneRefuses) => self.workers[1].is_contrary = false,
            _ => {}
        }
    }

    /// The main process takes the request, or says why not.
    fn main_refuses(&mut self, request: &Request) -> Option<String> {
        if mark(request) == Some("main") {
            return Some("bad host name".to_owned());
        }
        let result = self.main.dispatch(request);
        result.err().map(|error| error.to_string())
    }
}
