//! Ordinary days, and ordinary trouble.

use super::*;

#[test]
fn a_route_is_added_changed_and_removed() {
    let mut world = World::new(empty_sozu());
    world.declares(&route("a", 1));
    world.sozu_holds(&route("a", 1));
    assert!(world.report().ready());
    world.declares(&route("a", 2));
    world.sozu_holds(&route("a", 2));
    world.declares(&[]);
    world.sozu_holds(&[]);
    assert!(
        world.verdicts().iter().all(|verdict| *verdict == "applied"),
        "{:?}",
        world.verdicts()
    );
}

#[test]
fn a_repointed_route_is_a_removal_and_an_addition_in_one_batch() {
    let mut world = World::new(empty_sozu());
    let both = [route("a", 1), route("b", 2)].concat();
    world.declares(&both);
    world.sent.clear();
    let mut turned = both.clone();
    turned[2] = http("b", "a.example");
    world.declares(&turned);
    world.sozu_holds(&turned);
    assert_eq!(world.sent.len(), 2, "{:?}", world.sent);
}

#[test]
fn an_identical_object_is_adopted_another_value_taken_over_and_a_foreign_one_left_alone() {
    let mut sozu = empty_sozu();
    let mut theirs = route("a", 1);
    theirs[2] = http("elsewhere", "a.example");
    hold(&mut sozu, &theirs);
    hold(&mut sozu, &route("foreign", 9));
    let mut world = World::new(sozu);
    world.rest();
    world.declares(&route("a", 1));
    world.sozu_holds(&[route("a", 1), route("foreign", 9)].concat());
    assert_eq!(
        world.sent.len(),
        2,
        "only the frontend moves: {:?}",
        world.sent
    );
    assert_eq!(world.verdicts(), ["applied", "applied", "taken_over"]);
    assert_eq!(world.report().foreign.values().sum::<usize>(), 3);
}

#[test]
fn what_sozu_refuses_leaves_the_last_accepted_value() {
    let mut world = World::new(empty_sozu());
    world.declares(&route("a", 1));
    let mut bad = route("a", 1);
    bad.push(http("a", "a.example/"));
    world.declares(&bad);
    world.sozu_holds(&route("a", 1));
    assert_eq!(world.verdicts().last(), Some(&"refused"));
    let report = world.report();
    let refused = &report.sources[&source()].refused;
    assert!(refused[0].contains("bad host name"), "{refused:?}");
    let entries = world.disk.journal.len();
    world.declares(&bad);
    assert_eq!(
        world.disk.journal.len(),
        entries,
        "not tried again at every rescan"
    );
    world.declares(&route("a", 2));
    world.sozu_holds(&route("a", 2));
    assert!(world.report().sources[&source()].refused.is_empty());
}

#[test]
fn what_a_refused_change_would_have_overtaken_is_applied() {
    let mut world = World::new(empty_sozu());
    world.rest();
    world.subscribes(None);
    let mut bad = http("a", "x.example");
    if let Object::HttpFrontend(front) = &mut bad {
        front.tags.insert("refused".to_owned(), "yes".to_owned());
    }
    // Both in one batch: the later word on the key goes, and is refused.
    world.sends(0, &[http("b", "x.example").add(), bad.add()]);
    assert_eq!(world.verdicts(), ["applied", "refused"]);
    world.sozu_holds(&[http("b", "x.example")]);
}

#[test]
fn one_refused_entry_of_a_bulk_takes_nobody_along() {
    let mut world = World::new(empty_sozu());
    let mut objects = [route("a", 1), route("b", 2)].concat();
    objects.insert(0, http("a", "bad/"));
    world.declares(&objects);
    world.sozu_holds(&objects[1..]);
    let verdicts = world.verdicts();
    assert_eq!(
        verdicts
            .iter()
            .filter(|verdict| **verdict == "refused")
            .count(),
        1
    );
    assert_eq!(
        verdicts
            .iter()
            .filter(|verdict| **verdict == "applied")
            .count(),
        6
    );
}

#[test]
fn a_new_life_of_sozu_is_filled_again() {
    let mut world = World::new(empty_sozu());
    world.declares(&route("a", 1));
    world.sozu_restarts(empty_sozu());
    assert!(!world.report().ready(), "this life is not complete yet");
    world.rest();
    world.sozu_holds(&route("a", 1));
    assert!(world.report().ready());
}

