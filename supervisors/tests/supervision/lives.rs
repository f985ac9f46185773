//! However a life ends: the caller learns of it, a new life begins, and health says why.

use supervisors::{AskError, Spec, State, Supervisor};

use crate::puppet::{
    Closing, Diary, Do, LONG, Lives, Opening, Puppet, SECOND, Tree, paused, until, which,
};
/// What kills a life that runs: the caller's answer, the reason, the error.
#[test]
fn a_running_life_may_end_in_any_way() {
    let unknown = Err(AskError::Unknown);
    for (what, answer, reason, error) in [
        (Do::Panic, unknown, "panic", "in a handler"),
        (Do::PanicInActorFuture, unknown, "panic", "in a future"),
        (Do::PanicInFuture, unknown, "panic", "without an answer"),
        (Do::PanicInTimer, Ok(1), "panic", "in a timer"),
        (Do::PanicInSpawned, Ok(1), "panic", "in a spawned future"),
        (Do::Fail, Ok(1), "error", "no luck"),
        (Do::FailAndStop, Ok(1), "error", "no luck"),
        (Do::Stop, Ok(1), "stopped", "stopped itself"),
    ] {
        paused(async move {
            let (lives, diary) = (Lives::default(), Diary::default());
            let mut root = Supervisor::new("root");
            let spec = Spec::critical("puppet", "puppet");
            let (count, notes) = (lives.clone(), diary.clone());
            let puppet = root.child(spec, move |reporter| {
                Puppet::new(reporter, count.next()).diary("puppet", &notes)
            });
            let mut other = Spec::critical("other", "puppet");
            other.kind = "other";
            let other = root.child(other, |reporter| Puppet::new(reporter, 1));
            let tree = Tree::run(root);
            tree.until_state("puppet", State::Running).await;

            assert_eq!(puppet.ask(what, LONG).await, answer, "{what:?}");
            until(|| tree.restarts("puppet") == [(reason, 1)]).await;
            let told = tree.component("puppet").error.unwrap();
            assert!(told.contains(error), "{what:?}: {told}");

            assert_eq!(which(&puppet).await, 2, "{what:?}");
            tree.until_state("puppet", State::Running).await;
            let component = tree.component("puppet");
            assert_eq!(
                (component.detail.as_str(), component.error),
                ("life 2", None)
            );
            assert_eq!(tree.restarts("other"), []);
            assert_eq!(which(&other).await, 1);

            // callbacks never run on what has panicked, and run once on what has not
            let first: Vec<String> = diary.entries();
            let first: Vec<&str> = first
                .split(|entry| entry == "puppet dropped")
                .next()
                .unwrap()
                .iter()
                .map(String::as_str)
                .collect();
            let callbacks = first
                .iter()
                .filter(|entry| entry.contains("stop") && !entry.contains("handles"))
                .count();
            assert_eq!(
                callbacks,
                if reason == "panic" { 0 } else { 2 },
                "{what:?}: {first:?}"
            );
            tree.stop().await;
        });
    }
}

#[test]
fn a_start_may_fail_in_any_way() {
    for (opening, reason, error) in [
        (Opening::Panic, "panic", "in started"),
        (Opening::ReadyThenPanic, "panic", "in started"),
        (Opening::Stop, "stopped", "stopped itself"),
        (Opening::Fail, "error", "no luck"),
        (Opening::Silence, "not_ready", "not ready within 30s"),
    ] {
        paused(async move {
            let lives = Lives::default();
            let mut root = Supervisor::new("root");
            let count = lives.clone();
            let puppet = root.child(Spec::critical("puppet", "puppet"), move |reporter| {
                let life = count.next();
                let opening = if life == 1 { opening } else { Opening::Ready };
                Puppet::new(reporter, life).opening(opening)
            });
            let tree = Tree::run(root);
            until(|| tree.restarts("puppet") == [(reason, 1)]).await;
            let told = tree.component("puppet").error.unwrap();
            assert!(told.contains(error), "{opening:?}: {told}");
            tree.until_state("puppet", State::Running).await;
            assert_eq!(which(&puppet).await, 2);
            tree.stop().await;
        });
    }
}

