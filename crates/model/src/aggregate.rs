//! What each thing in the log may do next. An aggregate is the fold of its own events; a command
//! is a method that returns the events to append, or a [`Refusal`].

pub mod api_token;
pub mod app;
pub mod enrolment_token;
pub mod environment;
pub mod ingress;
pub mod network;
pub mod node;
pub mod org;
pub mod port_policy;
pub mod release;
pub mod route;
pub mod tenancy;
pub mod workload;

use crate::{
    address::{IpStackMode, Topology, UnusableMeshPrefix},
    event::{AggregateKind, EventBody},
    name::DnsLabel,
    timestamp::Timestamp,
};

pub use {
    api_token::ApiTokenState, app::AppState, enrolment_token::EnrolmentTokenState,
    environment::EnvironmentState, ingress::IngressRefusal, network::NetworkState, node::NodeState,
    org::OrgState, port_policy::PortPolicyState, release::ReleaseState, route::RouteState,
    tenancy::TenancyRefusal, workload::WorkloadState,
};

/// The fold of one aggregate's events.
pub trait Aggregate: Default {
    /// Which aggregates these are.
    const KIND: AggregateKind;

    /// Takes in the next event. Events of other kinds are ignored.
    fn apply(&mut self, event: &EventBody);
}

/// A command that the rules do not allow now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing, or there no longer is.
    #[error("{kind} does not exist", kind = described(*.0))]
    NotFound(AggregateKind),
    /// The mesh is all that works today.
    #[error("ip_stack_mode \"{mode}\" is not supported yet; use \"ipv6\"", mode = mode_word(*.0))]
    StackModeUnsupported(IpStackMode),
    /// The mesh is all that works today.
    #[error("topology \"{topology}\" is not supported yet; use \"full-mesh\"", topology = topology_word(*.0))]
    TopologyUnsupported(Topology),
    /// An IPv6-only network has no IPv4 prefix.
    #[error("ipv4_prefix is set, but the network is IPv6 only; leave it out")]
    Ipv4PrefixUnexpected,
    /// The prefix cannot carry a mesh.
    #[error(transparent)]
    MeshPrefix(#[from] UnusableMeshPrefix),
    /// A lifetime outside the allowed span.
    #[error("expires_in of {given} s is outside {least} to {most} s")]
    Lifetime {
        /// What was asked for, in seconds.
        given: u64,
        /// Least allowed, in seconds.
        least: u64,
        /// Most allowed, in seconds.
        most: u64,
    },
    /// A node needs something to do.
    #[error("roles is empty; give at least one of worker, edge, jump")]
    NoRoles,
    /// The token's time is over.
    #[error("the token expired at {0}; create a new one")]
    TokenExpired(Timestamp),
    /// Tokens work once.
    #[error("the token was already used; create a new one for this machine")]
    TokenUsed,
    /// An operator withdrew it.
    #[error("the token was revoked; create a new one")]
    TokenRevoked,
    /// The secret does not match.
    #[error("the token is not valid here; create one on this control plane")]
    TokenForeign,
    /// The token names another machine.
    #[error("the token is for node \"{0}\"; enrol under that name or create another token")]
    TokenForOtherNode(DnsLabel),
    /// The node has left or is leaving.
    #[error("node \"{0}\" has left the network; enrol it again with a new token")]
    NodeLeft(DnsLabel),
    /// An operator withdrew the node's certificates.
    #[error(
        "the certificates of this node were revoked; an operator gives it access again with `sextant node readmit`, or removes it"
    )]
    CertificatesRevoked,
    /// A certificate was asked for on a key that is not the node's.
    #[error(
        "the key is not the one that node \"{0}\" enrolled with; restore client.key, or remove the node and enrol it again"
    )]
    ForeignKey(DnsLabel),
    /// Each time is an event for ever.
    #[error("{what} more than {limit} times within an hour; try again later")]
    TooOften {
        /// What was done, for people.
        what: &'static str,
        /// How often it may be done in an hour.
        limit: u64,
    },
    /// Peers could not reach it.
    #[error(
        "endpoint \"{0}\" cannot be reached by peers; give a unicast IPv6 address outside the mesh and a port"
    )]
    EndpointUnusable(String),
    /// Peers are told the same endpoint of another node.
    #[error(
        "endpoint \"{0}\" is that of node \"{1}\"; give this machine's own, or remove that node if it is gone"
    )]
    EndpointTaken(String, String),
    /// A network is not removed under its nodes and environments.
    #[error("network \"{0}\" still has {1} nodes and {2} environments; remove them first")]
    NetworkInUse(DnsLabel, u64, u64),
    /// Hostnames, ports and routes.
    #[error(transparent)]
    Ingress(#[from] IngressRefusal),
    /// Orgs, apps, releases and workloads.
    #[error(transparent)]
    Tenancy(#[from] TenancyRefusal),
}

impl Refusal {
    /// The stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not-found",
            Self::StackModeUnsupported(_) => "ip-stack-mode-unsupported",
            Self::TopologyUnsupported(_) => "topology-unsupported",
            Self::Ipv4PrefixUnexpected | Self::MeshPrefix(_) => "prefix-unusable",
            Self::Lifetime { .. } => "lifetime-out-of-range",
            Self::NoRoles => "roles-empty",
            Self::TokenExpired(_) => "token-expired",
            Self::TokenUsed => "token-used",
            Self::TokenRevoked => "token-revoked",
            Self::TokenForeign => "token-invalid",
            Self::TokenForOtherNode(_) => "token-for-other-node",
            Self::NodeLeft(_) => "node-left",
            Self::CertificatesRevoked => "certificate-revoked",
            Self::ForeignKey(_) => "key-not-enrolled",
            Self::TooOften { .. } => "too-often",
            Self::EndpointUnusable(_) => "endpoint-unusable",
            Self::EndpointTaken(..) => "endpoint-taken",
            Self::NetworkInUse(..) => "network-in-use",
            Self::Ingress(refusal) => refusal.code(),
            Self::Tenancy(refusal) => refusal.code(),
        }
    }
}

fn described(kind: AggregateKind) -> &'static str {
    match kind {
        AggregateKind::ApiToken => "the API token",
        AggregateKind::App => "the app",
        AggregateKind::EnrolmentToken => "the enrolment token",
        AggregateKind::Environment => "the environment",
        AggregateKind::Network => "the network",
        AggregateKind::Node => "the node",
        AggregateKind::Org => "the org",
        AggregateKind::PortPolicy => "the port policy",
        AggregateKind::Release => "the release",
        AggregateKind::Route => "the route",
        AggregateKind::Workload => "the workload",
        AggregateKind::Unknown => "it",
    }
}

fn mode_word(mode: IpStackMode) -> &'static str {
    match mode {
        IpStackMode::Ipv6 => "ipv6",
        IpStackMode::Ipv4 => "ipv4",
        IpStackMode::Dual => "dual",
    }
}

fn topology_word(topology: Topology) -> &'static str {
    match topology {
        Topology::FullMesh => "full-mesh",
        Topology::Hub => "hub",
    }
}
