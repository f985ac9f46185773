use std::path::Path;

use super::*;
use crate::messages::{Letters, Original};
use crate::state_keeper::{
    declared::{Declaration, Stance, Why},
    events::FinalVerdict,
    examples::{cluster, http},
    log::{Admission, Operator, Word},
    verdict::Verdict,
};

pub(super) const LIMITS: Limits = Limits {
    journal_keep: Duration::from_hours(24),
    journal_rows: 100,
    dead_letter_rows: 2,
    dead_letter_bytes: 1_000,
    when_full: WhenFull::DropOldest,
};

pub(super) fn source() -> SourceName {
    SourceName::new("s")
}

pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
}

pub(super) fn entry(seq: u64, admission: Admission) -> Entry {
    Entry {
        seq,
        source: source(),
        at: now(),
        request: Arc::new(cluster(&format!("c{seq}")).add()),
        origin: Some(Arc::new("/etc/routes/a.toml".into())),
        position: None,
        original: None,
        admission,
    }
}

/// As a bus sends it: refused, it is a dead letter.
fn message(seq: u64, bytes: usize) -> Entry {
    let place = Position {
        ledger: 3,
        entry: seq,
        index: -1,
    };
    Entry {
        origin: None,
        position: Some(place),
        original: Some(Arc::new(Original {
            bytes: vec![0; bytes],
            ..Original::default()
        })),
        ..entry(seq, Admission::Refused("no".to_owned()))
    }
}

fn accepted(verdicts: impl IntoIterator<Item = FinalVerdict>) -> Acceptance {
    Acceptance {
        verdicts: verdicts.into_iter().collect(),
        ..Acceptance::default()
    }
}

fn refused(seq: u64) -> FinalVerdict {
    verdict(seq, Verdict::Refused("no".to_owned()))
}

fn seqs(store: &Store) -> Vec<u64> {
    let mut statement = store
        .connection
        .prepare("SELECT seq FROM journal ORDER BY seq")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn verdict(seq: u64, verdict: Verdict) -> FinalVerdict {
    FinalVerdict {
        seq,
        source: source(),
        keys: vec![],
        verdict,
        taken: now(),
    }
}

pub(super) fn opening(directory: &Path) -> Result<(Store, Loaded), StoreError> {
    let directory = Arc::new(StateDirectory::new(directory));
    Store::open(&directory, LIMITS, now())
}

/// Accepts what the entries declare.
pub(super) fn accept(store: &mut Store, entries: &[Entry]) {
    let declarations = entries.iter().map(|entry| {
        let object = cluster(&format!("c{}", entry.seq));
        let declaration = Declaration {
            stance: Stance::Present,
            object: Some(Arc::new(object.clone())),
            origin: entry.origin.clone(),
            since: entry.seq,
        };
        (object.key().unwrap(), source(), Some(declaration))
    });
    let accepted = Acceptance {
        verdicts: entries
            .iter()
            .map(|entry| verdict(entry.seq, Verdict::Applied))
            .collect(),
        declarations: declarations.collect(),
        ..Acceptance::default()
    };
    store.accept(&accepted, now()).unwrap();
}

fn open(directory: &tempfile::TempDir) -> Store {
    opening(directory.path()).unwrap().0
}

#[test]
fn entries_without_a_verdict_are_the_tail_of_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let entries = [
        entry(1, Admission::Order),
        entry(2, Admission::Conclusion),
        entry(3, Admission::Held("id".into())),
        entry(4, Admission::Refused("no".to_owned())),
    ];
    let order = |seq, word| Entry {
        origin: None,
        ..entry(seq, Admission::Operator(Operator { uid: 1000, word }))
    };
    let orders = [
        order(5, Word::Release("id".into())),
        order(6, Word::Discard("id".into())),
        order(7, Word::Remove),
    ];
    let mut store = open(&directory);
    store
        .append(&entries, Some((source(), Mark::Device(7))))
        .unwrap();
    store.append(&orders, None).unwrap();
    let accepted = Acceptance {
        verdicts: vec![verdict(1, Verdict::Applied)],
        ..Acceptance::default()
    };
    store.accept(&accepted, now()).unwrap();
    drop(store);
    let loaded = opening(directory.path()).unwrap().1;
    assert_eq!(loaded.tail, [&entries[1..], &orders].concat());
    assert_eq!(loaded.last_seq, 7);
    assert_eq!(loaded.devices, HashMap::from([(source(), 7)]));
    assert_eq!(loaded.removed_lately, HashMap::from([(source(), 1)]));
}

