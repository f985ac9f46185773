//! systemd's unit: whether its hardening leaves the daemon the paths and the groups that the configuration asks for.
//!
//! What holds is asked of systemd itself (`systemctl show`), drop-ins included: systemd.exec(5).

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::unistd::{Group, User};
use tokio::{process::Command, time::timeout};

use super::{Doctor, Finding, us::group as group_name};

const CHECK: &str = "unit";
const PATHS: &str = "unit.paths";
const GROUPS: &str = "unit.groups";
/// systemd answers at once, or something is wrong with it.
const ASK_WITHIN: Duration = Duration::from_secs(5);
const PROPERTIES: [&str; 15] = [
    "LoadState",
    "User",
    "Group",
    "SupplementaryGroups",
    "StateDirectory",
    "RuntimeDirectory",
    "RuntimeDirectoryMode",
    "ProtectSystem",
    "ProtectHome",
    "ProtectProc",
    "PrivateTmp",
    "ReadWritePaths",
    "ReadOnlyPaths",
    "InaccessiblePaths",
    "ProcSubset",
];

/// What systemd says of the unit.
struct Unit(HashMap<String, String>);

/// What the daemon can do with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    Writable,
    /// By this setting.
    ReadOnly(String),
    /// Not as others see it, by this setting.
    Hidden(&'static str),
}

