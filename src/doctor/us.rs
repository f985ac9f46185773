//! As whom the checks are made: what they say holds for this user.

use std::os::unix::fs::MetadataExt;

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgroups};

use super::{Doctor, Finding};

/// This process's user and groups.
pub(super) struct Us {
    pub(super) uid: u32,
    groups: Vec<u32>,
}

impl Us {
    pub(super) fn now() -> Self {
        let mut groups: Vec<u32> = vec![getegid().as_raw()];
        groups.extend(getgroups().unwrap_or_default().iter().map(|it| it.as_raw()));
        Self {
            uid: geteuid().as_raw(),
            groups,
        }
    }

    pub(super) fn is_in(&self, gid: u32) -> bool {
        self.groups.contains(&gid)
    }
}

/// As a command line takes it: the name, or the number where there is none.
pub(super) fn user(uid: u32) -> String {
    let known = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    known.map_or_else(|| uid.to_string(), |user| user.name)
}

/// As [`user`].
pub(super) fn group(gid: u32) -> String {
    let known = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    known.map_or_else(|| gid.to_string(), |group| group.name)
}

/// Says who looks, and whether the daemon seems to be somebody else: then the answers are not its.
pub(super) fn finding(doctor: &Doctor<'_>) -> Finding {
    let uid = doctor.us.uid;
    let who = format!("these checks are made as {} (uid {uid})", user(uid));
    let owner = std::fs::metadata(&doctor.config.state_directory).map(|it| it.uid());
    match owner {
        Ok(owner) if owner != uid && doctor.has_sources() => Finding::warning(
            "user",
            format!(
                "{who}, but the state directory belongs to {} (uid {owner})",
                user(owner)
            ),
            format!(
                "run `sudo -u {} sozu-manager doctor` to see what the daemon sees",
                user_argument(owner)
            ),
        ),
        _ => Finding::ok("user", who),
    }
}

/// `sudo -u` takes a number only behind a `#`.
fn user_argument(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("'#{uid}'"),
    }
}
