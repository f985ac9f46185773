use std::{
    cell::RefCell, collections::VecDeque, fs, future::Future, os::unix::fs::symlink, path::Path,
    rc::Rc,
};

use tokio::{
    sync::{mpsc, watch},
    task::LocalSet,
    time::timeout,
};

use super::*;
use crate::{
    messages::SourceName,
    state_keeper::report::{Hold, Protocol},
};

const DEADLINE: Duration = Duration::from_secs(10);
/// So seldom that only a kick can be the cause of what a test waits for.
const NEVER: Duration = Duration::from_hours(1);

/// A keeper that takes everything, unless told otherwise.
#[derive(Clone)]
struct Double {
    heard: mpsc::UnboundedSender<Heard>,
    answers: Rc<RefCell<VecDeque<Result<Declared, DeclareError>>>>,
}

#[derive(Debug)]
enum Heard {
    Listing(Listing),
    NotListed(String),
}

impl Keeper for Double {
    async fn declare(&self, listing: Listing) -> Result<Result<Declared, DeclareError>, AskError> {
        self.heard.send(Heard::Listing(listing)).unwrap();
        let answer = self.answers.borrow_mut().pop_front();
        Ok(answer.unwrap_or(Ok(Declared { changes: 1 })))
    }

    async fn not_listed(&self, not_listed: NotListed) -> Result<(), AskError> {
        self.heard.send(Heard::NotListed(not_listed.why)).unwrap();
        Ok(())
    }
}

/// A watcher at work, seen from outside.
struct Watched {
    heard: mpsc::UnboundedReceiver<Heard>,
    words: mpsc::UnboundedReceiver<Word>,
    answers: Rc<RefCell<VecDeque<Result<Declared, DeclareError>>>>,
    report: watch::Sender<Arc<Report>>,
}

impl Watched {
    async fn listing(&mut self) -> Listing {
        match timeout(DEADLINE, self.heard.recv())
            .await
            .expect("no listing in time")
        {
            Some(Heard::Listing(listing)) => listing,
            other => panic!("{other:?} instead of a listing"),
        }
    }

    /// The first listing that shows what is waited for.
    async fn listing_with(&mut self, what: &str) -> Listing {
        let wanted = async {
            loop {
                if let Some(Heard::Listing(listing)) = self.heard.recv().await
                    && format!("{:?}", listing.files).contains(what)
                {
                    return listing;
                }
            }
        };
        timeout(DEADLINE, wanted)
            .await
            .unwrap_or_else(|_| panic!("no listing with {what}"))
    }

    async fn not_listed(&mut self) -> String {
        let wanted = async {
            loop {
                if let Some(Heard::NotListed(why)) = self.heard.recv().await {
                    return why;
                }
            }
        };
        timeout(DEADLINE, wanted)
            .await
            .expect("never told that it is not listed")
    }

    async fn word(&mut self, fits: impl Fn(&Word) -> bool) -> Word {
        let wanted = async {
            loop {
                let word = self.words.recv().await.expect("the watcher ended");
                if fits(&word) {
                    return word;
                }
            }
        };
        timeout(DEADLINE, wanted)
            .await
            .expect("the word never came")
    }
}

fn report() -> Report {
    let listeners = [("0.0.0.0:80".parse().unwrap(), Protocol::Http.into())];
    Report {
        listeners: Some(Arc::new(listeners.into())),
        sources: [(SourceName::new("local"), SourceReport::default())].into(),
        ..Report::default()
    }
}

/// Runs a test beside a watcher of `directory`.
fn watching<F: Future<Output = ()>>(
    directory: &Path,
    pace: Pace,
    first: Report,
    test: impl FnOnce(Watched) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        source: SourceName::new("local"),
        directory: directory.to_path_buf(),
        reading: Reading::Routes,
    };
    let (heard, ears) = mpsc::unbounded_channel();
    let (said, words) = mpsc::unbounded_channel();
    let (report, reported) = watch::channel(Arc::new(first));
    let answers = Rc::new(RefCell::new(VecDeque::new()));
    let keeper = Double {
        heard,
        answers: Rc::clone(&answers),
    };
    let say = Box::new(move |word| drop(said.send(word)));
    let mut work = Work::new(config, keeper, reported, say);
    work.pace = pace;
    let watched = Watched {
        heard: ears,
        words,
        answers,
        report,
    };
    LocalSet::new().block_on(&runtime, async {
        select! {
            () = work.run() => panic!("the watcher ended"),
            () = test(watched) => {}
        }
    });
}

fn kicks_only() -> Pace {
    Pace {
        watched: NEVER,
        unwatched: NEVER,
        listeners_within: Duration::ZERO,
    }
}

