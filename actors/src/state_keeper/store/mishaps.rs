//! Tests: the database damaged, older, gone, or another life's.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

use super::{
    schema::{CURRENT, Schema},
    tests::{LIMITS, accept, entry, now, opening, source},
    *,
};
use crate::state_keeper::log::Admission;

const ROWS: u64 = 2000;

/// A closed database with so many entries and objects that they fill many pages.
fn filled(directory: &Path) {
    let (mut store, _) = opening(directory).unwrap();
    let entries: Vec<Entry> = (1..=ROWS).map(|seq| entry(seq, Admission::Order)).collect();
    store
        .append(&entries, Some((source(), Mark::Device(7))))
        .unwrap();
    accept(&mut store, &entries);
}

fn names(directory: &Path, part: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.contains(part)).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Writes over a page of the file.
fn overwrite(file: &Path, page: u64) {
    let mut file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(4096 * page)).unwrap();
    file.write_all(&[0xA5; 4096]).unwrap();
}

/// The root page of a table or an index, counted from 0.
fn root_page(file: &Path, name: &str) -> u64 {
    let sql = "SELECT rootpage - 1 FROM sqlite_schema WHERE name = ?1";
    let connection = Connection::open(file).unwrap();
    connection.query_row(sql, [name], |row| row.get(0)).unwrap()
}

