//! Everything that can happen, as it stands in the log.
//!
//! To add an event: a variant of [`EventBody`] with its payload struct, its line in
//! [`EventBody::kind`], the fold in its aggregate, the decision who may see it in
//! [`crate::visibility`], and the projections in the store that read it.

pub mod ingress;
pub mod tenancy;

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    address::{IpStackMode, PeerAddresses, Topology},
    id::{ActorId, EnrolmentTokenId, NetworkId, NodeId, OrgId},
    key::PublicKey,
    name::DnsLabel,
    prefix::Prefix,
    role::{NodeRole, OperatorRole},
    secret::SecretHash,
    timestamp::Timestamp,
};

pub use ingress::*;
pub use tenancy::*;

/// What kind of thing an event is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum AggregateKind {
    /// An operator's API token.
    ApiToken,
    /// A program of an org.
    App,
    /// A token that lets one machine enrol.
    EnrolmentToken,
    /// One deployment of an app.
    Environment,
    /// An address space.
    Network,
    /// An enrolled machine.
    Node,
    /// A tenant.
    Org,
    /// Which ports environments may listen on; there is one.
    PortPolicy,
    /// What one deploy placed.
    Release,
    /// An ingress route.
    Route,
    /// One running instance of a process type.
    Workload,
    /// Something that a newer version made.
    #[serde(other)]
    Unknown,
}

impl AggregateKind {
    /// Every kind there is; the schema holds the same list.
    pub const ALL: &'static [Self] = &[
        Self::ApiToken,
        Self::App,
        Self::EnrolmentToken,
        Self::Environment,
        Self::Network,
        Self::Node,
        Self::Org,
        Self::PortPolicy,
        Self::Release,
        Self::Route,
        Self::Workload,
    ];

    /// The word in the `aggregate_type` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiToken => "api-token",
            Self::App => "app",
            Self::EnrolmentToken => "enrolment-token",
            Self::Environment => "environment",
            Self::Network => "network",
            Self::Node => "node",
            Self::Org => "org",
            Self::PortPolicy => "port-policy",
            Self::Release => "release",
            Self::Route => "route",
            Self::Workload => "workload",
            Self::Unknown => "unknown",
        }
    }
}

/// One row of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Position in the log: monotonic, not gapless.
    pub event_id: i64,
    /// When the transaction that appended it began.
    pub occurred_at: Timestamp,
    /// What kind of thing it is about.
    pub aggregate_type: AggregateKind,
    /// Which one.
    pub aggregate_id: Uuid,
    /// Position within the aggregate, from 1, without gaps.
    pub aggregate_seq: i32,
    /// Who caused it.
    pub actor_id: ActorId,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened: `event_type` names it, `payload` holds the details.
