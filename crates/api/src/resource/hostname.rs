//! Hostnames of environments.

use serde::{Deserialize, Serialize};
use sextant_model::{EnvironmentId, HostPattern, OrgId, RouteId, Timestamp};
use utoipa::ToSchema;

/// How far a claim on a hostname has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostnameState {
    /// DNS has to prove it first. Others may claim it meanwhile; the first proof decides.
    Pending,
    /// The environment's own.
    Owned,
}

/// A TXT record that proves a hostname.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostnameChallenge {
    /// Where the record stands.
    pub name: String,
    /// What it holds. Other records at the same name do no harm.
    pub value: String,
}

/// A hostname of an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentHostname {
    /// Which environment claims it.
    pub environment_id: EnvironmentId,
    /// Whose environment it is.
    pub org_id: OrgId,
    /// The name: exact, or a wildcard over one label.
    pub hostname: HostPattern,
    /// How far the claim has come.
    pub state: HostnameState,
    /// What DNS must say, while the claim is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<HostnameChallenge>,
    /// When it was claimed or moved here.
    pub since: Timestamp,
}

/// Body of `POST /v1/environments/{id}/hostnames`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHostname {
    /// The name: exact, or a wildcard over one label.
    pub hostname: HostPattern,
}

/// Body of `POST /v1/environments/{id}/hostnames/{hostname}/move`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostnameMove {
    /// Who has it from then on. Must run every process type that its routes lead to.
    pub to_environment_id: EnvironmentId,
}

/// What a move has moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostnameMoved {
    /// The name, where it is now.
    pub hostname: EnvironmentHostname,
    /// Names that overlap it and went along: to another org they go together or not at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub along: Vec<HostPattern>,
    /// The routes that went with it and them.
    pub routes: Vec<RouteId>,
}
