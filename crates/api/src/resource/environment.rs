//! Environments: deployments of an app, such as staging. They own routes, addresses and ports.

use serde::{Deserialize, Serialize};
use sextant_model::{AppId, DnsLabel, EnvironmentId, NetworkId, OrgId, Timestamp};
use utoipa::ToSchema;

/// One deployment of an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Environment {
    /// Which environment.
    pub id: EnvironmentId,
    /// Whose it is.
    pub org_id: OrgId,
    /// The org's name.
    pub org_name: DnsLabel,
    /// Which app runs in it.
    pub app_id: AppId,
    /// The app's name.
    pub app_name: DnsLabel,
    /// The network its workloads live in.
    pub network_id: NetworkId,
    /// Unique in the app.
    pub name: DnsLabel,
    /// Version for `If-Match`.
    pub version: i32,
    /// When it came into being.
    pub created_at: Timestamp,
}

impl Environment {
    /// How people name it: `ORG/APP/ENVIRONMENT`.
    pub fn path(&self) -> String {
        format!("{}/{}/{}", self.org_name, self.app_name, self.name)
    }
}

/// Body of `POST /v1/environments`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEnvironment {
    /// Which app will run in it.
    pub app_id: AppId,
    /// Unique in the app.
    pub name: DnsLabel,
    /// The network its workloads will live in; may be absent where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_id: Option<NetworkId>,
}
