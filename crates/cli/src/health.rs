//! What one node's status comes to: shared by `status`, `node status` and `doctor`.

use sextant_api::resource::{
    node::NodePhase,
    report::PeerReport,
    status::{NodeStatus, Status},
};
use sextant_model::{NodeId, placement::CONTACT_LIMIT};

/// Seconds without a report after which a node counts as out of contact.
pub const CONTACT_LIMIT_S: u64 = CONTACT_LIMIT.as_secs();

/// Seconds after which a handshake says nothing about the present: WireGuard drops a session after
/// 180 s (whitepaper section 6.5, Reject-After-Time).
pub const HANDSHAKE_LIMIT_S: u64 = 180;

/// What a node measures, summed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeHealth {
    /// Peers it has a live handshake with.
    pub handshakes: usize,
    /// Peers it should have one with: the other active nodes of its network.
    pub peers: usize,
    /// Worst round trip to any peer, in microseconds.
    pub worst_rtt_us: Option<u32>,
    /// Why it is not well, one line each. Nothing for a node that is leaving.
    pub complaints: Vec<String>,
}

impl NodeHealth {
    /// Of `node`, which is one of `status`.
    pub fn of(node: &NodeStatus, status: &Status) -> Self {
        let mut health = Self {
            handshakes: 0,
            peers: active_peers(node, status).count(),
            worst_rtt_us: None,
            complaints: complaints(node),
        };
        for peer in active_peers(node, status).filter_map(|other| measured(node, other.node.id)) {
            health.handshakes += usize::from(has_handshake(peer));
            health.worst_rtt_us = health.worst_rtt_us.max(peer.rtt_us);
        }
        health
    }
}

/// Whether every active node is current and in contact and reports no problem.
pub fn all_well(status: &Status) -> bool {
    status.nodes.iter().all(|node| complaints(node).is_empty())
}

/// The other active nodes of its network.
pub fn active_peers<'a>(
    node: &'a NodeStatus,
    status: &'a Status,
) -> impl Iterator<Item = &'a NodeStatus> {
    status.nodes.iter().filter(|other| {
        is_active(other)
            && other.node.id != node.node.id
            && other.node.network_id == node.node.network_id
    })
}

/// Whether the node is a member, neither leaving nor gone.
pub fn is_active(node: &NodeStatus) -> bool {
    node.node.phase == NodePhase::Active
}

/// Whether the node reported lately.
pub fn in_contact(node: &NodeStatus) -> bool {
    node.contact_age_s.is_some_and(|age| age < CONTACT_LIMIT_S)
}

/// What `node` last measured of `peer`.
pub fn measured(node: &NodeStatus, peer: NodeId) -> Option<&PeerReport> {
    node.report.as_ref()?.peers.iter().find(|report| report.node_id == peer)
}

/// Whether the peer's WireGuard session is alive.
pub fn has_handshake(peer: &PeerReport) -> bool {
    peer.handshake_age_s.is_some_and(|age| age <= HANDSHAKE_LIMIT_S)
}

/// `1 event behind`.
pub fn events_behind(lag: i64) -> String {
    format!("{lag} event{} behind", if lag == 1 { "" } else { "s" })
}

/// Which machines run as the node, where there are several.
pub fn duplicates(node: &NodeStatus) -> Option<String> {
    let (first, others) = node.duplicates.split_first().filter(|(_, others)| !others.is_empty())?;
    let machines = if others.len() == 1 { "two" } else { "several" };
    let others = others.join(", ");
    Some(format!("{machines} machines run as this node: {first} is served, {others} is refused"))
}

fn complaints(node: &NodeStatus) -> Vec<String> {
    if !is_active(node) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    match node.contact_age_s {
        None => complaints.push("never reported".into()),
        Some(_) if !in_contact(node) => complaints.push("out of contact".into()),
        Some(_) => {}
    }
    if let Some(lag) = node.lag.filter(|lag| *lag != 0) {
        complaints.push(events_behind(lag));
    }
    complaints.extend(duplicates(node));
    if node.node.certificates_revoked {
        complaints.push("its certificates are revoked".into());
    }
    complaints.extend(node.report.iter().flat_map(|report| report.problems.iter().cloned()));
    complaints
}

#[cfg(test)]
pub mod tests {
    use sextant_api::resource::{
        node::Node,
        report::{NodeReport, WireGuardImplementation},
        status::ProjectionStatus,
    };
    use sextant_model::{
        Cursor, DnsLabel, Epoch, NetworkId, NodeRole, PeerAddresses, PublicKey, Timestamp,
    };
    use uuid::Uuid;

    use super::*;

    /// The moment at which the samples were taken.
    pub fn now() -> Timestamp {
        Timestamp::from_unix_seconds(1_700_000_000).expect("moment")
    }

