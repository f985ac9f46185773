//! What can happen in a history.

use std::collections::BTreeSet;

use super::*;
use crate::messages::{Order, What};

/// What a bus asks for. There are two keys that matter: the route of one host name, and cluster `a`
/// with its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// The host name goes to cluster `a`.
    FrontA,
    /// To cluster `b`.
    FrontB,
    /// With what the main process refuses.
    FrontRefused,
    /// With what every worker refuses.
    FrontRefusedByWorkers,
    /// No longer.
    FrontGone,
    /// Cluster `a`.
    Cluster,
    /// With what every worker refuses.
    ClusterRefusedByWorkers,
    /// It goes, with all that is in it.
    ClusterGone,
    /// A backend of cluster `a`.
    Backend,
    /// The same with what every worker refuses.
    BackendRefusedByWorkers,
    /// No longer.
    BackendGone,
    /// A cluster that is too large for a frame.
    ClusterTooLarge,
    /// A certificate.
    Cert,
    /// The one that follows it, beside it.
    CertRenewed,
    /// The one that follows it, in its place.
    CertReplaced,
    /// In its place one that every worker refuses.
    CertReplacedAndRefused,
    /// The first one no longer.
    CertGone,
    /// The one that followed it no longer.
    CertRenewedGone,
}

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// Cluster `a` and the route to it.
    A,
    /// Cluster `b` and the route to it.
    B,
    /// A route that the main process refuses.
    Refused,
    /// A certificate.
    Cert,
    /// The one that follows it.
    CertRenewed,
    /// One in its place that every worker refuses.
    CertRefused,
    /// Nothing.
    Nothing,
}

/// One thing that somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// The bus asks for something.
    Bus(Asks),
    /// The other bus does.
    Other(Asks),
    /// The file says something else.
    File(Says),
    /// Somebody else adds the route.
    StrangerAdds,
    /// Somebody else removes the route.
    StrangerRemoves,
    /// Sōzu starts empty.
    SozuEmpty,
    /// Sōzu starts from an older saved state.
    SozuOlder,
    /// The same, and the keeper sees it only after so many effects.
    SozuOlderUnseen(usize),
    /// The daemon dies.
    Dies,
    /// The daemon dies, and Sōzu starts empty before the next daemon does.
    BothDie,
    /// The disk is full for a while.
    DiskFull,
    /// A worker is stopped for a while.
    WorkerStalls,
    /// A person pauses for a while.
    Pauses,
    /// A person ends the pause.
    Resumes,
    /// A person tries the last refused message again; also if it was overtaken.
    Retries(bool),
    /// A person lets what the guard holds go.
    Releases,
    /// A person drops what the guard holds: it stays, orphaned.
    Discards,
    /// A person removes what the file left behind.
    RemovesOrphans,
    /// The file's source leaves the configuration.
    FileLeaves,
    /// The other bus does.
    OtherLeaves,
    /// Both are there again.
    AllCome,
    /// From now on nothing is sent.
    Observes,
    /// It is again.
    Applies,
}

impl Asks {
    pub(super) const ALL: [Self; 18] = [
        Self::FrontA,
        Self::FrontB,
        Self::FrontRefused,
        Self::FrontRefusedByWorkers,
        Self::FrontGone,
        Self::Cluster,
        Self::ClusterRefusedByWorkers,
        Self::ClusterGone,
        Self::Backend,
        Self::BackendRefusedByWorkers,
        Self::BackendGone,
        Self::ClusterTooLarge,
        Self::Cert,
        Self::CertRenewed,
        Self::CertReplaced,
        Self::CertReplacedAndRefused,
        Self::CertGone,
        Self::CertRenewedGone,
    ];