#[test]
fn what_was_removed_stays_removed_in_a_life_from_an_older_state() {
    let mut world = World::new(empty_sozu());
    world.declares(&[route("a", 1), route("b", 2)].concat());
    let older = world.sozu.saved();
    world.declares(&route("a", 1));
    world.sozu_restarts(older);
    world.rest();
    world.sozu_holds(&route("a", 1));
}

#[test]
fn what_somebody_puts_back_on_purpose_is_foreign() {
    let mut world = World::new(empty_sozu());
    world.declares(&route("a", 1));
    world.declares(&[]);
    world.at += Duration::from_secs(61);
    world.tell(Event::Tick);
    world.rest();
    world.sozu.put(&route("a", 1));
    world.at += Duration::from_secs(61);
    world.tell(Event::Tick);
    world.rest();
    world.sozu_holds(&route("a", 1));
    assert_eq!(world.report().foreign.values().sum::<usize>(), 3);
}

#[test]
fn what_our_own_checks_refuse_is_told_and_not_tried_at_every_rescan() {
    let mut world = World::new(empty_sozu());
    let mut objects = route("a", 1);
    objects.push(backend("unknown", "u-1", 2));
    world.declares(&objects);
    world.sozu_holds(&route("a", 1));
    let report = world.report();
    assert!(
        report.sources[&source()].refused[0].contains("`unknown`"),
        "{report:?}"
    );
    let entries = world.disk.journal.len();
    world.declares(&objects);
    assert_eq!(world.disk.journal.len(), entries);
    objects.push(cluster("unknown"));
    objects.push(backend("unknown", "u-2", 3));
    world.declares(&objects);
    assert!(world.disk.journal.len() > entries);
}

#[test]
fn what_others_change_is_healed() {
    let mut world = World::new(empty_sozu());
    world.declares(&route("a", 1));
    world
        .sozu
        .dispatch(&http("a", "a.example").remove().unwrap())
        .unwrap();
    world.at += Duration::from_secs(61);
    world.tell(Event::Tick);
    world.rest();
    world.sozu_holds(&route("a", 1));
}

#[test]
fn an_unknown_outcome_is_read_back() {
    for fault in [Fault::AnswerLost, Fault::RequestLost, Fault::NotSent] {
        for objects in [route("a", 1), vec![cluster("a")]] {
            let mut world = World::new(empty_sozu());
            world.rest();
            world.fault = Some(fault);
            world.declares(&objects);
            world.sozu_holds(&objects);
            assert!(world.verdicts().iter().all(|verdict| *verdict == "applied"));
            assert!(world.report().ready());
        }
    }
}

#[test]
fn a_large_listing_that_empties_is_held_until_its_objects_return() {
    let mut world = World::new(empty_sozu());
    let routes: Vec<Object> = (0..40)
        .flat_map(|n| route(&format!("r{n}"), n + 1))
        .collect();
    world.declares(&routes);
    world.lists(&[]);
    world.sozu_holds(&routes);
    let holds = world.report().sources[&source()].holds.clone();
    assert_eq!(holds.len(), 1);
    assert_eq!(holds[0].objects, 120);
    let entries = world.disk.journal.len();
    world.lists(&[]);
    assert_eq!(
        world.disk.journal.len(),
        entries,
        "the same hold is not written again"
    );
    world.dies();
    world.lists(&[]);
    world.sozu_holds(&routes);
    world.declares(&routes);
    assert!(world.report().sources[&source()].holds.is_empty());
    world.sozu_holds(&routes);
}

#[test]
fn backends_that_move_are_no_conclusion_before_and_after_a_restart() {
    let mut world = World::new(empty_sozu());
    let fleet = |first: u16| {
        let mut objects = vec![cluster("a")];
        objects.extend((0..60).map(|n| backend("a", &format!("a-{n}"), first + n)));
        [objects, route("b", 9)].concat()
    };
    world.declares(&fleet(1000));
    world.declares(&fleet(2000));
    world.sozu_holds(&fleet(2000));
    let conclusions = world
        .disk
        .journal
        .iter()
        .filter(|(entry, _)| entry.admission == Admission::Conclusion);
    assert_eq!(
        conclusions.count(),
        0,
        "what the guard adds up after a restart"
    );
}

#[test]
fn a_broken_file_stands_for_what_it_last_gave_over_a_restart_too() {
    let mut world = World::new(empty_sozu());
    world.declares(&route("a", 1));
    world.dies();
    world.lists(&[("a.toml", None)]);
    world.sozu_holds(&route("a", 1));
    world.sozu_restarts(empty_sozu());
    world.rest();
    world.sozu_holds(&route("a", 1));
}

