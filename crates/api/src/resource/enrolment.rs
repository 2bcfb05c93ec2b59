//! Enrolment: the token an operator makes, and the exchange that turns a machine into a node.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sextant_model::{
    Cursor, DnsLabel, EnrolmentTokenId, NetworkId, NodeId, NodeRole, PublicKey, Timestamp,
    membership::Membership,
};
use utoipa::ToSchema;

use super::{node::Node, refusal::Refused};

/// Body of `POST /v1/enrolment-tokens`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEnrolmentToken {
    /// The network to join.
    pub network_id: NetworkId,
    /// The name the machine will have.
    pub node_name: DnsLabel,
    /// What it will do; `worker` if absent.
    #[serde(default = "worker")]
    #[schema(max_items = 3)]
    pub roles: Vec<NodeRole>,
    /// How long it works, in seconds: a minute to 30 days; an hour if absent.
    #[serde(default = "an_hour")]
    #[schema(minimum = 60, maximum = 2_592_000)]
    pub expires_in: u64,
}

fn worker() -> Vec<NodeRole> {
    vec![NodeRole::Worker]
}

fn an_hour() -> u64 {
    3600
}

/// What became of an enrolment token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EnrolmentTokenPhase {
    /// Can be used until it expires.
    Open,
    /// A node enrolled with it.
    Used,
    /// An operator withdrew it.
    Revoked,
}

/// A token that lets one machine enrol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnrolmentToken {
    /// Which token.
    pub id: EnrolmentTokenId,
    /// The network to join.
    pub network_id: NetworkId,
    /// The name the machine will have.
    pub node_name: DnsLabel,
    /// What it will do.
    pub roles: Vec<NodeRole>,
    /// What became of it.
    pub phase: EnrolmentTokenPhase,
    /// The node it made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_id: Option<NodeId>,
    /// Useless from then on.
    pub expires_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// How often somebody was refused who had it, or guessed at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// The token itself, shown once: in the answer to the request that made it. A repeat of that
    /// request with the same Idempotency-Key does not show it again, because only a hash is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Body of `POST /v1/enrol`.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// The enrolment token.
    #[schema(max_length = 256)]
    pub token: String,
    /// The machine's name; must be the one the token was made for.
    pub node_name: DnsLabel,
    /// Made on the machine; the private half never leaves it.
    pub public_key: PublicKey,
    /// Where peers reach the machine's WireGuard: a unicast IPv6 address and a port.
    #[schema(value_type = String, examples("[2001:db8::1]:51820"))]
    pub endpoint: SocketAddr,
    /// PKCS #10 certificate signing request, PEM.
    #[schema(max_length = 8192)]
    pub certificate_request: String,
}

impl std::fmt::Debug for EnrolRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrolRequest")
            .field("node_name", &self.node_name)
            .field("public_key", &self.public_key)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Answer of `POST /v1/enrol`. Asking again with the same token and the same keys gives the same
/// node and a fresh certificate, so a lost answer costs nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Enrolment {
    /// The new node.
    pub node: Node,
    /// Its client certificate, PEM.
    pub certificate: String,
    /// The control plane's CA, PEM.
    pub ca: String,
    /// Where the stream goes on.
    pub cursor: Cursor,
    /// The members of its network, itself included.
    pub membership: Membership,
}

/// Body of `POST /v1/node/certificate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateRequest {
    /// PKCS #10 certificate signing request, PEM.
    #[schema(max_length = 8192)]
    pub certificate_request: String,
}

/// Answer of `POST /v1/node/certificate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// The client certificate, PEM.
    pub certificate: String,
    /// The control plane's CA, PEM.
    pub ca: String,
    /// End of validity.
    pub not_after: Timestamp,
}