#[test]
fn the_place_of_a_bus_and_the_bytes_of_what_was_refused_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let place = Position {
        ledger: 3,
        entry: 9,
        index: -1,
    };
    let refused = Entry {
        request: Arc::default(),
        origin: None,
        position: Some(place),
        original: Some(Arc::new(Original {
            bytes: vec![0xff, 0x00],
            key: Some("a".to_owned()),
            published: Some(1_700_000_000_123),
            again: None,
        })),
        ..entry(1, Admission::Refused("undecodable".to_owned()))
    };
    let mut store = open(&directory);
    store
        .append(
            std::slice::from_ref(&refused),
            Some((source(), Mark::Position(place))),
        )
        .unwrap();
    let accepted = Acceptance {
        caught_up: [source()].into(),
        ..Acceptance::default()
    };
    store.accept(&accepted, now()).unwrap();
    let loaded = store.load(now()).unwrap();
    assert_eq!(loaded.tail, [refused]);
    assert_eq!(loaded.positions, HashMap::from([(source(), place)]));
    assert_eq!(loaded.caught_up, [source()].into());
}

#[test]
fn declared_sets_come_back_as_they_were_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let object = Arc::new(http("a", "a.example"));
    let key = object.key().unwrap();
    let stances = [
        Stance::Present,
        Stance::Kept(Why::Hold("id".into())),
        Stance::Kept(Why::Orphaned),
        Stance::Kept(Why::StillUsed),
        Stance::Absent {
            at: now(),
            unseen_in: Some("life".into()),
        },
    ];
    for stance in stances {
        let is_absent = matches!(stance, Stance::Absent { .. });
        let declaration = Declaration {
            stance,
            object: (!is_absent).then(|| object.clone()),
            origin: Some(Arc::new("/etc/routes/a.toml".into())),
            since: 3,
        };
        let accepted = Acceptance {
            declarations: vec![(key.clone(), source(), Some(declaration.clone()))],
            complete_life: Some("life".into()),
            ..Acceptance::default()
        };
        let mut store = open(&directory);
        store.accept(&accepted, now()).unwrap();
        let loaded = store.load(now()).unwrap();
        assert_eq!(loaded.declarations, [(key.clone(), source(), declaration)]);
        assert_eq!(loaded.complete_life.as_deref(), Some("life"));
    }
}

#[test]
fn what_has_expired_goes_and_what_is_not_final_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(&directory);
    let entries: Vec<Entry> = (1..=6)
        .map(|seq| match seq {
            2 | 3 => message(seq, 1),
            _ => entry(seq, Admission::Order),
        })
        .collect();
    store
        .append(&entries, Some((source(), Mark::Device(7))))
        .unwrap();
    store
        .accept(
            &accepted([
                verdict(1, Verdict::Applied),
                refused(2),
                refused(3),
                refused(4),
                verdict(6, Verdict::Applied),
            ]),
            now(),
        )
        .unwrap();
    let later = now() + Duration::from_hours(48);
    let loaded = store.load(later).unwrap();
    assert_eq!(loaded.tail.len(), 1, "what is not final never expires");
    assert_eq!(seqs(&store), [2, 3, 5], "two dead letters and the open one");
    let loaded = store.load(later).unwrap();
    assert_eq!(loaded.last_seq, 6, "numbers are never used again");
}

#[test]
fn dead_letters_beyond_their_bytes_go_the_eldest_first() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(&directory);
    // The limit is 1,000 bytes, or two of them; each has the bytes of its request, too.
    let entries = [message(1, 100), message(2, 900), message(3, 500)];
    store
        .append(&entries, Some((source(), Mark::Device(7))))
        .unwrap();
    store
        .accept(&accepted((1..=3).map(refused)), now())
        .unwrap();
    assert_eq!(seqs(&store), [3]);
    let counts = store.letters.news().unwrap();
    assert_eq!(counts.all().rows, 1);
    assert_eq!(store.letters.news(), None);
    assert_eq!(
        letters::Desk::load(&store.connection).unwrap().counts(),
        &*counts
    );
}

#[test]
fn nothing_is_dropped_where_buses_are_to_wait() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(&directory);
    store.limits.when_full = WhenFull::Stop;
    let entries: Vec<Entry> = (1..=5).map(|seq| message(seq, 900)).collect();
    store
        .append(&entries, Some((source(), Mark::Device(7))))
        .unwrap();
    store
        .accept(&accepted((1..=5).map(refused)), now())
        .unwrap();
    store.prune(now()).unwrap();
    assert_eq!(seqs(&store), [1, 2, 3, 4, 5]);
}

