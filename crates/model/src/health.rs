//! What is wrong with the platform: the one place that judges. [`judge`] goes from what everybody
//! last reported to findings; the control plane does it once for each `GET /v1/status`, so that
//! every command, monitor and replica says the same. A node judges itself by the same [`Kind`]s.
//!
//! One cause is one finding: what follows from something that is named already is left out.

mod clock;
mod control_plane;
mod edges;
mod endpoints;
mod finding;
mod groups;
mod kind;
mod nodes;
mod pairs;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use crate::{
    id::{NetworkId, NodeId},
    name::DnsLabel,
};

pub use clock::{SKEW_LIMIT_MS, clock_ahead_ms};
pub use finding::{Finding, Severity};
pub use kind::Kind;
pub use nodes::{CERTIFICATE_NOTICE_S, silent_after_s};
pub use text::{age, is_plain, plain, span_ms};

use endpoints::Endpoints;
use pairs::Links;

/// So long after its last handshake WireGuard has dropped a session (whitepaper section 6.5,
/// Reject-After-Time), in seconds.
pub const HANDSHAKE_LIMIT_S: u64 = 180;

/// Bytes on the disk of a state folder under which an agent complains: a state of some thousand
/// members and its replacement fit many times.
pub const DISK_NOTICE_BYTES: u64 = 16 * 1024 * 1024;

/// Most findings of one kind. More say nothing new, and there can be as many as pairs of nodes.
const KIND_LIMIT: usize = 20;

/// Everything that is judged.
#[derive(Clone, Debug, Default)]
pub struct Platform<'a> {
    /// Every node that has not been released.
    pub nodes: Vec<Node<'a>>,
    /// What edges report.
    pub edges: Vec<Edge<'a>>,
    /// The control planes that have been heard of lately.
    pub replicas: Vec<Replica<'a>>,
    /// What is derived from the log.
    pub projections: Vec<Projection<'a>>,
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// Which.
    pub id: NodeId,
    /// Its network.
    pub network_id: NetworkId,
    /// What its network is called, if known.
    pub network: Option<&'a DnsLabel>,
    /// Its name.
    pub name: &'a str,
    /// Whether it is a member; a node that is leaving is not.
    pub is_active: bool,
    /// Where peers are told to send.
    pub endpoint: SocketAddr,
    /// Seconds since it enrolled.
    pub enrolled_age_s: u64,
    /// Seconds until its client certificate ends; negative afterwards.
    pub certificate_left_s: Option<i64>,
    /// Seconds since its last report.
    pub contact_age_s: Option<u64>,
    /// Its clock minus the database's, in milliseconds, as far as that is sure.
    pub clock_ahead_ms: Option<i64>,
    /// Events it should see and has not applied.
    pub lag: Option<i64>,
    /// Seconds since the oldest of these happened.
    pub lag_age_s: Option<u64>,
    /// The machines that run as this node, if there are several: the first one is served.
    pub duplicates: &'a [String],
    /// Whether an operator has revoked its certificates.
    pub is_revoked: bool,
    /// Nodes that must drop it before it can leave.
    pub waits_for: &'a [NodeId],
    /// Its last report, if this version can read it.
    pub report: Option<Report<'a>>,
}

/// What a node last said of itself.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// Seconds until its next report, if it says so.
    pub interval_s: Option<u32>,
    /// MTU of its interface; 0 if it has none.
    pub mtu: u32,
    /// MTU of its underlay; 0 if unknown.
    pub underlay_mtu: u32,
    /// Whether its registered endpoint is an address of the machine itself, if it says so.
    pub endpoint_is_local: Option<bool>,
    /// What it complains of.
    pub problems: Vec<Problem<'a>>,
    /// What it measures of its peers.
    pub peers: BTreeMap<NodeId, Peer>,
    /// Whether these are not all of its peers.
    pub is_partial: bool,
}

/// Something a node complains of.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// What kind of thing it is; none if this version does not know it.
    pub kind: Option<Kind>,
    /// The same in its own words.
    pub text: &'a str,
}

/// What a node measures of one peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer {
    /// Seconds since the last handshake.
    pub handshake_age_s: Option<u64>,
    /// Round trip of the last echo; absent if that was lost.
    pub rtt_us: Option<u32>,
    /// Echoes lost in a row, if it says so.
    pub lost: Option<u32>,
    /// Seconds since anything came from the peer, if it says so.
    pub heard_age_s: Option<u64>,
    /// Where it sends, if that is not where the peer is registered.
    pub endpoint: Option<SocketAddr>,
    /// The largest packet that passes, if that is smaller than its MTU.
    pub largest_ok: Option<u32>,
}

