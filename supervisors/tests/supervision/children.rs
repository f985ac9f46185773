//! Children that come and go while their supervisor runs.

use supervisors::{AskError, Children, Exit, Ref, Spec, State, Supervisor};
use tokio::time::{Instant, sleep};

use crate::puppet::{
    Closing, Diary, Do, LONG, Lives, Opening, Puppet, SECOND, Tree, Which, paused, until, which,
};

/// A group that may change, beside a child that must not notice.
fn tree() -> (Tree, Children, Ref<Puppet>) {
    let mut root = Supervisor::new("root");
    let neighbour = root.child(critical("neighbour"), |reporter| Puppet::new(reporter, 1));
    let group = Supervisor::new("group");
    let children = group.children();
    root.group(group);
    (Tree::run(root), children, neighbour)
}

fn critical(name: &str) -> Spec {
    Spec::critical(name, "puppet")
}

fn start(children: &Children, name: &str, opening: Opening, closing: Closing) -> Ref<Puppet> {
    let lives = Lives::default();
    children.start(Spec::parking(name, "puppet"), move |reporter| {
        Puppet::new(reporter, lives.next())
            .opening(opening)
            .closing(closing)
    })
}

fn names(tree: &Tree) -> Vec<String> {
    let components = tree.health.components();
    components.into_iter().map(|one| one.name).collect()
}

/// What the child does when it is let go, how long that takes, and whether it leaves anything in the health.
#[test]
fn one_that_is_let_go_ends_in_time_whatever_it_does() {
    use Closing as C;
    use Opening as O;
    let table = [
        // opening, its state then, closing, seconds until it is gone
        (O::Ready, State::Running, C::Stop, 0),
        (O::Ready, State::Running, C::After(3 * SECOND), 3),
        (O::Ready, State::Running, C::Never, 5),
        (O::Ready, State::Running, C::PanicInStopping, 0),
        (O::Ready, State::Running, C::PanicInStopped, 0),
        (O::Silence, State::Starting, C::Stop, 0),
        (O::Silence, State::Starting, C::Never, 5),
        (O::Panic, State::Parked, C::Stop, 0),
    ];
    for (opening, state, closing, seconds) in table {
        paused(async move {
            let (tree, children, neighbour) = tree();
            let puppet = start(&children, "puppet", opening, closing);
            tree.until_state("puppet", state).await;
            sleep(SECOND).await;
            let before = Instant::now();
            let stopping = children.clone();
            let stopping = tokio::task::spawn_local(async move { stopping.stop("puppet").await });
            // nobody waits for it
            assert_eq!(which(&neighbour).await, 1);
            let asked = puppet.ask(Which, LONG).await;
            assert_eq!(asked, Err(AskError::NotRunning), "{opening:?} {closing:?}");
            assert!(stopping.await.unwrap());
            assert_eq!(
                before.elapsed(),
                seconds * SECOND,
                "{opening:?} {closing:?}"
            );
            assert_eq!(names(&tree), ["neighbour"]);
            assert!(!children.stop("puppet").await, "there is none any more");
            assert_eq!(tree.restarts("neighbour"), []);
            tree.stop().await;
        });
    }
}

#[test]
fn one_that_is_added_starts_last_and_stops_first() {
    paused(async {
        let diary = Diary::default();
        let mut root = Supervisor::new("root");
        let add = |children: &Children, name: &'static str| {
            let diary = diary.clone();
            children.start(critical(name), move |reporter| {
                Puppet::new(reporter, 1)
                    .closing(Closing::After(SECOND))
                    .diary(name, &diary)
            });
        };
        add(&root.children(), "a");
        let group = Supervisor::new("group");
        let children = group.children();
        add(&children, "b");
        root.group(group);
        let tree = Tree::run(root);
        tree.until_state("b", State::Running).await;
        for name in ["c", "d"] {
            add(&children, name);
            assert_eq!(children.first_word(name).await, Ok(()));
            assert_eq!(tree.state(name), State::Running);
        }
        assert_eq!(names(&tree), ["a", "b", "c", "d"]);
        assert_eq!(tree.stop().await, Exit::Stopped { survivors: vec![] });
        let stopped: Vec<String> = diary
            .entries()
            .iter()
            .filter_map(|entry| entry.strip_suffix(" stopped").map(str::to_owned))
            .collect();
        assert_eq!(stopped, ["d", "c", "b", "a"]);
    });
}