#[test]
fn another_device_that_lacks_objects_declares_nothing() {
    let mut world = World::new(empty_sozu());
    world.declares(&route("a", 1));
    let listing = Listing {
        source: source(),
        device: 2,
        files: vec![],
    };
    world.tell(Event::Listing { listing, reply: 0 });
    world.rest();
    world.sozu_holds(&route("a", 1));
    assert_eq!(
        world.replies.last(),
        Some(&Err(DeclareError::OtherDevice { missing: 3 }))
    );
}

#[test]
fn a_full_disk_stops_the_intake_and_resumes() {
    let mut world = World::new(empty_sozu());
    world.declares(&route("a", 1));
    world.disk.full = true;
    world.declares(&route("a", 2));
    world.sozu_holds(&route("a", 1));
    assert!(matches!(
        world.replies.last(),
        Some(Err(DeclareError::Disk(_)))
    ));
    world.disk.full = false;
    world.declares(&route("a", 2));
    world.sozu_holds(&route("a", 2));
}

#[test]
fn observing_sends_nothing_and_shows_what_would_be_sent() {
    let mut world = World::in_mode(empty_sozu(), Mode::Observe);
    world.declares(&route("a", 1));
    world.sozu_holds(&[]);
    assert!(world.sent.is_empty());
    assert!(
        world
            .verdicts()
            .iter()
            .all(|verdict| *verdict == "observed")
    );
    assert_eq!(world.report().drift.values().sum::<usize>(), 3);
    assert!(world.report().ready());
}

#[test]
fn a_frontend_without_a_listener_is_refused_after_sozu_was_asked_again() {
    let mut sozu = empty_sozu();
    sozu.http_listeners.clear();
    let mut world = World::new(sozu);
    world.rest();
    // Added behind our back since the last read: it counts.
    let listener = HttpListenerConfig {
        address: HTTP.into(),
        ..HttpListenerConfig::default()
    };
    world
        .sozu
        .dispatch(&RequestType::AddHttpListener(listener).into())
        .unwrap();
    world.declares(&route("a", 1));
    world.sozu_holds(&route("a", 1));
    let mut world = World::new({
        let mut sozu = empty_sozu();
        sozu.http_listeners.clear();
        sozu
    });
    world.declares(&route("a", 1));
    world.sozu_holds(&route("a", 1)[..2]);
    let report = world.report();
    assert!(
        report.sources[&source()].refused[0].contains("no listener at"),
        "{report:?}"
    );
}

#[test]
fn a_silent_worker_holds_up_only_until_the_fence_is_over() {
    let mut world = World::new(empty_sozu());
    world.rest();
    world.sozu.stall(1, Duration::from_mins(30));
    world.fault = Some(Fault::AnswerLost);
    world.declares(&route("a", 1));
    world.at += Duration::from_mins(1);
    world.rest();
    world.sozu_holds(&route("a", 1));
    assert!(
        world.verdicts().iter().all(|verdict| *verdict == "applied"),
        "{:?}",
        world.verdicts()
    );
}

/// The daemon dies before or after each of its effects: at rest Sōzu holds what the files say, and
/// each entry has one verdict.
#[test]
fn a_death_between_any_two_steps_loses_nothing() {
    let story = |world: &mut World| {
        let mut repointed = [route("a", 1), route("b", 2)].concat();
        world.declares(&repointed);
        repointed[2] = http("b", "a.example");
        repointed.push(http("b", "refused/"));
        world.declares(&repointed);
        world.declares(&route("b", 3));
    };
    let mut counted = World::new(empty_sozu());
    story(&mut counted);
    let effects = counted.carried_out;
    assert!(
        effects > 15,
        "the story is too short to tell anything: {effects}"
    );
    for dies_at in 0..=(effects * 2 + 1) {
        let mut world = World::new(empty_sozu());
        world.death = Some((dies_at, Death::Alone));
        story(&mut world);
        // The watcher lists again whatever came before.
        world.declares(&route("b", 3));
        world.sozu_holds(&route("b", 3));
        let open = world
            .verdicts()
            .iter()
            .filter(|verdict| **verdict == "open")
            .count();
        assert_eq!(open, 0, "died at {dies_at}");
        let mut seqs: Vec<u64> = world
            .disk
            .journal
            .iter()
            .map(|(entry, _)| entry.seq)
            .collect();
        seqs.dedup();
        assert_eq!(seqs.len(), world.disk.journal.len(), "died at {dies_at}");
    }
}
