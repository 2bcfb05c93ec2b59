//! Pairs of nodes whose WireGuard session is dead, and what that hints at.

use sextant_api::resource::status::{NodeStatus, Status};

use super::{Check, Finding};
use crate::{
    duration::ago,
    health::{active_peers, has_handshake, in_contact, measured},
};

/// A node that enrolled less than this many seconds ago may still be finding its peers.
const GRACE_S: u64 = 30;

/// Peers a node must have lost, all of them, to be called cut off instead of naming every pair.
const CUT_OFF_FROM: usize = 3;

/// Every pair of active nodes that are in contact with the control plane but not with each other.
/// What a node that is out of contact last measured says nothing about now; that it is out of
/// contact is a finding of its own.
pub fn handshakes(status: &Status) -> Check {
    let heard: Vec<&NodeStatus> = status
        .nodes
        .iter()
        .filter(|node| crate::health::is_active(node) && in_contact(node) && node.report.is_some())
        .filter(|node| status.now.since(node.node.enrolled_at).as_secs() >= GRACE_S)
        .collect();
    let is_heard = |node: &NodeStatus| heard.iter().any(|one| one.node.id == node.node.id);
    let (mut findings, mut cut_off) = (Vec::new(), Vec::new());
    for node in &heard {
        let peers: Vec<&NodeStatus> =
            active_peers(node, status).filter(|peer| is_heard(peer)).collect();
        let dead = |peer: &&NodeStatus| !sees(node, peer) && !sees(peer, node);
        if peers.len() >= CUT_OFF_FROM && peers.iter().all(dead) {
            cut_off.push(node.node.id);
            findings.push(isolated(node, &peers));
        }
    }
    for (index, one) in heard.iter().enumerate() {
        for other in &heard[index + 1..] {
            let named = |node: &NodeStatus| cut_off.contains(&node.node.id);
            if one.node.network_id == other.node.network_id && !named(one) && !named(other) {
                findings.extend(pair(one, other));
            }
        }
    }
    Check::new("handshakes", findings)
}

fn sees(node: &NodeStatus, peer: &NodeStatus) -> bool {
    measured(node, peer.node.id).is_some_and(has_handshake)
}

/// Both nodes lost all their peers' sessions at once: the cause is at the node.
fn isolated(node: &NodeStatus, peers: &[&NodeStatus]) -> Finding {
    let names: Vec<&str> = peers.iter().map(|peer| peer.node.name.as_str()).collect();
    Finding::new(
        format!("no handshake with any of {} peers, either way: {}", names.len(), names.join(", ")),
        format!("node {}", node.node.name),
        format!(
            "peers send to UDP {}: check that this is its address on the underlay \
             (`sextant node set-endpoint`), and that firewalls let UDP to that port in and out",
            node.node.endpoint
        ),
    )
}

fn pair(one: &NodeStatus, other: &NodeStatus) -> Option<Finding> {
    let (a, b) = (&one.node.name, &other.node.name);
    let place = format!("pair {a}, {b}");
    let said = format!("{a} -> {b}: {}; {b} -> {a}: {}", heard(one, other), heard(other, one));
    match (sees(one, other), sees(other, one)) {
        (true, true) => lost_probes(one, other).then(|| {
            Finding::new(
                format!("handshakes but no probe comes back, either way ({said})"),
                place,
                "run doctor again in three minutes: if the handshakes end too, the underlay is cut; \
                 else check the firewall inside the overlay (ICMPv6) and the MTU between them",
            )
        }),
        (false, false) => Some(Finding::new(
            format!("no handshake on both sides ({said})"),
            place,
            format!(
                "check that the underlay lets UDP pass between {} and {}, both ways",
                one.node.endpoint, other.node.endpoint
            ),
        )),
        (sees_it, _) => {
            let (blind, seen) = if sees_it { (other, one) } else { (one, other) };
            Some(Finding::new(
                format!("no handshake on one side, that of {} ({said})", blind.node.name),
                place,
                format!(
                    "check that UDP from {} reaches {}, and that {}'s agent applied its last \
                     revision",
                    seen.node.endpoint, blind.node.endpoint, blind.node.name
                ),
            ))
        }
    }
}

