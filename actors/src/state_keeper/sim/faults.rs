//! Histories that went wrong once, or that are feared most, by name.

use super::{
    ops::{Asks, Op, Says},
    *,
};

impl World {
    /// A world at rest, before anything was said.
    fn at_rest() -> Self {
        let mut world = World::new(empty_sozu());
        world.lives(REST);
        world
    }

    /// All this is said at once, and everything follows from it.
    fn all_at_once(&mut self, ops: &[Op]) {
        for op in ops {
            self.does(*op);
        }
        self.lives(REST);
    }

    /// Lets effects happen until so many batches were sent.
    fn lives_until_batch(&mut self, batches: usize) {
        for _ in 0..200 {
            if self.batches >= batches {
                return;
            }
            self.lives(1);
        }
        panic!("it is never sent");
    }

    #[track_caller]
    fn is_true(&mut self, verdicts: &[&str]) {
        self.lives(REST);
        assert_eq!(self.verdicts(), verdicts);
        if let Err(wrong) = self.judge() {
            panic!("{wrong}");
        }
    }
}

#[test]
fn a_refused_change_over_an_accepted_one_stays_refused_when_both_die() {
    for batches in 1..=4 {
        let mut world = World::at_rest();
        world.all_at_once(&[Op::Bus(Asks::FrontA)]);
        world.does(Op::Bus(Asks::FrontRefused));
        let before = world.batches;
        for _ in 0..60 {
            if world.batches >= before + batches {
                break;
            }
            world.lives(1);
        }
        world.both_die();
        world.is_true(&["applied", "refused"]);
        world.sozu_holds(&[http("a", "x.example")]);
    }
}

#[test]
fn a_change_that_repeats_a_refused_one_is_refused_too() {
    let mut world = World::at_rest();
    world.all_at_once(&[Op::Bus(Asks::FrontRefused), Op::Bus(Asks::FrontRefused)]);
    world.is_true(&["refused", "refused"]);
    let mut world = World::at_rest();
    world.all_at_once(&[
        Op::Bus(Asks::ClusterRefusedByWorkers),
        Op::Bus(Asks::ClusterRefusedByWorkers),
    ]);
    world.is_true(&["refused", "refused"]);
    world.sozu_holds(&[]);
}

#[test]
fn what_is_overtaken_by_a_refused_change_is_applied() {
    let mut world = World::at_rest();
    world.all_at_once(&[
        Op::Bus(Asks::FrontA),
        Op::Bus(Asks::FrontB),
        Op::Bus(Asks::FrontRefusedByWorkers),
    ]);
    world.is_true(&["superseded", "applied", "refused"]);
    world.sozu_holds(&[http("b", "x.example")]);
}

#[test]
fn what_the_main_process_takes_back_after_a_read_by_the_next_daemon_is_not_called_applied() {
    let mut world = World::at_rest();
    world.faults.insert(world.batches, Fault::AllStall);
    world.does(Op::Bus(Asks::FrontA));
    // The daemon dies while Sōzu waits for its workers, and the next one reads before the main
    // process takes the frontend back. The workers apply it when they wake: a phantom.
    let sends = |world: &World| matches!(world.pending.front(), Some(Effect::Send(_)));
    for _ in 0..60 {
        if sends(&world) {
            world.death = Some(((world.carried_out + 1) * 2 + 1, Death::Alone));
        }
        world.lives(1);
        if world.death.is_some() {
            break;
        }
    }
    world.is_true(&["divergent"]);
    // A new life cures it, and it is sent again.
    world.sozu_restarts(empty_sozu());
    world.lives(REST);
    world.sozu_holds(&[http("a", "x.example")]);
}

#[test]
fn a_death_leaves_no_cluster_called_applied_that_no_worker_took() {
    let mut world = World::at_rest();
    world.faults.insert(world.batches, Fault::AnswerLost);
    world.does(Op::Bus(Asks::ClusterRefusedByWorkers));
    let batch = world.batches + 1;
    world.lives_until_batch(batch);
    world.dies();
    world.is_true(&["refused"]);
    world.sozu_holds(&[]);
}

#[test]
fn what_all_workers_refuse_does_not_stay_where_nothing_was_accepted_before() {
    for op in [
        Op::Bus(Asks::ClusterRefusedByWorkers),
        Op::Bus(Asks::BackendRefusedByWorkers),
    ] {
        let mut world = World::at_rest();
        world.all_at_once(&[Op::Bus(Asks::Cluster), op, Op::Bus(Asks::FrontA)]);
        world.is_true(&["applied", "refused", "applied"]);
        world.sozu_holds(&[cluster("a"), http("a", "x.example")]);
        let mut world = World::at_rest();
        world.all_at_once(&[op]);
        world.lives(REST);
        world.sozu_holds(&[]);
    }
}

#[test]
fn a_bus_may_acknowledge_after_a_restart_what_was_settled_before() {
    let mut world = World::at_rest();
    world.all_at_once(&[Op::Bus(Asks::FrontA)]);
    world.dies();
    world.is_true(&["applied"]);
    assert_eq!(world.acknowledges(), Some(0));
}

