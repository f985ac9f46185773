//! From a complete listing to the changes that lead from the source's declared set to it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    declared::{Declaration, Declared, Stance, Why},
    key::{Key, Keyed, Object},
};
use crate::messages::{FileContent, Listing, SourceName};

/// What a listing asks for, compared with what its source declared before.
#[derive(Default)]
pub struct Changes {
    /// Objects that are new, differ, come back, or moved to another file.
    pub set: Vec<(Key, Arc<Object>, Arc<PathBuf>)>,
    /// Objects that the listing lacks: a conclusion, for the guard to judge.
    pub gone: Vec<Key>,
    /// Objects that it lacks since others have come in their place: no removal.
    pub replaced: Vec<Key>,
    /// Certificates that it lacks, each with the one of `set` that came in its place: no removal.
    pub renewed: BTreeMap<Key, Key>,
}

/// The files of a source as they were last taken, so that an unchanged one need not be compared
/// again. They share their objects with the watcher.
#[derive(Default)]
pub struct Taken {
    /// Those that could be read.
    pub files: HashMap<Arc<PathBuf>, Arc<Vec<Keyed>>>,
    /// Whether all of them could: then the source declares nothing else.
    pub complete: bool,
}

impl Taken {
    /// What a listing says.
    pub fn of(listing: &Listing) -> Self {
        let readable = listing.files.iter().filter_map(|file| match &file.content {
            FileContent::Objects(objects) => Some((file.path.clone(), objects.clone())),
            FileContent::Unreadable(_) => None,
        });
        let files: HashMap<_, _> = readable.collect();
        let complete = files.len() == listing.files.len();
        Self { files, complete }
    }

    /// The keys of the files that are not among these.
    fn keys_beside<'a>(&'a self, files: &'a HashSet<&Path>) -> impl Iterator<Item = &'a Key> {
        let others = self
            .files
            .iter()
            .filter(|(path, _)| !files.contains(path.as_path()));
        others.flat_map(|(_, objects)| objects.iter().map(|keyed| &keyed.key))
    }
}

/// Compares a complete listing with what its source declared. A file that is there but cannot be
/// read stands for what it last gave, and so does one that has not changed since it was taken. A
/// folder that cannot be listed stands for all that came from files in it.
pub fn changes(listing: &Listing, declared: &Declared, taken: &Taken) -> Changes {
    let source = &listing.source;
    let mut changes = Changes::default();
    let mut listed = HashSet::new();
    let mut as_before: HashSet<&Path> = HashSet::new();
    for file in &listing.files {
        let objects = match &file.content {
            FileContent::Unreadable(_) => None,
            FileContent::Objects(objects) => {
                let known = taken.files.get(&file.path);
                Some(objects).filter(|it| !known.is_some_and(|known| Arc::ptr_eq(known, it)))
            }
        };
        let Some(objects) = objects else {
            as_before.insert(&file.path);
            continue;
        };
        for Keyed { key, object } in objects.iter() {
            let known = declared.get(key, source).is_some_and(|declaration| {
                declaration.stance == Stance::Present
                    && declaration.origin.as_ref() == Some(&file.path)
                    && declaration.object.as_ref().is_some_and(|known| {
                        let brings_the_key = known.is_keyless() && !object.is_keyless();
                        known.same(object) && !brings_the_key
                    })
            });
            listed.insert(key);
            if !known {
                changes
                    .set
                    .push((key.clone(), object.clone(), file.path.clone()));
            }
        }
    }
    let is_gone = |key: &Key, declaration: &Declaration| {
        let stands = matches!(
            declaration.stance,
            Stance::Present | Stance::Kept(Why::Hold(_))
        );
        let stays = declaration
            .origin
            .as_deref()
            .is_some_and(|origin| origin.ancestors().any(|path| as_before.contains(path)));
        stands && !stays && !listed.contains(key)
    };
    changes.gone = if taken.complete && declared.holds(source).next().is_none() {
        // What the source declares is what it said then: only what is no longer said may be gone.
        let keys = taken.keys_beside(&as_before);
        let says = keys.filter_map(|key| Some((key, declared.get(key, source)?)));
        let gone = says.filter(|(key, declaration)| is_gone(key, declaration));
        gone.map(|(key, _)| key.clone()).collect()
    } else {
        let says = declared.of(source);
        let gone = says.filter(|(key, declaration)| is_gone(key, declaration));
        gone.map(|(key, _)| key.clone()).collect()
    };
    // As they are sent, so that they become final in the order of the log.
    changes
        .set
        .sort_by(|(a, ..), (b, ..)| a.kind().cmp(&b.kind()).then_with(|| a.cmp(b)));
    changes
        .gone
        .sort_by(|a, b| b.kind().cmp(&a.kind()).then_with(|| a.cmp(b)));
    tell_renewed_apart(&mut changes, declared, source);
    tell_replaced_apart(&mut changes);
    changes
}

