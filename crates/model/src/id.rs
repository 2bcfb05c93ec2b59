//! Typed ids. One kind throughout: UUID version 7, so creation order and id order agree.
//!
//! This is the registry, in alphabetical order; add new ids here.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
        )]
        #[serde(transparent)]
        #[schema(value_type = Uuid)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )*};
}

typed_ids! {
    /// Who caused an event: the id of an API token, of a node, or [`ActorId::SYSTEM`].
    ActorId;
    /// An operator's API token.
    ApiTokenId;
    /// A program of an org.
    AppId;
    /// A token that lets one machine enrol once.
    EnrolmentTokenId;
    /// One deployment of an app, such as staging: owns routes, addresses and ports.
    EnvironmentId;
    /// An address space with its peers.
    NetworkId;
    /// An enrolled machine.
    NodeId;
    /// A tenant.
    OrgId;
    /// What one deploy placed.
    ReleaseId;
    /// An ingress route.
    RouteId;
    /// One running instance of a process type.
    WorkloadId;
}

impl ActorId {
    /// The control plane itself, for example when it releases what a departed node held.
    pub const SYSTEM: Self = Self(Uuid::nil());
}

impl From<NodeId> for ActorId {
    fn from(id: NodeId) -> Self {
        Self(id.0)
    }
}

impl From<ApiTokenId> for ActorId {
    fn from(id: ApiTokenId) -> Self {
        Self(id.0)
    }
}
