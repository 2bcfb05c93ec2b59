use std::{collections::BTreeSet, time::Duration};

use sextant_model::plan::{ObservedInterface, ObservedPeer};

use super::*;
use crate::{
    state::tests::{cursor, member, mesh, node_id},
    wireguard::Traffic,
};

fn observation() -> Observation {
    let peer = ObservedPeer {
        endpoint: None,
        allowed_ips: BTreeSet::new(),
        handshake_age: Some(Duration::from_millis(2900)),
    };
    Observation {
        index: 3,
        implementation: WireGuardImplementation::Userspace,
        interface: ObservedInterface {
            up: true,
            mtu: 1420,
            public_key: None,
            listen_port: None,
            addresses: BTreeSet::new(),
            routes: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            peers: BTreeMap::from([(member(2).public_key, peer)]),
        },
        traffic: BTreeMap::from([(member(2).public_key, Traffic { rx_bytes: 5, tx_bytes: 6 })]),
    }
}

fn material<'a>(
    membership: &'a Membership,
    observation: Option<&'a Observation>,
    ready: &'a BTreeSet<Ipv6Addr>,
    rtts: &'a BTreeMap<NodeId, u32>,
    problems: &'a [String],
) -> Material<'a> {
    Material {
        revision: cursor(9),
        me: node_id(1),
        membership,
        observation,
        ready,
        underlay_mtu: Some(1500),
        rtts,
        problems,
        now: Timestamp::from_unix_seconds(100).expect("time"),
        turn: 0,
    }
}

#[test]
fn a_report_covers_every_other_member() {
    let (membership, observation) = (mesh([1, 2, 3]), observation());
    let rtts = BTreeMap::from([(node_id(2), 700)]);
    let report = build(&material(&membership, Some(&observation), &BTreeSet::new(), &rtts, &[]));
    assert_eq!(report.revision, cursor(9));
    assert_eq!((report.mtu, report.underlay_mtu), (1420, 1500));
    assert_eq!(report.implementation, WireGuardImplementation::Userspace);
    let none = PeerReport {
        node_id: node_id(3),
        handshake_age_s: None,
        endpoint: None,
        rx_bytes: 0,
        tx_bytes: 0,
        rtt_us: None,
    };
    let two = PeerReport {
        node_id: node_id(2),
        handshake_age_s: Some(2),
        endpoint: observation.interface.peers[&member(2).public_key].endpoint,
        rx_bytes: 5,
        tx_bytes: 6,
        rtt_us: Some(700),
    };
    assert_eq!(report.peers, [two, none]);
}

#[test]
fn a_report_stays_within_the_limits_of_the_api_and_every_peer_has_its_turn() {
    let membership = mesh(1..=1000);
    let (rtts, problems) = (BTreeMap::new(), vec!["x".repeat(1000); 100]);
    let (mut membership, observation) = (membership, observation());
    let mut ready = BTreeSet::new();
    for n in 0..1000_u16 {
        let address = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 1, n);
        membership.workloads.insert(WorkloadId(uuid::Uuid::from_u128(n.into())), address);
        ready.insert(address);
    }
    let mut material = material(&membership, Some(&observation), &ready, &rtts, &problems);
    let (mut seen, mut live) = (BTreeSet::new(), BTreeSet::new());
    for turn in 0..5 {
        material.turn = turn;
        let mut report = build(&material);
        for peer in &mut report.peers {
            seen.insert(peer.node_id);
            (peer.rx_bytes, peer.tx_bytes) = (u64::MAX, u64::MAX);
            (peer.handshake_age_s, peer.rtt_us) = (Some(u64::from(u32::MAX)), Some(u32::MAX));
        }
        assert_eq!(report.problems.len(), PROBLEM_LIMIT);
        assert_eq!(report.workloads_live.len(), WORKLOAD_LIMIT);
        live.extend(report.workloads_live.iter().copied());
        let length = serde_json::to_string(&report).expect("json").len();
        assert!(length < sextant_api::BODY_LIMIT, "{length}");
    }
    assert_eq!((seen.len(), live.len()), (999, 1000));
}

#[test]
fn only_workloads_that_are_reached_through_an_interface_that_is_up_are_live() {
    let (mut membership, rtts, mut observation) = (mesh([1]), BTreeMap::new(), observation());
    let id = |n| WorkloadId(uuid::Uuid::from_u128(n));
    for (n, address) in [(1, "fd00:0:0:1::2"), (2, "fd00:0:0:1::3")] {
        membership.workloads.insert(id(n), address.parse().expect("address"));
    }
    let ready = BTreeSet::from(["fd00:0:0:1::3".parse().expect("address")]);
    let live = |observation: &Observation| {
        build(&material(&membership, Some(observation), &ready, &rtts, &[])).workloads_live
    };
    assert_eq!(live(&observation), [id(2)]);
    observation.interface.up = false;
    assert_eq!(live(&observation), []);
}

#[test]
fn without_an_interface_the_report_still_says_why() {
    let (membership, rtts) = (mesh([1, 2]), BTreeMap::new());
    let problems = ["the kernel has no WireGuard".to_owned()];
    let report = build(&material(&membership, None, &BTreeSet::new(), &rtts, &problems));
    assert_eq!(report.mtu, 0);
    assert_eq!(report.problems, problems);
}

#[test]
fn the_pause_between_attempts_grows_and_is_bounded() {
    assert!(pause(1) < pause(3));
    assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
}
