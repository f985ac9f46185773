//! What a caller gets, whatever happens to whom it asks.

use std::{sync::Arc, time::Duration};

use supervisors::{AskError, Backoff, Limits, Ref, Spec, Supervisor};
use tokio::time::{Instant, sleep};

use crate::puppet::{
    Diary, Do, LONG, Lives, Opening, Puppet, SECOND, Tree, Which, paused, until, which,
};

fn one(
    spec: Spec,
    opening: impl Fn(u64) -> Opening + Send + Sync + 'static,
) -> (Tree, Ref<Puppet>, Diary) {
    let diary = Diary::default();
    let (lives, notes) = (Lives::default(), diary.clone());
    let mut root = Supervisor::new("root").limits(Limits {
        backoff: Backoff {
            first: 10 * SECOND,
            longest: LONG,
        },
        ..Limits::default()
    });
    let puppet = root.child(spec, move |reporter| {
        let life = lives.next();
        Puppet::new(reporter, life)
            .opening(opening(life))
            .diary("puppet", &notes)
    });
    (Tree::run(root), puppet, diary)
}

fn spec() -> Spec {
    Spec::critical("puppet", "puppet")
}

#[test]
fn who_dies_with_a_message_leaves_its_outcome_unknown_and_the_others_reach_the_next_life() {
    paused(async {
        let (tree, puppet, _) = one(spec(), |_| Opening::Ready);
        assert_eq!(which(&puppet).await, 1);
        let asking = puppet.clone();
        let died = tokio::task::spawn_local(async move { asking.ask(Do::Panic, LONG).await });
        let queued = (0..10).map(|_| {
            let asking = puppet.clone();
            tokio::task::spawn_local(async move { asking.ask(Which, LONG).await })
        });
        let queued: Vec<_> = queued.collect();
        let died = died.await.unwrap();
        assert_eq!(died, Err(AskError::Unknown));
        // these lay in the same mailbox, unseen
        for queued in queued {
            assert_eq!(queued.await.unwrap(), Ok(2));
        }
        assert_eq!(tree.restarts("puppet"), [("panic", 1)]);
        tree.stop().await;
    });
}

#[test]
fn nothing_is_delivered_to_a_life_that_dies_in_its_start() {
    paused(async {
        let opening = |life| {
            if life < 4 {
                Opening::Panic
            } else {
                Opening::Ready
            }
        };
        let (tree, puppet, _) = one(spec(), opening);
        assert_eq!(puppet.ask(Which, LONG).await, Ok(4));
        tree.stop().await;
    });
}

#[test]
fn while_it_does_not_run_a_question_waits_for_its_next_life_or_the_deadline() {
    paused(async {
        let (tree, puppet, diary) = one(spec(), |life| {
            if life == 1 {
                Opening::Ready
            } else {
                Opening::Panic
            }
        });
        assert_eq!(which(&puppet).await, 1);
        let _ = puppet.ask(Do::Panic, LONG).await;
        until(|| !tree.restarts("puppet").is_empty()).await;
        let before = Instant::now();
        let answer = puppet.ask(Do::Degrade, Duration::from_millis(1)).await;
        assert_eq!(answer, Err(AskError::NotRunning));
        assert_eq!(before.elapsed(), Duration::from_millis(1));
        assert!(
            !diary
                .entries()
                .contains(&"puppet handles Degrade".to_owned())
        );
        tree.stop().await;
    });
}

#[test]
fn a_tree_that_is_gone_says_so_at_once() {
    paused(async {
        let (tree, puppet, _) = one(spec(), |_| Opening::Ready);
        assert_eq!(which(&puppet).await, 1);
        tree.stop().await;
        let before = Instant::now();
        assert_eq!(puppet.ask(Which, LONG).await, Err(AskError::NotRunning));
        assert_eq!(before.elapsed(), Duration::ZERO);
    });
}

#[test]
fn a_full_mailbox_makes_callers_wait_and_then_says_that_nothing_was_delivered() {
    paused(async {
        let (tree, puppet, diary) = one(spec().mailbox(2), |_| Opening::Ready);
        assert_eq!(which(&puppet).await, 1);
        let ask = |what, deadline| {
            let puppet = puppet.clone();
            tokio::task::spawn_local(async move { puppet.ask(what, deadline).await })
        };
        let busy = ask(Do::Wait(20 * SECOND), LONG);
        tokio::task::yield_now().await;
        until(|| diary.entries().iter().any(|entry| entry.contains("Wait"))).await;
        // two have room, the third has none, the fourth has the patience
        let first = ask(Do::Answer(SECOND), LONG);
        let second = ask(Do::Answer(SECOND), 10 * SECOND);
        tokio::task::yield_now().await;
        let third = ask(Do::Degrade, 10 * SECOND);
        let fourth = ask(Do::Answer(SECOND), LONG);
        assert_eq!(third.await.unwrap(), Err(AskError::Full));
        assert_eq!(second.await.unwrap(), Err(AskError::Unknown));
        assert_eq!(busy.await.unwrap(), Ok(1));
        assert_eq!(first.await.unwrap(), Ok(1));
        assert_eq!(fourth.await.unwrap(), Ok(1));
        // never handled: the third, which found no room, and the second, whose caller had left
        let handled = diary
            .entries()
            .iter()
            .filter(|entry| entry.contains("handles"))
            .count();
        assert_eq!(handled, 3, "{:?}", diary.entries());
        tree.stop().await;
    });
}

/// actix alone would take them all: each of its senders has a slot of its own.
#[test]
fn the_bound_of_a_mailbox_holds_however_many_ask() {
    paused(async {
        let (tree, puppet, diary) = one(spec().mailbox(4), |_| Opening::Ready);
        let asking = puppet.clone();
        let busy =
            tokio::task::spawn_local(async move { asking.ask(Do::Wait(9 * SECOND), LONG).await });
        until(|| diary.entries().iter().any(|entry| entry.contains("Wait"))).await;
        let asked = (0..100).map(|_| puppet.ask(Which, SECOND));
        let asked = futures_util::future::join_all(asked).await;
        let count = |error| asked.iter().filter(|answer| **answer == Err(error)).count();
        assert_eq!(count(AskError::Unknown), 4);
        assert_eq!(count(AskError::Full), 96);
        let asked = (0..100).map(|_| puppet.ask(Which, LONG));
        let asked = futures_util::future::join_all(asked).await;
        assert!(asked.into_iter().all(|answer| answer == Ok(1)));
        assert_eq!(busy.await.unwrap(), Ok(1));
        tree.stop().await;
    });
}

#[test]
fn no_answer_in_time_is_an_unknown_outcome_and_the_actor_goes_on() {
    paused(async {
        let (tree, puppet, _) = one(spec(), |_| Opening::Ready);
        let slow = puppet.ask(Do::Answer(10 * SECOND), SECOND).await;
        assert_eq!(slow, Err(AskError::Unknown));
        sleep(60 * SECOND).await;
        assert_eq!(which(&puppet).await, 1);
        tree.stop().await;
    });
}

#[test]
fn a_ref_may_be_asked_from_any_thread() {
    fn anywhere<T: Send + Sync + 'static>(value: T) -> T {
        value
    }
    let system = actix::System::new();
    system.block_on(async {
        let (tree, puppet, _) = one(spec(), |_| Opening::Ready);
        let puppet = Arc::new(anywhere(puppet));
        let asked = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .unwrap()
                .block_on(async move { puppet.ask(Which, 10 * SECOND).await })
        });
        until(|| asked.is_finished()).await;
        assert_eq!(asked.join().unwrap(), Ok(1));
        tree.stop().await;
    });
}
