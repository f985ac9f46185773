//! The end of a tree: in order, in time, whoever resists.

use std::time::Duration;

use supervisors::{AskError, Exit, Spec, State, Supervisor};
use tokio::time::{Instant, sleep};

use crate::puppet::{
    Closing, Diary, Do, LONG, Opening, Puppet, SECOND, Tree, Which, paused, which,
};

fn add(supervisor: &mut Supervisor, name: &'static str, diary: &Diary, closing: Closing) {
    let diary = diary.clone();
    supervisor.child(Spec::critical(name, "puppet"), move |reporter| {
        Puppet::new(reporter, 1)
            .closing(closing)
            .diary(name, &diary)
    });
}

fn stopped(survivors: &[&str]) -> Exit {
    Exit::Stopped {
        survivors: survivors.iter().map(ToString::to_string).collect(),
    }
}

/// Those entries of the diary that end so.
fn order(diary: &Diary, what: &str) -> Vec<String> {
    let entries = diary.entries().into_iter();
    entries
        .filter_map(|entry| entry.strip_suffix(what).map(str::to_owned))
        .collect()
}

#[test]
fn the_stop_is_the_start_in_reverse_through_groups_too() {
    paused(async {
        let diary = Diary::default();
        let mut root = Supervisor::new("root");
        // the more patience the earlier its start: each is awaited before the next one is asked
        add(&mut root, "a", &diary, Closing::After(SECOND));
        let mut group = Supervisor::new("group");
        add(&mut group, "b", &diary, Closing::After(2 * SECOND));
        add(&mut group, "c", &diary, Closing::After(3 * SECOND));
        root.group(group);
        add(&mut root, "d", &diary, Closing::After(4 * SECOND));
        let tree = Tree::run(root);
        for name in ["a", "b", "c", "d"] {
            tree.until_state(name, State::Running).await;
        }
        assert_eq!(order(&diary, " started"), ["a", "d", "b", "c"]);
        let health = tree.health.clone();
        assert_eq!(tree.stop().await, stopped(&[]));
        assert_eq!(order(&diary, " stopped"), ["d", "c", "b", "a"]);
        assert_eq!(order(&diary, " dropped"), ["d", "c", "b", "a"]);
        for component in health.components() {
            assert_eq!(component.state, State::Stopped);
            assert!(component.restarts.is_empty());
        }
    });
}

#[test]
fn who_ignores_the_stop_is_aborted_and_named() {
    paused(async {
        let diary = Diary::default();
        let mut root = Supervisor::new("root");
        add(&mut root, "good", &diary, Closing::Stop);
        let mut group = Supervisor::new("group");
        add(&mut group, "stubborn", &diary, Closing::Never);
        add(&mut group, "slow", &diary, Closing::After(6 * SECOND));
        root.group(group);
        let tree = Tree::run(root);
        tree.until_state("slow", State::Running).await;
        let before = Instant::now();
        assert_eq!(tree.stop().await, stopped(&["slow", "stubborn"]));
        assert_eq!(before.elapsed(), 10 * SECOND);
        // aborted is dropped, without a callback, before the next one is asked
        assert_eq!(order(&diary, " stopped"), ["good"]);
        assert_eq!(order(&diary, " dropped"), ["slow", "stubborn", "good"]);
    });
}

#[test]
fn one_that_is_stopping_takes_no_more_messages() {
    paused(async {
        let mut root = Supervisor::new("root");
        let puppet = root.child(Spec::critical("puppet", "puppet"), |reporter| {
            Puppet::new(reporter, 1).closing(Closing::After(3 * SECOND))
        });
        let tree = Tree::run(root);
        assert_eq!(which(&puppet).await, 1);
        let asked = tokio::task::spawn_local(async move {
            sleep(SECOND).await;
            puppet.ask(Which, SECOND).await
        });
        assert_eq!(tree.stop().await, stopped(&[]));
        assert_eq!(asked.await.unwrap(), Err(AskError::NotRunning));
    });
}

