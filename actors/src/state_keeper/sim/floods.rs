//! Days with more to do than goes in one batch.

use super::{
    ops::{cert, renewed},
    *,
};

fn clusters(count: usize) -> Vec<Object> {
    (0..count).map(|n| cluster(&format!("c{n:05}"))).collect()
}

fn sticky(id: &str) -> Object {
    let Object::Cluster(mut cluster) = cluster(id) else {
        unreachable!()
    };
    cluster.sticky_session = true;
    Object::Cluster(cluster)
}

fn listing(objects: &[Object]) -> Event {
    let file = ListedFile {
        path: Arc::new("a.toml".into()),
        content: FileContent::Objects(keyed(objects)),
    };
    let listing = Listing {
        source: source(),
        device: 1,
        files: vec![file],
    };
    Event::Listing { listing, reply: 0 }
}

/// While Sōzu is busy with a batch the keeper goes on, as its shell lets it.
fn rest(world: &mut World) {
    while let Some(effect) = world.pending.pop_front() {
        if matches!(effect, Effect::Send(_)) {
            world.tell(Event::Tick);
        }
        world.step(effect);
    }
    world.rest();
}

fn holds_all(world: &World, objects: &[Object]) {
    world.sozu_holds(objects);
    assert!(world.report().ready());
    let open = world.verdicts().into_iter().filter(|it| *it == "open");
    assert_eq!(open.count(), 0);
}

#[test]
fn the_next_batch_is_prepared_while_one_is_under_way() {
    let mut world = World::new(empty_sozu());
    world.rest();
    let all = clusters(11_000);
    world.tell(listing(&all));
    rest(&mut world);
    assert_eq!((world.batches, world.went_as_prepared), (2, 1));
    holds_all(&world, &all);
}

#[test]
fn what_was_prepared_counts_no_more_when_the_batch_before_it_is_in_doubt() {
    for fault in [Fault::NotSent, Fault::AnswerLost, Fault::RequestLost] {
        let mut world = World::new(empty_sozu());
        world.rest();
        let all = clusters(11_000);
        world.fault = Some(fault);
        world.tell(listing(&all));
        rest(&mut world);
        assert_eq!(world.went_as_prepared, 0, "{fault:?}");
        holds_all(&world, &all);
    }
}

#[test]
fn a_change_of_what_was_prepared_is_what_goes() {
    let mut world = World::new(empty_sozu());
    world.rest();
    let mut all = clusters(11_000);
    world.tell(listing(&all));
    let is_send = |effect: &Effect| matches!(effect, Effect::Send(_));
    while !world.pending.front().is_some_and(is_send) {
        let effect = world.pending.pop_front().unwrap();
        world.step(effect);
    }
    let under_way = world.pending.pop_front().unwrap();
    world.tell(Event::Tick);
    all[10_999] = sticky("c10999");
    world.tell(listing(&all));
    while let Some(effect) = world.pending.pop_front() {
        world.step(effect);
    }
    world.step(under_way);
    rest(&mut world);
    assert_eq!(world.went_as_prepared, 0);
    holds_all(&world, &all);
}

/// What was prepared and is put back goes as it would have gone: the renewed certificate in the other one's place.
#[test]
fn a_renewal_that_was_prepared_and_put_back_is_one_request_still() {
    let mut world = World::new(empty_sozu());
    world.rest();
    world.declares(&[cert()]);
    let of = |count, certificate| [&clusters(count)[..], &[certificate]].concat();
    world.tell(listing(&of(10_000, cert())));
    let is_send = |effect: &Effect| matches!(effect, Effect::Send(_));
    while !world.pending.front().is_some_and(is_send) {
        let effect = world.pending.pop_front().unwrap();
        world.step(effect);
    }
    let under_way = world.pending.pop_front().unwrap();
    world.sent.clear();
    let mut all = of(12_000, renewed());
    world.tell(listing(&all));
    while let Some(effect) = world.pending.pop_front() {
        world.step(effect);
    }
    assert!(world.prepared.is_some());
    all[11_999] = sticky("c11999");
    world.tell(listing(&all));
    while let Some(effect) = world.pending.pop_front() {
        world.step(effect);
    }
    world.step(under_way);
    rest(&mut world);
    assert_eq!(world.went_as_prepared, 0);
    holds_all(&world, &all);
    let of_certificates = world.sent.iter().filter_map(|it| match &it.request_type {
        Some(RequestType::AddCertificate(_)) => Some("added"),
        Some(RequestType::RemoveCertificate(_)) => Some("removed"),
        Some(RequestType::ReplaceCertificate(_)) => Some("replaced"),
        _ => None,
    });
    let of_certificates: Vec<_> = of_certificates.collect();
    assert_eq!(of_certificates, ["replaced"]);
}