/// Two letters about `c` and `d`, and the store with them.
fn with_letters(directory: &tempfile::TempDir) -> Store {
    let mut store = open(directory);
    store.limits.dead_letter_rows = 100;
    store.limits.dead_letter_bytes = 1_000_000;
    let about = |seq, name: &str| Entry {
        request: Arc::new(cluster(name).add()),
        ..message(seq, 10)
    };
    let entries = [about(1, "c"), about(2, "d"), about(3, "c")];
    store
        .append(&entries, Some((source(), Mark::Device(7))))
        .unwrap();
    store
        .accept(&accepted((1..=3).map(refused)), now())
        .unwrap();
    store
}

/// The letter as it is tried again.
fn again(directory: &tempfile::TempDir, letter: u64, seq: u64, force: bool) -> Ending {
    let letter = letter_of(directory.path(), letter).unwrap().unwrap();
    let word = Word::Retry(Ok(()));
    let again = Entry {
        seq,
        request: Arc::new(cluster("c").add()),
        origin: None,
        position: None,
        original: Some(letter.original.clone()),
        ..entry(seq, Admission::Operator(Operator { uid: 7, word }))
    };
    Ending {
        uid: 7,
        how: End::Retried {
            seq: letter.seq,
            again: Arc::new(again),
            force,
        },
    }
}

fn applied(seq: u64, name: &str) -> FinalVerdict {
    FinalVerdict {
        keys: vec![cluster(name).key().unwrap()],
        ..verdict(seq, Verdict::Applied)
    }
}

fn letters(directory: &tempfile::TempDir) -> Vec<(u64, Option<u64>)> {
    let filter = LetterFilter {
        limit: 10,
        with_payload: true,
        ..LetterFilter::default()
    };
    let lines = read_letters(directory.path(), &filter).unwrap();
    lines.iter().map(|it| (it.id, it.overtaken_by)).collect()
}

#[test]
fn a_letter_that_was_overtaken_is_tried_again_by_force_only() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = with_letters(&directory);
    // The first is tried again and taken: the one after it is the later word still.
    store.end_letters(&again(&directory, 1, 4, false)).unwrap();
    store.accept(&accepted([applied(4, "c")]), now()).unwrap();
    assert_eq!(letters(&directory), [(2, None), (3, None)]);
    // Another change of the same object comes.
    let change = [entry(5, Admission::Order)];
    store
        .append(&change, Some((source(), Mark::Device(7))))
        .unwrap();
    store.accept(&accepted([applied(5, "c")]), now()).unwrap();
    assert_eq!(letters(&directory), [(2, None), (3, Some(5))]);
    let refused_retry = store.end_letters(&again(&directory, 3, 6, false));
    assert!(
        matches!(
            refused_retry,
            Err(StoreError::Overtaken { letter: 3, by: 5 })
        ),
        "{refused_retry:?}"
    );
    // By force, and refused again: it is no younger for that.
    store.end_letters(&again(&directory, 3, 6, true)).unwrap();
    store.accept(&accepted([refused(6)]), now()).unwrap();
    assert_eq!(letters(&directory), [(2, None), (6, Some(5))]);
    let id = "SELECT message FROM dead_letters WHERE seq = 6";
    let id: String = store
        .connection
        .query_row(id, [], |row| row.get(0))
        .unwrap();
    assert_eq!(id, "3:3:-1");
    let ended = "SELECT letter || length(request) FROM journal WHERE seq = 3";
    let ended: String = store
        .connection
        .query_row(ended, [], |row| row.get(0))
        .unwrap();
    assert_eq!(ended, "retried as 6 by uid 70");
    let gone = store.end_letters(&again_of_nothing());
    assert!(
        matches!(gone, Err(StoreError::NoSuchLetter(99))),
        "{gone:?}"
    );
}

fn again_of_nothing() -> Ending {
    Ending {
        uid: 7,
        how: End::Discarded(Letters::One(99)),
    }
}

