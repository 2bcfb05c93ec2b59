use sextant_model::{
    ActorId, AggregateKind, DnsLabel, Epoch, Event, EventBody, NetworkId, Timestamp, WorkloadId,
    event::{NetworkRenamed, NodeEndpointChanged, NodeWithdrawn},
};
use uuid::Uuid;

use super::*;
use crate::state::tests::{cursor, mesh, node_id};

fn view(members: impl IntoIterator<Item = u16>) -> View {
    let name = DnsLabel::new("n1").expect("label");
    let (node_id, network_id) = (node_id(1), mesh([]).network_id);
    let saved = SavedState { cursor: cursor(10), membership: mesh(members) };
    View::new(NodeIdentity { node_id, network_id, name }, Some(saved)).expect("sound")
}

fn snapshot(membership: Membership) -> Item {
    Item::Snapshot { cursor: cursor(20), state: SnapshotState::Membership { membership } }
}

fn event(aggregate_type: AggregateKind, aggregate_id: Uuid, body: EventBody) -> Item {
    let event = Event {
        event_id: 11,
        occurred_at: Timestamp::from_unix_seconds(0).expect("time"),
        aggregate_type,
        aggregate_id,
        aggregate_seq: 2,
        actor_id: ActorId::SYSTEM,
        body,
    };
    Item::Event { cursor: cursor(11), event }
}

fn withdrawn(n: u16) -> Item {
    let network_id = mesh([]).network_id;
    let body = EventBody::NodeWithdrawn(NodeWithdrawn { network_id });
    event(AggregateKind::Node, node_id(n).0, body)
}

#[test]
fn events_change_the_membership_and_move_the_cursor() {
    let mut view = view([1, 2, 3]);
    assert_eq!(view.take(withdrawn(3)), Taken::Changed);
    assert_eq!(view.cursor(), Some(cursor(11)));
    let left: Vec<_> = view.current().expect("state").membership.members.keys().copied().collect();
    assert_eq!(left, [node_id(1), node_id(2)]);
    let renamed = NetworkRenamed { name: DnsLabel::new("web").expect("label") };
    let renamed =
        event(AggregateKind::Network, mesh([]).network_id.0, EventBody::NetworkRenamed(renamed));
    assert_eq!(view.take(renamed), Taken::Advanced);
    assert_eq!(view.take(Item::Bookmark { cursor: cursor(12) }), Taken::Marked);
    assert_eq!(view.cursor(), Some(cursor(12)));
}

#[test]
fn what_the_rules_forbid_is_left_out_and_named_until_it_is_put_right() {
    let mut view = view([1, 2, 3]);
    let network_id = mesh([]).network_id;
    let moved = |endpoint: &str| {
        let endpoint = endpoint.parse().expect("endpoint");
        let body = EventBody::NodeEndpointChanged(NodeEndpointChanged { network_id, endpoint });
        event(AggregateKind::Node, node_id(2).0, body)
    };
    assert!(matches!(view.take(moved("[::1]:22")), Taken::LeftOut(_)));
    let endpoint =
        |view: &View| view.current().expect("state").membership.members[&node_id(2)].endpoint;
    assert_eq!(endpoint(&view), mesh([2]).members[&node_id(2)].endpoint, "as it was");
    assert_eq!(view.cursor(), Some(cursor(11)), "it goes on");
    assert_eq!(view.faults().count(), 1);
    assert_eq!(view.take(moved("[2001:db8::99]:22")), Taken::Changed);
    assert_eq!(view.faults().count(), 0);

    let mut forged = mesh([1, 2, 3]);
    forged.members.get_mut(&node_id(3)).expect("member").prefix =
        "2000::/3".parse().expect("prefix");
    assert_eq!(view.take(snapshot(forged)), Taken::Changed);
    let members = &view.current().expect("state").membership.members;
    assert_eq!(members.keys().copied().collect::<Vec<_>>(), [node_id(1), node_id(2)]);
    assert!(view.faults().any(|fault| fault.to_string().contains("n3")));
}