    fn request(self) -> Request {
        match self {
            Self::FrontA => front("a").add(),
            Self::FrontB => front("b").add(),
            Self::FrontRefused => marked("main").add(),
            Self::FrontRefusedByWorkers => marked("workers").add(),
            Self::FrontGone => front("a").remove().unwrap(),
            Self::Cluster => cluster("a").add(),
            Self::ClusterRefusedByWorkers => refused_cluster().add(),
            Self::ClusterGone => cluster("a").remove().unwrap(),
            Self::Backend => backend("a", "a-0", 1).add(),
            Self::BackendRefusedByWorkers => refused_backend().add(),
            Self::BackendGone => backend("a", "a-0", 1).remove().unwrap(),
            Self::ClusterTooLarge => large_cluster().add(),
            Self::Cert => cert().add(),
            Self::CertRenewed => renewed().add(),
            Self::CertReplaced => in_place_of_cert(&renewed()),
            Self::CertReplacedAndRefused => in_place_of_cert(&refused_cert()),
            Self::CertGone => cert().remove().unwrap(),
            Self::CertRenewedGone => renewed().remove().unwrap(),
        }
    }
}

impl Says {
    pub(super) const ALL: [Self; 7] = [
        Self::A,
        Self::B,
        Self::Refused,
        Self::Cert,
        Self::CertRenewed,
        Self::CertRefused,
        Self::Nothing,
    ];

    fn objects(self) -> Vec<Object> {
        match self {
            Self::A => vec![cluster("a"), front("a")],
            Self::B => vec![cluster("b"), front("b")],
            Self::Refused => vec![cluster("b"), marked("main")],
            Self::Cert => vec![cert()],
            Self::CertRenewed => vec![renewed()],
            Self::CertRefused => vec![refused_cert()],
            Self::Nothing => vec![],
        }
    }
}

impl Op {
    /// What no source does.
    pub(super) const TROUBLES: [Self; 22] = [
        Self::StrangerAdds,
        Self::StrangerRemoves,
        Self::SozuEmpty,
        Self::SozuOlder,
        Self::SozuOlderUnseen(0),
        Self::SozuOlderUnseen(2),
        Self::Dies,
        Self::BothDie,
        Self::DiskFull,
        Self::WorkerStalls,
        Self::Pauses,
        Self::Resumes,
        Self::Retries(false),
        Self::Retries(true),
        Self::Releases,
        Self::Discards,
        Self::RemovesOrphans,
        Self::FileLeaves,
        Self::OtherLeaves,
        Self::AllCome,
        Self::Observes,
        Self::Applies,
    ];
}

pub(super) fn front(cluster: &str) -> Object {
    http(cluster, "x.example")
}

fn marked(mark: &str) -> Object {
    let Object::HttpFrontend(mut front) = front("c") else {
        unreachable!()
    };
    front.tags.insert(mark.to_owned(), "yes".to_owned());
    Object::HttpFrontend(front)
}

pub(super) fn refused_cluster() -> Object {
    Object::Cluster(Box::new(sozu_command_lib::proto::command::Cluster {
        cluster_id: "a".to_owned(),
        www_authenticate: Some("workers".to_owned()),
        ..Default::default()
    }))
}

fn large_cluster() -> Object {
    Object::Cluster(Box::new(sozu_command_lib::proto::command::Cluster {
        cluster_id: "a".to_owned(),
        www_authenticate: Some("large".to_owned()),
        ..Default::default()
    }))
}

pub(super) fn cert() -> Object {
    certificate(HTTPS, LEAF, &["x.example"])
}

pub(super) fn renewed() -> Object {
    certificate(HTTPS, RENEWED, &["x.example"])
}

fn refused_cert() -> Object {
    certificate(HTTPS, RENEWED, &["x.example", "workers"])
}

/// A bus's order to put this one in the place of the first.
fn in_place_of_cert(object: &Object) -> Request {
    let old = cert().key().unwrap();
    object.in_place_of(&old).unwrap()
}

