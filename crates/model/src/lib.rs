//! The pure rules of Sextant: what a network, a node and a token may do, how addresses are
//! allocated, what a consumer must make true and which steps lead there.
//!
//! Nothing here knows a clock, randomness, an async runtime or SQL: `now`, ids and keys come in as
//! arguments, so every rule can be tested as a table. The shells around it (`store`, `control`,
//! `agent`) read, ask this crate, act and report.

pub mod address;
pub mod aggregate;
pub mod cursor;
pub mod event;
pub mod health;
pub mod hostname;
pub mod id;
pub mod instance;
pub mod ipam;
pub mod key;
pub mod membership;
pub mod mtu;
pub mod name;
pub mod neighbours;
pub mod placement;
pub mod plan;
pub mod port;
pub mod prefix;
pub mod role;
pub mod routing;
mod schema;
pub mod secret;
pub mod standing;
pub mod timestamp;
pub mod visibility;

pub use address::{IpStackMode, PeerAddresses, Topology};
pub use aggregate::Refusal;
pub use cursor::{Cursor, Epoch};
pub use event::{AggregateKind, Event, EventBody};
pub use hostname::{HostPattern, Hostname};
pub use id::{
    ActorId, ApiTokenId, AppId, EnrolmentTokenId, EnvironmentId, NetworkId, NodeId, OrgId,
    ReleaseId, RouteId, WorkloadId,
};
pub use key::PublicKey;
pub use name::DnsLabel;
pub use prefix::Prefix;
pub use role::{NodeRole, OperatorRole};
pub use timestamp::Timestamp;