    fn moment(offset: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_700_000_000 + offset).expect("moment")
    }

    /// An active node of network 1.
    pub fn node(id: u8, name: &str) -> Node {
        Node {
            id: NodeId(Uuid::from_u128(id.into())),
            network_id: NetworkId(Uuid::from_u128(1)),
            name: DnsLabel::new(name).expect("label"),
            roles: vec![NodeRole::Worker],
            phase: NodePhase::Active,
            public_key: PublicKey::new([id + 40; 32]).expect("key"),
            endpoint: format!("[2001:db8::{id:x}]:51820").parse().expect("endpoint"),
            addresses: PeerAddresses::v6(format!("fd00:0:0:{id:x}::1").parse().expect("address")),
            prefix: format!("fd00:0:0:{id:x}::/64").parse().expect("prefix"),
            certificate_not_after: Some(moment(20 * 86_400)),
            certificates_revoked: false,
            version: 1,
            enrolled_at: moment(-3600),
            enrolled_event_id: 1,
        }
    }

    /// A mesh of `count` nodes, n1 and up, where all is well.
    pub fn healthy(count: u8) -> Status {
        let epoch = Epoch(Uuid::from_u128(1));
        let member = |id: u8| {
            let peers = (1..=count).filter(|peer| *peer != id).map(|peer| PeerReport {
                node_id: NodeId(Uuid::from_u128(peer.into())),
                handshake_age_s: Some(60),
                endpoint: None,
                rx_bytes: 1,
                tx_bytes: 1,
                rtt_us: Some(500 + u32::from(peer)),
            });
            NodeStatus {
                node: node(id, &format!("n{id}")),
                revision: Some(9),
                lag: Some(0),
                last_contact_at: Some(moment(-3)),
                contact_age_s: Some(3),
                clock_skew_ms: Some(12),
                duplicates: Vec::new(),
                waits_for: Vec::new(),
                report: Some(NodeReport {
                    revision: Cursor { epoch, event_id: 9 },
                    agent_version: "0.1.0".into(),
                    clock: moment(-3),
                    implementation: WireGuardImplementation::Kernel,
                    mtu: 1420,
                    underlay_mtu: 1500,
                    problems: Vec::new(),
                    peers: peers.collect(),
                    workloads_live: Vec::new(),
                }),
            }
        };
        Status {
            epoch,
            settled: 9,
            refusals: vec![],
            projections: vec![ProjectionStatus { name: "nodes".into(), checkpoint: 9 }],
            nodes: (1..=count).map(member).collect(),
            now: now(),
            version: "0.1.0".into(),
        }
    }

    /// The report of the node at `index`.
    pub fn report(status: &mut Status, index: usize) -> &mut NodeReport {
        status.nodes[index].report.as_mut().expect("report")
    }

    #[test]
    fn a_healthy_mesh_is_well_and_counts_its_handshakes() {
        let status = healthy(3);
        assert!(all_well(&status));
        let health = NodeHealth::of(&status.nodes[0], &status);
        assert_eq!((health.handshakes, health.peers), (2, 2));
        assert_eq!(health.worst_rtt_us, Some(503));
        assert!(all_well(&healthy(0)));
    }

    #[test]
    fn each_reason_alone_makes_a_platform_unwell() {
        type Change = fn(&mut Status);
        let changes: [(Change, &str); 5] = [
            (|status| status.nodes[1].contact_age_s = Some(30), "out of contact"),
            (|status| status.nodes[1].contact_age_s = None, "never reported"),
            (|status| status.nodes[1].lag = Some(2), "2 events behind"),
            (|status| status.nodes[1].lag = Some(-1), "-1 events behind"),
            (|status| report(status, 1).problems.push("no route".into()), "no route"),
        ];
        for (change, complaint) in changes {
            let mut status = healthy(3);
            change(&mut status);
            assert!(!all_well(&status), "{complaint}");
            let health = NodeHealth::of(&status.nodes[1], &status);
            assert_eq!(health.complaints, [complaint]);
            status.nodes[1].node.phase = NodePhase::Withdrawn;
            assert!(all_well(&status), "a node that leaves may be in any state: {complaint}");
        }
    }

    #[test]
    fn old_handshakes_and_departed_peers_do_not_count() {
        let mut status = healthy(4);
        report(&mut status, 0).peers[0].handshake_age_s = Some(181);
        report(&mut status, 0).peers[1].handshake_age_s = None;
        status.nodes[3].node.phase = NodePhase::Withdrawn;
        let health = NodeHealth::of(&status.nodes[0], &status);
        assert_eq!((health.handshakes, health.peers), (0, 2));
    }
}
