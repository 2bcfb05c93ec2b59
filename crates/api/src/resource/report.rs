//! What a node's agent reports of itself.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sextant_model::{Cursor, NodeId, Timestamp, WorkloadId};
use utoipa::ToSchema;
use uuid::Uuid;

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
    /// What the agent says of itself; agents of earlier versions do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentReport>,
}

/// What an agent says of itself besides its acknowledgement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentReport {
    /// Which process reports: another one at each start.
    pub process: Uuid,
    /// Counts the reports of this process, so that one that was overtaken is known.
    pub number: i64,
    /// Seconds until the next report at the latest.
    pub interval_s: u32,
    /// The node's clock was ahead of the control plane's by at most so many milliseconds when
    /// answers to its last reports came; absent before the first answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_at_most_ms: Option<i64>,
    /// Whether the registered endpoint is an address of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_is_local: Option<bool>,
    /// The same as the report's `problems`, each with its kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 32)]
    pub problems: Vec<AgentProblem>,
}

/// Something that an agent complains of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentProblem {
    /// The kind of finding that it is; see `docs/health.md`.
    #[schema(max_length = 64)]
    pub kind: String,
    /// The same in the agent's words, one line.
    #[schema(max_length = 512)]
    pub text: String,
}

/// Answer to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportTaken {
    /// The control plane's time.
    pub now: Timestamp,
}

impl NodeReport {
    /// The report as control planes of earlier versions take it, which refuse fields that they do not know.
    #[must_use]
    pub fn without_additions(mut self) -> Self {
        self.agent = None;
        for peer in &mut self.peers {
            (peer.lost, peer.heard_age_s, peer.endpoint, peer.largest_ok) =
                (None, None, None, None);
        }
        self
    }
}

/// What a node measures of one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
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
    /// Echoes lost in a row; absent if the last one came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u32>,
    /// Seconds since anything came from it; absent if nothing ever did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_age_s: Option<u64>,
    /// Bytes of the largest packet that was seen to pass to it and back, if that is less than the
    /// MTU of the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_ok: Option<u32>,
}