#[test]
fn a_network_that_can_be_no_mesh_or_has_another_prefix_changes_nothing() {
    for prefix in ["2000::/3", "::/0", "2001:d00::/24", "fd00::/47"] {
        let (mut view, mut forged) = (view([1, 2, 3]), mesh([1, 2, 3]));
        forged.prefix = prefix.parse().expect(prefix);
        assert!(matches!(view.take(snapshot(forged)), Taken::Unbelievable(_)), "{prefix}");
        assert_eq!(view.current().expect("state").membership, mesh([1, 2, 3]));
    }
    let saved = SavedState { cursor: cursor(10), membership: mesh([1]) };
    let name = DnsLabel::new("n1").expect("label");
    let node = NodeIdentity { node_id: node_id(1), network_id: mesh([]).network_id, name };
    let mut forged = saved.clone();
    forged.membership.prefix = "2000::/3".parse().expect("prefix");
    assert!(
        View::new(node.clone(), Some(forged)).is_err(),
        "a file is held against the same rules"
    );
    assert!(View::new(node, Some(saved)).is_ok());
}

#[test]
fn a_node_learns_that_it_left_in_three_ways() {
    assert!(matches!(view([1, 2]).take(withdrawn(1)), Taken::Left(_)));
    let mut without = mesh([2]);
    without.departed.insert(node_id(1));
    assert!(matches!(view([1, 2]).take(snapshot(without)), Taken::Left(_)));
    let refused = Item::Refused { code: LEFT.into(), detail: "you left".into() };
    assert_eq!(view([1, 2]).take(refused), Taken::Left("you left".into()));
}

#[test]
fn other_refusals_are_no_reason_to_leave() {
    let unknown = Item::Refused { code: "node-unknown".into(), detail: "not known here".into() };
    let refused = Taken::Refused("not known here (node-unknown)".into());
    assert_eq!(view([1, 2]).take(unknown), refused);
    let other = Item::Refused { code: "certificate-expired".into(), detail: "too old".into() };
    let refused = Taken::Refused("too old (certificate-expired)".into());
    assert_eq!(view([1, 2]).take(other), refused);
}

#[test]
fn a_snapshot_that_cannot_be_true_changes_nothing() {
    let mut foreign = mesh([1, 2, 3, 4]);
    foreign.network_id = NetworkId(Uuid::from_u128(99));
    let platform = SnapshotState::Platform { networks: vec![], nodes: vec![] };
    for (what, item) in [
        ("without this node", snapshot(mesh([2, 3, 4]))),
        ("empty", snapshot(mesh([]))),
        ("shrunk", snapshot(mesh([1]))),
        ("foreign", snapshot(foreign)),
        ("platform", Item::Snapshot { cursor: cursor(20), state: platform }),
    ] {
        let mut view = view([1, 2, 3, 4]);
        assert!(matches!(view.take(item), Taken::Unbelievable(_)), "{what}");
        assert_eq!(view.cursor(), Some(cursor(10)), "{what}");
        assert_eq!(view.current().expect("state").membership, mesh([1, 2, 3, 4]), "{what}");
    }
}

#[test]
fn a_snapshot_replaces_what_was_known_or_lost() {
    let mut known = view([1, 2, 3, 4]);
    assert_eq!(known.take(snapshot(mesh([1, 2]))), Taken::Changed);
    assert_eq!(known.current().expect("state").membership, mesh([1, 2]));
    let mut lost = view([]);
    lost.current = None;
    assert!(matches!(lost.take(withdrawn(3)), Taken::Unbelievable(_)));
    assert!(matches!(lost.take(Item::Bookmark { cursor: cursor(1) }), Taken::Unbelievable(_)));
    assert_eq!(lost.take(snapshot(mesh([1]))), Taken::Changed);
    assert_eq!(lost.cursor(), Some(cursor(20)));
}

#[test]
fn workloads_may_be_missing_in_another_log_and_not_in_the_same() {
    let of = |epoch: Option<Epoch>| {
        let mut view = view([1, 2]);
        let current = view.current.as_mut().expect("state");
        let id = WorkloadId(Uuid::from_u128(5));
        current.membership.workloads.insert(id, std::net::Ipv6Addr::LOCALHOST);
        let at = Cursor { epoch: epoch.unwrap_or(cursor(20).epoch), ..cursor(20) };
        let state = SnapshotState::Membership { membership: mesh([1, 2]) };
        view.take(Item::Snapshot { cursor: at, state })
    };
    let Taken::Unbelievable(reason) = of(None) else { panic!("believed") };
    assert!(reason.contains("state.json"), "{reason}");
    // A backup was restored that does not know what was deployed after it.
    assert_eq!(of(Some(Epoch(Uuid::from_u128(99)))), Taken::Changed);
}