fn heard(node: &NodeStatus, peer: &NodeStatus) -> String {
    match measured(node, peer.node.id) {
        None => "not a peer there".into(),
        Some(peer) => peer.handshake_age_s.map_or_else(|| "never".into(), ago),
    }
}

/// One lost probe is chance; one lost each way, though the session lives, is not.
fn lost_probes(one: &NodeStatus, other: &NodeStatus) -> bool {
    let lost = |node: &NodeStatus, peer: &NodeStatus| {
        measured(node, peer.node.id).is_some_and(|peer| peer.rtt_us.is_none())
    };
    lost(one, other) && lost(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::tests::{healthy, now, report};

    /// `from` loses its session with the peer at index `to`.
    fn cut(status: &mut Status, from: usize, to: usize, age: Option<u64>) {
        let peer = status.nodes[to].node.id;
        let reported = report(status, from).peers.iter_mut().find(|one| one.node_id == peer);
        reported.expect("peer").handshake_age_s = age;
    }

    fn whats(status: &Status) -> Vec<String> {
        handshakes(status).findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_healthy_mesh_has_no_dead_pairs() {
        assert_eq!(handshakes(&healthy(5)).findings, []);
        assert_eq!(handshakes(&healthy(0)).findings, []);
    }

    #[test]
    fn a_dead_pair_is_named_both_ways_with_the_sides_that_lack_it() {
        let mut status = healthy(4);
        cut(&mut status, 0, 2, Some(200));
        assert_eq!(
            whats(&status),
            ["no handshake on one side, that of n1 (n1 -> n3: 3m ago; n3 -> n1: 60s ago)"]
        );
        cut(&mut status, 2, 0, None);
        let findings = handshakes(&status).findings;
        assert_eq!(findings.len(), 1);
        assert_eq!(
            findings[0].what,
            "no handshake on both sides (n1 -> n3: 3m ago; n3 -> n1: never)"
        );
        assert_eq!(findings[0].place, "pair n1, n3");
        assert!(findings[0].remedy.contains("[2001:db8::3]:51820"), "{findings:?}");
    }

    #[test]
    fn a_node_that_lost_everybody_is_one_finding() {
        let mut status = healthy(5);
        for peer in 1..5 {
            cut(&mut status, 0, peer, None);
            cut(&mut status, peer, 0, Some(900));
        }
        assert_eq!(
            whats(&status),
            ["no handshake with any of 4 peers, either way: n2, n3, n4, n5"]
        );
    }

    #[test]
    fn a_peer_that_is_missing_from_the_report_counts_as_unseen() {
        let mut status = healthy(3);
        report(&mut status, 1).peers.clear();
        let whats = whats(&status);
        assert_eq!(whats.len(), 2);
        assert!(whats[0].contains("that of n2 (n1 -> n2: 60s ago; n2 -> n1: not a peer there)"));
    }

    #[test]
    fn what_cannot_be_known_is_not_claimed() {
        let mut silent = healthy(3);
        cut(&mut silent, 0, 1, None);
        silent.nodes[1].contact_age_s = Some(500);
        assert_eq!(handshakes(&silent).findings, [], "its report is old");

        let mut fresh = healthy(3);
        cut(&mut fresh, 0, 1, None);
        fresh.nodes[1].node.enrolled_at = now();
        assert_eq!(handshakes(&fresh).findings, [], "it has just come");
    }

    #[test]
    fn a_session_through_which_nothing_passes_is_a_finding_only_if_both_say_so() {
        let mut status = healthy(2);
        report(&mut status, 0).peers[0].rtt_us = None;
        assert_eq!(handshakes(&status).findings, []);
        report(&mut status, 1).peers[0].rtt_us = None;
        assert!(whats(&status)[0].starts_with("handshakes but no probe"), "{:?}", whats(&status));
    }
}
