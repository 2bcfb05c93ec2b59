//! How the platform is doing.

use serde::{Deserialize, Serialize};
use sextant_model::{Epoch, NodeId, Timestamp, health::Finding};
use utoipa::ToSchema;

use super::{node::Node, refusal::RefusedCode, report::NodeReport};

/// Answer of `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The life of the log.
    pub epoch: Epoch,
    /// Highest event id that is settled.
    pub settled: i64,
    /// How far each projection is.
    pub projections: Vec<ProjectionStatus>,
    /// Every node that has not been released.
    pub nodes: Vec<NodeStatus>,
    /// What was refused in the last hour, by code, the most frequent first.
    #[serde(default)]
    pub refusals: Vec<RefusedCode>,
    /// The control plane's time: that of the database.
    pub now: Timestamp,
    /// Version of the control plane.
    pub version: String,
    /// The control planes that have been heard of within a day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaStatus>,
    /// What is wrong, the worst first; control planes of earlier versions do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Vec<Finding>>,
}

/// How one control plane is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaStatus {
    /// The address at which others reach it, or the first of its names, and its port.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Seconds since it was last heard of.
    pub seen_age_s: u64,
    /// Its clock minus the database's, in milliseconds.
    pub clock_ahead_ms: i64,
}

/// How far a projection is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProjectionStatus {
    /// Which projection.
    pub name: String,
    /// It contains every event up to this id.
    pub checkpoint: i64,
    /// Seconds since the oldest event that it lacks; absent if it lacks none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_s: Option<u64>,
}

/// How one node is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// The node.
    pub node: Node,
    /// Event id up to which it has applied its desired state; absent before its first report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Events it should see and has not applied yet; absent before its first report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// Seconds since the oldest of these happened; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_age_s: Option<u64>,
    /// When it last reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_contact_at: Option<Timestamp>,
    /// Seconds since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_age_s: Option<u64>,
    /// Its clock minus the control plane's, in milliseconds, when it last reported, as far as that
    /// is sure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_skew_ms: Option<i64>,
    /// What it last reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<NodeReport>,
    /// Where the machines connect from that run as this node, the one that is served first; empty where
    /// there is only one, as there should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub duplicates: Vec<String>,
    /// For a node that is leaving: those that have to acknowledge it before its addresses are released.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<NodeId>,
}

/// Answer of `GET /v1/health` and `GET /v1/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
}