/// A name may be given again: it is another child, with a health of its own.
#[test]
fn a_name_may_be_given_again() {
    paused(async {
        let (tree, children, _) = tree();
        let first = start(&children, "puppet", Opening::Ready, Closing::Stop);
        let _ = first.ask(Do::Panic, LONG).await;
        assert_eq!(which(&first).await, 2);
        assert!(children.stop("puppet").await);
        let second = start(&children, "puppet", Opening::Ready, Closing::Stop);
        assert_eq!(which(&second).await, 1);
        assert_eq!(tree.restarts("puppet"), []);
        assert_eq!(first.ask(Which, SECOND).await, Err(AskError::NotRunning));
        tree.stop().await;
    });
}

#[test]
fn the_first_word_of_one_that_fails_is_why() {
    paused(async {
        let (tree, children, _) = tree();
        for (name, opening, word) in [
            ("good", Opening::Ready, Ok(())),
            ("bad", Opening::Panic, Err("in started".to_owned())),
            ("failing", Opening::Fail, Err("no luck".to_owned())),
        ] {
            start(&children, name, opening, Closing::Stop);
            assert_eq!(children.first_word(name).await, word);
        }
        start(&children, "silent", Opening::Silence, Closing::Stop);
        let waiting = children.clone();
        let waiting = tokio::task::spawn_local(async move { waiting.first_word("silent").await });
        sleep(SECOND).await;
        assert!(!waiting.is_finished());
        children.stop("silent").await;
        waiting.await.unwrap().unwrap_err();
        children.first_word("nobody").await.unwrap_err();
        tree.stop().await;
    });
}

/// The new life has the same `Ref` and no mark of a restart; who does not stop in time is aborted.
#[test]
fn one_begins_anew_when_it_is_told_to() {
    for (opening, closing, seconds) in [
        (Opening::Ready, Closing::Stop, 0),
        (Opening::Ready, Closing::After(3 * SECOND), 3),
        (Opening::Ready, Closing::Never, 5),
        (Opening::Silence, Closing::Stop, 0),
        (Opening::Panic, Closing::Stop, 0),
    ] {
        paused(async move {
            let (tree, children, neighbour) = tree();
            let lives = Lives::default();
            let puppet = children.start(Spec::parking("puppet", "puppet"), move |reporter| {
                let life = lives.next();
                // the first ones as said, until it is parked; then well
                let opening = if life <= 6 && (opening == Opening::Panic || life == 1) {
                    opening
                } else {
                    Opening::Ready
                };
                Puppet::new(reporter, life)
                    .opening(opening)
                    .closing(closing)
            });
            sleep(20 * SECOND).await;
            let restarts = tree.restarts("puppet");
            let before = Instant::now();
            assert_eq!(children.renew("puppet").await, Ok(()));
            assert_eq!(
                before.elapsed(),
                seconds * SECOND,
                "{opening:?} {closing:?}"
            );
            let life = which(&puppet).await;
            assert_eq!(life, if opening == Opening::Panic { 7 } else { 2 });
            assert_eq!(tree.restarts("puppet"), restarts);
            assert_eq!(tree.restarts("neighbour"), []);
            assert_eq!(which(&neighbour).await, 1);
            tree.stop().await;
        });
    }
}

#[test]
fn a_new_life_that_fails_says_why_and_is_restarted() {
    paused(async {
        let (tree, children, _) = tree();
        let lives = Lives::default();
        let puppet = children.start(critical("puppet"), move |reporter| {
            let life = lives.next();
            let opening = if life == 2 {
                Opening::Fail
            } else {
                Opening::Ready
            };
            Puppet::new(reporter, life).opening(opening)
        });
        tree.until_state("puppet", State::Running).await;
        assert_eq!(children.renew("puppet").await, Err("no luck".to_owned()));
        assert_eq!(which(&puppet).await, 3);
        assert_eq!(tree.restarts("puppet"), [("error", 1)]);
        children.renew("nobody").await.unwrap_err();
        tree.stop().await;
    });
}

