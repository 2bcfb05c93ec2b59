use uuid::Uuid;

use super::*;
use crate::{
    address::PeerAddresses,
    aggregate::node::tests::enrolled,
    event::{AggregateKind, NodeEndpointChanged, WorkloadPlaced},
    id::{ActorId, EnvironmentId, OrgId},
    membership::tests::{mesh, node_id},
    name::DnsLabel,
    timestamp::Timestamp,
};

const ME: u16 = 1;

/// What is left of a mesh of nodes 1 to 3 after `change`, and what is said of it.
fn after(change: impl Fn(&mut Membership)) -> Result<(Vec<NodeId>, usize, String), Fault> {
    let mut membership = mesh([1, 2, 3]);
    let workload = WorkloadId(Uuid::from_u128(1));
    membership.workloads.insert(workload, Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 9));
    change(&mut membership);
    let (sound, faults) = membership.sound(node_id(ME))?;
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let members = sound.members.keys().copied().collect();
    Ok((members, sound.workloads.len(), faults.join("; ")))
}

fn prefix(text: &str) -> Prefix {
    text.parse().expect(text)
}

fn member(membership: &mut Membership, n: u16) -> &mut Member {
    membership.members.get_mut(&node_id(n)).expect("member")
}

#[test]
fn a_good_membership_is_believed_whole() {
    let (members, workloads, faults) = after(|_| ()).expect("believed");
    assert_eq!((members.len(), workloads, faults.as_str()), (3, 1, ""));
}

#[test]
fn a_member_that_reaches_out_of_its_place_is_left_out_and_named_and_the_others_stay() {
    type Change = fn(&mut Member);
    let cases: [(Change, &str); 10] = [
        (|m| m.prefix = prefix("2000::/3"), "not within the network's"),
        (|m| m.prefix = prefix("::/0"), "not within the network's"),
        (|m| m.prefix = prefix("fd00::/48"), "not within the network's"),
        (|m| m.prefix = prefix("10.0.0.0/8"), "not within the network's"),
        (
            |m| m.addresses = PeerAddresses::v6("2001:db8::1".parse().expect("address")),
            "not within",
        ),
        (
            |m| {
                let ipv4 = Some("8.8.8.8".parse().expect("address"));
                m.addresses = PeerAddresses::new(m.addresses.ipv6(), ipv4).expect("addresses");
            },
            "is IPv4",
        ),
        (|m| m.endpoint = "[::1]:22".parse().expect("endpoint"), "no endpoint"),
        (|m| m.endpoint = "[fd00::9]:22".parse().expect("endpoint"), "no endpoint"),
        (|m| m.endpoint = "[ff02::1]:22".parse().expect("endpoint"), "no endpoint"),
        (|m| m.public_key = enrolled(ME).public_key, "the key of node \"n1\""),
    ];
    for (change, said) in cases {
        let (members, workloads, faults) = after(|m| change(member(m, 2))).expect("believed");
        assert_eq!(members, [node_id(1), node_id(3)], "{faults}");
        assert_eq!(workloads, 1);
        assert!(faults.contains("node \"n2\" is left out") && faults.contains(said), "{faults}");
    }
}

#[test]
fn of_two_that_overlap_the_own_place_and_the_older_one_stay() {
    let overlap = |taker: u16, from: u16| {
        after(|m| {
            let place = (member(m, from).prefix, member(m, from).addresses);
            (member(m, taker).prefix, member(m, taker).addresses) = place;
        })
    };
    assert_eq!(overlap(2, 1).expect("believed").0, [node_id(1), node_id(3)], "it is mine");
    assert_eq!(overlap(3, 2).expect("believed").0, [node_id(1), node_id(2)], "it was there");
    let wide = after(|m| {
        member(m, 2).prefix = prefix("fd00:0:0:2::/63");
    });
    assert_eq!(wide.expect("believed").0, [node_id(1), node_id(2)], "a wider one overlaps too");
}

