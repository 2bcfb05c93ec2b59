//! What the status of nodes comes to: shared by `status`, `node status`, `node remove` and `doctor`. What
//! is wrong was judged by the control plane.

use sextant_api::resource::{
    node::NodePhase,
    report::PeerReport,
    status::{NodeStatus, Status},
};
use sextant_model::{
    NodeId,
    health::{Finding, HANDSHAKE_LIMIT_S, Severity},
    placement::CONTACT_LIMIT,
};

use crate::exit::Exit;

/// Seconds without a report after which an edge counts as out of contact.
pub const CONTACT_LIMIT_S: u64 = CONTACT_LIMIT.as_secs();

/// What a node measures, summed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeHealth {
    /// Peers that it reaches; nothing if its last report says nothing about now.
    pub reached: Option<usize>,
    /// Peers that it should reach: the other active nodes of its network.
    pub peers: usize,
    /// Worst round trip to any peer, in microseconds.
    pub worst_rtt_us: Option<u32>,
}

impl NodeHealth {
    /// Of `node`, which is one of `status`.
    pub fn of(node: &NodeStatus, status: &Status) -> Self {
        let peers = active_peers(node, status).count();
        if node.is_silent() {
            return Self { reached: None, peers, worst_rtt_us: None };
        }
        let measured: Vec<&PeerReport> =
            active_peers(node, status).filter_map(|other| measured(node, other.node.id)).collect();
        let worst_rtt_us = measured.iter().filter_map(|peer| peer.rtt_us).max();
        let reached = measured.iter().filter(|peer| is_reached(peer)).count();
        Self { reached: Some(reached), peers, worst_rtt_us }
    }
}

/// 1 if something has to be done about any of these, 0 otherwise.
pub fn verdict<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Exit {
    if findings.into_iter().any(Finding::is_wrong) { Exit::Finding } else { Exit::Success }
}

/// The words of the findings about a node, or a dash.
pub fn problems(node: NodeId, findings: &[Finding]) -> String {
    let about =
        findings.iter().filter(|finding| finding.is_wrong() && finding.nodes.contains(&node));
    let mut words: Vec<&str> = about.map(|finding| finding.kind.as_str()).collect();
    words.dedup();
    if words.is_empty() { "-".into() } else { words.join(", ") }
}

/// How bad a finding is, in a column of its own.
pub fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Failure => "FAIL",
        Severity::Warning => "warn",
        Severity::Note => "note",
    }
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

/// What `node` last measured of `peer`.
pub fn measured(node: &NodeStatus, peer: NodeId) -> Option<&PeerReport> {
    node.report.as_ref()?.peers.iter().find(|report| report.node_id == peer)
}

/// Whether packets pass to the peer and back. Agents that count no echoes say when a session was made.
fn is_reached(peer: &PeerReport) -> bool {
    let has_session = peer.handshake_age_s.is_some_and(|age| age <= HANDSHAKE_LIMIT_S);
    peer.rtt_us.is_some() || peer.lost.is_none_or(|lost| lost < 2) && has_session
}

/// `1 event behind`.
pub fn events_behind(lag: i64) -> String {
    format!("{lag} event{} behind", if lag == 1 { "" } else { "s" })
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
                rx_bytes: 1,
                tx_bytes: 1,
                rtt_us: Some(500 + u32::from(peer)),
                lost: None,
                heard_age_s: None,
                endpoint: None,
                largest_ok: None,
            });
            NodeStatus {
                node: node(id, &format!("n{id}")),
                revision: Some(9),
                lag: Some(0),
                lag_age_s: None,
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
                    agent: None,
                }),
            }
        };
        let projection = ProjectionStatus { name: "nodes".into(), checkpoint: 9, behind_s: None };
        Status {
            epoch,
            settled: 9,
            refusals: vec![],
            projections: vec![projection],
            nodes: (1..=count).map(member).collect(),
            now: now(),
            version: "0.1.0".into(),
            replicas: Vec::new(),
            findings: None,
        }
    }

    /// The report of the node at `index`.
    pub fn report(status: &mut Status, index: usize) -> &mut NodeReport {
        status.nodes[index].report.as_mut().expect("report")
    }

    #[test]
    fn a_node_counts_the_peers_that_it_reaches_and_a_silent_one_counts_none() {
        let mut status = healthy(4);
        assert_eq!(verdict(&status.judged()), Exit::Success);
        let health = |status: &Status| NodeHealth::of(&status.nodes[0], status);
        let all = NodeHealth { reached: Some(3), peers: 3, worst_rtt_us: Some(504) };
        assert_eq!(health(&status), all);
        let lost = &mut report(&mut status, 0).peers[0];
        (lost.rtt_us, lost.lost) = (None, Some(2));
        report(&mut status, 0).peers[1].rtt_us = None;
        report(&mut status, 0).peers[1].handshake_age_s = None;
        status.nodes[3].node.phase = NodePhase::Withdrawn;
        let none = NodeHealth { reached: Some(0), peers: 2, worst_rtt_us: None };
        assert_eq!(health(&status), none);
        status.nodes[0].contact_age_s = Some(30);
        assert_eq!(health(&status).reached, None);
    }

    #[test]
    fn a_control_plane_that_does_not_judge_is_judged_here() {
        let mut status = healthy(3);
        status.nodes[1].contact_age_s = Some(30);
        let findings = status.judged();
        assert_eq!(verdict(&findings), Exit::Finding);
        let ids: Vec<NodeId> = status.nodes.iter().map(|node| node.node.id).collect();
        assert_eq!(problems(ids[1], &findings), "agent-silent");
        assert_eq!(problems(ids[0], &findings), "-");
        status.findings = Some(Vec::new());
        assert_eq!(status.judged(), [], "its word counts");
    }
}
