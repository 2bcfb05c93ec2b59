//! Orgs: tenants.

use serde::{Deserialize, Serialize};
use sextant_model::{DnsLabel, OrgId, Timestamp};
use utoipa::ToSchema;

/// A tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Org {
    /// Which org.
    pub id: OrgId,
    /// Unique name.
    pub name: DnsLabel,
    /// Version for `If-Match`.
    pub version: i32,
    /// When it came into being.
    pub created_at: Timestamp,
}

/// Body of `POST /v1/orgs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrg {
    /// Unique name.
    pub name: DnsLabel,
}
