//! Releases: what a deploy placed.

use serde::{Deserialize, Serialize};
use sextant_model::{EnvironmentId, OrgId, ReleaseId, Timestamp, event::ProcessSpec};
use utoipa::ToSchema;

use super::workload::Workload;

/// How far a release has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseStatus {
    /// Its workloads are starting.
    Pending,
    /// One of its workloads was withdrawn before it was live, by its owner or with its node: it never
    /// goes live. Deploy again.
    Incomplete,
    /// All its workloads were healthy, and no later release has taken its place.
    Live,
    /// A later release has taken its place.
    Superseded,
}

/// What one deploy placed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Release {
    /// Which release.
    pub id: ReleaseId,
    /// Whose it is.
    pub org_id: OrgId,
    /// Where it runs.
    pub environment_id: EnvironmentId,
    /// How people name that: `ORG/APP/ENVIRONMENT`.
    pub environment: String,
    /// Counts the environment's releases, from 1.
    pub number: i32,
    /// What it runs.
    pub processes: Vec<ProcessSpec>,
    /// How far it has come.
    pub status: ReleaseStatus,
    /// What has taken its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<ReleaseId>,
    /// How many of its workloads are healthy.
    pub healthy: u32,
    /// Its workloads, withdrawn ones too; left out of lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<Workload>,
    /// Version for `If-Match`.
    pub version: i32,
    /// When the deploy began.
    pub created_at: Timestamp,
}

/// Body of `POST /v1/environments/{id}/releases`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRelease {
    /// What to run: 1 to 16 process types, at most 200 workloads in all.
    #[schema(min_items = 1, max_items = 16)]
    pub processes: Vec<ProcessSpec>,
}