/// A backend that moves within its cluster is a replacement. (A re-pointed frontend keeps its key
/// and is not gone at all.)
fn tell_replaced_apart(changes: &mut Changes) {
    let mut arrived: HashMap<&str, usize> = HashMap::new();
    for (key, ..) in &changes.set {
        if let Key::Backend(backend) = key {
            *arrived.entry(&backend.cluster).or_default() += 1;
        }
    }
    let is_replaced = |key: &Key| {
        let Key::Backend(backend) = key else {
            return false;
        };
        let count = arrived
            .get_mut(backend.cluster.as_ref())
            .filter(|count| **count > 0);
        count.is_some_and(|count| {
            *count -= 1;
            true
        })
    };
    let (replaced, gone): (Vec<Key>, Vec<Key>) = std::mem::take(&mut changes.gone)
        .into_iter()
        .partition(is_replaced);
    changes.replaced.extend(replaced);
    changes.gone = gone;
}

/// A certificate is renewed when another one comes on its listener from the same file, or for all of
/// its names.
fn tell_renewed_apart(changes: &mut Changes, declared: &Declared, source: &SourceName) {
    let mut from: HashMap<(SocketAddr, &PathBuf), &Key> = HashMap::new();
    let mut named: HashMap<(SocketAddr, &str), Vec<&Key>> = HashMap::new();
    for (key, object, file) in &changes.set {
        let (Key::Certificate(it), Object::Certificate(add)) = (key, &**object) else {
            continue;
        };
        from.insert((it.address, file), key);
        for name in &add.certificate.names {
            named.entry((it.address, name)).or_default().push(key);
        }
    }
    let successor = |gone: &Key| {
        let Key::Certificate(it) = gone else {
            return None;
        };
        let says = declared.get(gone, source)?;
        let origin = says.origin.as_deref();
        if let Some(key) = origin.and_then(|file| from.get(&(it.address, file))) {
            return Some((*key).clone());
        }
        let Some(Object::Certificate(add)) = says.object.as_deref() else {
            return None;
        };
        let mut of_it = add.certificate.names.iter();
        let none = Vec::new();
        let having = |name| named.get(&(it.address, name)).unwrap_or(&none);
        let mut left = having(of_it.next()?.as_str()).clone();
        for name in of_it {
            left.retain(|key| having(name.as_str()).contains(key));
        }
        left.first().map(|key| (*key).clone())
    };
    let renewed: BTreeMap<Key, Key> = changes
        .gone
        .iter()
        .filter_map(|gone| Some((gone.clone(), successor(gone)?)))
        .collect();
    changes.gone.retain(|key| !renewed.contains_key(key));
    changes.renewed = renewed;
}

#[cfg(test)]
mod tests {
    use sozu_command_lib::proto::command::{AddCertificate, CertificateAndKey, SocketAddress};