#[test]
fn a_damaged_file_is_kept_aside_and_an_empty_one_takes_its_place() {
    type Damage = fn(&Path);
    let table: [(&str, Damage); 5] = [
        ("garbage", |file| {
            fs::write(file, vec![0xA5; 100_000]).unwrap();
        }),
        ("truncated", |file| {
            let file = fs::OpenOptions::new().write(true).open(file).unwrap();
            file.set_len(file.metadata().unwrap().len() / 8192 * 4096)
                .unwrap();
        }),
        ("the first page", |file| overwrite(file, 0)),
        ("a page of objects", |file| {
            overwrite(file, root_page(file, "objects"));
        }),
        ("a page of the log", |file| {
            overwrite(file, root_page(file, "journal_tail"));
        }),
    ];
    for (what, damage) in table {
        let ground = tempfile::tempdir().unwrap();
        filled(ground.path());
        let file = ground.path().join("state.db");
        damage(&file);
        let (mut store, loaded) =
            opening(ground.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(
            loaded.declarations.is_empty() && loaded.last_seq == 0,
            "{what}"
        );
        store
            .append(
                &[entry(1, Admission::Order)],
                Some((source(), Mark::Device(7))),
            )
            .unwrap();
        let copies = names(ground.path(), "corrupt");
        assert_eq!(copies.len(), 1, "{what}: {copies:?}");
        let copy = ground.path().join(&copies[0]);
        assert!(copies[0].starts_with("state.db.corrupt.20"), "{copies:?}");
        assert!(fs::metadata(&copy).unwrap().len() > 4096, "{what}");
        assert_eq!(mode(&copy), 0o600, "{what}");
    }
}

#[test]
fn a_row_that_cannot_be_read_is_damage_too() {
    let ground = tempfile::tempdir().unwrap();
    filled(ground.path());
    let connection = Connection::open(ground.path().join("state.db")).unwrap();
    connection
        .execute("UPDATE objects SET request = x'ffff' WHERE since = 1", [])
        .unwrap();
    drop(connection);
    let (_store, loaded) = opening(ground.path()).unwrap();
    assert!(loaded.declarations.is_empty());
    assert_eq!(names(ground.path(), "corrupt").len(), 1);
}

#[test]
fn damage_that_shows_later_is_kept_aside_by_the_next_life() {
    let ground = tempfile::tempdir().unwrap();
    filled(ground.path());
    let directory = Arc::new(StateDirectory::new(ground.path()));
    let (store, loaded) = Store::open(&directory, LIMITS, now()).unwrap();
    assert_eq!(loaded.last_seq, ROWS);
    let file = ground.path().join("state.db");
    let root = root_page(&file, "journal");
    let other = Connection::open(&file).unwrap();
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    other.query_row(checkpoint, [], |_| Ok(())).unwrap();
    overwrite(&file, root);
    // somebody else writes, so what was read before counts no more
    let write = "INSERT INTO meta (name, value) VALUES ('a', 'b')";
    other.execute(write, []).unwrap();
    drop(other);
    let writer = Writer::start(store).unwrap();
    let write = |seq| {
        let entries = vec![entry(seq, Admission::Order)];
        writer
            .append(
                entries.into_iter().map(Arc::new).collect(),
                Some((source(), Mark::Device(7))),
            )
            .blocking_recv()
            .unwrap()
    };
    let error = write(ROWS + 1).unwrap_err();
    assert!(error.ends_this_life(), "{error}");
    let error = write(ROWS + 2).unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    drop(writer);
    let (_store, loaded) = Store::open(&directory, LIMITS, now()).unwrap();
    assert!(loaded.declarations.is_empty());
    assert_eq!(names(ground.path(), "corrupt").len(), 1);
}

#[test]
fn a_file_that_was_removed_or_replaced_ends_the_life_that_writes_it() {
    let replace: fn(&Path) = |file| {
        fs::copy(file, file.with_extension("copy")).unwrap();
        fs::rename(file.with_extension("copy"), file).unwrap();
    };
    for change in [replace, |file| fs::remove_file(file).unwrap()] {
        let ground = tempfile::tempdir().unwrap();
        let (store, _) = opening(ground.path()).unwrap();
        let writer = Writer::start(store).unwrap();
        change(&ground.path().join("state.db"));
        let entries = vec![entry(1, Admission::Order)];
        let written = writer
            .append(
                entries.into_iter().map(Arc::new).collect(),
                Some((source(), Mark::Device(7))),
            )
            .blocking_recv()
            .unwrap();
        let error = written.unwrap_err();
        assert!(
            matches!(error, StoreError::Gone(_)) && error.ends_this_life(),
            "{error}"
        );
    }
}

#[test]
fn the_next_life_finds_what_the_earlier_one_was_still_writing() {
    let ground = tempfile::tempdir().unwrap();
    let directory = Arc::new(StateDirectory::new(ground.path()));
    let (store, _) = Store::open(&directory, LIMITS, now()).unwrap();
    let (sender, opened) = mpsc::channel();
    let next = thread::spawn({
        let directory = Arc::clone(&directory);
        move || {
            let result = Store::open(&directory, LIMITS, now());
            sender.send(()).unwrap();
            result.unwrap().1.last_seq
        }
    });
    let early = opened.recv_timeout(Duration::from_millis(100));
    assert!(early.is_err(), "two lives have the database open");
    let writer = Writer::start(store).unwrap();
    // nobody waits for the answers
    for seq in 1..=50 {
        drop(writer.append(
            vec![Arc::new(entry(seq, Admission::Order))],
            Some((source(), Mark::Device(7))),
        ));
    }
    drop(writer);
    assert_eq!(next.join().unwrap(), 50);
}

/// As a later version will have it.
const LATER: Schema = Schema {
    text: "",
    steps: &[
        CURRENT.steps[0],
        CURRENT.steps[1],
        |transaction| transaction.execute_batch("ALTER TABLE objects ADD COLUMN colour TEXT"),
        |transaction| transaction.execute_batch("UPDATE objects SET colour = 'blue'"),
    ],
};

#[test]
fn an_older_schema_is_brought_up_step_by_step_and_a_copy_is_left() {
    let ground = tempfile::tempdir().unwrap();
    filled(ground.path());
    let file = ground.path().join("state.db");
    let mut connection = Connection::open(&file).unwrap();
    LATER.prepare(&mut connection, &file, now()).unwrap();
    let blue = "SELECT count(*) FROM objects WHERE colour = 'blue'";
    let count: u64 = connection.query_row(blue, [], |row| row.get(0)).unwrap();
    assert_eq!(count, ROWS);
    let copies = names(ground.path(), "schema-3");
    assert_eq!(copies.len(), 1, "{copies:?}");
    let copy = ground.path().join(&copies[0]);
    assert_eq!(mode(&copy), 0o600);

    // a second time there is nothing to do
    LATER.prepare(&mut connection, &file, now()).unwrap();
    assert_eq!(names(ground.path(), "schema-").len(), 1);
    drop(connection);

    // the older version does not touch it, and goes on with the copy
    let error = opening(ground.path()).err().unwrap();
    assert!(
        matches!(
            error,
            StoreError::Newer {
                found: 5,
                known: 3,
                ..
            }
        ),
        "{error}"
    );
    fs::rename(copy, &file).unwrap();
    assert_eq!(
        opening(ground.path()).unwrap().1.declarations.len() as u64,
        ROWS
    );
}

#[test]
fn a_step_that_fails_changes_nothing() {
    const BROKEN: Schema = Schema {
        text: "",
        steps: &[
            CURRENT.steps[0],
            CURRENT.steps[1],
            LATER.steps[2],
            |transaction| transaction.execute_batch("nonsense"),
        ],
    };
    let ground = tempfile::tempdir().unwrap();
    filled(ground.path());
    let file = ground.path().join("state.db");
    let mut connection = Connection::open(&file).unwrap();
    BROKEN.prepare(&mut connection, &file, now()).unwrap_err();
    drop(connection);
    assert_eq!(
        opening(ground.path()).unwrap().1.declarations.len() as u64,
        ROWS
    );
}

/// What the first schema lacks and the steps bring is what an empty database gets.
#[test]
fn this_versions_steps_fit_its_schema() {
    let shape = |connection: &Connection| {
        let mut statement = connection
            .prepare(
                "SELECT m.type, m.name, c.name FROM sqlite_schema m
                 LEFT JOIN pragma_table_info(m.name) c ORDER BY m.type, m.name, c.cid",
            )
            .unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        let rows = rows.unwrap().map(|row| row.unwrap());
        rows.collect::<Vec<(String, String, Option<String>)>>()
    };
    let path = Path::new("unused");
    let mut new = Connection::open_in_memory().unwrap();
    CURRENT.prepare(&mut new, path, now()).unwrap();
    let number = "PRAGMA user_version";
    let number: i64 = new.query_row(number, [], |row| row.get(0)).unwrap();
    assert_eq!(number, 3);

    let ground = tempfile::tempdir().unwrap();
    let file = ground.path().join("state.db");
    let mut old = Connection::open(&file).unwrap();
    old.execute_batch(include_str!("schema-1.sql")).unwrap();
    // A refused message of a bus is a dead letter from then on, what a directory was refused is not.
    old.execute_batch(
        "INSERT INTO journal (seq, source, at, change, position, admission, request, original, verdict, reason)
         VALUES (1, 'bus', 1, 'add', '3:9:-1', 'refused', x'', x'ff', 'refused', 'no'),
                (2, 's', 1, 'add', NULL, 'order', x'', NULL, 'refused', 'no'),
                (3, 'bus', 1, 'add', '3:10:-1', 'order', x'', NULL, 'applied', NULL)",
    )
    .unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    CURRENT.prepare(&mut old, &file, now()).unwrap();
    assert_eq!(shape(&old), shape(&new));
    let letter = "SELECT seq, message, original FROM dead_letters";
    let letter: (u64, String, Vec<u8>) = old
        .query_row(letter, [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(letter, (1, "3:9:-1".to_owned(), vec![0xff]));
}

#[test]
fn copies_expire_and_damaged_ones_do_not_pile_up() {
    let ground = tempfile::tempdir().unwrap();
    let file = ground.path().join("state.db");
    let day = |day: u64| now() + Duration::from_hours(24 * day);
    for number in 0..5 {
        for part in ["", "-wal", "-shm"] {
            fs::write(ground.path().join(format!("state.db{part}")), "x").unwrap();
        }
        copies::set_aside(&file, day(number)).unwrap();
    }
    assert_eq!(names(ground.path(), "corrupt").len(), 15);
    copies::expire(&file, day(5));
    let left = names(ground.path(), "corrupt");
    assert_eq!(left.len(), 9, "{left:?}");
    let connection = Connection::open(&file).unwrap();
    copies::before_migration(&connection, &file, 1, day(5)).unwrap();
    copies::expire(&file, day(34));
    assert_eq!(names(ground.path(), "corrupt").len(), 3, "of the last day");
    assert_eq!(names(ground.path(), "schema-1").len(), 1);
    copies::expire(&file, day(36));
    assert_eq!(names(ground.path(), ""), ["state.db"]);
}
