//! From a complete listing to the changes that lead from the source's declared set to it.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use super::{
    declared::{Declared, Stance, Why},
    key::{Key, KeyError, Object},
};
use crate::messages::{FileContent, Listing};

/// What a listing asks for, compared with what its source declared before.
#[derive(Default)]
pub struct Changes {
    /// Objects that are new, differ, come back, or moved to another file.
    pub set: Vec<(Key, Arc<Object>, Arc<PathBuf>)>,
    /// Objects that the listing lacks: a conclusion, for the guard to judge.
    pub gone: Vec<Key>,
    /// Objects that it lacks since others have come in their place: no removal.
    pub replaced: Vec<Key>,
    /// Objects that have no key.
    pub keyless: Vec<(Arc<PathBuf>, KeyError)>,
}

/// Compares a complete listing with what its source declared. A file that is there but cannot be
/// read stands for what it last gave.
pub fn changes(listing: &Listing, declared: &Declared) -> Changes {
    let source = &listing.source;
    let mut changes = Changes::default();
    let mut listed = HashSet::new();
    let mut unreadable: HashSet<&PathBuf> = HashSet::new();
    for file in &listing.files {
        let objects = match &file.content {
            FileContent::Objects(objects) => objects,
            FileContent::Unreadable(_) => {
                unreadable.insert(&file.path);
                continue;
            }
        };
        for object in objects.iter() {
            let object = object.clone().canonical();
            let key = match object.key() {
                Ok(key) => key,
                Err(error) => {
                    changes.keyless.push((file.path.clone(), error));
                    continue;
                }
            };
            let known = declared.get(&key, source).is_some_and(|declaration| {
                declaration.stance == Stance::Present
                    && declaration.origin.as_ref() == Some(&file.path)
                    && declaration.object.as_ref().is_some_and(|known| {
                        let brings_the_key = known.is_keyless() && !object.is_keyless();
                        known.same(&object) && !brings_the_key
                    })
            });
            listed.insert(key.clone());
            if !known {
                changes.set.push((key, Arc::new(object), file.path.clone()));
            }
        }
    }
    changes.gone = declared
        .of(source)
        .filter(|(key, declaration)| {
            let stands = matches!(
                declaration.stance,
                Stance::Present | Stance::Kept(Why::Hold(_))
            );
            let unread = declaration
                .origin
                .as_deref()
                .is_some_and(|origin| unreadable.contains(origin));
            stands && !unread && !listed.contains(*key)
        })
        .map(|(key, _)| key.clone())
        .collect();
    changes.set.sort_by_key(|(key, ..)| key.kind());
    changes
        .gone
        .sort_by(|a, b| b.kind().cmp(&a.kind()).then_with(|| a.cmp(b)));
    tell_replaced_apart(&mut changes);
    changes
}

/// A backend that moves within its cluster is a replacement. (A re-pointed frontend keeps its key
/// and is not gone at all.)
fn tell_replaced_apart(changes: &mut Changes) {
    let mut arrived: HashMap<&str, usize> = HashMap::new();
    for (key, ..) in &changes.set {
        if let Key::Backend { cluster, .. } = key {
            *arrived.entry(cluster).or_default() += 1;
        }
    }
    let is_replaced = |key: &Key| {
        let Key::Backend { cluster, .. } = key else {
            return false;
        };
        let count = arrived
            .get_mut(cluster.as_ref())
            .filter(|count| **count > 0);
        count.is_some_and(|count| {
            *count -= 1;
            true
        })
    };
    (changes.replaced, changes.gone) = std::mem::take(&mut changes.gone)
        .into_iter()
        .partition(is_replaced);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        messages::{ListedFile, SourceName},
        state_keeper::{
            declared::Declaration,
            examples::{backend, cluster, http},
        },
    };

    fn listing(files: Vec<(&str, Option<Vec<Object>>)>) -> Listing {
        Listing {
            source: SourceName::new("s"),
            device: 1,
            files: files
                .into_iter()
                .map(|(path, content)| ListedFile {
                    path: Arc::new(path.into()),
                    content: content.map_or_else(
                        || FileContent::Unreadable("broken".to_owned()),
                        |objects| FileContent::Objects(Arc::new(objects)),
                    ),
                })
                .collect(),
        }
    }

    fn declared(objects: Vec<(&str, Object)>) -> Declared {
        let mut declared = Declared::default();
        for (path, object) in objects {
            let key = object.key().unwrap();
            let declaration = Declaration {
                stance: Stance::Present,
                object: Some(Arc::new(object)),
                origin: Some(Arc::new(path.into())),
                since: 1,
            };
            declared.set(&key, &SourceName::new("s"), Some(declaration));
        }
        declared
    }

    #[test]
    fn an_equal_listing_changes_nothing() {
        let declared = declared(vec![("a.toml", cluster("a"))]);
        let changes = changes(
            &listing(vec![("a.toml", Some(vec![cluster("a")]))]),
            &declared,
        );
        assert!(changes.set.is_empty() && changes.gone.is_empty());
    }

    #[test]
    fn an_unreadable_file_stands_for_what_it_last_gave() {
        let declared = declared(vec![("a.toml", cluster("a")), ("b.toml", cluster("b"))]);
        let changes = changes(&listing(vec![("a.toml", None)]), &declared);
        assert_eq!(changes.gone, [cluster("b").key().unwrap()]);
    }

    #[test]
    fn a_renamed_file_takes_its_objects_along() {
        let declared = declared(vec![("a.toml", cluster("a"))]);
        let changes = changes(
            &listing(vec![("z.toml", Some(vec![cluster("a")]))]),
            &declared,
        );
        assert_eq!(changes.set.len(), 1, "the new file is remembered");
        assert!(changes.gone.is_empty());
    }

    #[test]
    fn additions_begin_with_clusters_and_removals_end_with_them() {
        let declared = declared(vec![
            ("a.toml", cluster("a")),
            ("a.toml", http("a", "a.example")),
            ("a.toml", backend("a", "a-1", 1)),
        ]);
        let emptied = changes(&listing(vec![]), &declared);
        let kinds: Vec<_> = emptied.gone.iter().map(|key| key.kind().name()).collect();
        assert_eq!(kinds, ["http_frontend", "backend", "cluster"]);
        let filled = changes(
            &listing(vec![(
                "a.toml",
                Some(vec![
                    http("a", "a.example"),
                    backend("a", "a-1", 1),
                    cluster("a"),
                ]),
            )]),
            &Declared::default(),
        );
        let kinds: Vec<_> = filled
            .set
            .iter()
            .map(|(key, ..)| key.kind().name())
            .collect();
        assert_eq!(kinds, ["cluster", "backend", "http_frontend"]);
    }

    #[test]
    fn a_backend_that_moves_within_its_cluster_is_no_removal() {
        let declared = declared(vec![
            ("a.toml", backend("a", "a-1", 1)),
            ("a.toml", backend("a", "a-2", 2)),
            ("a.toml", backend("b", "b-1", 3)),
        ]);
        let changes = changes(
            &listing(vec![("a.toml", Some(vec![backend("a", "a-1", 4)]))]),
            &declared,
        );
        assert_eq!(changes.replaced, [backend("a", "a-1", 1).key().unwrap()]);
        assert_eq!(changes.gone.len(), 2);
    }
}
