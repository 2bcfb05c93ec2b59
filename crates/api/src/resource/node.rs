//! Nodes.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sextant_model::{
    DnsLabel, NetworkId, NodeId, NodeRole, PeerAddresses, Prefix, PublicKey, Timestamp,
};
use utoipa::ToSchema;

/// How far a node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodePhase {
    /// A member of its network.
    Active,
    /// Leaving: peers are dropping it.
    Withdrawn,
    /// Gone.
    Released,
}

/// An enrolled machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Which node.
    pub id: NodeId,
    /// Its network.
    pub network_id: NetworkId,
    /// Name, unique in the network.
    pub name: DnsLabel,
    /// What it does.
    pub roles: Vec<NodeRole>,
    /// How far it has come.
    pub phase: NodePhase,
    /// Its WireGuard public key.
    pub public_key: PublicKey,
    /// Its WireGuard on the underlay.
    #[schema(value_type = String)]
    pub endpoint: SocketAddr,
    /// Its own addresses inside the network.
    pub addresses: PeerAddresses,
    /// The prefix its workloads live in.
    pub prefix: Prefix,
    /// End of validity of its newest client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_not_after: Option<Timestamp>,
    /// Whether an operator withdrew its client certificates.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub certificates_revoked: bool,
    /// Version for `If-Match`.
    pub version: i32,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
    /// The event by which it enrolled; a consumer whose revision has passed it knows the node.
    pub enrolled_event_id: i64,
}

/// Body of `PATCH /v1/nodes/{id}` and of `PATCH /v1/node`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodePatch {
    /// Where peers should reach its WireGuard: a unicast IPv6 address and a port.
    #[schema(value_type = String, examples("[2001:db8::1]:51820"))]
    pub endpoint: SocketAddr,
}