fn route(cluster: &str) -> String {
    format!("[clusters.{cluster}]\nprotocol = \"http\"\nfrontends = []\nbackends = []\n")
}

#[test]
fn what_happens_in_the_directory_is_declared_by_kicks_alone() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("routes.d");
    fs::create_dir(&dir).unwrap();
    watching(&dir, kicks_only(), report(), |mut watched| {
        let dir = dir.clone();
        async move {
            assert!(watched.listing().await.files.is_empty());
            fs::write(dir.join("a.toml"), route("first")).unwrap();
            watched.listing_with("cluster first").await;
            // Replaced by a rename, as careful writers do.
            fs::write(dir.join("a.toml.tmp"), route("second")).unwrap();
            fs::rename(dir.join("a.toml.tmp"), dir.join("a.toml")).unwrap();
            watched.listing_with("cluster second").await;
            fs::remove_file(dir.join("a.toml")).unwrap();
            let listing = watched.listing().await;
            assert!(listing.files.is_empty(), "{listing:?}");
            // Twice, since a watch may be lost with the first directory.
            for name in ["third", "fourth"] {
                fs::remove_dir_all(&dir).unwrap();
                assert!(watched.not_listed().await.contains("is not there"));
                fs::create_dir(&dir).unwrap();
                fs::write(dir.join("b.toml"), route(name)).unwrap();
                watched.listing_with(&format!("cluster {name}")).await;
                let again = format!("{name}-again");
                fs::write(dir.join("b.toml"), route(&again)).unwrap();
                watched.listing_with(&again).await;
            }
        }
    });
}

#[test]
fn a_directory_that_was_replaced_by_another_is_watched() {
    let root = tempfile::tempdir().unwrap();
    let [dir, next, old] = ["routes.d", "next", "old"].map(|name| root.path().join(name));
    fs::create_dir(&dir).unwrap();
    fs::create_dir(&next).unwrap();
    fs::write(next.join("a.toml"), route("next")).unwrap();
    watching(&dir, kicks_only(), report(), |mut watched| {
        let dir = dir.clone();
        async move {
            watched.listing().await;
            fs::rename(&dir, &old).unwrap();
            fs::rename(&next, &dir).unwrap();
            watched.listing_with("cluster next").await;
            fs::write(dir.join("b.toml"), route("inside")).unwrap();
            watched.listing_with("cluster inside").await;
        }
    });
}

#[test]
fn a_config_map_that_is_swapped_is_read() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().to_path_buf();
    let generation = |name: &str| {
        fs::create_dir(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("a.toml"), route(name.trim_matches('.'))).unwrap();
    };
    generation("..one");
    symlink("..one", dir.join("..data")).unwrap();
    symlink("..data/a.toml", dir.join("a.toml")).unwrap();
    generation("..two");
    watching(
        &dir.clone(),
        kicks_only(),
        report(),
        |mut watched| async move {
            watched.listing_with("cluster one").await;
            symlink("..two", dir.join("..data_tmp")).unwrap();
            fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
            watched.listing_with("cluster two").await;
        },
    );
}

#[test]
fn what_no_event_tells_is_found_by_the_rescan() {
    let root = tempfile::tempdir().unwrap();
    let [dir, elsewhere] = ["routes.d", "elsewhere"].map(|name| root.path().join(name));
    fs::create_dir(&dir).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("target"), route("first")).unwrap();
    symlink(elsewhere.join("target"), dir.join("a.toml")).unwrap();
    let pace = Pace {
        watched: Duration::from_millis(100),
        unwatched: NEVER,
        ..kicks_only()
    };
    watching(&dir, pace, report(), |mut watched| async move {
        watched.listing_with("cluster first").await;
        fs::write(elsewhere.join("target"), route("second")).unwrap();
        watched.listing_with("cluster second").await;
    });
}

#[test]
fn nothing_is_declared_before_the_listeners_are_known() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().to_path_buf();
    let inside = dir.clone();
    fs::write(root.path().join("a.toml"), route("a")).unwrap();
    watching(
        &dir,
        kicks_only(),
        Report::default(),
        |mut watched| async move {
            let waits = |word: &Word| matches!(word, Word::Degraded(detail, _) if detail == "waits for Sōzu");
            watched.word(waits).await;
            assert!(watched.heard.try_recv().is_err());
            watched.report.send(Arc::new(report())).unwrap();
            watched.listing_with("cluster a").await;
            watched
                .word(|word| *word == Word::Running("1 file, 1 object".to_owned()))
                .await;
            // Known listeners stay known while Sōzu is away.
            let away = Report {
                listeners: None,
                ..report()
            };
            watched.report.send(Arc::new(away)).unwrap();
            fs::write(inside.join("b.toml"), route("b")).unwrap();
            watched.listing_with("cluster b").await;
        },
    );
}

