//! Crash loops: who escalates, who is parked, and that nobody else notices.

use supervisors::{Exit, Limits, Spec, State, Supervisor};
use tokio::time::sleep;

use crate::puppet::{Diary, Do, LONG, Lives, Opening, Puppet, SECOND, Tree, paused, until, which};

/// Adds a child that always opens so; counts its lives.
fn add(supervisor: &mut Supervisor, spec: Spec, opening: Opening) -> Lives {
    let lives = Lives::default();
    let count = lives.clone();
    supervisor.child(spec, move |reporter| {
        Puppet::new(reporter, count.next()).opening(opening)
    });
    lives
}

fn critical(name: &str) -> Spec {
    Spec::critical(name, "puppet")
}

#[test]
fn the_crash_loop_of_a_critical_child_ends_the_tree_in_order() {
    for (opening, error) in [
        (Opening::Panic, "in started"),
        (Opening::ReadyThenPanic, "in started"),
        (Opening::Stop, "it stopped itself"),
        (Opening::Fail, "no luck"),
        (Opening::Silence, "it was not ready within 30s"),
    ] {
        paused(async move {
            let diary = Diary::default();
            let notes = diary.clone();
            let mut root = Supervisor::new("root");
            root.child(critical("good"), move |reporter| {
                Puppet::new(reporter, 1).diary("good", &notes)
            });
            let lives = add(&mut root, critical("bad"), opening);
            let health = root.health();
            let exit = Tree::run(root).end().await;
            let expected = Exit::Escalated {
                component: "bad".into(),
                error: error.into(),
            };
            assert_eq!(exit, expected);
            assert_eq!(lives.count(), 6, "{opening:?}");
            assert_eq!(
                diary.entries(),
                [
                    "good started",
                    "good stopping",
                    "good stopped",
                    "good dropped"
                ]
            );
            let states: Vec<State> = health.components().iter().map(|one| one.state).collect();
            assert_eq!(states, [State::Stopped, State::Stopped]);
        });
    }
}

#[test]
fn a_crash_now_and_then_is_no_loop() {
    paused(async {
        let mut root = Supervisor::new("root");
        let lives = Lives::default();
        let count = lives.clone();
        let puppet = root.child(critical("puppet"), move |reporter| {
            Puppet::new(reporter, count.next())
        });
        let tree = Tree::run(root);
        for life in 1..=20 {
            assert_eq!(which(&puppet).await, life);
            sleep(13 * SECOND).await;
            let _ = puppet.ask(Do::Panic, LONG).await;
        }
        assert_eq!(which(&puppet).await, 21);
        assert_eq!(tree.restarts("puppet"), [("panic", 20)]);
        tree.stop().await;
    });
}

#[test]
fn the_crash_loop_of_another_child_parks_it_and_it_is_tried_again_for_ever() {
    paused(async {
        let mut root = Supervisor::new("root");
        let good = add(&mut root, critical("good"), Opening::Ready);
        let lives = Lives::default();
        let count = lives.clone();
        let puppet = root.child(Spec::parking("bad", "puppet"), move |reporter| {
            let life = count.next();
            let opening = if life < 100 {
                Opening::Panic
            } else {
                Opening::Ready
            };
            Puppet::new(reporter, life).opening(opening)
        });
        let tree = Tree::run(root);
        tree.until_state("bad", State::Parked).await;
        assert_eq!(lives.count(), 6);
        let component = tree.component("bad");
        assert_eq!(component.error.as_deref(), Some("in started"));
        assert_eq!(component.detail, "starts again in 30.0s");
        sleep(29 * SECOND).await;
        assert_eq!(lives.count(), 6);
        until(|| lives.count() == 7).await;

        // one day it works again, and after a while all is forgiven
        assert_eq!(puppet.ask(crate::puppet::Which, 100 * LONG).await, Ok(100));
        tree.until_state("bad", State::Running).await;
        sleep(61 * SECOND).await;
        let _ = puppet.ask(Do::Panic, LONG).await;
        until(|| tree.restarts("bad") == [("panic", 100)]).await;
        assert_eq!(tree.state("bad"), State::Backoff);
        assert_eq!(good.count(), 1);
        tree.stop().await;
    });
}