#[test]
fn what_is_wanted_again_of_a_removed_cluster_is_sent_again() {
    let mut world = World::at_rest();
    world.all_at_once(&[Op::Bus(Asks::Cluster), Op::Bus(Asks::FrontA)]);
    world.all_at_once(&[Op::Bus(Asks::ClusterGone), Op::Bus(Asks::FrontA)]);
    world.is_true(&["applied"; 4]);
    world.sozu_holds(&[http("a", "x.example")]);
}

#[test]
fn a_cluster_whose_outcome_is_unknown_and_that_is_removed_meanwhile_holds_up_nothing() {
    let mut world = World::at_rest();
    world.faults.insert(world.batches, Fault::RequestLost);
    world.does(Op::Bus(Asks::Cluster));
    let batch = world.batches + 1;
    world.lives_until_batch(batch);
    world.does(Op::Bus(Asks::ClusterGone));
    world.lives(REST);
    world.is_true(&["superseded", "applied"]);
}

#[test]
fn a_silent_worker_does_not_make_true_what_the_other_one_refuses() {
    let mut world = World::at_rest();
    world.does(Op::WorkerStalls);
    world.does(Op::Bus(Asks::ClusterRefusedByWorkers));
    world.is_true(&["refused"]);
    world.sozu_holds(&[]);
}

#[test]
fn a_refusal_is_about_what_was_sent_and_not_about_what_came_since() {
    let mut world = World::at_rest();
    world.does(Op::Bus(Asks::FrontRefused));
    while !matches!(world.pending.front(), Some(Effect::Send(_))) {
        world.lives(1);
    }
    let send = world.pending.pop_front().unwrap();
    world.does(Op::Bus(Asks::FrontA));
    world.lives(3);
    world.pending.push_front(send);
    world.is_true(&["refused", "applied"]);
    world.sozu_holds(&[http("a", "x.example")]);
}

#[test]
fn what_differs_stays_divergent_over_a_restart() {
    let mut world = World::at_rest();
    world.faults.insert(world.batches, Fault::AllStall);
    world.all_at_once(&[Op::Bus(Asks::FrontA)]);
    assert_eq!(world.verdicts(), ["divergent"]);
    world.dies();
    world.is_true(&["divergent"]);
}

#[test]
fn a_cluster_goes_with_the_frontend_that_a_refusal_brings_back() {
    let mut world = World::at_rest();
    world.all_at_once(&[
        Op::Bus(Asks::FrontA),
        Op::Bus(Asks::FrontRefused),
        Op::Bus(Asks::ClusterGone),
    ]);
    world.lives(REST);
    world.sozu_holds(&[]);
}

#[test]
fn workers_are_asked_again_for_what_they_refused_when_history_repeats_it() {
    let mut world = World::at_rest();
    // That it goes again is asked of Sōzu in vain.
    world.faults.insert(world.batches + 1, Fault::RequestLost);
    world.does(Op::Bus(Asks::ClusterRefusedByWorkers));
    for _ in 0..200 {
        if world.verdicts() == ["refused"] {
            break;
        }
        world.lives(1);
    }
    world.sozu_holds(&[ops::refused_cluster()]);
    world.does(Op::Bus(Asks::ClusterRefusedByWorkers));
    world.dies();
    world.is_true(&["refused", "refused"]);
    world.lives(REST);
    world.sozu_holds(&[]);
}

#[test]
fn what_is_read_of_a_life_that_nobody_has_seen_yet_counts_for_nothing() {
    let mut world = World::at_rest();
    world.all_at_once(&[Op::Bus(Asks::FrontA)]);
    world.older = world.sozu.saved();
    world.all_at_once(&[Op::Bus(Asks::FrontGone)]);
    while !matches!(world.pending.front(), Some(Effect::AskStatus)) {
        world.at += Duration::from_secs(1);
        world.tell(Event::Tick);
    }
    // This life was read without it. The next one has it again, and is read before anybody knows of it.
    world.does(Op::SozuOlderUnseen(3));
    world.is_true(&["applied", "applied"]);
    world.sozu_holds(&[]);
}

#[test]
fn what_was_not_taken_proves_nothing_about_what_stands_there() {
    let mut world = World::at_rest();
    world.does(Op::Bus(Asks::ClusterRefusedByWorkers));
    let batch = world.batches + 1;
    world.lives_until_batch(batch);
    // Nobody hears the workers, and what comes over it cannot be sent.
    world.does(Op::Bus(Asks::ClusterTooLarge));
    world.dies();
    world.is_true(&["refused", "refused"]);
    world.sozu_holds(&[]);
}

#[test]
fn a_refused_certificate_of_the_same_leaf_does_not_stay_though_the_accepted_ones_file_is_gone() {
    let mut world = World::at_rest();
    world.all_at_once(&[Op::File(Says::CertRenewed)]);
    world.all_at_once(&[Op::File(Says::CertRefused)]);
    for _ in 0..2 {
        world.dies();
        world.lives(REST);
    }
    world.is_true(&["applied", "refused", "refused", "refused"]);
    world.sozu_holds(&[ops::renewed()]);
}