///
/// Neighbouring versions work together: what this version cannot read is [`Self::Unknown`], never an
/// error, whether it comes from the log or over the wire (ADR 0012).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", tag = "event_type", content = "payload", rename_all = "kebab-case")]
pub enum EventBody {
    /// A network came into being.
    NetworkCreated(NetworkCreated),
    /// A network got another name.
    NetworkRenamed(NetworkRenamed),
    /// A network without nodes was removed.
    NetworkDeleted(NetworkDeleted),
    /// A machine was invited.
    EnrolmentTokenCreated(EnrolmentTokenCreated),
    /// The invitation was taken.
    EnrolmentTokenUsed(EnrolmentTokenUsed),
    /// The invitation was withdrawn.
    EnrolmentTokenRevoked(EnrolmentTokenRevoked),
    /// A machine became a node.
    NodeEnrolled(NodeEnrolled),
    /// A node's peers must use another underlay address.
    NodeEndpointChanged(NodeEndpointChanged),
    /// A node was given a client certificate.
    NodeCertificateIssued(NodeCertificateIssued),
    /// A node's certificates are good for nothing from now on, and its key renews none.
    NodeCertificatesRevoked(NodeCertificatesRevoked),
    /// A node's key and certificates are good again.
    NodeReadmitted(NodeReadmitted),
    /// A node leaves: peers drop it, its addresses stay reserved.
    NodeWithdrawn(NodeWithdrawn),
    /// Every live node has dropped it: its addresses go into quarantine.
    NodeReleased(NodeReleased),
    /// An operator was given access.
    ApiTokenCreated(ApiTokenCreated),
    /// The access was taken back.
    ApiTokenRevoked(ApiTokenRevoked),
    /// A tenant came into being.
    OrgCreated(OrgCreated),
    /// A tenant without apps was removed.
    OrgDeleted(OrgDeleted),
    /// An operator of the platform gave a tenant other limits.
    OrgQuotasSet(OrgQuotasSet),
    /// An org got an app.
    AppCreated(AppCreated),
    /// An app without environments was removed.
    AppDeleted(AppDeleted),
    /// An app got an environment.
    EnvironmentCreated(EnvironmentCreated),
    /// An environment without routes and workloads was removed.
    EnvironmentDeleted(EnvironmentDeleted),
    /// An environment asked for a hostname; it has it once it is proved, or at once if no proof
    /// is needed.
    HostnameClaimed(HostnameClaimed),
    /// The proof was found in DNS.
    HostnameVerified(HostnameVerified),
    /// A hostname came over from another environment.
    HostnameAcquired(HostnameAcquired),
    /// A hostname went over to another environment.
    HostnameSurrendered(HostnameSurrendered),
    /// An environment gave a hostname up.
    HostnameReleased(HostnameReleased),
    /// An environment may listen on a port that the policy does not give to everybody.
    PortGranted(PortGranted),
    /// It may no longer.
    PortGrantRevoked(PortGrantRevoked),
    /// Which ports are open to every environment, and which to none.
    PortPolicySet(PortPolicySet),
    /// A deploy began.
    ReleaseCreated(ReleaseCreated),
    /// Every workload of it is healthy.
    ReleaseActivated(ReleaseActivated),
    /// A later one has taken its place.
    ReleaseSuperseded(ReleaseSuperseded),
    /// A workload was given a node and an address.
    WorkloadPlaced(WorkloadPlaced),
    /// It is fit, or no longer.
    WorkloadHealthChanged(WorkloadHealthChanged),
    /// It goes: connections and its address are withdrawn.
    WorkloadWithdrawn(WorkloadWithdrawn),
    /// Everybody has let go: its address goes into quarantine.
    WorkloadReleased(WorkloadReleased),
    /// Edges carry connections from now on.
    RouteCreated(RouteCreated),
    /// The same route goes elsewhere, or otherwise.
    RouteChanged(RouteChanged),
    /// The route went with its hostname to another environment.
    RouteMoved(RouteMoved),
    /// Edges carry no new connections.
    RouteDeleted(RouteDeleted),
    /// Something that this version cannot read: a newer one wrote it.
    #[serde(skip)]
    Unknown(UnknownEvent),
}

/// An event that this version cannot read. Its payload is not kept: nobody knows whether it holds a
/// secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEvent {
    /// The word in the `event_type` column.
    pub event_type: String,
    /// What is wrong with it, for the log of this program.
    pub reason: String,
}

/// What a fold of events had to leave out: it goes on with what it knows, and says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Skipped {
    /// How many events.
    pub count: u64,
    /// The type of the first of them.
    pub first_type: String,
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} events were left out because this version does not know them, the first of type \
             \"{}\"; update this program",
            self.count, self.first_type
        )
    }
}

impl Skipped {
    /// Counts `event` if it cannot be read.
    pub fn note(skipped: &mut Option<Self>, event: &Event) {
        if let Some(unknown) = event.body.unknown() {
            let first_type = unknown.event_type.clone();
            skipped.get_or_insert(Self { count: 0, first_type }).count += 1;
        }
    }
}

/// An event body as it travels, before anything is known of it.
#[derive(Serialize, Deserialize)]
struct Tagged {
    event_type: String,
    #[serde(default)]
    payload: serde_json::Value,
}

impl Serialize for EventBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unknown(unknown) => {
                let (event_type, payload) = (unknown.event_type.clone(), serde_json::json!({}));
                Tagged { event_type, payload }.serialize(serializer)
            }
            // The derived one.
            known => Self::serialize(known, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for EventBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tagged = Tagged::deserialize(deserializer)?;
        Ok(Self::from_columns(&tagged.event_type, tagged.payload))
    }
}

