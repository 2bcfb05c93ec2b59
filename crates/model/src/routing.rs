//! Ingress routing: which backend a connection goes to, decided by where it arrived and what its
//! first bytes say. Routing is per connection (ADR 0008 of the seeds): nothing is ever terminated.

pub mod desired;
pub mod table;

use std::{net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{hostname::HostPattern, id::EnvironmentId, schema::described_as_text};

pub use {desired::Routing, table::Table};

/// How a route's connections are told apart and carried.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolHint {
    /// TLS, routed by the name in its ClientHello and passed through as it is.
    TlsPassthrough,
    /// Any TCP: the address and port alone decide.
    TcpRaw,
    /// Reserved; refused.
    HttpTerminate,
}

/// Where a route is reached from outside.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// On the IPv6 addresses that all edges share.
    #[default]
    Ipv6Only,
    /// Also on the environment's own IPv4 address: needs the add-on.
    DedicatedIpv4,
    /// Reserved; refused.
    SharedIpv4Pool,
}

/// What decides whether a backend may be used: `none`, `tcp` (a connection to the backend's own
/// port succeeds) or `tcp:PORT` (one to another port of the same address does).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub enum HealthSource {
    /// Only what connections show as they are made.
    #[default]
    None,
    /// Connections made for this purpose.
    Tcp {
        /// To this port instead of the backend's own.
        port: Option<u16>,
    },
}

described_as_text!(HealthSource, "^(none|tcp(:[0-9]{1,5})?)$", ["none", "tcp", "tcp:9000"]);

/// A text that names no health source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("health_source \"{0}\" does not exist; use \"none\", \"tcp\" or \"tcp:PORT\"")]
pub struct UnknownHealthSource(String);

impl std::str::FromStr for HealthSource {
    type Err = UnknownHealthSource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownHealthSource(text.chars().take(70).collect());
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "tcp" => Ok(Self::Tcp { port: None }),
            Some(("tcp", port)) => match port.parse() {
                Ok(port) if port != 0 => Ok(Self::Tcp { port: Some(port) }),
                _ => Err(unknown()),
            },
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for HealthSource {
    type Error = UnknownHealthSource;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HealthSource> for String {
    fn from(source: HealthSource) -> Self {
        source.to_string()
    }
}

impl std::fmt::Display for HealthSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Tcp { port: None } => f.write_str("tcp"),
            Self::Tcp { port: Some(port) } => write!(f, "tcp:{port}"),
        }
    }
}

impl ProtocolHint {
    /// The word used in the API, in route files and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TlsPassthrough => "tls_passthrough",
            Self::TcpRaw => "tcp_raw",
            Self::HttpTerminate => "http_terminate",
        }
    }
}

impl Endpoint {
    /// The word used in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipv6Only => "ipv6_only",
            Self::DedicatedIpv4 => "dedicated_ipv4",
            Self::SharedIpv4Pool => "shared_ipv4_pool",
        }
    }
}

/// Names a route for people and in logs: its id, or its place in a route file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey(pub Arc<str>);

impl std::fmt::Display for RouteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What has to be known of a connection before its route is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Matching {
    /// Nothing: the route owns the address and port. Not a byte is read before it is routed.
    Whole,
    /// The server name in its ClientHello (RFC 6066).
    Sni(HostPattern),
    /// The Host of its first HTTP/1 request (RFC 9112 section 3.2).
    RequestHost(HostPattern),
}

/// A route as an edge serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedRoute {
    /// Which route.
    pub key: RouteKey,
    /// Which environment answers, where there are environments.
    pub environment_id: Option<EnvironmentId>,
    /// Where its connections arrive. An unspecified address stands for every address.
    pub listen: SocketAddr,
    /// Which of them are its own.
    pub matching: Matching,
    /// Where they go.
    pub backends: Vec<SocketAddr>,
    /// Whether a backend is first told who is connecting (PROXY protocol version 2).
    pub proxy_protocol: bool,
    /// What decides whether a backend may be used.
    pub health_source: HealthSource,
    /// Most connections at a time, over all backends; no limit of its own if absent.
    pub max_connections: Option<u32>,
}
