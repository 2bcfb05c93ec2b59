//! Networks.

use serde::{Deserialize, Serialize};
use sextant_model::{DnsLabel, IpStackMode, NetworkId, Prefix, Timestamp, Topology};
use utoipa::ToSchema;

/// An address space with its peers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Network {
    /// Which network.
    pub id: NetworkId,
    /// Unique name.
    pub name: DnsLabel,
    /// Families it speaks.
    pub ip_stack_mode: IpStackMode,
    /// How peers connect.
    pub topology: Topology,
    /// Its IPv6 prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_prefix: Option<Prefix>,
    /// Its IPv4 prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_prefix: Option<Prefix>,
    /// Version for `If-Match`.
    pub version: i32,
    /// When it came into being.
    pub created_at: Timestamp,
}

/// Body of `POST /v1/networks`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNetwork {
    /// Unique name.
    pub name: DnsLabel,
    /// Families it should speak; only `ipv6` works today.
    #[serde(default)]
    pub ip_stack_mode: IpStackMode,
    /// How peers should connect; only `full-mesh` works today.
    #[serde(default)]
    pub topology: Topology,
    /// A ULA or GUA prefix, /20 to /60; a random ULA /48 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_prefix: Option<Prefix>,
    /// Must be absent today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_prefix: Option<Prefix>,
}

/// Body of `PATCH /v1/networks/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkPatch {
    /// The new name.
    pub name: DnsLabel,
}
