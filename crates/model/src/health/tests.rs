use uuid::Uuid;

use super::*;

const NAMES: [&str; 8] = ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"];

fn id(n: usize) -> NodeId {
    NodeId(Uuid::from_u128(n as u128))
}

fn endpoint(n: usize) -> SocketAddr {
    format!("[2001:db8::{n:x}]:51820").parse().expect("endpoint")
}

/// A mesh of `count` nodes, n1 and up, where all is well.
fn healthy(count: usize) -> Platform<'static> {
    let good = Peer {
        handshake_age_s: Some(60),
        rtt_us: Some(500),
        heard_age_s: Some(0),
        ..Peer::default()
    };
    let node = |n: usize| Node {
        id: id(n),
        network_id: NetworkId(Uuid::from_u128(1)),
        network: None,
        name: NAMES[n - 1],
        is_active: true,
        endpoint: endpoint(n),
        enrolled_age_s: 3600,
        certificate_left_s: Some(20 * 86_400),
        duplicates: &[],
        is_revoked: false,
        waits_for: &[],
        contact_age_s: Some(3),
        clock_ahead_ms: Some(12),
        lag: Some(0),
        lag_age_s: None,
        report: Some(Report {
            interval_s: Some(5),
            mtu: 1420,
            underlay_mtu: 1500,
            endpoint_is_local: None,
            problems: Vec::new(),
            peers: (1..=count).filter(|peer| *peer != n).map(|peer| (id(peer), good)).collect(),
            is_partial: false,
        }),
    };
    Platform { nodes: (1..=count).map(node).collect(), ..Platform::default() }
}

fn report<'a, 'b>(platform: &'b mut Platform<'a>, n: usize) -> &'b mut Report<'a> {
    platform.nodes[n - 1].report.as_mut().expect("report")
}

/// How `from` sees `to`.
fn peer<'b>(platform: &'b mut Platform<'_>, from: usize, to: usize) -> &'b mut Peer {
    report(platform, from).peers.get_mut(&id(to)).expect("peer")
}

fn lose(platform: &mut Platform<'_>, from: usize, to: usize) {
    let peer = peer(platform, from, to);
    (peer.rtt_us, peer.lost, peer.heard_age_s) = (None, Some(2), Some(9));
}

fn cut(platform: &mut Platform<'_>, pairs: &[(usize, usize)]) {
    for (one, other) in pairs {
        lose(platform, *one, *other);
        lose(platform, *other, *one);
    }
}

fn silence(platform: &mut Platform<'_>, n: usize) {
    platform.nodes[n - 1].contact_age_s = Some(12);
}

fn complain(platform: &mut Platform<'_>, n: usize, kind: Kind, text: &'static str) {
    report(platform, n).problems.push(Problem { kind: Some(kind), text });
}

/// `kind of subject` for each finding.
fn judged(platform: &Platform<'_>) -> Vec<String> {
    let findings = judge(platform).into_iter();
    findings.map(|finding| format!("{} of {}", finding.kind, finding.subject)).collect()
}

fn only(platform: &Platform<'_>) -> Finding {
    let findings = judge(platform);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.into_iter().next().expect("one")
}

#[test]
fn a_healthy_mesh_has_no_findings() {
    for count in [0, 1, 2, 5] {
        assert_eq!(judge(&healthy(count)), [], "{count}");
    }
}