/// What the configuration asks for.
#[derive(Default)]
struct Needs {
    /// What is written there, and where.
    written: Vec<(&'static str, PathBuf)>,
    read: Vec<(&'static str, PathBuf)>,
    /// What is passed to Sōzu and back.
    exchange: Option<PathBuf>,
}

pub(super) async fn findings(doctor: &Doctor<'_>) -> Vec<Finding> {
    let unit = match asked().await {
        Ok(Some(unit)) => unit,
        Ok(None) => {
            let says = "systemd has no sozu-manager.service here: nothing to compare";
            return vec![Finding::ok(CHECK, says)];
        }
        Err(why) => {
            let remedy = "look at it yourself: `systemctl show sozu-manager.service`";
            return vec![Finding::warning(CHECK, why, remedy)];
        }
    };
    let mut findings = vec![proc(&unit)];
    findings.extend(paths(&unit, &needs(doctor)));
    findings.extend(socket_group(&unit, &doctor.config.sozu.command_socket));
    findings
}

/// Nothing, where systemd does not run or does not know the unit.
async fn asked() -> Result<Option<Unit>, String> {
    let properties = format!("--property={}", PROPERTIES.join(","));
    let mut command = Command::new("systemctl");
    command
        .args(["show", "sozu-manager.service", "--no-pager", &properties])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let Ok(output) = timeout(ASK_WITHIN, command.output()).await else {
        let seconds = ASK_WITHIN.as_secs();
        return Err(format!("systemctl has not answered for {seconds} s"));
    };
    match output {
        Ok(output) if output.status.success() => {
            let unit = Unit::read(&String::from_utf8_lossy(&output.stdout));
            Ok((unit.word("LoadState") == "loaded").then_some(unit))
        }
        _ => Ok(None),
    }
}

impl Unit {
    fn read(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        Self(
            lines
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn word(&self, property: &str) -> &str {
        self.0.get(property).map_or("", String::as_str)
    }

    fn words(&self, property: &str) -> impl Iterator<Item = &str> {
        self.word(property).split_whitespace()
    }

    /// Paths, without the signs in front of them (`-` if it may be missing, `+` if below the root directory).
    fn paths(&self, property: &str) -> impl Iterator<Item = &Path> {
        self.words(property)
            .map(|path| Path::new(path.trim_start_matches(['-', '+'])))
    }

    /// As the most specific of the settings has it: systemd lets a path that is named win over the one above it.
    fn reach(&self, path: &Path) -> Reach {
        let mut best = self.by_default(path);
        let mut depth = 0;
        let mut rule = |root: &Path, reach: Reach| {
            let deep = root.components().count();
            if path.starts_with(root) && deep >= depth {
                (depth, best) = (deep, reach);
            }
        };
        for root in self.paths("ReadWritePaths") {
            rule(root, Reach::Writable);
        }
        for (property, above) in [("StateDirectory", "/var/lib"), ("RuntimeDirectory", "/run")] {
            for name in self.words(property) {
                rule(&Path::new(above).join(name), Reach::Writable);
            }
        }
        for root in self.paths("ReadOnlyPaths") {
            rule(root, Reach::ReadOnly("ReadOnlyPaths=".to_owned()));
        }
        for root in self.paths("InaccessiblePaths") {
            rule(root, Reach::Hidden("InaccessiblePaths="));
        }
        best
    }

    /// Of a path that no setting names.
    fn by_default(&self, path: &Path) -> Reach {
        let below = |roots: &[&str]| roots.iter().any(|root| path.starts_with(root));
        let home = below(&["/home", "/root", "/run/user"]);
        let system = self.word("ProtectSystem");
        let read_only = || Reach::ReadOnly(format!("ProtectSystem={system}"));
        match self.word("ProtectHome") {
            "yes" | "tmpfs" if home => return Reach::Hidden("ProtectHome="),
            "read-only" if home => return Reach::ReadOnly("ProtectHome=read-only".to_owned()),
            _ => {}
        }
        if self.word("PrivateTmp") == "yes" && below(&["/tmp", "/var/tmp"]) {
            return Reach::Hidden("PrivateTmp=");
        }
        match system {
            "strict" if !below(&["/dev", "/proc", "/sys"]) => read_only(),
            "full" if below(&["/usr", "/boot", "/efi", "/etc"]) => read_only(),
            "yes" if below(&["/usr", "/boot", "/efi"]) => read_only(),
            _ => Reach::Writable,
        }
    }

    /// Every group that systemd gives the process: by the unit, and by the user's own memberships.
    fn has_group(&self, gid: u32) -> bool {
        let user = User::from_name(self.word("User")).ok().flatten();
        let named = [self.word("Group")].into_iter();
        let mut named = named.chain(self.words("SupplementaryGroups"));
        let is = |name: &str| {
            let found = Group::from_name(name).ok().flatten();
            found.map_or_else(
                || name.parse() == Ok(gid),
                |group| group.gid.as_raw() == gid,
            )
        };
        let member = Group::from_gid(gid.into()).ok().flatten();
        named.any(is)
            || user
                .as_ref()
                .is_some_and(|user| user.gid.as_raw() == gid && self.word("Group").is_empty())
            || member.is_some_and(|group| group.mem.iter().any(|it| it == self.word("User")))
    }

    fn is_root(&self) -> bool {
        matches!(self.word("User"), "" | "root" | "0")
    }
}

fn needs(doctor: &Doctor<'_>) -> Needs {
    let config = doctor.config;
    let mut needs = Needs::default();
    if doctor.has_sources() {
        let state = config.state_directory.clone();
        let exchange = config.sozu.exchange_directory.clone();
        needs.written.push(("state_directory", state));
        needs
            .written
            .push(("[sozu] exchange_directory", exchange.clone()));
        needs.exchange = Some(exchange);
    }
    if let Some(directory) = config.admin.socket.parent() {
        needs.written.push(("[admin] socket", directory.to_owned()));
    }
    let socket = config.sozu.command_socket.clone();
    needs.read.push(("[sozu] command_socket", socket));
    for routes in config.routes.values() {
        needs
            .read
            .push(("a routes directory", routes.directory.clone()));
    }
    needs
}

/// One line for each path that the unit does not let the daemon have, or one that all is well.
fn paths(unit: &Unit, needs: &Needs) -> Vec<Finding> {
    let mut findings = Vec::new();
    let closed = |what: &str, path: &Path, why: &str, remedy: String| {
        let says = format!("{what}: {} {why}", path.display());
        Finding::wrong(PATHS, says, format!("{remedy}, then restart the unit"))
    };
    for (what, path) in &needs.written {
        let shown = path.display();
        match unit.reach(path) {
            Reach::Writable => {}
            Reach::ReadOnly(by) => findings.push(closed(
                what,
                path,
                &format!("is read-only for the unit ({by})"),
                drop_in(&format!("ReadWritePaths={shown}")),
            )),
            Reach::Hidden(by) => findings.push(closed(
                what,
                path,
                &format!("is not what others see there ({by}yes)"),
                "set it to a directory below /run or /var/lib that the unit makes".to_owned(),
            )),
        }
    }
    for (what, path) in &needs.read {
        if let Reach::Hidden(by) = unit.reach(path) {
            let why = format!("is hidden from the unit ({by})");
            findings.push(closed(what, path, &why, opened(by, path)));
        }
    }
    findings.extend(needs.exchange.as_ref().and_then(|it| passable(unit, it)));
    if findings.is_empty() {
        let says = "every path of the configuration is open to the unit as it is hardened";
        findings.push(Finding::ok(PATHS, says));
    }
    findings
}

/// What opens a hidden path.
fn opened(by: &str, path: &Path) -> String {
    match by {
        "ProtectHome=" => drop_in(&format!(
            "ProtectHome=tmpfs\nBindReadOnlyPaths={}",
            path.display()
        ))
        .replace('\n', "` and `"),
        "PrivateTmp=" => drop_in("PrivateTmp=no"),
        _ => "take it out of InaccessiblePaths= (`systemctl edit sozu-manager`)".to_owned(),
    }
}

fn drop_in(line: &str) -> String {
    format!("write `{line}` below [Service] with `systemctl edit sozu-manager`")
}

/// systemd makes the runtime directory anew at each start, with the unit's mode: Sōzu's user has to get through it.
fn passable(unit: &Unit, exchange: &Path) -> Option<Finding> {
    let mut names = unit.words("RuntimeDirectory");
    names.find(|name| exchange.starts_with(Path::new("/run").join(name)))?;
    let mode = u32::from_str_radix(unit.word("RuntimeDirectoryMode"), 8).ok()?;
    (mode & 0o011 == 0).then(|| {
        Finding::warning(
            PATHS,
            format!("RuntimeDirectoryMode={mode:04o} lets no other user through to {}: Sōzu reads our files only if it runs as the same user", exchange.display()),
            drop_in("RuntimeDirectoryMode=0711"),
        )
    })
}

/// `/proc` says whether Sōzu is still in the same life.
fn proc(unit: &Unit) -> Finding {
    let hidden = matches!(
        unit.word("ProtectProc"),
        "invisible" | "noaccess" | "ptraceable"
    ) || unit.word("ProcSubset") == "pid";
    let user = match unit.word("User") {
        "" => "root",
        user => user,
    };
    if hidden && !unit.is_root() {
        return Finding::warning(
            CHECK,
            format!(
                "sozu-manager.service runs as {user} and hides other processes (ProtectProc=, ProcSubset=): a restart of Sōzu is told from a hot upgrade by its socket's file alone"
            ),
            format!(
                "{}; {}",
                drop_in("ProtectProc=default"),
                "likewise ProcSubset=all"
            ),
        );
    }
    Finding::ok(
        CHECK,
        format!("sozu-manager.service is loaded and runs as {user}"),
    )
}

/// Whether the process that systemd starts is in the group that may use Sōzu's socket.
fn socket_group(unit: &Unit, socket: &Path) -> Option<Finding> {
    let found = fs::metadata(socket).ok()?;
    let (gid, mode) = (found.gid(), found.mode() & 0o777);
    let user = unit.word("User");
    let owner = User::from_uid(found.uid().into()).ok().flatten();
    if unit.is_root() || owner.is_some_and(|owner| owner.name == user) {
        return Some(Finding::ok(
            GROUPS,
            format!("{user} may use Sōzu's socket as its owner does"),
        ));
    }
    if mode & 0o006 == 0o006 {
        return None; // `sozu.socket` says that everybody may
    }
    let name = group_name(gid);
    if mode & 0o060 != 0o060 {
        return Some(Finding::wrong(
            GROUPS,
            format!(
                "Sōzu's socket has mode {mode:04o}: no group makes {user} one of those who may use it"
            ),
            "write `command_socket_mode = \"0660\"` at the top of Sōzu's configuration and restart Sōzu",
        ));
    }
    Some(if unit.has_group(gid) {
        Finding::ok(
            GROUPS,
            format!("the unit gives {user} the group {name} of Sōzu's socket"),
        )
    } else {
        Finding::wrong(
            GROUPS,
            format!(
                "{user} is not in the group {name} of Sōzu's socket, and the unit does not say SupplementaryGroups={name}"
            ),
            format!(
                "{}, then restart the unit",
                drop_in(&format!("SupplementaryGroups={name}"))
            ),
        )
    })
}

#[cfg(test)]
mod tests;
