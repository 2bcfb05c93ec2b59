//! What a node does in the platform, and what an operator's token may do.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a node does.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum NodeRole {
    /// Runs workloads.
    Worker,
    /// Accepts connections from outside.
    Edge,
    /// Forwards for others to subnets behind it.
    Jump,
}

/// What the holder of an API token may do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorRole {
    /// Read everything.
    Viewer,
    /// Read and change everything, tokens included.
    Admin,
}

impl NodeRole {
    /// The word used in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Edge => "edge",
            Self::Jump => "jump",
        }
    }
}

impl OperatorRole {
    /// The word used in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }
}

/// A word that names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("role \"{0}\" does not exist; use one of {1}")]
pub struct UnknownRole(String, &'static str);

impl std::str::FromStr for NodeRole {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Worker, Self::Edge, Self::Jump]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.into(), "worker, edge, jump"))
    }
}

impl std::str::FromStr for OperatorRole {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Viewer, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.into(), "viewer, admin"))
    }
}
