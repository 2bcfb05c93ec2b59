//! Payloads of what happens to routes and ports.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Holder;
use crate::{
    hostname::HostPattern,
    id::{EnvironmentId, NetworkId, OrgId},
    name::DnsLabel,
    port::PortRange,
    routing::{Endpoint, HealthSource, ProtocolHint},
};

/// Payload of `port-granted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PortGranted {
    /// Whose environment it is.
    pub org_id: OrgId,
    /// Which port.
    pub port: u16,
    /// Why, for the audit.
    pub reason: String,
}

/// Payload of `port-grant-revoked`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PortGrantRevoked {
    /// Whose environment it is.
    pub org_id: OrgId,
    /// Which port.
    pub port: u16,
}

/// Payload of `port-policy-set`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PortPolicySet {
    /// Open to every environment, besides 80 and 443.
    pub allow: Vec<PortRange>,
    /// Open to none, whatever else says so.
    pub deny: Vec<PortRange>,
}

/// Payload of `route-created`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteCreated {
    /// Whose it is.
    pub org_id: OrgId,
    /// Which environment answers.
    pub environment_id: EnvironmentId,
    /// The network its workloads live in.
    pub network_id: NetworkId,
    /// The name it answers to; none for a raw TCP route that needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<HostPattern>,
    /// The port edges listen on.
    pub listen_port: u16,
    /// How connections are told apart and carried.
    pub protocol_hint: ProtocolHint,
    /// Told apart by the Host of the first HTTP request: raw TCP on port 80 only.
    #[serde(default)]
    pub match_host: bool,
    /// Which process type of the environment answers.
    pub backend_process_type: DnsLabel,
    /// On which port of its workloads.
    pub backend_port: u16,
    /// Whether a backend is first told who is connecting.
    pub proxy_protocol: bool,
    /// Whether it makes no sense without IPv4.
    pub ipv4_required: bool,
    /// What decides whether a backend may be used.
    pub health_source: HealthSource,
    /// Where it is reached from outside.
    pub endpoint: Endpoint,
}

/// Payload of `route-changed`: all that may change, as it is from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteChanged {
    /// Whose it is.
    pub org_id: OrgId,
    /// Which environment answers; absent in events of versions that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<EnvironmentId>,
    /// The network its workloads live in.
    pub network_id: NetworkId,
    /// Which process type of the environment answers.
    pub backend_process_type: DnsLabel,
    /// On which port of its workloads.
    pub backend_port: u16,
    /// Whether a backend is first told who is connecting.
    pub proxy_protocol: bool,
    /// What decides whether a backend may be used.
    pub health_source: HealthSource,
}

/// Payload of `route-moved`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteMoved {
    /// The network both live in.
    pub network_id: NetworkId,
    /// Whose it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Holder>,
    /// All of the route as it is from now on: who gets it has not seen it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<RouteCreated>,
}

/// Payload of `route-deleted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteDeleted {
    /// Whose it was.
    pub org_id: OrgId,
    /// Which environment answered.
    pub environment_id: EnvironmentId,
    /// The network its workloads live in.
    pub network_id: NetworkId,
}