/// Payload of `network-created`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NetworkCreated {
    /// Unique name.
    pub name: DnsLabel,
    /// Families it speaks.
    pub ip_stack_mode: IpStackMode,
    /// How peers connect.
    pub topology: Topology,
    /// Its prefix per family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_prefix: Option<Prefix>,
    /// Its prefix per family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_prefix: Option<Prefix>,
}

/// Payload of `network-renamed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NetworkRenamed {
    /// The new name.
    pub name: DnsLabel,
}

/// Payload of `network-deleted`: nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NetworkDeleted {}

/// Payload of `enrolment-token-created`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnrolmentTokenCreated {
    /// The network the machine will join.
    pub network_id: NetworkId,
    /// The name it will have.
    pub node_name: DnsLabel,
    /// What it will do.
    pub roles: Vec<NodeRole>,
    /// Useless from then on.
    pub expires_at: Timestamp,
    /// Hash of the secret; never leaves the control plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub secret_hash: Option<SecretHash>,
}

/// Payload of `enrolment-token-used`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnrolmentTokenUsed {
    /// The node it made.
    pub node_id: NodeId,
}

/// Payload of `enrolment-token-revoked`: nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnrolmentTokenRevoked {}

/// Payload of `node-enrolled`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeEnrolled {
    /// The network it joined.
    pub network_id: NetworkId,
    /// Name, unique in the network.
    pub name: DnsLabel,
    /// What it does.
    pub roles: Vec<NodeRole>,
    /// Made on the node; the private half never leaves it.
    pub public_key: PublicKey,
    /// Where peers reach its WireGuard on the underlay.
    #[schema(value_type = String)]
    pub endpoint: SocketAddr,
    /// Its own addresses inside the network.
    pub addresses: PeerAddresses,
    /// The prefix its workloads live in.
    pub prefix: Prefix,
    /// The token it enrolled with.
    pub token_id: EnrolmentTokenId,
    /// SHA-256 of the public key its certificates are made for, in hex: a repeated enrolment is
    /// answered only to the holder of the same key.
    pub client_key_fingerprint: String,
}

/// Payload of `node-endpoint-changed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeEndpointChanged {
    /// The network it is a peer of.
    pub network_id: NetworkId,
    /// Where peers reach it from now on.
    #[schema(value_type = String)]
    pub endpoint: SocketAddr,
}

/// Payload of `node-certificate-issued`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeCertificateIssued {
    /// The network it is a peer of.
    pub network_id: NetworkId,
    /// Serial number, in hex.
    pub serial: String,
    /// End of validity.
    pub not_after: Timestamp,
}

/// Payload of `node-certificates-revoked`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeCertificatesRevoked {
    /// The network it is a peer of.
    pub network_id: NetworkId,
}

/// Payload of `node-readmitted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeReadmitted {
    /// The network it is a peer of.
    pub network_id: NetworkId,
}

/// Payload of `node-withdrawn`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeWithdrawn {
    /// The network it leaves.
    pub network_id: NetworkId,
}

/// Payload of `node-released`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeReleased {
    /// The network it left.
    pub network_id: NetworkId,
}

/// Payload of `api-token-created`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApiTokenCreated {
    /// What the token is for.
    pub name: DnsLabel,
    /// What it may do.
    pub role: OperatorRole,
    /// The only org it is for; every org and the platform itself if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<OrgId>,
    /// Useless from then on; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Hash of the secret; never leaves the control plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub secret_hash: Option<SecretHash>,
}

/// Payload of `api-token-revoked`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApiTokenRevoked {
    /// The only org it was for; none for the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<OrgId>,
}