#[test]
fn a_stop_waits_for_no_backoff_and_no_start() {
    paused(async {
        let diary = Diary::default();
        let mut root = Supervisor::new("root");
        root.child(Spec::parking("parked", "puppet"), |reporter| {
            Puppet::new(reporter, 1).opening(Opening::Panic)
        });
        root.child(
            Spec::parking("starting", "puppet").ready_within(LONG),
            |reporter| Puppet::new(reporter, 1).opening(Opening::Silence),
        );
        add(&mut root, "good", &diary, Closing::Stop);
        let tree = Tree::run(root);
        tree.until_state("parked", State::Parked).await;
        let before = Instant::now();
        assert_eq!(tree.stop().await, stopped(&[]));
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(order(&diary, " stopped"), ["good"]);
    });
}

#[test]
fn a_panic_while_stopping_delays_nobody_and_restarts_nobody() {
    for closing in [Closing::PanicInStopping, Closing::PanicInStopped] {
        paused(async move {
            let diary = Diary::default();
            let mut root = Supervisor::new("root");
            add(&mut root, "good", &diary, Closing::Stop);
            add(&mut root, "bad", &diary, closing);
            let tree = Tree::run(root);
            tree.until_state("bad", State::Running).await;
            let before = Instant::now();
            assert_eq!(tree.stop().await, stopped(&[]));
            assert_eq!(before.elapsed(), Duration::ZERO);
            assert_eq!(order(&diary, " started"), ["good", "bad"]);
            assert_eq!(order(&diary, " dropped"), ["bad", "good"]);
        });
    }
}

/// Work in progress is finished: the future of an answer belongs to its task, `stopping` may wait for more.
#[test]
fn one_that_crashes_while_another_stops_is_not_restarted() {
    paused(async {
        let diary = Diary::default();
        let mut root = Supervisor::new("root");
        let notes = diary.clone();
        let first = root.child(Spec::critical("first", "puppet"), move |reporter| {
            Puppet::new(reporter, 1).diary("first", &notes)
        });
        add(&mut root, "second", &diary, Closing::After(3 * SECOND));
        let tree = Tree::run(root);
        assert_eq!(which(&first).await, 1);
        tree.until_state("second", State::Running).await;
        let crash = tokio::task::spawn_local(async move {
            sleep(SECOND).await;
            first.ask(Do::Panic, LONG).await
        });
        assert_eq!(tree.stop().await, stopped(&[]));
        crash.await.unwrap().unwrap_err();
        assert_eq!(order(&diary, " started"), ["first", "second"]);
    });
}

#[test]
fn a_tree_whose_run_is_dropped_leaves_nobody_behind() {
    paused(async {
        let diary = Diary::default();
        let mut root = Supervisor::new("root");
        let mut group = Supervisor::new("group");
        add(&mut group, "inside", &diary, Closing::Never);
        root.group(group);
        add(&mut root, "outside", &diary, Closing::Never);
        let run = tokio::task::spawn_local(root.run(std::future::pending()));
        crate::puppet::until(|| order(&diary, " started").len() == 2).await;
        run.abort();
        crate::puppet::until(|| order(&diary, " dropped").len() == 2).await;
    });
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    /// Whatever the tree: who starts after another one stops before it, whether or not it was ever ready.
    #[test]
    fn the_stop_is_the_reverse_of_the_order_in_the_tree(
        groups in proptest::collection::vec(proptest::collection::vec(proptest::bool::ANY, 0..4), 1..5),
    ) {
        const NAMES: [&str; 16] = [
            "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p",
        ];
        paused(async move {
            let diary = Diary::default();
            let mut names = NAMES.into_iter();
            let mut in_order = Vec::new();
            let mut root = Supervisor::new("root");
            for children in groups {
                let mut group = Supervisor::new("group");
                for ready in children {
                    let name = names.next().unwrap();
                    in_order.push(name.to_owned());
                    let diary = diary.clone();
                    let opening = if ready { Opening::Ready } else { Opening::Silence };
                    group.child(Spec::critical(name, "puppet"), move |reporter| {
                        Puppet::new(reporter, 1).opening(opening).closing(Closing::After(SECOND)).diary(name, &diary)
                    });
                }
                root.group(group);
            }
            let tree = Tree::run(root);
            sleep(SECOND).await;
            assert_eq!(order(&diary, " started"), in_order);
            assert_eq!(tree.stop().await, stopped(&[]));
            in_order.reverse();
            assert_eq!(order(&diary, " stopped"), in_order);
        });
    }
}
