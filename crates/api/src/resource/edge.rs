//! Edges: what they report, and whether they serve the same.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sextant_model::{Cursor, DnsLabel, NetworkId, NodeId, RouteId, Timestamp};
use utoipa::ToSchema;

/// Body of `PUT /v1/edge/report`: the ack of a revision, and what could not be made true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EdgeReport {
    /// Up to here the edge serves what the log says.
    pub revision: Cursor,
    /// Version of the edge.
    #[schema(max_length = 64)]
    pub version: String,
    /// Routes it serves.
    pub routes: u64,
    /// Routes it cannot serve, the first hundred.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub refused: Vec<RefusedRoute>,
    /// Where it listens.
    #[serde(default)]
    #[schema(max_items = 1024)]
    pub listeners: Vec<EdgeListener>,
}

/// A route that an edge cannot serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefusedRoute {
    /// Which route.
    pub route_id: RouteId,
    /// Why not, in one line.
    #[schema(max_length = 512)]
    pub reason: String,
}

/// Whether an edge accepts connections somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerState {
    /// It does.
    Listening,
    /// It would, but cannot.
    Failed,
}

/// A socket that an edge listens on, or would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EdgeListener {
    /// Where.
    #[schema(value_type = String, examples("[::]:443"))]
    pub listen: SocketAddr,
    /// Whether it does.
    pub state: ListenerState,
    /// Why not, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 512)]
    pub error: Option<String>,
}

/// A node with the role edge, and what it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Edge {
    /// Which node.
    pub node_id: NodeId,
    /// Its name.
    pub name: DnsLabel,
    /// Its network.
    pub network_id: NetworkId,
    /// The newest event that edges of its network have to serve.
    pub newest: i64,
    /// Seconds since that happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_age_s: Option<u64>,
    /// Up to here it serves what the log says; absent before its first report in this epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Whether it serves all of it.
    pub in_sync: bool,
    /// When it last reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<Timestamp>,
    /// Seconds since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_age_s: Option<u64>,
    /// What it last reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<EdgeReport>,
}