#[test]
fn a_panic_of_the_factory_is_a_panic_of_the_child() {
    paused(async {
        let lives = Lives::default();
        let mut root = Supervisor::new("root");
        let count = lives.clone();
        let puppet = root.child(Spec::critical("puppet", "puppet"), move |reporter| {
            let life = count.next();
            assert!(life > 1, "in the factory of life {life}");
            Puppet::new(reporter, life)
        });
        let tree = Tree::run(root);
        // the question waits for the first life that takes it
        assert_eq!(which(&puppet).await, 2);
        assert_eq!(tree.restarts("puppet"), [("panic", 1)]);
        tree.stop().await;
    });
}

/// One that cannot even stop when it has panicked, or panics while it stops, is over all the same.
#[test]
fn a_panic_at_the_end_aborts_nothing() {
    for closing in [Closing::PanicInStopping, Closing::PanicInStopped] {
        for what in [Do::Panic, Do::Stop, Do::Fail] {
            paused(async move {
                let mut root = Supervisor::new("root");
                let lives = Lives::default();
                let puppet = root.child(Spec::critical("puppet", "puppet"), move |reporter| {
                    Puppet::new(reporter, lives.next()).closing(closing)
                });
                let tree = Tree::run(root);
                let _ = puppet.ask(what, LONG).await;
                assert_eq!(which(&puppet).await, 2);
                let reason = if what == Do::Fail { "error" } else { "panic" };
                assert_eq!(
                    tree.restarts("puppet"),
                    [(reason, 1)],
                    "{closing:?} {what:?}"
                );
                tree.stop().await;
            });
        }
    }
}

#[test]
fn a_life_is_ready_by_its_first_word_and_says_more_later() {
    paused(async {
        let mut root = Supervisor::new("root");
        let puppet = root.child(Spec::parking("puppet", "puppet"), |reporter| {
            Puppet::new(reporter, 1)
        });
        let health = root.health();
        assert_eq!(health.components()[0].state, State::Starting);
        let tree = Tree::run(root);
        tree.until_state("puppet", State::Running).await;
        puppet.ask(Do::Degrade, LONG).await.unwrap();
        let component = tree.component("puppet");
        assert_eq!(component.state, State::Degraded);
        assert_eq!(component.error.as_deref(), Some("nobody there"));
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!(tree.restarts("puppet"), []);
        tree.stop().await;
    });
}

/// A life that is not ready in time is aborted then and there, not only left alone.
#[test]
fn one_that_is_never_ready_is_dropped_when_its_time_is_over() {
    paused(async {
        let diary = Diary::default();
        let (lives, notes) = (Lives::default(), diary.clone());
        let mut root = Supervisor::new("root");
        root.child(Spec::critical("puppet", "puppet"), move |reporter| {
            let life = lives.next();
            let opening = if life == 1 {
                Opening::Silence
            } else {
                Opening::Ready
            };
            Puppet::new(reporter, life)
                .opening(opening)
                .diary("puppet", &notes)
        });
        let before = tokio::time::Instant::now();
        let tree = Tree::run(root);
        until(|| diary.entries().contains(&"puppet dropped".to_owned())).await;
        assert!(before.elapsed() < 31 * SECOND);
        tree.until_state("puppet", State::Running).await;
        assert_eq!(tree.restarts("puppet"), [("not_ready", 1)]);
        tree.stop().await;
    });
}

/// What an old life still says, from a task that outlived it, does not count.
#[test]
fn the_word_of_an_old_life_changes_nothing() {
    paused(async {
        let kept = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut root = Supervisor::new("root");
        let (lives, keep) = (Lives::default(), kept.clone());
        let puppet = root.child(Spec::critical("puppet", "puppet"), move |reporter| {
            keep.lock().unwrap().push(reporter.clone());
            Puppet::new(reporter, lives.next())
        });
        let tree = Tree::run(root);
        tree.until_state("puppet", State::Running).await;
        let old = kept.lock().unwrap()[0].clone();
        puppet.ask(Do::Panic, LONG).await.unwrap_err();
        // between two lives as well
        until(|| !tree.restarts("puppet").is_empty()).await;
        old.running("ghost");
        assert_ne!(tree.component("puppet").detail, "ghost");
        assert_eq!(which(&puppet).await, 2);
        old.degraded("ghost", "ghost");
        old.failed("ghost");
        tokio::time::sleep(SECOND).await;
        let component = tree.component("puppet");
        assert_eq!(component.state, State::Running);
        assert_eq!(component.detail, "life 2");
        assert_eq!(tree.restarts("puppet"), [("panic", 1)]);
        tree.stop().await;
    });
}