    use super::*;
    use crate::{
        messages::{ListedFile, SourceName},
        state_keeper::examples::{backend, cluster, http},
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
                        |objects| {
                            let keyed = objects
                                .into_iter()
                                .map(|object| Keyed::new(object).unwrap());
                            FileContent::Objects(Arc::new(keyed.collect()))
                        },
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
            &Taken::default(),
        );
        assert!(changes.set.is_empty() && changes.gone.is_empty());
    }

    #[test]
    fn an_unreadable_file_stands_for_what_it_last_gave() {
        let declared = declared(vec![("a.toml", cluster("a")), ("b.toml", cluster("b"))]);
        let changes = changes(
            &listing(vec![("a.toml", None)]),
            &declared,
            &Taken::default(),
        );
        assert_eq!(changes.gone, [cluster("b").key().unwrap()]);
    }

    #[test]
    fn a_folder_that_cannot_be_listed_stands_for_what_is_in_it() {
        let declared = declared(vec![
            ("d/x/a.crt", cluster("a")),
            ("d/y/b.crt", cluster("b")),
        ]);
        let changes = changes(&listing(vec![("d/x", None)]), &declared, &Taken::default());
        assert_eq!(changes.gone, [cluster("b").key().unwrap()]);
    }

    #[test]
    fn a_renewed_certificate_is_no_removal() {
        let certificate = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let issued = rcgen::generate_simple_self_signed(names.clone()).unwrap();
            Object::Certificate(Box::new(AddCertificate {
                address: SocketAddress::new_v4(0, 0, 0, 0, 443),
                certificate: CertificateAndKey {
                    certificate: issued.cert.pem(),
                    key: "its key".to_owned(),
                    names,
                    ..CertificateAndKey::default()
                },
                expired_at: None,
            }))
        };
        let old = [
            certificate(&["a"]),
            certificate(&["b", "c"]),
            certificate(&["d"]),
        ];
        let keys = old.each_ref().map(|old| old.key().unwrap());
        let [a, b, d] = old;
        let declared = declared(vec![("a.crt", a), ("b.crt", b), ("d.crt", d)]);
        let new = listing(vec![
            ("a.crt", Some(vec![certificate(&["x"])])),
            ("b-new.crt", Some(vec![certificate(&["c", "b", "z"])])),
        ]);
        let changes = changes(&new, &declared, &Taken::default());
        assert_eq!(changes.gone, [keys[2].clone()]);
        assert!(changes.replaced.is_empty());
        let renewed: HashSet<&Key> = changes.renewed.keys().collect();
        assert_eq!(renewed, keys[..2].iter().collect());
        let comes: HashSet<&Key> = changes.renewed.values().collect();
        assert_eq!(comes, changes.set.iter().map(|(key, ..)| key).collect());
    }

    #[test]
    fn a_file_that_was_taken_is_as_it_was_until_its_content_is_another() {
        let declared = declared(vec![("a.toml", cluster("a")), ("a.toml", cluster("b"))]);
        let first = listing(vec![("a.toml", Some(vec![cluster("c")]))]);
        let FileContent::Objects(objects) = &first.files[0].content else {
            panic!("it was read")
        };
        let taken = Taken {
            files: [(first.files[0].path.clone(), objects.clone())].into(),
            complete: false,
        };
        let unchanged = changes(&first, &declared, &taken);
        assert!(unchanged.set.is_empty() && unchanged.gone.is_empty());
        let second = listing(vec![("a.toml", Some(vec![cluster("c")]))]);
        let changed = changes(&second, &declared, &taken);
        assert_eq!((changed.set.len(), changed.gone.len()), (1, 2));
    }

    #[test]
    fn what_is_gone_is_found_in_what_was_taken_as_in_all_that_is_declared() {
        let declared = declared(vec![
            ("a.toml", cluster("a")),
            ("b.toml", cluster("b")),
            ("c.toml", cluster("c")),
        ]);
        let all = ["a", "b", "c"].map(|name| (format!("{name}.toml"), vec![cluster(name)]));
        let files = all
            .iter()
            .map(|(path, objects)| (path.as_str(), Some(objects.clone())));
        let taken = Taken::of(&listing(files.collect()));
        assert!(taken.complete);
        let next = listing(vec![
            ("b.toml", Some(vec![cluster("d")])),
            ("c.toml", None),
            ("z.toml", Some(vec![cluster("a")])),
        ]);
        for taken in [taken, Taken::default()] {
            let changes = changes(&next, &declared, &taken);
            assert_eq!(changes.gone, [cluster("b").key().unwrap()]);
            assert_eq!(changes.set.len(), 2);
        }
        assert!(!Taken::of(&next).complete);
    }

    #[test]
    fn a_renamed_file_takes_its_objects_along() {
        let declared = declared(vec![("a.toml", cluster("a"))]);
        let changes = changes(
            &listing(vec![("z.toml", Some(vec![cluster("a")]))]),
            &declared,
            &Taken::default(),
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
        let emptied = changes(&listing(vec![]), &declared, &Taken::default());
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
            &Taken::default(),
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
            &Taken::default(),
        );
        assert_eq!(changes.replaced, [backend("a", "a-1", 1).key().unwrap()]);
        assert_eq!(changes.gone.len(), 2);
    }
}