fn refused_backend() -> Object {
    let Object::Backend(mut backend) = backend("a", "a-0", 1) else {
        unreachable!()
    };
    backend.backup = Some(true);
    Object::Backend(backend)
}

impl World {
    /// Does one thing, and lets nothing follow from it yet.
    pub(super) fn does(&mut self, op: Op) {
        match op {
            Op::Bus(asks) => self.topics[0].messages.push(asks.request()),
            Op::Other(asks) => self.topics[1].messages.push(asks.request()),
            Op::File(says) => self.folder.says(says.objects()),
            Op::StrangerAdds => {
                self.strangers_put(&[front("stranger")]);
                let _ = self.sozu.dispatch(&front("stranger").add());
            }
            Op::StrangerRemoves => {
                self.strangers_remove(front("a").key().unwrap());
                for cluster in ["a", "b", "stranger"] {
                    let _ = self.sozu.dispatch(&front(cluster).remove().unwrap());
                }
            }
            Op::SozuEmpty => self.sozu_restarts(empty_sozu()),
            Op::SozuOlder => {
                let older = std::mem::replace(&mut self.older, self.sozu.saved());
                self.sozu_restarts(older);
                self.strangers_start_it();
            }
            Op::SozuOlderUnseen(effects) => {
                let older = std::mem::replace(&mut self.older, self.sozu.saved());
                self.sozu.restarts(older);
                self.strangers_start_it();
                self.unseen_for = Some(effects);
            }
            Op::Dies => self.dies(),
            Op::BothDie => self.both_die(),
            Op::DiskFull => self.full_until = self.at + Duration::from_secs(3),
            Op::WorkerStalls => self.sozu.stall(1, self.at + Duration::from_secs(20)),
            Op::Pauses => self.person_says(Some(PAUSE)),
            Op::Resumes => self.person_says(None),
            Op::Retries(force) => {
                if let Some(letter) = self.last_letter() {
                    self.person_orders(What::Retry { letter, force });
                }
            }
            Op::Releases => self.person_decides(What::Release),
            Op::Discards => self.person_decides(What::Discard),
            Op::RemovesOrphans => self.person_orders(What::RemoveOrphans(source())),
            Op::FileLeaves => self.leaves(source()),
            Op::OtherLeaves => self.leaves(other_bus()),
            Op::AllCome => self.reloads(BTreeSet::new()),
            Op::Observes => self.is_in_mode(Mode::Observe),
            Op::Applies => self.is_in_mode(Mode::Apply),
        }
    }

    fn is_in_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.tell(Event::Settings(self.settings()));
    }

    pub(super) fn leaves(&mut self, source: SourceName) {
        let mut absent = self.absent.clone();
        absent.insert(source);
        self.reloads(absent);
    }

    /// From now on these sources are in no configuration.
    fn reloads(&mut self, absent: BTreeSet<SourceName>) {
        if self.absent == absent {
            return;
        }
        self.had_leavers = true;
        self.absent = absent;
        self.sources_begin_anew();
        self.tell(Event::Settings(self.settings()));
    }

    /// About the first of the holds.
    fn person_decides(&mut self, what: fn(Arc<str>) -> What) {
        let holds = self.keeper.holds();
        if let Some(id) = holds.into_iter().find_map(|hold| hold.id) {
            self.person_orders(what(id));
        }
    }

    fn person_orders(&mut self, what: What) {
        let order = Order { uid: 1000, what };
        self.tell(Event::Order { order, reply: 1 });
    }

    /// Sōzu dies and starts empty, and the daemon dies and is started again after it.
    pub(super) fn both_die(&mut self) {
        self.sozu.restarts(empty_sozu());
        self.dies();
    }

    fn person_says(&mut self, lasts: Option<Duration>) {
        self.tell(Event::Pause {
            uid: 1000,
            lasts,
            reply: 1,
        });
    }
}

/// Longer than a history is watched, so that only its end ends it.
const PAUSE: Duration = Duration::from_hours(1);