/// One edge.
#[derive(Clone, Debug)]
pub struct Edge<'a> {
    /// The node it runs on.
    pub id: NodeId,
    /// That node's name.
    pub name: &'a str,
    /// Seconds since its last report.
    pub contact_age_s: Option<u64>,
    /// Up to which event it serves.
    pub revision: Option<i64>,
    /// Up to which it should, if it has not for long enough to be worth a word.
    pub behind: Option<i64>,
    /// Routes it cannot serve, and why.
    pub refused: Vec<(String, &'a str)>,
    /// Where it cannot listen, and why.
    pub silent: Vec<(SocketAddr, &'a str)>,
}

/// One control plane.
#[derive(Clone, Debug)]
pub struct Replica<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Seconds since it was last heard of.
    pub seen_age_s: u64,
    /// Its clock minus the database's, in milliseconds.
    pub clock_ahead_ms: i64,
}

/// One thing that is derived from the log.
#[derive(Clone, Debug)]
pub struct Projection<'a> {
    /// Its name.
    pub name: &'a str,
    /// Event ids it lacks.
    pub behind: i64,
    /// Seconds since the oldest of these happened.
    pub behind_s: Option<u64>,
}

/// Judges. The worst come first; the same platform always has the same findings in the same order.
pub fn judge(platform: &Platform<'_>) -> Vec<Finding> {
    let mesh = Mesh::of(platform);
    let links = Links::between(&mesh);
    let endpoints = Endpoints::of(&mesh);
    let mut findings = control_plane::findings(platform);
    findings.extend(nodes::findings(&mesh));
    findings.extend(endpoints.findings(&mesh, &links));
    findings.extend(pairs::findings(&mesh, &links, &endpoints));
    // A machine that is silent is named once, not again for its edge.
    findings.extend(edges::findings(platform, &mesh));
    findings.sort_by_key(|finding| finding.severity);
    limit(findings)
}

fn limit(findings: Vec<Finding>) -> Vec<Finding> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: Vec<Finding> = Vec::new();
    for finding in findings {
        let count = counts.entry(finding.kind.clone()).or_default();
        *count += 1;
        if *count <= KIND_LIMIT {
            kept.push(finding);
        }
    }
    for (kind, count) in counts.into_iter().filter(|(_, count)| *count > KIND_LIMIT) {
        if let Some(last) = kept.iter_mut().rfind(|finding| finding.kind == kind) {
            last.what = format!("{} (and {} more like it)", last.what, count - KIND_LIMIT);
        }
    }
    kept
}

/// The active nodes, and what each of them may be asked about.
struct Mesh<'a> {
    platform: &'a Platform<'a>,
    /// Indices of the active nodes.
    active: Vec<usize>,
    /// Active nodes whose last report says how things are now.
    heard: BTreeSet<usize>,
    /// Of these, the ones that cannot have a mesh, for a reason that they report.
    broken: BTreeSet<usize>,
    index: BTreeMap<NodeId, usize>,
}

impl<'a> Mesh<'a> {
    fn of(platform: &'a Platform<'a>) -> Self {
        let nodes = &platform.nodes;
        let active: Vec<usize> = (0..nodes.len()).filter(|at| nodes[*at].is_active).collect();
        let heard: BTreeSet<usize> = active
            .iter()
            .copied()
            .filter(|at| nodes[*at].report.is_some() && !nodes::is_silent(&nodes[*at]))
            .collect();
        let broken = heard.iter().copied().filter(|at| nodes::is_broken(&nodes[*at])).collect();
        let index = active.iter().map(|at| (nodes[*at].id, *at)).collect();
        Self { platform, active, heard, broken, index }
    }

    fn node(&self, at: usize) -> &'a Node<'a> {
        &self.platform.nodes[at]
    }

    fn name(&self, at: usize) -> &'a str {
        self.node(at).name
    }

    fn names(&self, ats: impl IntoIterator<Item = usize>) -> String {
        text::listed(ats.into_iter().map(|at| self.name(at)))
    }

    /// The reports by which links are judged: of those that have had time to find their peers and
    /// can have any.
    fn judged(&self, at: usize) -> Option<&'a Report<'a>> {
        let node = self.node(at);
        let fit = self.heard.contains(&at) && !self.broken.contains(&at);
        node.report.as_ref().filter(|_| fit && node.enrolled_age_s >= pairs::GRACE_S)
    }
}

#[cfg(test)]
pub(crate) mod tests;
