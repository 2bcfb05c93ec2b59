//! From the resources of the API to what [`sextant_model::health`] judges.

use std::collections::BTreeMap;

use sextant_model::{
    DnsLabel, NetworkId, Timestamp,
    health::{self, Finding, Kind},
};

use super::{
    edge::{Edge, ListenerState},
    node::NodePhase,
    report::{NodeReport, PeerReport},
    status::{NodeStatus, Status},
};

/// An edge that lacks the newest event for so long is behind, in seconds.
const EDGE_LIMIT_S: u64 = 10;

/// What networks are called, as far as that is known.
pub type NetworkNames = BTreeMap<NetworkId, DnsLabel>;

impl Status {
    /// What is wrong: as the control plane has judged, or, where that is too old to judge, by the
    /// same rules here.
    pub fn judged(&self) -> Vec<Finding> {
        match &self.findings {
            Some(findings) => findings.clone(),
            None => self.judge(&[], &NetworkNames::new()),
        }
    }

    /// Judges.
    pub fn judge(&self, edges: &[Edge], networks: &NetworkNames) -> Vec<Finding> {
        let node = |status| node(status, networks, self.now);
        health::judge(&health::Platform {
            nodes: self.nodes.iter().map(node).collect(),
            edges: edges.iter().map(edge).collect(),
            replicas: self
                .replicas
                .iter()
                .map(|replica| health::Replica {
                    name: &replica.name,
                    seen_age_s: replica.seen_age_s,
                    clock_ahead_ms: replica.clock_ahead_ms,
                })
                .collect(),
            projections: self
                .projections
                .iter()
                .map(|projection| health::Projection {
                    name: &projection.name,
                    behind: self.settled - projection.checkpoint,
                    behind_s: projection.behind_s,
                })
                .collect(),
        })
    }
}

impl NodeStatus {
    /// Whether it has not reported for so long that its last report says nothing about now.
    pub fn is_silent(&self) -> bool {
        let interval_s = self.report.as_ref().and_then(interval_s);
        let limit = health::silent_after_s(interval_s);
        self.contact_age_s.is_none_or(|age| age >= limit)
    }
}

fn interval_s(report: &NodeReport) -> Option<u32> {
    report.agent.as_ref().map(|agent| agent.interval_s)
}

fn node<'a>(
    status: &'a NodeStatus,
    networks: &'a NetworkNames,
    now: Timestamp,
) -> health::Node<'a> {
    let NodeStatus { node, lag, contact_age_s, clock_skew_ms, .. } = status;
    let ends = |at: Timestamp| at.unix_seconds() - now.unix_seconds();
    health::Node {
        id: node.id,
        network_id: node.network_id,
        network: networks.get(&node.network_id),
        name: node.name.as_str(),
        is_active: node.phase == NodePhase::Active,
        endpoint: node.endpoint,
        enrolled_age_s: now.since(node.enrolled_at).as_secs(),
        certificate_left_s: node.certificate_not_after.map(ends),
        contact_age_s: *contact_age_s,
        clock_ahead_ms: *clock_skew_ms,
        lag: *lag,
        lag_age_s: status.lag_age_s,
        duplicates: &status.duplicates,
        is_revoked: node.certificates_revoked,
        waits_for: &status.waits_for,
        report: status.report.as_ref().map(report),
    }
}

fn report(report: &NodeReport) -> health::Report<'_> {
    let agent = report.agent.as_ref();
    let problem = |kind, text| health::Problem { kind, text };
    let said = agent.map(|agent| &agent.problems);
    let problems = match said {
        Some(said) => {
            said.iter().map(|one| problem(Kind::from_word(&one.kind), one.text.as_str())).collect()
        }
        None => report.problems.iter().map(|text| problem(None, text.as_str())).collect(),
    };
    health::Report {
        interval_s: interval_s(report),
        mtu: report.mtu,
        underlay_mtu: report.underlay_mtu,
        endpoint_is_local: agent.and_then(|agent| agent.endpoint_is_local),
        problems,
        peers: report.peers.iter().map(|one| (one.node_id, peer(one))).collect(),
        is_partial: report.peers.len() >= PEER_LIMIT,
    }
}

/// Most peers in one report of an agent, so that its body stays below the limit; with more they
/// take turns.
pub const PEER_LIMIT: usize = 100;

fn peer(report: &PeerReport) -> health::Peer {
    health::Peer {
        handshake_age_s: report.handshake_age_s,
        rtt_us: report.rtt_us,
        lost: report.lost,
        heard_age_s: report.heard_age_s,
        endpoint: report.endpoint,
        largest_ok: report.largest_ok,
    }
}

fn edge(edge: &Edge) -> health::Edge<'_> {
    let report = edge.report.as_ref();
    let lasts = edge.newest_age_s.is_none_or(|age| age >= EDGE_LIMIT_S);
    let refused = report.iter().flat_map(|report| &report.refused);
    let listeners = report.iter().flat_map(|report| &report.listeners);
    let silent = listeners.filter(|listener| listener.state == ListenerState::Failed);
    health::Edge {
        id: edge.node_id,
        name: edge.name.as_str(),
        contact_age_s: edge.last_seen_age_s,
        revision: edge.revision,
        behind: (!edge.in_sync && lasts).then_some(edge.newest),
        refused: refused
            .map(|refused| (refused.route_id.to_string(), refused.reason.as_str()))
            .collect(),
        silent: silent
            .map(|one| (one.listen, one.error.as_deref().unwrap_or("not listening")))
            .collect(),
    }
}
