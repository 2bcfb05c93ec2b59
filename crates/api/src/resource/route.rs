//! Ingress routes.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use sextant_model::{
    DnsLabel, EnvironmentId, HostPattern, NetworkId, NodeId, OrgId, RouteId, Timestamp, WorkloadId,
    event::WorkloadHealth,
    routing::{Endpoint, HealthSource, ProtocolHint},
};
use utoipa::ToSchema;

/// Hostname and listen port to process type and backend port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// Which route.
    pub id: RouteId,
    /// Whose it is.
    pub org_id: OrgId,
    /// Which environment answers.
    pub environment_id: EnvironmentId,
    /// The same for people: ORG/APP/ENVIRONMENT.
    pub environment: String,
    /// The network its workloads live in.
    pub network_id: NetworkId,
    /// The name it answers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<HostPattern>,
    /// The port edges listen on.
    pub listen_port: u16,
    /// How connections are told apart and carried.
    pub protocol_hint: ProtocolHint,
    /// Told apart by the Host of the first HTTP request.
    pub match_host: bool,
    /// Which process type of the environment answers.
    pub backend_process_type: DnsLabel,
    /// On which port of its workloads.
    pub backend_port: u16,
    /// Whether a backend is first told who is connecting (PROXY protocol version 2).
    pub proxy_protocol: bool,
    /// Whether it makes no sense without IPv4.
    pub ipv4_required: bool,
    /// What decides whether a backend may be used.
    pub health_source: HealthSource,
    /// Where it is reached from outside.
    pub endpoint: Endpoint,
    /// Who answers now.
    pub status: RouteStatus,
    /// Version for `If-Match`.
    pub version: i32,
    /// When it came into being.
    pub created_at: Timestamp,
}

/// Who answers a route now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteStatus {
    /// Workloads of its process type.
    pub backends: u32,
    /// Those of them that may be given connections.
    pub healthy: u32,
    /// The backends themselves, a hundred at most; left out of lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<RouteBackend>,
}

/// A workload that a route leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteBackend {
    /// Which workload.
    pub workload_id: WorkloadId,
    /// Its own address.
    #[schema(value_type = String)]
    pub address: Ipv6Addr,
    /// The port connections go to.
    pub port: u16,
    /// Whether it may be given connections.
    pub health: WorkloadHealth,
}

/// Body of `POST /v1/environments/{id}/routes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRoute {
    /// The name it answers to; may be absent for `tcp_raw`, where it is for DNS alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<HostPattern>,
    /// The port edges listen on; 443 if absent.
    #[serde(default = "https")]
    #[schema(minimum = 1)]
    pub listen_port: u16,
    /// How connections are told apart and carried; `tls_passthrough` if absent.
    #[serde(default = "tls")]
    pub protocol_hint: ProtocolHint,
    /// Told apart by the Host of the first HTTP request, per connection: `tcp_raw` on port 80 only.
    #[serde(default)]
    pub match_host: bool,
    /// Which process type of the environment answers; `web` if absent.
    #[serde(default = "web")]
    pub backend_process_type: DnsLabel,
    /// On which port of its workloads.
    #[schema(minimum = 1)]
    pub backend_port: u16,
    /// Whether a backend is first told who is connecting (PROXY protocol version 2).
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Whether it makes no sense without IPv4.
    #[serde(default)]
    pub ipv4_required: bool,
    /// What decides whether a backend may be used: `none`, `tcp` or `tcp:PORT`.
    #[serde(default)]
    pub health_source: HealthSource,
    /// Where it is reached from outside.
    #[serde(default)]
    pub endpoint: Endpoint,
}

fn https() -> u16 {
    443
}

fn tls() -> ProtocolHint {
    ProtocolHint::TlsPassthrough
}

fn web() -> DnsLabel {
    DnsLabel::new("web").unwrap_or_else(|_| unreachable!("\"web\" is a label"))
}

/// Body of `PATCH /v1/routes/{id}`: what is absent stays as it is. Where a route listens and what
/// it answers to does not change: that is another route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoutePatch {
    /// Which process type of the environment answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_process_type: Option<DnsLabel>,
    /// On which port of its workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub backend_port: Option<u16>,
    /// Whether a backend is first told who is connecting (PROXY protocol version 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<bool>,
    /// What decides whether a backend may be used: `none`, `tcp` or `tcp:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_source: Option<HealthSource>,
}

/// How connections to a port are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerKind {
    /// Not at all: one route has it.
    Raw,
    /// By the server name of the ClientHello.
    Tls,
    /// By the Host of the first HTTP request.
    Http,
}

/// Answer of `GET /v1/routes/explain`: what the edges do with a connection, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteExplanation {
    /// The name the connection asks for; absent if it gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port it arrives at.
    pub port: u16,
    /// Where it comes from, as asked. The control plane does not know of limits by source: ask the
    /// edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from: Option<IpAddr>,
    /// The log up to this event was looked at.
    pub revision: i64,
    /// How connections to the port are told apart; absent if nothing listens there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<ListenerKind>,
    /// The route that has it, with its backends; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// What happens and why, in one sentence.
    pub reason: String,
    /// Whether each edge serves what was looked at; left out for tokens of an org.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<ExplainedEdge>,
}

/// How far an edge is, seen from one explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedEdge {
    /// Which node.
    pub node_id: NodeId,
    /// Its name.
    pub name: DnsLabel,
    /// Up to here it has applied the log; absent before its first report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Whether it serves all that was looked at.
    pub in_sync: bool,
    /// Why it does not serve the route although it is in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}