/// A group's crash loop takes nobody away who was added, and brings nobody back who was let go.
#[test]
fn what_was_added_outlives_a_restart_of_the_group() {
    paused(async {
        let (tree, children, _) = tree();
        let bad = children.start(critical("bad"), |reporter| Puppet::new(reporter, 1));
        start(&children, "gone", Opening::Ready, Closing::Stop);
        start(&children, "gone too", Opening::Ready, Closing::Stop);
        let stays = start(&children, "stays", Opening::Ready, Closing::Stop);
        assert_eq!(which(&stays).await, 1);
        children.stop("gone").await;
        for _ in 0..6 {
            let _ = bad.ask(Do::Panic, LONG).await;
        }
        // while the group waits for its next life, one more goes and one more comes
        until(|| tree.state("stays") == State::Backoff).await;
        assert!(children.stop("gone too").await);
        let late = start(&children, "late", Opening::Ready, Closing::Stop);
        assert_eq!(which(&stays).await, 2);
        assert_eq!(which(&late).await, 1);
        assert_eq!(names(&tree), ["neighbour", "bad", "stays", "late"]);
        tree.stop().await;
    });
}

/// The tree is stopped while one is leaving: it is waited for, and named if it resists.
#[test]
fn a_stop_of_the_tree_waits_for_one_that_leaves() {
    for (closing, survivors) in [
        (Closing::After(3 * SECOND), vec![]),
        (Closing::Never, vec!["puppet".to_owned()]),
    ] {
        paused(async move {
            let (tree, children, _) = tree();
            start(&children, "puppet", Opening::Ready, closing);
            tree.until_state("puppet", State::Running).await;
            let leaving = tokio::task::spawn_local(async move { children.stop("puppet").await });
            tree.until_state("puppet", State::Stopping).await;
            assert_eq!(tree.stop().await, Exit::Stopped { survivors });
            assert!(leaving.await.unwrap());
        });
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Start(usize),
    Stop(usize),
    Crash(usize),
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    /// Whatever comes and goes, and whoever crashes in between: exactly those run that should, in the order of their start.
    #[test]
    fn the_tree_is_what_was_asked_for(
        steps in proptest::collection::vec((0..3_u8, 0..5_usize), 1..40),
    ) {
        const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
        let steps = steps.into_iter().map(|(what, who)| match what {
            0 => Step::Start(who),
            1 => Step::Stop(who),
            _ => Step::Crash(who),
        });
        paused(async move {
            let (tree, children, neighbour) = tree();
            let mut expected: Vec<(usize, Ref<Puppet>)> = Vec::new();
            for step in steps {
                let (Step::Start(who) | Step::Stop(who) | Step::Crash(who)) = step;
                let found = expected.iter().position(|(it, _)| *it == who);
                match (step, found) {
                    (Step::Start(_), None) => {
                        let closing = Closing::After(SECOND);
                        let puppet = start(&children, NAMES[who], Opening::Ready, closing);
                        expected.push((who, puppet));
                    }
                    (Step::Stop(_), _) => {
                        assert_eq!(children.stop(NAMES[who]).await, found.is_some());
                        if let Some(at) = found {
                            expected.remove(at);
                        }
                    }
                    (Step::Crash(_), Some(at)) => {
                        let _ = expected[at].1.ask(Do::Panic, LONG).await;
                    }
                    _ => {}
                }
            }
            for (_, puppet) in &expected {
                which(puppet).await;
            }
            let mut names = names(&tree);
            assert_eq!(names.remove(0), "neighbour");
            let expected: Vec<&str> = expected.iter().map(|(who, _)| NAMES[*who]).collect();
            assert_eq!(names, expected);
            assert_eq!(which(&neighbour).await, 1);
            tree.stop().await;
        });
    }
}
