use std::time::SystemTime;

use sozu_command_lib::proto::command::Request;

use super::*;
use crate::state_keeper::examples::{cluster, http};

fn entry(seq: u64, request: Request) -> Arc<Entry> {
    Arc::new(Entry {
        seq,
        source: SourceName::new("bus"),
        at: SystemTime::UNIX_EPOCH,
        request: Arc::new(request),
        origin: None,
        position: None,
        original: Some(Arc::default()),
        admission: Admission::Order,
    })
}

fn sticky(id: &str) -> Object {
    let mut sticky = cluster(id);
    if let Object::Cluster(cluster) = &mut sticky {
        cluster.sticky_session = true;
    }
    sticky
}

/// Each refusal folds what came later again, and workers are asked about each of it once.
#[test]
fn what_is_wanted_again_is_said_once_however_often_it_is_folded() {
    let (mut tail, mut desired) = (Tail::default(), Desired::default());
    let mut belief = Belief::default();
    belief.replace(KeyMap::default());
    let changes = [
        cluster("a").add(),
        http("b", "bad/").add(),
        cluster("a").remove().unwrap(),
        cluster("a").add(),
        sticky("a").add(),
    ];
    for (seq, change) in (1..).zip(changes) {
        tail.fold(entry(seq, change), &mut desired, &belief);
    }
    let again = [Key::Cluster("a".into())];
    assert_eq!(tail.revived(), again);
    let mut refuse = |seq| {
        let refused = HashMap::from([(seq, "no".to_owned())]);
        tail.refuse(&refused, &mut desired, &belief);
        tail.revived()
    };
    assert_eq!(refuse(2), [], "it was said");
    assert_eq!(refuse(4), again, "another change wants it again");
}
