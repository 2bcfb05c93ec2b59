//! Orgs: tenants.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sextant_model::{DnsLabel, OrgId, Timestamp, quota::Quota};
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

/// What an org may have and what it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrgQuotas {
    /// Which org.
    pub org_id: OrgId,
    /// Every quota there is.
    pub quotas: Vec<OrgQuota>,
}

/// One quota of an org.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrgQuota {
    /// What is limited.
    pub quota: Quota,
    /// How many there may be.
    pub limit: u64,
    /// Whether the limit is the org's own instead of the platform's.
    pub own: bool,
    /// How many there are; absent for what each replica, or each request, counts by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
}

/// Body of `PUT /v1/orgs/{id}/quotas`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrgQuotas {
    /// The limits that are the org's own; the platform's hold for the others.
    pub limits: BTreeMap<Quota, u64>,
}