/// A group that escalates is restarted as a whole; its loop of loops ends the tree, however long each of them takes.
#[test]
fn a_group_escalates_to_its_parent() {
    for (opening, error) in [
        (Opening::Panic, "in started"),
        (Opening::Silence, "it was not ready within 30s"),
    ] {
        paused(async move {
            let mut root = Supervisor::new("root");
            let outside = add(&mut root, critical("outside"), Opening::Ready);
            let mut group = Supervisor::new("group").limits(Limits {
                intensity: 1,
                ..Limits::default()
            });
            let sibling = add(&mut group, critical("sibling"), Opening::Ready);
            let bad = add(&mut group, critical("bad"), opening);
            root.group(group);
            let exit = Tree::run(root).end().await;
            let expected = Exit::Escalated {
                component: "bad".into(),
                error: error.into(),
            };
            assert_eq!(exit, expected);
            assert_eq!((outside.count(), sibling.count(), bad.count()), (1, 6, 12));
        });
    }
}

#[test]
fn a_group_starts_afresh_and_may_be_well() {
    paused(async {
        let mut root = Supervisor::new("root");
        let mut group = Supervisor::new("group").limits(Limits {
            intensity: 0,
            ..Limits::default()
        });
        let sibling = add(&mut group, critical("sibling"), Opening::Ready);
        let lives = Lives::default();
        let puppet = group.child(critical("puppet"), move |reporter| {
            Puppet::new(reporter, lives.next())
        });
        root.group(group);
        let tree = Tree::run(root);
        // far more often than the intensity, but each time after ten minutes of peace
        for life in 1..=10 {
            assert_eq!(which(&puppet).await, life);
            assert_eq!(sibling.count(), life);
            sleep(600 * SECOND).await;
            let _ = puppet.ask(Do::Panic, LONG).await;
            until(|| tree.state("sibling") == State::Backoff).await;
        }
        assert_eq!(which(&puppet).await, 11);
        assert_eq!(tree.restarts("puppet"), [("panic", 10)]);
        assert_eq!(tree.restarts("sibling"), []);
        tree.until_state("sibling", State::Running).await;
        tree.stop().await;
    });
}

#[test]
fn health_shows_the_whole_tree_in_its_order() {
    paused(async {
        let mut root = Supervisor::new("root");
        let health = root.health();
        add(&mut root, critical("a"), Opening::Ready);
        let mut outer = Supervisor::new("outer");
        add(&mut outer, critical("b"), Opening::Ready);
        let mut inner = Supervisor::new("inner");
        add(&mut inner, Spec::parking("c", "puppet"), Opening::Silence);
        outer.group(inner);
        add(&mut outer, critical("d"), Opening::Ready);
        root.group(outer);
        add(&mut root, critical("e"), Opening::Ready);
        let tree = Tree::run(root);
        tree.until_state("e", State::Running).await;
        tree.until_state("d", State::Running).await;
        let seen: Vec<(String, &str)> = health
            .components()
            .into_iter()
            .map(|one| (one.name, one.state.name()))
            .collect();
        let seen: Vec<(&str, &str)> = seen
            .iter()
            .map(|(name, state)| (name.as_str(), *state))
            .collect();
        let running = "running";
        assert_eq!(
            seen,
            [
                ("a", running),
                ("b", running),
                ("c", "starting"),
                ("d", running),
                ("e", running)
            ]
        );
        tree.stop().await;
    });
}

#[test]
fn the_loop_turns_every_second_whatever_happens() {
    paused(async {
        let mut root = Supervisor::new("root");
        add(&mut root, Spec::parking("bad", "puppet"), Opening::Panic);
        let health = root.health();
        sleep(5 * SECOND).await;
        assert_eq!(health.last_turn(), 5 * SECOND);
        let tree = Tree::run(root);
        for _ in 0..100 {
            sleep(SECOND / 3).await;
            assert!(health.last_turn() <= SECOND + SECOND / 100);
        }
        tree.stop().await;
    });
}

/// While one waits long for its next life, another's short wait is as short as ever.
#[test]
fn the_backoff_of_one_child_delays_no_other() {
    paused(async {
        let mut root = Supervisor::new("root");
        add(&mut root, Spec::parking("bad", "puppet"), Opening::Panic);
        let lives = Lives::default();
        let good = root.child(critical("good"), move |reporter| {
            Puppet::new(reporter, lives.next())
        });
        let tree = Tree::run(root);
        tree.until_state("bad", State::Parked).await;
        let before = tokio::time::Instant::now();
        let _ = good.ask(Do::Panic, LONG).await;
        assert_eq!(which(&good).await, 2);
        assert!(before.elapsed() < SECOND);
        assert_eq!(tree.state("bad"), State::Parked);
        tree.stop().await;
    });
}
