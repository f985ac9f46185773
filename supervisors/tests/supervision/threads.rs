//! Children with threads of their own, on a real clock.

use std::time::Duration;

use actix::System;
use supervisors::{AskError, Exit, Limits, Ref, Spec, State, Supervisor};

use crate::puppet::{Diary, Do, Lives, Puppet, SECOND, Tree, Which, until, which};

const PATIENCE: Duration = Duration::from_secs(10);

fn own(name: &str) -> Spec {
    Spec::critical(name, "puppet").own_thread()
}

fn add(root: &mut Supervisor, spec: Spec) -> Ref<Puppet> {
    let lives = Lives::default();
    root.child(spec, move |reporter| Puppet::new(reporter, lives.next()))
}

#[test]
fn one_that_blocks_its_own_thread_delays_nobody() {
    System::new().block_on(async {
        let mut root = Supervisor::new("root");
        let blocking = add(&mut root, own("blocking"));
        let other = add(&mut root, Spec::critical("other", "puppet"));
        let tree = Tree::run(root);
        tree.until_state("blocking", State::Running).await;
        let block = blocking.clone();
        let blocked =
            tokio::task::spawn_local(
                async move { block.ask(Do::Block(2 * SECOND), PATIENCE).await },
            );
        tokio::task::yield_now().await;
        assert_eq!(which(&other).await, 1);
        other.ask(Do::Panic, PATIENCE).await.unwrap_err();
        assert_eq!(which(&other).await, 2);
        assert!(!blocked.is_finished());
        assert_eq!(blocked.await.unwrap(), Ok(1));
        assert_eq!(
            tree.stop().await,
            Exit::Stopped {
                survivors: Vec::new()
            }
        );
    });
}

fn ends(tree: &Tree) -> u64 {
    tree.restarts("puppet").iter().map(|(_, count)| count).sum()
}

#[test]
fn it_is_restarted_on_a_new_thread_as_any_other() {
    System::new().block_on(async {
        let mut root = Supervisor::new("root");
        let puppet = add(&mut root, own("puppet"));
        let tree = Tree::run(root);
        for (life, what) in (2..).zip([Do::Panic, Do::Fail, Do::Stop, Do::PanicInSpawned]) {
            let _ = puppet.ask(what, PATIENCE).await;
            until(|| ends(&tree) == life - 1).await;
            assert_eq!(which(&puppet).await, life, "{what:?}");
        }
        let expected = [("panic", 2), ("error", 1), ("stopped", 1)];
        assert_eq!(tree.restarts("puppet"), expected);
        assert_eq!(
            tree.stop().await,
            Exit::Stopped {
                survivors: Vec::new()
            }
        );
    });
}

/// Eight threads ask without a pause while the actor dies again and again: of what did not kill it nothing is lost.
#[test]
fn no_question_is_lost_while_lives_come_and_go() {
    System::new().block_on(async {
        let mut root = Supervisor::new("root").limits(Limits {
            intensity: 1000,
            ..Limits::default()
        });
        let puppet = add(&mut root, own("puppet").mailbox(2));
        let tree = Tree::run(root);
        let askers: Vec<_> = (0..8)
            .map(|_| {
                let puppet = puppet.clone();
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build();
                    runtime.unwrap().block_on(async move {
                        for _ in 0..200 {
                            puppet.ask(Which, PATIENCE).await.unwrap();
                        }
                    });
                })
            })
            .collect();
        let mut deaths = 0;
        while askers.iter().any(|asker| !asker.is_finished()) {
            if deaths < 5 {
                puppet.ask(Do::Panic, PATIENCE).await.unwrap_err();
                deaths += 1;
                until(|| ends(&tree) == deaths).await;
            }
            tokio::time::sleep(SECOND / 100).await;
        }
        for asker in askers {
            asker.join().unwrap();
        }
        assert_eq!(tree.restarts("puppet"), [("panic", deaths)]);
        tree.stop().await;
    });
}

#[test]
fn a_factory_that_panics_there_counts_as_well() {
    System::new().block_on(async {
        let mut root = Supervisor::new("root").limits(Limits {
            intensity: 1,
            ..Limits::default()
        });
        let main = std::thread::current().id();
        root.child(own("bad"), move |_| -> Puppet {
            assert_eq!(std::thread::current().id(), main, "on another thread");
            unreachable!()
        });
        let exit = Tree::run(root).end().await;
        let Exit::Escalated { component, error } = exit else {
            panic!("{exit:?}")
        };
        assert_eq!(component, "bad");
        assert!(error.contains("on another thread"), "{error}");
    });
}

/// It cannot be aborted: it is cut off, and another life begins beside it. What the old one does later changes nothing.
#[test]
fn one_that_blocks_for_ever_is_left_behind() {
    System::new().block_on(async {
        let mut root = Supervisor::new("root");
        let lives = Lives::default();
        let diary = Diary::default();
        let (count, notes) = (lives.clone(), diary.clone());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let spec = own("puppet")
            .ready_within(SECOND / 10)
            .stop_within(SECOND / 10);
        let puppet = root.child(spec, move |reporter| {
            let life = count.next();
            if life == 1 {
                let _ = held.lock().unwrap().recv();
            }
            let name = if life == 1 { "old" } else { "new" };
            Puppet::new(reporter, life).diary(name, &notes)
        });
        let tree = Tree::run(root);
        tree.until_state("puppet", State::Running).await;
        assert_eq!(which(&puppet).await, 2);
        assert_eq!(tree.restarts("puppet"), [("not_ready", 1)]);
        release.send(()).unwrap();
        until(|| diary.entries().contains(&"old dropped".to_owned())).await;
        assert_eq!(which(&puppet).await, 2);
        assert_eq!(tree.component("puppet").detail, "life 2");
        assert_eq!(
            tree.stop().await,
            Exit::Stopped {
                survivors: Vec::new()
            }
        );
    });
}

#[test]
fn one_that_blocks_at_the_end_is_named() {
    System::new().block_on(async {
        let mut root = Supervisor::new("root");
        let puppet = add(&mut root, own("puppet").stop_within(SECOND / 10));
        let tree = Tree::run(root);
        assert_eq!(which(&puppet).await, 1);
        let answer = puppet.ask(Do::Block(5 * SECOND), SECOND / 10).await;
        assert_eq!(answer, Err(AskError::Unknown));
        let survivors = vec!["puppet".to_owned()];
        assert_eq!(tree.stop().await, Exit::Stopped { survivors });
    });
}

/// What a life that blocks its thread holds, nobody else can get: until it lets go, the component is not heard.
#[test]
fn a_life_that_was_left_behind_counts_as_silent_until_it_is_gone() {
    System::new().block_on(async {
        let mut root = Supervisor::new("root");
        let spec = own("puppet").silent_within(SECOND).stop_within(SECOND / 10);
        let puppet = add(&mut root, spec);
        let tree = Tree::run(root);
        let answer = puppet.ask(Do::Block(6 * SECOND), SECOND / 10).await;
        assert_eq!(answer, Err(AskError::Unknown));
        until(|| tree.restarts("puppet") == [("unresponsive", 1)]).await;
        assert_eq!(which(&puppet).await, 2);
        // alive and well, but for the other one
        until(|| tree.component("puppet").silent_for > 3 * SECOND).await;
        assert_eq!(tree.state("puppet"), State::Running);
        until(|| tree.component("puppet").silent_for < 2 * SECOND).await;
        tree.stop().await;
    });
}