#[test]
fn what_is_discarded_loses_its_bytes_and_stays_in_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = with_letters(&directory);
    let original = Original {
        bytes: b"what nobody may read".to_vec(),
        ..Original::default()
    };
    let secret = Entry {
        original: Some(Arc::new(original.clone())),
        ..message(4, 0)
    };
    store.append(&[secret], None).unwrap();
    store.accept(&accepted([refused(4)]), now()).unwrap();
    let is_on_disk = || {
        let files = std::fs::read_dir(directory.path()).unwrap();
        let mut files = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        files.any(|file| file.windows(20).any(|bytes| *bytes == original.bytes))
    };
    assert!(is_on_disk());
    let discard = |which| Ending {
        uid: 7,
        how: End::Discarded(which),
    };
    assert_eq!(store.end_letters(&discard(Letters::One(2))).unwrap(), 1);
    assert_eq!(letters(&directory), [(1, None), (3, None), (4, None)]);
    let all_of = Letters::Of(source());
    assert_eq!(store.end_letters(&discard(all_of)).unwrap(), 3);
    assert_eq!(store.end_letters(&discard(Letters::All)).unwrap(), 0);
    assert!(letters(&directory).is_empty());
    let counts = store.letters.counts().all();
    assert_eq!(counts, Count::default());
    let bytes = "SELECT sum(length(request) + coalesce(length(original), 0)) FROM journal";
    let bytes: u64 = store
        .connection
        .query_row(bytes, [], |row| row.get(0))
        .unwrap();
    assert_eq!((bytes, seqs(&store)), (0, vec![1, 2, 3, 4]));
    assert!(!is_on_disk(), "in SQLite's own log neither");
}

#[test]
fn what_a_topic_had_is_not_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = with_letters(&directory);
    let unsent = || {
        let filter = LetterFilter {
            source: Some("s".to_owned()),
            unsent: true,
            after: Some(0),
            limit: 10,
            ..LetterFilter::default()
        };
        let lines = read_letters(directory.path(), &filter).unwrap();
        lines.iter().map(|it| it.id).collect::<Vec<_>>()
    };
    assert_eq!(unsent(), [1, 2, 3]);
    store.sent_on(&[1, 2], now()).unwrap();
    assert_eq!(unsent(), [3]);
    assert_eq!(store.letters.counts().all().unsent, 1);
    drop(store);
    assert_eq!(open(&directory).letters.counts().all().unsent, 1);
}

#[test]
fn a_second_user_is_told_who_holds_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let _first = open(&directory);
    let Err(error) = opening(directory.path()) else {
        panic!("two users of one directory")
    };
    assert!(
        error.to_string().contains(&std::process::id().to_string()),
        "{error}"
    );
}

#[test]
fn a_newer_schema_is_named_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    open(&directory)
        .connection
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let Err(error) = opening(directory.path()) else {
        panic!("a newer schema is not opened")
    };
    let text = error.to_string();
    assert!(text.contains("99") && text.contains("knows 3"), "{text}");
}

#[test]
fn only_the_owner_may_read_the_database() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state");
    let _store = opening(&directory).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("state.db")), 0o600);
}

#[test]
fn a_host_keeps_its_first_name_until_it_is_given_another() {
    let directory = tempfile::tempdir().unwrap();
    let host = open(&directory).instance("").unwrap();
    assert!(!host.is_empty());
    let table = [
        ("", host.as_str()),
        ("edge-1", "edge-1"),
        ("", "edge-1"),
        ("edge-2", "edge-2"),
    ];
    for (configured, name) in table {
        assert_eq!(open(&directory).instance(configured).unwrap(), name);
    }
}

#[test]
fn a_pause_comes_back_until_it_is_over_and_nonsense_pauses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let pause = Pause {
        since: now(),
        until: now() + Duration::from_hours(1),
        uid: 1000,
    };
    let loaded = || opening(directory.path()).unwrap().1.pause;
    open(&directory).keep_pause(Some(pause)).unwrap();
    assert_eq!(loaded(), Some(pause));
    open(&directory).keep_pause(None).unwrap();
    assert_eq!(loaded(), None);
    for text in ["", "1 2", "1 x 3", "1 99999999999999999 3", "1 2 -3"] {
        let write = "INSERT OR REPLACE INTO meta (name, value) VALUES ('pause', ?1)";
        open(&directory).connection.execute(write, [text]).unwrap();
        assert_eq!(loaded(), None, "{text:?}");
    }
}

#[test]
fn a_link_in_place_of_the_database_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    fs::write(&target, "precious").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink(&target, directory.path().join("state.db")).unwrap();
    let error = opening(directory.path()).err().unwrap();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert_eq!(
        fs::metadata(&target).unwrap().permissions().mode() & 0o777,
        0o644
    );
}
