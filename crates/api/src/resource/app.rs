//! Apps: the programs of an org.

use serde::{Deserialize, Serialize};
use sextant_model::{AppId, DnsLabel, OrgId, Timestamp};
use utoipa::ToSchema;

/// A program of an org.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct App {
    /// Which app.
    pub id: AppId,
    /// Whose it is.
    pub org_id: OrgId,
    /// The org's name.
    pub org_name: DnsLabel,
    /// Unique in the org.
    pub name: DnsLabel,
    /// Version for `If-Match`.
    pub version: i32,
    /// When it came into being.
    pub created_at: Timestamp,
}

/// Body of `POST /v1/apps`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApp {
    /// Whose it will be; the token's org if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<OrgId>,
    /// Unique in the org.
    pub name: DnsLabel,
}
