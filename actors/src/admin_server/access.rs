//! Who may do what. The socket file's mode lets in its owner, root, and with `[admin] group` that
//! group's members: whoever else is connected is one of them.

use std::any::Any;

use actix_web::{FromRequest, HttpRequest, dev::Extensions, dev::Payload, http::StatusCode, web};
use futures_util::future::{Ready, ready};
use tokio::net::UnixStream;

use super::routes::{Problem, Site};

const ROOT: u32 = 0;

/// The rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    own: u32,
    has_group: bool,
    group_may_write: bool,
}

impl Access {
    pub(super) fn new(has_group: bool, group_may_write: bool) -> Self {
        Self {
            own: nix::unistd::geteuid().as_raw(),
            has_group,
            group_may_write,
        }
    }

    fn may_read(self, uid: u32) -> bool {
        uid == ROOT || uid == self.own || self.has_group
    }

    fn may_write(self, uid: u32) -> bool {
        uid == ROOT || uid == self.own || (self.has_group && self.group_may_write)
    }
}

/// The process on the other side of a connection, by the kernel's word.
struct Peer {
    uid: u32,
}

/// Notes who has connected.
pub(super) fn note(connection: &dyn Any, notes: &mut Extensions) {
    let peer = connection
        .downcast_ref::<UnixStream>()
        .and_then(|stream| stream.peer_cred().ok());
    if let Some(peer) = peer {
        notes.insert(Peer { uid: peer.uid() });
    }
}

/// A request of somebody who may read.
pub(super) struct Reader;

/// A request of somebody who may change things.
pub(super) struct Writer {
    pub(super) uid: u32,
}

impl FromRequest for Reader {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(allowed(request, Access::may_read, "read").map(|_| Self))
    }
}

impl FromRequest for Writer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(allowed(request, Access::may_write, "change things").map(|uid| Self { uid }))
    }
}

fn allowed(
    request: &HttpRequest,
    may: impl Fn(Access, u32) -> bool,
    what: &str,
) -> Result<u32, Problem> {
    let site = request.app_data::<web::Data<Site>>();
    let (Some(site), Some(peer)) = (site, request.conn_data::<Peer>()) else {
        let why = "the kernel does not say who you are; connect by the admin socket".to_owned();
        return Err(Problem::new(StatusCode::FORBIDDEN, why));
    };
    if may(site.access, peer.uid) {
        return Ok(peer.uid);
    }
    let why = format!(
        "uid {} may not {what} here; run the command as root or as the daemon's user, or set [admin] group and group_may_write",
        peer.uid
    );
    Err(Problem::new(StatusCode::FORBIDDEN, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_reads_and_writes_only_if_told_so() {
        // (there is a group, it may write, uid, reads, writes)
        for (has_group, group_may_write, uid, reads, writes) in [
            (false, false, 0, true, true),
            (false, false, 7, true, true),
            (false, true, 8, false, false),
            (true, false, 8, true, false),
            (true, true, 8, true, true),
        ] {
            let access = Access {
                own: 7,
                has_group,
                group_may_write,
            };
            assert_eq!(
                (access.may_read(uid), access.may_write(uid)),
                (reads, writes),
                "{access:?} {uid}"
            );
        }
    }
}
