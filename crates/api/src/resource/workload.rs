//! Workloads: running instances of process types.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};
use sextant_model::{
    DnsLabel, EnvironmentId, NetworkId, NodeId, OrgId, ReleaseId, Timestamp, WorkloadId,
    event::WorkloadHealth,
};
use utoipa::ToSchema;

/// How far a workload has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadStatus {
    /// Placed; its address is not known to be live yet.
    Starting,
    /// Its address is live on its node and nothing says that it is unfit.
    Healthy,
    /// Its node or its owner says that it is unfit.
    Unhealthy,
    /// Leaving: its node and the edges are letting go.
    Withdrawn,
    /// Gone.
    Released,
}

impl WorkloadStatus {
    /// How fit it is, while it is on its node.
    pub fn health(self) -> Option<WorkloadHealth> {
        match self {
            Self::Starting => Some(WorkloadHealth::Starting),
            Self::Healthy => Some(WorkloadHealth::Healthy),
            Self::Unhealthy => Some(WorkloadHealth::Unhealthy),
            Self::Withdrawn | Self::Released => None,
        }
    }
}

impl From<WorkloadHealth> for WorkloadStatus {
    fn from(health: WorkloadHealth) -> Self {
        match health {
            WorkloadHealth::Starting => Self::Starting,
            WorkloadHealth::Healthy => Self::Healthy,
            WorkloadHealth::Unhealthy => Self::Unhealthy,
        }
    }
}

/// One running instance of a process type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Workload {
    /// Which workload.
    pub id: WorkloadId,
    /// Whose it is.
    pub org_id: OrgId,
    /// Which environment runs in it.
    pub environment_id: EnvironmentId,
    /// How people name that: `ORG/APP/ENVIRONMENT`.
    pub environment: String,
    /// The release that placed it; none if it was registered by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_id: Option<ReleaseId>,
    /// What it runs.
    pub process_type: DnsLabel,
    /// The network it lives in.
    pub network_id: NetworkId,
    /// Where it runs.
    pub node_id: NodeId,
    /// The node's name.
    pub node_name: DnsLabel,
    /// Its own address, from the node's prefix.
    #[schema(value_type = String)]
    pub address: Ipv6Addr,
    /// How far it has come.
    pub status: WorkloadStatus,
    /// Version for `If-Match`.
    pub version: i32,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// The event by which it was placed; a consumer whose revision has passed it knows the workload.
    pub placed_event_id: i64,
}

/// Body of `POST /v1/environments/{id}/workloads`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWorkload {
    /// What it will run.
    pub process_type: DnsLabel,
    /// Where; chosen if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<NodeId>,
}

/// What can be said of a workload's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReportedHealth {
    /// It may be given connections.
    Healthy,
    /// It is unfit; that stands until the contrary is said.
    Unhealthy,
}

impl From<ReportedHealth> for WorkloadHealth {
    fn from(health: ReportedHealth) -> Self {
        match health {
            ReportedHealth::Healthy => Self::Healthy,
            ReportedHealth::Unhealthy => Self::Unhealthy,
        }
    }
}

/// Body of `PUT /v1/workloads/{id}/health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthReport {
    /// How it is.
    pub health: ReportedHealth,
}
