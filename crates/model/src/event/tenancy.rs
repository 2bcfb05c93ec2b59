//! Payloads of what happens to orgs, apps, environments, releases and workloads.

use std::{collections::BTreeMap, net::Ipv6Addr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    hostname::HostPattern,
    id::{AppId, EnvironmentId, NetworkId, NodeId, OrgId, ReleaseId, WorkloadId},
    name::DnsLabel,
};

/// Payload of `org-created`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrgCreated {
    /// Unique name.
    pub name: DnsLabel,
}

/// Payload of `org-deleted`: nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrgDeleted {}

/// Payload of `org-quotas-set`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrgQuotasSet {
    /// The limits that are its own, by the word of their quota. Words, so that a program that does
    /// not know one can read the event. The platform's limit holds where nothing is said.
    pub limits: BTreeMap<String, u64>,
}

/// Payload of `app-created`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppCreated {
    /// Whose it is.
    pub org_id: OrgId,
    /// Unique in the org.
    pub name: DnsLabel,
}

/// Payload of `app-deleted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppDeleted {
    /// Whose it was.
    pub org_id: OrgId,
}

/// Payload of `environment-created`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentCreated {
    /// Whose it is.
    pub org_id: OrgId,
    /// Which app runs in it.
    pub app_id: AppId,
    /// The network its workloads live in.
    pub network_id: NetworkId,
    /// Unique in the app.
    pub name: DnsLabel,
}

/// Payload of `environment-deleted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentDeleted {
    /// Whose it was.
    pub org_id: OrgId,
}

/// Payload of `hostname-claimed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostnameClaimed {
    /// Whose it becomes.
    pub org_id: OrgId,
    /// Which name.
    pub hostname: HostPattern,
    /// What DNS must say before it may be used; nothing if the platform trusts the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
}

/// Payload of `hostname-verified`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostnameVerified {
    /// Whose it is.
    pub org_id: OrgId,
    /// Which name.
    pub hostname: HostPattern,
}

/// The other side of a move. An org is not told of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Holder {
    /// Whose environment it is.
    pub org_id: OrgId,
    /// Which environment.
    pub environment_id: EnvironmentId,
}

/// Payload of `hostname-acquired`, of the environment that has it from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostnameAcquired {
    /// Whose it is from now on.
    pub org_id: OrgId,
    /// Which name.
    pub hostname: HostPattern,
    /// Who had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Holder>,
}

/// Payload of `hostname-surrendered`, of the environment that had it until now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostnameSurrendered {
    /// Whose it was.
    pub org_id: OrgId,
    /// Which name.
    pub hostname: HostPattern,
    /// Who has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Holder>,
}

/// Payload of `hostname-released`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostnameReleased {
    /// Whose it was.
    pub org_id: OrgId,
    /// Which name.
    pub hostname: HostPattern,
}

/// How many workloads of one process type a release runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessSpec {
    /// Which process type, such as `web`.
    pub process_type: DnsLabel,
    /// How many workloads of it.
    #[schema(minimum = 1, maximum = 100)]
    pub instances: u16,
}

/// Payload of `release-created`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseCreated {
    /// Whose it is.
    pub org_id: OrgId,
    /// Where it runs.
    pub environment_id: EnvironmentId,
    /// Counts the environment's releases, from 1.
    pub number: i32,
    /// What it runs.
    pub processes: Vec<ProcessSpec>,
}

/// Payload of `release-activated`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseActivated {
    /// Whose it is.
    pub org_id: OrgId,
    /// Where it runs.
    pub environment_id: EnvironmentId,
}

/// Payload of `release-superseded`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseSuperseded {
    /// Whose it is.
    pub org_id: OrgId,
    /// Where it ran.
    pub environment_id: EnvironmentId,
    /// What has taken its place.
    pub by: ReleaseId,
}

/// Whether a workload may be given connections.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadHealth {
    /// Placed; its address is not known to be live yet.
    Starting,
    /// Its address is live on its node and nothing says that it is unfit.
    Healthy,
    /// Its node or its owner says that it is unfit.
    Unhealthy,
}

impl WorkloadHealth {
    /// The word used in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Payload of `workload-placed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkloadPlaced {
    /// Whose it is.
    pub org_id: OrgId,
    /// Which environment runs in it.
    pub environment_id: EnvironmentId,
    /// The release that placed it; none if it was registered by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_id: Option<ReleaseId>,
    /// What it runs.
    pub process_type: DnsLabel,
    /// The network it lives in.
    pub network_id: NetworkId,
    /// Where it runs.
    pub node_id: NodeId,
    /// Its own address, from the node's prefix.
    #[schema(value_type = String)]
    pub address: Ipv6Addr,
}

/// Payload of `workload-health-changed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkloadHealthChanged {
    /// Whose it is.
    pub org_id: OrgId,
    /// Which environment runs in it.
    pub environment_id: EnvironmentId,
    /// The network it lives in.
    pub network_id: NetworkId,
    /// How it is from now on.
    pub health: WorkloadHealth,
}

/// Payload of `workload-withdrawn`: nobody connects to it any more; it keeps its address until it
/// is released.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkloadWithdrawn {
    /// Whose it was.
    pub org_id: OrgId,
    /// Which environment ran in it.
    pub environment_id: EnvironmentId,
    /// The network it lived in.
    pub network_id: NetworkId,
    /// Where it ran.
    pub node_id: NodeId,
}

/// Payload of `workload-released`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkloadReleased {
    /// Whose it was.
    pub org_id: OrgId,
    /// Which environment ran in it.
    pub environment_id: EnvironmentId,
    /// The network it lived in.
    pub network_id: NetworkId,
    /// Where it ran.
    pub node_id: NodeId,
}

/// Names one workload in what travels; nothing but a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct WorkloadAddress {
    /// Which workload.
    pub workload_id: WorkloadId,
    /// Its own address.
    #[schema(value_type = String)]
    pub address: Ipv6Addr,
}
