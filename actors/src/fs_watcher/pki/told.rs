//! What a look tells of certificates, besides what it declares.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{entry::Good, layout::Layout, pair::Facts, whole::Claims};
use crate::fs_watcher::problem::{Fault, Problem};

/// What a look tells of certificates, besides what it declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::fs_watcher) struct Told {
    /// In short, for `/health`.
    pub(in crate::fs_watcher) summary: String,
    /// What is no problem, and still worth knowing: ignored files, names that another serves.
    pub(super) notes: Vec<Problem>,
    /// How many of the notes are files that belong to no pair.
    pub(super) ignored: usize,
    /// What may be loaded, in path order.
    pub(super) certificates: Vec<Certificate>,
    /// How many pairs cannot be loaded as they are.
    pub(super) unusable: usize,
}

/// One certificate of a directory, as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::fs_watcher) struct Certificate {
    pub(super) path: Arc<PathBuf>,
    pub(super) facts: Arc<Facts>,
    pub(super) layout: Layout,
    /// It serves none of its names.
    pub(super) shadowed: bool,
    /// The first of its names that it serves.
    pub(super) serves: Option<String>,
    /// Where.
    pub(super) listeners: Arc<[SocketAddr]>,
}

impl Told {
    /// A file belongs to no pair.
    pub(super) fn ignored(&mut self, path: &Arc<PathBuf>, why: &str) {
        self.ignored += 1;
        self.note(path, format!("ignored: {why}"));
    }

    /// Another path before this one has the same leaf.
    pub(super) fn second(&mut self, path: &Arc<PathBuf>, first: &Path) {
        let first = first.display();
        self.note(
            path,
            format!("it is the same certificate as {first}, which comes first"),
        );
    }

    /// What a pair gives, and which of its names others serve.
    pub(super) fn certificate(
        &mut self,
        path: &Arc<PathBuf>,
        good: &Good,
        layout: Layout,
        claims: &Claims,
        listeners: &Arc<[SocketAddr]>,
    ) {
        let Some(place) = claims.place(path) else {
            return;
        };
        if let Some((name, winner)) = place.lost.first() {
            let more = match place.lost.len() {
                1 => String::new(),
                count => format!(" and {} more of its names", count - 1),
            };
            let winner = claims.path(*winner).display();
            self.note(
                path,
                format!("{name}{more} is served by {winner}: it is valid, or the newer one"),
            );
        }
        let lost = |name: &&String| place.lost.iter().any(|(other, _)| other == *name);
        let serves = good.facts.names.iter().find(|name| !lost(name)).cloned();
        self.certificates.push(Certificate {
            path: Arc::clone(path),
            facts: Arc::clone(&good.facts),
            layout,
            shadowed: serves.is_none(),
            serves,
            listeners: Arc::clone(listeners),
        });
    }

    /// Names that Sōzu cannot serve.
    pub(super) fn unusable_names(&mut self, path: &Arc<PathBuf>, facts: &Facts) {
        if !facts.unusable.is_empty() {
            let names = facts.unusable.join(", ");
            self.note(
                path,
                format!("Sōzu cannot serve it for {names}: it goes by host names alone"),
            );
        }
    }

    fn note(&mut self, path: &Arc<PathBuf>, text: String) {
        self.notes.push(Fault::whole(text).of(path));
    }

    /// Everything is told.
    pub(super) fn end(&mut self, now: i64) {
        self.notes.sort_by(|a, b| a.path.cmp(&b.path));
        self.summary = summary(self, now);
    }
}

fn summary(told: &Told, now: i64) -> String {
    let count = told.certificates.len();
    let s = if count == 1 { "" } else { "s" };
    let layouts: BTreeSet<&str> = told
        .certificates
        .iter()
        .map(|it| it.layout.name())
        .collect();
    let mut text = format!("{count} certificate{s}");
    if !layouts.is_empty() {
        let layouts: Vec<&str> = layouts.into_iter().collect();
        text = format!("{text} ({})", layouts.join(", "));
    }
    let shadowed = told.certificates.iter().filter(|it| it.shadowed).count();
    let expired = told
        .certificates
        .iter()
        .filter(|it| it.facts.not_after <= now)
        .count();
    for (count, what) in [
        (shadowed, "shadowed"),
        (expired, "expired"),
        (told.ignored, "ignored"),
    ] {
        if count > 0 {
            text = format!("{text}, {count} {what}");
        }
    }
    let next = told
        .certificates
        .iter()
        .filter(|it| it.facts.not_after > now && !it.shadowed);
    if let Some(next) = next.min_by_key(|it| it.facts.not_after) {
        let days = (next.facts.not_after - now) / 86_400;
        text = format!(
            "{text}; the next to expire is {} in {days} days",
            next.facts.names[0]
        );
    }
    text
}
