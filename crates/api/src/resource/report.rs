//! What a node's agent reports of itself.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sextant_model::{Cursor, NodeId, Timestamp, WorkloadId};
use utoipa::ToSchema;

/// Which WireGuard moves the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WireGuardImplementation {
    /// The kernel's.
    Kernel,
    /// `wireguard-go`.
    Userspace,
}

/// Body of `POST /v1/node/report`: the ack of a revision, and measurements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeReport {
    /// Up to here the node has applied its desired state.
    pub revision: Cursor,
    /// Version of the agent.
    #[schema(max_length = 64)]
    pub agent_version: String,
    /// The node's clock.
    pub clock: Timestamp,
    /// Which WireGuard moves the packets.
    pub implementation: WireGuardImplementation,
    /// MTU of the overlay interface, in bytes.
    pub mtu: u32,
    /// MTU of the underlay, in bytes.
    pub underlay_mtu: u32,
    /// What the agent could not make true, one line each.
    #[serde(default)]
    #[schema(max_items = 32)]
    pub problems: Vec<String>,
    /// What it measures of each peer.
    #[schema(max_items = 4096)]
    pub peers: Vec<PeerReport>,
    /// Workloads whose address is live on the interface.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 4096)]
    pub workloads_live: Vec<WorkloadId>,
}

/// What a node measures of one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerReport {
    /// Which peer.
    pub node_id: NodeId,
    /// Seconds since the last WireGuard handshake; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_age_s: Option<u64>,
    /// Where WireGuard sends to it now, if that is not where the control plane said: the peer has roamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub endpoint: Option<SocketAddr>,
    /// Bytes received from it.
    pub rx_bytes: u64,
    /// Bytes sent to it.
    pub tx_bytes: u64,
    /// Round trip over the overlay in microseconds; absent if the last probe was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u32>,
}
