//! Operators' API tokens.

use serde::{Deserialize, Serialize};
use sextant_model::{ApiTokenId, DnsLabel, OperatorRole, OrgId, Timestamp};
use utoipa::ToSchema;

/// Body of `POST /v1/api-tokens`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiToken {
    /// What it is for.
    pub name: DnsLabel,
    /// What it may do.
    pub role: OperatorRole,
    /// The only org it is for. If absent, it is for the platform; made by the holder of an org's
    /// token, for that org.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<OrgId>,
    /// How long it works, in seconds; as long as the token that makes it if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60, maximum = 315_360_000)]
    pub expires_in: Option<u64>,
}

/// An operator's access.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApiToken {
    /// Which token.
    pub id: ApiTokenId,
    /// What it is for.
    pub name: DnsLabel,
    /// What it may do.
    pub role: OperatorRole,
    /// The only org it is for; for the platform if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<OrgId>,
    /// The token that made it, if the asker may see that one: it is revoked and expires with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ApiTokenId>,
    /// Useless from then on; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether it was taken back.
    pub revoked: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// The token itself, shown once: in the answer to the request that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}
