//! Which ports environments may listen on.

use serde::{Deserialize, Serialize};
use sextant_model::{ActorId, EnvironmentId, RouteId, Timestamp, port::PortRange};
use utoipa::ToSchema;

/// The platform's port policy. 80 and 443 are open to all unless denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortPolicy {
    /// Open to every environment, besides 80 and 443.
    pub allow: Vec<PortRange>,
    /// Open to none, whatever else says so.
    pub deny: Vec<PortRange>,
    /// Routes that are there although they could not be created now, a thousand at most: a policy
    /// says who may begin, it ends nothing.
    pub out_of_policy: Vec<RouteOutOfPolicy>,
    /// Whether there are more of them than are named.
    #[serde(default)]
    pub more_out_of_policy: bool,
    /// Version for `If-Match`; 0 as long as the default holds.
    pub version: i32,
}

/// A route whose port is not open to its environment any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteOutOfPolicy {
    /// Which route.
    pub route_id: RouteId,
    /// Which environment answers.
    pub environment_id: EnvironmentId,
    /// The port.
    pub listen_port: u16,
}

/// Body of `PUT /v1/port-policy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPortPolicy {
    /// Open to every environment, besides 80 and 443.
    #[schema(max_items = 256)]
    pub allow: Vec<PortRange>,
    /// Open to none, whatever else says so.
    #[schema(max_items = 256)]
    pub deny: Vec<PortRange>,
}

/// A port that an environment may listen on although the policy does not open it to all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortGrant {
    /// Which environment.
    pub environment_id: EnvironmentId,
    /// Which port.
    pub port: u16,
    /// Why.
    pub reason: String,
    /// Who granted it: an API token.
    pub granted_by: ActorId,
    /// When.
    pub granted_at: Timestamp,
}

/// Body of `POST /v1/environments/{id}/port-grants`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPortGrant {
    /// Which port.
    #[schema(minimum = 1)]
    pub port: u16,
    /// Why, for the audit: one line.
    #[schema(min_length = 1, max_length = 256)]
    pub reason: String,
}