#[test]
fn a_workload_outside_of_the_nodes_prefix_is_left_out() {
    for bad in ["2606:4700:4700::1111", "2001:db8::1", "fd00:0:0:2::9", "fd00:0:0:1::1", "::1"] {
        let (members, workloads, faults) = after(|m| {
            let id = WorkloadId(Uuid::from_u128(2));
            m.workloads.insert(id, bad.parse().expect(bad));
        })
        .expect("believed");
        assert_eq!((members.len(), workloads), (3, 1), "{bad}");
        assert!(faults.contains(bad), "{faults}");
    }
}

#[test]
fn a_network_that_can_be_no_mesh_is_not_believed_at_all() {
    for bad in ["2000::/3", "::/0", "fe80::/10", "10.0.0.0/8", "fd00::/8", "fd00::/64"] {
        let fault = after(|m| m.prefix = prefix(bad)).expect_err(bad);
        assert!(fault.is_total(), "{bad}: {fault}");
    }
    let covering = after(|m| m.prefix = prefix("2001:d00::/24")).expect_err("the underlay");
    assert!(matches!(covering, Fault::CoversUnderlay { .. }), "{covering}");
    let own = after(|m| member(m, 1).prefix = prefix("2000::/3")).expect_err("no place");
    assert!(own.to_string().contains("n1"), "{own}");
}

fn event(id: Uuid, body: EventBody) -> Event {
    Event {
        event_id: 1,
        occurred_at: Timestamp::from_unix_seconds(0).expect("time"),
        aggregate_type: AggregateKind::Node,
        aggregate_id: id,
        aggregate_seq: 1,
        actor_id: ActorId::SYSTEM,
        body,
    }
}

#[test]
fn events_are_held_against_the_same_rules() {
    let membership = mesh([1, 2]);
    let network_id = membership.network_id;
    let check = |id, body| membership.check_event(node_id(ME), &event(id, body));
    let join = |n: u16, change: fn(&mut crate::event::NodeEnrolled)| {
        let mut joined = enrolled(n);
        change(&mut joined);
        check(node_id(n).0, EventBody::NodeEnrolled(joined))
    };
    assert_eq!(join(3, |_| ()), Ok(()));
    assert_eq!(join(2, |_| ()), Ok(()), "told again");
    assert!(join(3, |e| e.prefix = prefix("2000::/3")).is_err());
    assert!(join(3, |e| e.public_key = enrolled(2).public_key).is_err());
    assert!(
        join(3, |e| (e.prefix, e.addresses) = (enrolled(2).prefix, enrolled(2).addresses)).is_err()
    );

    let moved = |endpoint: &str| {
        let endpoint = endpoint.parse().expect("endpoint");
        let body = NodeEndpointChanged { network_id, endpoint };
        check(node_id(2).0, EventBody::NodeEndpointChanged(body))
    };
    assert_eq!(moved("[2001:db8::9]:1"), Ok(()));
    for bad in ["[::1]:22", "[fd00::9]:22", "192.0.2.1:1", "[64:ff9b::1]:1"] {
        assert!(moved(bad).is_err(), "{bad}");
    }

    let placed = |address: &str| {
        let body = WorkloadPlaced {
            org_id: OrgId(Uuid::nil()),
            environment_id: EnvironmentId(Uuid::nil()),
            release_id: None,
            process_type: DnsLabel::new("web").expect("label"),
            network_id,
            node_id: node_id(ME),
            address: address.parse().expect("address"),
        };
        check(Uuid::from_u128(5), EventBody::WorkloadPlaced(body))
    };
    assert_eq!(placed("fd00:0:0:1::9"), Ok(()));
    for bad in ["2001:db8::1", "fd00:0:0:2::9", "fd00:0:0:1::1"] {
        assert!(placed(bad).is_err(), "{bad}");
    }
}
