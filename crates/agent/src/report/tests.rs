use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sextant_model::{
    health::Kind,
    plan::{ObservedInterface, ObservedPeer},
};

use super::*;
use crate::{
    state::tests::{cursor, member, mesh, node_id},
    wireguard::Traffic,
};

/// What an interface may look like.
pub(crate) fn observation() -> Observation {
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
    measured: &'a Measurements,
    problems: &'a [Problem],
) -> Material<'a> {
    Material {
        revision: cursor(9),
        me: node_id(1),
        membership,
        observation,
        ready,
        underlay_mtu: Some(1500),
        measured,
        heard: Box::leak(Box::default()),
        problems,
        endpoint_is_local: Some(true),
        process: Uuid::from_u128(7),
        number: 3,
        clock_ahead_at_most_ms: Some(4),
        now: Timestamp::from_unix_seconds(100).expect("time"),
        turn: 0,
    }
}

#[test]
fn a_report_covers_every_other_member() {
    let (membership, mut observation) = (mesh([1, 2, 3]), observation());
    let measured = Measurements {
        rtts: BTreeMap::from([(node_id(2), 700)]),
        lost: BTreeMap::from([(node_id(3), 2)]),
        largest: BTreeMap::from([(node_id(2), 1320)]),
        is_news: true,
    };
    let report =
        build(&material(&membership, Some(&observation), &BTreeSet::new(), &measured, &[]));
    assert_eq!(report.revision, cursor(9));
    assert_eq!((report.mtu, report.underlay_mtu), (1420, 1500));
    assert_eq!(report.implementation, WireGuardImplementation::Userspace);
    let none = PeerReport {
        node_id: node_id(3),
        handshake_age_s: None,
        rx_bytes: 0,
        tx_bytes: 0,
        rtt_us: None,
        lost: Some(2),
        heard_age_s: None,
        endpoint: None,
        largest_ok: None,
    };
    let two = PeerReport {
        node_id: node_id(2),
        handshake_age_s: Some(2),
        rx_bytes: 5,
        tx_bytes: 6,
        rtt_us: Some(700),
        lost: None,
        heard_age_s: None,
        endpoint: None,
        largest_ok: Some(1320),
    };
    assert_eq!(report.peers, [two.clone(), none]);
    let agent = report.agent.expect("agent");
    assert_eq!((agent.interval_s, agent.number, agent.clock_ahead_at_most_ms), (5, 3, Some(4)));

    // Where WireGuard sends is said if it is not where the peer is registered.
    for (used, said) in [(member(2).endpoint, None), (member(3).endpoint, Some(member(3).endpoint))]
    {
        let peer = observation.interface.peers.get_mut(&member(2).public_key).expect("peer");
        peer.endpoint = Some(used);
        let report =
            build(&material(&membership, Some(&observation), &BTreeSet::new(), &measured, &[]));
        assert_eq!(report.peers[0].endpoint, said);
    }
}

#[test]
fn a_report_stays_within_the_limits_of_the_api_and_every_peer_has_its_turn() {
    let membership = mesh(1..=1000);
    let problem = Problem::new(Kind::Interface, "x\u{202e}".repeat(1000));
    let (mut measured, problems) = (Measurements::default(), vec![problem; 100]);
    // Some are in trouble; those are in every report.
    measured.lost = (2..=31).map(|n| (node_id(n), 2)).collect();
    let (mut membership, observation) = (membership, observation());
    let mut ready = BTreeSet::new();
    for n in 0..1000_u16 {
        let address = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 1, n);
        membership.workloads.insert(WorkloadId(Uuid::from_u128(n.into())), address);
        ready.insert(address);
    }
    let mut material = material(&membership, Some(&observation), &ready, &measured, &problems);
    let (mut seen, mut live) = (BTreeSet::new(), BTreeSet::new());
    for turn in 0..15 {
        material.turn = turn;
        let mut report = build(&material);
        let troubled = |n| report.peers.iter().any(|peer| peer.node_id == node_id(n));
        assert!((2..=31).all(troubled));
        for peer in &mut report.peers {
            seen.insert(peer.node_id);
            (peer.rx_bytes, peer.tx_bytes) = (u64::MAX, u64::MAX);
            (peer.handshake_age_s, peer.rtt_us) = (Some(u64::from(u32::MAX)), Some(u32::MAX));
            (peer.lost, peer.largest_ok) = (Some(u32::MAX), Some(u32::MAX));
            peer.heard_age_s = Some(u64::from(u32::MAX));
            let long = "[2001:db8:1234:5678:9abc:def0:1234:5678]:51820";
            peer.endpoint = Some(long.parse().expect("endpoint"));
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
    let (mut membership, measured, mut observation) =
        (mesh([1]), Measurements::default(), observation());
    let id = |n| WorkloadId(Uuid::from_u128(n));
    for (n, address) in [(1, "fd00:0:0:1::2"), (2, "fd00:0:0:1::3")] {
        membership.workloads.insert(id(n), address.parse().expect("address"));
    }
    let ready = BTreeSet::from(["fd00:0:0:1::3".parse().expect("address")]);
    let live = |observation: &Observation| {
        build(&material(&membership, Some(observation), &ready, &measured, &[])).workloads_live
    };
    assert_eq!(live(&observation), [id(2)]);
    observation.interface.up = false;
    assert_eq!(live(&observation), []);
}

#[test]
fn without_an_interface_the_report_still_says_why() {
    let (membership, measured) = (mesh([1, 2]), Measurements::default());
    let problems = [Problem::new(Kind::WireguardMissing, "the kernel has no WireGuard")];
    let report = build(&material(&membership, None, &BTreeSet::new(), &measured, &problems));
    assert_eq!(report.mtu, 0);
    assert_eq!(report.problems, ["the kernel has no WireGuard"]);
    let said = &report.agent.as_ref().expect("agent").problems;
    assert_eq!(said[0].kind, "wireguard-missing");
    let plain = report.without_additions();
    assert_eq!((plain.agent.is_none(), plain.problems.len()), (true, 1));
}

#[test]
fn the_pause_between_attempts_grows_and_is_bounded() {
    assert!(pause(1) < pause(3));
    assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
}

#[test]
fn reports_are_frequent_in_small_meshes_and_few_in_large_ones() {
    let seconds = |members| (interval(members).as_secs(), news_interval(members).as_secs());
    assert_eq!(seconds(4), (5, 1));
    assert_eq!(seconds(100), (5, 2));
    assert_eq!(seconds(1000), (10, 10));
}