#[test]
fn each_thing_that_ails_one_node_is_one_finding() {
    type Change = fn(&mut Platform<'_>);
    let table: [(Change, &str, &str); 18] = [
        (|p| p.nodes[0].is_revoked = true, "node-revoked", "revoked"),
        (
            |p| p.nodes[0].duplicates = Box::leak(Box::new(["a".to_owned(), "b".to_owned()])),
            "duplicate-node",
            "a is served, b is refused",
        ),
        (|p| p.nodes[0].contact_age_s = None, "never-reported", "never reported"),
        (|p| p.nodes[0].contact_age_s = Some(12), "agent-silent", "(n2, n3 hear it)"),
        (
            |p| (p.nodes[0].lag, p.nodes[0].lag_age_s) = (Some(3), Some(10)),
            "node-behind",
            "3 events behind, since 10 s ago",
        ),
        (|p| p.nodes[0].clock_ahead_ms = Some(5001), "node-clock", "5.0 s ahead of the database's"),
        (|p| p.nodes[0].clock_ahead_ms = Some(-3_600_000), "node-clock", "60 min behind"),
        (|p| p.nodes[0].certificate_left_s = Some(3600), "node-certificate", "ends in 60 min"),
        (
            |p| {
                p.nodes[0].certificate_left_s = Some(-8 * 3600);
            },
            "node-certificate",
            "ended 8 h ago",
        ),
        (|p| p.nodes[0].report = None, "report-unreadable", "not understood"),
        (|p| report(p, 1).underlay_mtu = 1400, "mtu-misfit", "underlay MTU 1400"),
        (|p| report(p, 1).mtu = 0, "interface", "no interface"),
        (|p| complain(p, 1, Kind::PortBusy, "51820 is busy"), "port-busy", "reports: 51820"),
        (
            |p| report(p, 1).problems.push(Problem { kind: None, text: "something new" }),
            "agent-trouble",
            "something new",
        ),
        (
            |p| {
                p.nodes[0].is_active = false;
                p.nodes[0].waits_for = Box::leak(Box::new([id(3)]));
                silence(p, 3);
            },
            "leave-held-up",
            "dropped it: n3",
        ),
        (|p| report(p, 1).mtu = 1400, "mtus-differ", "1400 on n1; 1420 on n2, n3"),
        (|p| lose(p, 1, 2), "echo-filtered", "the echoes of n1"),
        (|p| complain(p, 1, Kind::DiskFull, "\u{202e}llun"), "disk-full", "\\u{202e}llun"),
    ];
    for (change, kind, what) in table {
        let mut platform = healthy(3);
        change(&mut platform);
        let found = judge(&platform);
        let about = found.iter().find(|finding| finding.kind == kind);
        assert!(about.is_some_and(|finding| finding.what.contains(what)), "{kind}: {found:#?}");
        // Who is out of contact is a finding of its own.
        let others = found.iter().filter(|finding| finding.kind != kind);
        let followed = others.filter(|finding| finding.kind != "agent-silent").count();
        assert_eq!(followed, 0, "{kind}: {found:#?}");
    }
}

#[test]
fn what_is_just_within_bounds_is_no_finding() {
    type Change = fn(&mut Platform<'_>);
    let table: [Change; 8] = [
        |p| p.nodes[0].contact_age_s = Some(11),
        |p| (p.nodes[0].lag, p.nodes[0].lag_age_s) = (Some(3), Some(9)),
        |p| p.nodes[0].clock_ahead_ms = Some(-2000),
        |p| p.nodes[0].certificate_left_s = None,
        |p| p.nodes[0].certificate_left_s = Some(CERTIFICATE_NOTICE_S),
        |p| p.nodes[0].is_active = false,
        |p| {
            // One lost echo is chance.
            peer(p, 1, 2).rtt_us = None;
            peer(p, 1, 2).lost = Some(1);
        },
        |p| {
            // A node that has just come is still finding its peers.
            p.nodes[0].enrolled_age_s = 2;
            (p.nodes[0].contact_age_s, p.nodes[0].report) = (None, None);
        },
    ];
    for (row, change) in table.into_iter().enumerate() {
        let mut platform = healthy(3);
        change(&mut platform);
        assert_eq!(judge(&platform), [], "row {row}");
    }
}

#[test]
fn a_node_of_an_earlier_version_is_silent_after_half_a_minute() {
    let mut platform = healthy(3);
    report(&mut platform, 1).interval_s = None;
    platform.nodes[0].contact_age_s = Some(29);
    assert_eq!(judge(&platform), []);
    platform.nodes[0].contact_age_s = Some(30);
    assert_eq!(only(&platform).kind, "agent-silent");
}

#[test]
fn a_dead_machine_is_one_finding_and_told_from_a_dead_agent() {
    let mut platform = healthy(4);
    silence(&mut platform, 2);
    let alive = only(&platform);
    assert_eq!((alive.kind.as_str(), alive.subject.as_str()), ("agent-silent", "node n2"));
    assert!(alive.what.contains("(n1, n3, n4 hear it)"), "{alive:?}");
    for peer in [1, 3, 4] {
        lose(&mut platform, peer, 2);
    }
    let dead = only(&platform);
    assert_eq!(dead.kind, "node-unreachable");
    assert!(dead.what.contains("n1, n3, n4 do not hear it either"), "{dead:?}");
}

#[test]
fn if_nobody_reports_the_cause_is_not_at_the_nodes() {
    let mut platform = healthy(4);
    for n in 1..=4 {
        silence(&mut platform, n);
    }
    assert_eq!(judged(&platform), ["all-silent of all nodes"]);
}

#[test]
fn a_dead_pair_is_one_finding_with_both_endpoints() {
    let mut platform = healthy(4);
    cut(&mut platform, &[(1, 3)]);
    let found = only(&platform);
    assert_eq!((found.kind.as_str(), found.subject.as_str()), ("pair-dead", "pair n1, n3"));
    assert!(found.remedy.contains("[2001:db8::1]:51820 and [2001:db8::3]:51820"), "{found:?}");
    assert_eq!(found.nodes, [id(1), id(3)]);
}

#[test]
fn a_pair_whose_packets_pass_one_way_is_named_with_the_way() {
    let mut platform = healthy(4);
    cut(&mut platform, &[(3, 4)]);
    peer(&mut platform, 3, 4).heard_age_s = Some(0);
    let found = only(&platform);
    assert_eq!(found.kind, "pair-one-way");
    assert!(found.what.starts_with("packets from n3 do not reach n4"), "{found:?}");
    assert!(found.remedy.contains("from n3 ([2001:db8::3]:51820) to n4"), "{found:?}");
}

#[test]
fn agents_of_an_earlier_version_are_judged_by_both_sides_together() {
    let mut platform = healthy(3);
    let old = |platform: &mut Platform<'_>, from, to, handshake| {
        let peer = peer(platform, from, to);
        *peer = Peer { handshake_age_s: handshake, ..Peer::default() };
    };
    old(&mut platform, 1, 2, Some(60));
    assert_eq!(judge(&platform), [], "one lost probe");
    old(&mut platform, 2, 1, Some(60));
    assert_eq!(only(&platform).kind, "pair-dead");
    let mut blind = healthy(2);
    for (from, to) in [(1, 2), (2, 1)] {
        old(&mut blind, from, to, Some(170));
        complain(&mut blind, from, Kind::ProbeBlind, "no CAP_NET_RAW");
    }
    assert_eq!(judged(&blind), ["probe-blind of node n1", "probe-blind of node n2"]);
    old(&mut blind, 1, 2, Some(181));
    old(&mut blind, 2, 1, None);
    assert!(
        judged(&blind).contains(&"pair-dead of pair n1, n2".to_owned()),
        "{:?}",
        judged(&blind)
    );
}

#[test]
fn a_node_that_lost_everybody_is_one_finding_and_a_mesh_in_two_halves_is_one() {
    let mut platform = healthy(5);
    cut(&mut platform, &[(1, 2), (1, 3), (1, 4), (1, 5)]);
    let found = only(&platform);
    assert_eq!((found.kind.as_str(), found.subject.as_str()), ("node-cut-off", "node n1"));
    assert!(found.remedy.contains("[2001:db8::1]:51820"), "{found:?}");
    let mut halves = healthy(4);
    cut(&mut halves, &[(1, 3), (1, 4), (2, 3), (2, 4)]);
    let found = only(&halves);
    assert_eq!(found.kind, "mesh-split");
    assert!(found.what.contains("n1, n2; n3, n4"), "{found:?}");
}

#[test]
fn a_node_that_says_what_is_wrong_with_it_needs_no_other_explanation() {
    let mut platform = healthy(4);
    cut(&mut platform, &[(2, 1), (2, 3), (2, 4)]);
    complain(&mut platform, 2, Kind::Interface, "cannot bring up \"sextant0\"");
    complain(&mut platform, 2, Kind::PortBusy, "UDP port 51820 is in use");
    assert_eq!(judged(&platform), ["port-busy of node n2"]);
    let mut narrow = healthy(4);
    complain(&mut narrow, 2, Kind::UnderlayMtu, "1300");
    (report(&mut narrow, 2).mtu, report(&mut narrow, 2).underlay_mtu) = (1420, 1300);
    peer(&mut narrow, 1, 2).largest_ok = Some(1280);
    assert!(judged(&narrow).contains(&"underlay-mtu of node n2".to_owned()));
}

#[test]
fn a_smaller_mtu_on_the_way_is_one_finding_with_what_passes() {
    let mut platform = healthy(4);
    for peer_of in [1, 3, 4] {
        peer(&mut platform, peer_of, 2).largest_ok = Some(1320);
        peer(&mut platform, 2, peer_of).largest_ok = Some(1320);
    }
    let found = only(&platform);
    assert_eq!((found.kind.as_str(), found.subject.as_str()), ("large-packets-lost", "node n2"));
    assert!(found.what.contains("1320 bytes pass, 1420 do not"), "{found:?}");
    assert!(found.remedy.contains("n2's underlay interface to 1400"), "{found:?}");
    let mut pair = healthy(4);
    peer(&mut pair, 3, 4).largest_ok = Some(1280);
    assert_eq!(judged(&pair), ["large-packets-lost of pair n3, n4"]);
}

#[test]
fn registered_endpoints_are_held_against_those_in_use() {
    let mut wrong = healthy(4);
    for n in [1, 2] {
        wrong.nodes[n - 1].endpoint = endpoint(n + 0xbad0);
        for peer_of in [3, 4] {
            peer(&mut wrong, peer_of, n).endpoint = Some(endpoint(n));
        }
    }
    cut(&mut wrong, &[(1, 2)]);
    let found = judge(&wrong);
    assert_eq!(judged(&wrong), ["endpoint-unused of node n1", "endpoint-unused of node n2"]);
    assert!(
        found[0].what.contains("peers do at [2001:db8::1]:51820, and n2 not at all"),
        "{found:?}"
    );
    assert!(found[0].remedy.contains("set-endpoint n1 [2001:db8::1]:51820`"), "{found:?}");

    let mut shared = healthy(3);
    shared.nodes[0].endpoint = endpoint(2);
    cut(&mut shared, &[(1, 3)]);
    let found = only(&shared);
    assert_eq!((found.kind.as_str(), found.subject.as_str()), ("endpoint-shared", "nodes n1, n2"));
    peer(&mut shared, 3, 1).endpoint = Some(endpoint(2));
    cut(&mut shared, &[(2, 3)]);
    assert_eq!(judged(&shared), ["endpoint-shared of nodes n1, n2"]);

    let mut inside = healthy(3);
    inside.nodes[0].endpoint = "[fd00:1::12]:51820".parse().expect("endpoint");
    report(&mut inside, 1).endpoint_is_local = Some(true);
    for peer_of in [2, 3] {
        peer(&mut inside, peer_of, 1).endpoint = Some(endpoint(0x99));
    }
    let found = only(&inside);
    assert_eq!((found.kind.as_str(), found.is_wrong()), ("endpoint-behind-nat", false));
    cut(&mut inside, &[(1, 2)]);
    assert!(judged(&inside).contains(&"pair-dead of pair n1, n2".to_owned()));

    // A machine with several addresses sends from another one than it is registered at.
    let mut several = healthy(3);
    report(&mut several, 1).endpoint_is_local = Some(true);
    for peer_of in [2, 3] {
        peer(&mut several, peer_of, 1).endpoint = Some(endpoint(0x77));
    }
    assert_eq!(judge(&several), []);
    let some = peer(&mut several, 2, 1);
    some.endpoint = None;
    report(&mut several, 1).endpoint_is_local = Some(false);
    assert_eq!(judge(&several), [], "one peer reaches it there");
}

#[test]
fn a_report_with_a_part_of_the_peers_says_nothing_of_the_others() {
    let mut platform = healthy(4);
    report(&mut platform, 1).peers.remove(&id(2));
    assert_eq!(judged(&platform), ["echo-filtered of node n2"], "it is not a peer there");
    report(&mut platform, 1).is_partial = true;
    assert_eq!(judge(&platform), []);
}

#[test]
fn edges_replicas_and_projections_are_judged_too() {
    let edge = Edge {
        id: id(1),
        name: "n1",
        contact_age_s: Some(3),
        revision: Some(43),
        behind: None,
        refused: Vec::new(),
        silent: Vec::new(),
    };
    let listen: SocketAddr = "[::]:443".parse().expect("address");
    let edges = [
        (edge.clone(), None),
        (Edge { contact_age_s: None, ..edge.clone() }, Some("edge-silent")),
        (Edge { contact_age_s: Some(30), ..edge.clone() }, Some("edge-silent")),
        (Edge { behind: Some(44), ..edge.clone() }, Some("edge-behind")),
        (Edge { refused: vec![("7".into(), "taken")], ..edge.clone() }, Some("edge-refuses")),
        (Edge { silent: vec![(listen, "in use")], ..edge.clone() }, Some("edge-listener")),
    ];
    for (edge, kind) in edges {
        let platform = Platform { edges: vec![edge], ..healthy(2) };
        let kinds: Vec<String> = judge(&platform).into_iter().map(|found| found.kind).collect();
        assert_eq!(kinds, kind.into_iter().collect::<Vec<_>>());
    }
    let mut dead = Platform { edges: vec![Edge { contact_age_s: Some(40), ..edge }], ..healthy(3) };
    silence(&mut dead, 1);
    assert_eq!(judged(&dead), ["agent-silent of node n1"], "the machine is named once");

    let replica = Replica { name: "c1", seen_age_s: 3, clock_ahead_ms: 5 };
    for (replica, kind) in [
        (replica.clone(), None),
        (Replica { seen_age_s: 12, ..replica.clone() }, Some("replica-silent")),
        (Replica { clock_ahead_ms: -259_200_000, ..replica }, Some("replica-clock")),
    ] {
        let platform = Platform { replicas: vec![replica], ..healthy(2) };
        let kinds: Vec<String> = judge(&platform).into_iter().map(|found| found.kind).collect();
        assert_eq!(kinds, kind.into_iter().collect::<Vec<_>>());
    }
    let behind = |behind_s| Projection { name: "nodes", behind: 3, behind_s };
    let platform = |behind_s| Platform { projections: vec![behind(behind_s)], ..healthy(1) };
    assert_eq!(judge(&platform(Some(9))), []);
    assert_eq!(only(&platform(Some(10))).kind, "projection-behind");
}

#[test]
fn thousands_of_findings_of_a_kind_are_cut_and_counted() {
    let mut platform = healthy(2);
    for _ in 0..KIND_LIMIT + 5 {
        complain(&mut platform, 1, Kind::AgentTrouble, "noise");
    }
    let found = judge(&platform);
    assert_eq!(found.len(), KIND_LIMIT);
    assert!(found[KIND_LIMIT - 1].what.ends_with("(and 5 more like it)"), "{found:?}");
}