#[test]
fn nothing_is_said_while_a_start_takes_its_ordinary_time() {
    let root = tempfile::tempdir().unwrap();
    let pace = Pace {
        listeners_within: NEVER,
        ..kicks_only()
    };
    let first = Report::default();
    watching(root.path(), pace, first, |mut watched| async move {
        watched.report.send(Arc::new(report())).unwrap();
        let first = watched.word(|_| true).await;
        assert_eq!(first, Word::Running("0 files, 0 objects".to_owned()));
    });
}

#[test]
fn a_listing_that_was_not_taken_is_sent_again_until_it_is_and_then_no_more() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.toml"), route("a")).unwrap();
    let pace = Pace {
        watched: Duration::from_millis(50),
        unwatched: NEVER,
        ..kicks_only()
    };
    watching(root.path(), pace, report(), |mut watched| async move {
        let refusal = DeclareError::OtherDevice { missing: 7 };
        watched
            .answers
            .borrow_mut()
            .extend([Err(refusal.clone()), Err(DeclareError::Starting)]);
        for _ in 0..3 {
            watched.listing_with("cluster a").await;
        }
        let told = |word: &Word| matches!(word, Word::Degraded(_, error) if error.contains(&refusal.to_string()));
        watched.word(told).await;
        watched.word(|word| matches!(word, Word::Running(_))).await;
        // Five rescans later it was not sent again.
        for _ in 0..5 {
            watched.word(|word| matches!(word, Word::Running(_))).await;
        }
        assert!(watched.heard.try_recv().is_err());
        // Every tenth sends it though nothing changed.
        watched.listing_with("cluster a").await;
    });
}

#[test]
fn a_broken_file_is_shown_with_its_place_and_mended_again() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("good.toml"), route("good")).unwrap();
    let bad = root.path().join("bad.toml");
    fs::write(&bad, "[cluster.a]\n").unwrap();
    watching(
        root.path(),
        kicks_only(),
        report(),
        |mut watched| async move {
            let listing = watched.listing_with("cluster good").await;
            assert!(matches!(
                &listing.files[0].content,
                FileContent::Unreadable(_)
            ));
            let expected = format!(
                "{}:1:2: unknown table `cluster`; did you mean `clusters`?; its last good content stays",
                bad.display()
            );
            let word = watched
                .word(|word| matches!(word, Word::Degraded(..)))
                .await;
            assert_eq!(
                word,
                Word::Degraded("2 files, 1 object; 1 problem".to_owned(), expected)
            );
            fs::write(&bad, route("mended")).unwrap();
            watched.listing_with("cluster mended").await;
            watched
                .word(|word| *word == Word::Running("2 files, 2 objects".to_owned()))
                .await;
        },
    );
}

#[test]
fn what_the_keeper_says_of_the_source_is_passed_on() {
    let root = tempfile::tempdir().unwrap();
    watching(
        root.path(),
        kicks_only(),
        report(),
        |mut watched| async move {
            watched.word(|word| matches!(word, Word::Running(_))).await;
            let mut holding = report();
            let source = holding.sources.get_mut(&SourceName::new("local")).unwrap();
            source.holds.push(Hold {
                id: "1f2e".into(),
                objects: 40,
            });
            watched.report.send(Arc::new(holding)).unwrap();
            let held = |word: &Word| matches!(word, Word::Degraded(_, error) if error.contains("holds release 1f2e"));
            watched.word(held).await;
            watched.report.send(Arc::new(report())).unwrap();
            watched.word(|word| matches!(word, Word::Running(_))).await;
        },
    );
}

#[test]
fn a_directory_that_is_not_there_yet_is_awaited() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("later/routes.d");
    let pace = Pace {
        watched: NEVER,
        unwatched: Duration::from_millis(100),
        ..kicks_only()
    };
    watching(&dir, pace, report(), |mut watched| {
        let dir = dir.clone();
        async move {
            assert!(watched.not_listed().await.contains("is not there"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("a.toml"), route("a")).unwrap();
            watched.listing_with("cluster a").await;
            fs::write(dir.join("b.toml"), route("b")).unwrap();
            watched.listing_with("cluster b").await;
        }
    });
}

#[test]
fn a_keeper_that_forgot_the_source_is_told_again() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.toml"), route("a")).unwrap();
    watching(
        root.path(),
        kicks_only(),
        report(),
        |mut watched| async move {
            watched.listing_with("cluster a").await;
            let one = Word::Running("1 file, 1 object".to_owned());
            watched.word(|word| *word == one).await;
            let forgetful = Report {
                sources: std::collections::BTreeMap::new(),
                ..report()
            };
            watched.report.send(Arc::new(forgetful)).unwrap();
            watched.listing_with("cluster a").await;
        },
    );
}