impl EventBody {
    /// The word in the `event_type` column of every event there is; the schema holds the same list.
    pub const TYPES: &'static [&'static str] = &[
        "network-created",
        "network-renamed",
        "network-deleted",
        "enrolment-token-created",
        "enrolment-token-used",
        "enrolment-token-revoked",
        "node-enrolled",
        "node-endpoint-changed",
        "node-certificate-issued",
        "node-certificates-revoked",
        "node-readmitted",
        "node-withdrawn",
        "node-released",
        "api-token-created",
        "api-token-revoked",
        "org-created",
        "org-deleted",
        "org-quotas-set",
        "app-created",
        "app-deleted",
        "environment-created",
        "environment-deleted",
        "hostname-claimed",
        "hostname-verified",
        "hostname-acquired",
        "hostname-surrendered",
        "hostname-released",
        "port-granted",
        "port-grant-revoked",
        "port-policy-set",
        "release-created",
        "release-activated",
        "release-superseded",
        "workload-placed",
        "workload-health-changed",
        "workload-withdrawn",
        "workload-released",
        "route-created",
        "route-changed",
        "route-moved",
        "route-deleted",
    ];

    /// What kind of aggregate the event belongs to.
    pub fn kind(&self) -> AggregateKind {
        match self {
            Self::NetworkCreated(_) | Self::NetworkRenamed(_) | Self::NetworkDeleted(_) => {
                AggregateKind::Network
            }
            Self::EnrolmentTokenCreated(_)
            | Self::EnrolmentTokenUsed(_)
            | Self::EnrolmentTokenRevoked(_) => AggregateKind::EnrolmentToken,
            Self::NodeEnrolled(_)
            | Self::NodeEndpointChanged(_)
            | Self::NodeCertificateIssued(_)
            | Self::NodeCertificatesRevoked(_)
            | Self::NodeReadmitted(_)
            | Self::NodeWithdrawn(_)
            | Self::NodeReleased(_) => AggregateKind::Node,
            Self::ApiTokenCreated(_) | Self::ApiTokenRevoked(_) => AggregateKind::ApiToken,
            Self::OrgCreated(_) | Self::OrgDeleted(_) | Self::OrgQuotasSet(_) => AggregateKind::Org,
            Self::AppCreated(_) | Self::AppDeleted(_) => AggregateKind::App,
            Self::EnvironmentCreated(_)
            | Self::EnvironmentDeleted(_)
            | Self::HostnameClaimed(_)
            | Self::HostnameVerified(_)
            | Self::HostnameAcquired(_)
            | Self::HostnameSurrendered(_)
            | Self::HostnameReleased(_)
            | Self::PortGranted(_)
            | Self::PortGrantRevoked(_) => AggregateKind::Environment,
            Self::PortPolicySet(_) => AggregateKind::PortPolicy,
            Self::ReleaseCreated(_) | Self::ReleaseActivated(_) | Self::ReleaseSuperseded(_) => {
                AggregateKind::Release
            }
            Self::WorkloadPlaced(_)
            | Self::WorkloadHealthChanged(_)
            | Self::WorkloadWithdrawn(_)
            | Self::WorkloadReleased(_) => AggregateKind::Workload,
            Self::RouteCreated(_)
            | Self::RouteChanged(_)
            | Self::RouteMoved(_)
            | Self::RouteDeleted(_) => AggregateKind::Route,
            Self::Unknown(_) => AggregateKind::Unknown,
        }
    }

    /// Why this version cannot read the event, if it cannot.
    pub fn unknown(&self) -> Option<&UnknownEvent> {
        match self {
            Self::Unknown(unknown) => Some(unknown),
            _ => None,
        }
    }

    /// The columns `event_type` and `payload`. An event that cannot be read cannot be written.
    pub fn to_columns(&self) -> Result<(String, serde_json::Value), serde_json::Error> {
        if let Self::Unknown(unknown) = self {
            let text = format!("event type \"{}\" is not known here", unknown.event_type);
            return Err(serde::ser::Error::custom(text));
        }
        let mut tagged = serde_json::to_value(self)?;
        let payload = tagged["payload"].take();
        let event_type = tagged["event_type"].as_str().unwrap_or_default().to_owned();
        Ok((event_type, payload))
    }

    /// Reads the columns `event_type` and `payload`.
    pub fn from_columns(event_type: &str, payload: serde_json::Value) -> Self {
        let tagged = serde_json::json!({ "event_type": event_type, "payload": payload });
        // The derived one, which knows no more than the variants above.
        Self::deserialize(tagged).unwrap_or_else(|error| {
            let (event_type, reason) = (event_type.to_owned(), error.to_string());
            Self::Unknown(UnknownEvent { event_type, reason })
        })
    }
}

#[cfg(test)]
mod tests;
