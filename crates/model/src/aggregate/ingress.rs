//! What the rules of hostnames, ports and routes do not allow.

use crate::{
    hostname::HostPattern,
    name::DnsLabel,
    port::PortRefused,
    routing::{Endpoint, ProtocolHint, table::ListenerKind},
};

/// A command about hostnames, ports or routes that the rules do not allow now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngressRefusal {
    /// Things run in it, or lead to it.
    #[error(
        "environment \"{name}\" still has {routes} routes and {workloads} workloads; delete them first"
    )]
    EnvironmentInUse {
        /// Which environment.
        name: DnsLabel,
        /// How many routes lead to it.
        routes: u64,
        /// How many workloads run in it.
        workloads: u64,
    },
    /// A wildcard over a top-level domain.
    #[error(
        "hostname \"{0}\" covers everything directly below a top-level domain; give at least two labels after the star"
    )]
    HostnameTooBroad(HostPattern),
    /// It is the platform's own.
    #[error(
        "hostname \"{0}\" is reserved for the platform; use another name below its domain, or ask an operator of the platform"
    )]
    HostnameReserved(HostPattern),
    /// No room for another one.
    #[error("hostname: the environment has {0} of them; release one first")]
    TooManyHostnames(usize),
    /// It is not one of the environment's.
    #[error("hostname \"{0}\" is not claimed by this environment; claim it first")]
    HostnameUnclaimed(HostPattern),
    /// It is not the environment's before it is proved.
    #[error("hostname \"{0}\" is not proved yet; verify it first")]
    HostnamePending(HostPattern),
    /// A route for a name that nobody has proved here.
    #[error(
        "hostname \"{hostname}\" is not proved for environment \"{environment}\"; claim it there, publish the TXT record that is answered and verify it"
    )]
    HostnameUnproved {
        /// The name.
        hostname: HostPattern,
        /// The environment, as ORG/APP/ENVIRONMENT.
        environment: String,
    },
    /// It belongs to an environment that the caller may know of.
    #[error(
        "hostname \"{hostname}\" belongs to environment \"{environment}\"; move it from there, or release it there first"
    )]
    HostnameTaken {
        /// The name.
        hostname: HostPattern,
        /// The environment, as ORG/APP/ENVIRONMENT.
        environment: String,
    },
    /// It belongs to somebody else.
    #[error(
        "hostname \"{0}\" is taken by another org; use another name, or ask an operator of the platform"
    )]
    HostnameForeign(HostPattern),
    /// A wildcard and a name that it covers belong to one org.
    #[error(
        "hostname \"{0}\" overlaps a hostname of another org: a wildcard and the names it covers belong to one org; use another name, or ask an operator of the platform"
    )]
    HostnameOverlaps(HostPattern),
    /// All names of a site belong to one org.
    #[error(
        "hostname \"{hostname}\" lies at or below \"{site}\", where another org has names; use a name elsewhere, or ask an operator of the platform"
    )]
    HostnameSite {
        /// The name.
        hostname: HostPattern,
        /// The name directly below the platform's domain.
        site: String,
    },
    /// Neighbours go to another org together or not at all.
    #[error(
        "hostname \"{0}\" overlaps hostnames of other environments of its org, which all go to another org together; move those to the same environment first"
    )]
    HostnamesApart(HostPattern),
    /// Routes would lose their name.
    #[error("hostname \"{0}\" is used by {1} routes; delete or move them first")]
    HostnameInUse(HostPattern, u64),
    /// Workloads of one network cannot answer for another one.
    #[error(
        "to_environment_id: environment \"{0}\" lives in another network; a hostname with routes moves within its network"
    )]
    NetworksDiffer(String),
    /// A name is how its route is found.
    #[error("hostname is missing; protocol_hint \"{}\" finds its route by name", .0.as_str())]
    HostnameNeeded(ProtocolHint),
    /// Not in this version.
    #[error("protocol_hint \"{}\" is reserved; use \"tls_passthrough\" or \"tcp_raw\"", .0.as_str())]
    HintReserved(ProtocolHint),
    /// Not in this version.
    #[error("endpoint \"{}\" is reserved; use \"ipv6_only\"", .0.as_str())]
    EndpointReserved(Endpoint),
    /// Nothing of IPv4 without the add-on.
    #[error(
        "{field} needs the IPv4 add-on, which is not enabled for environment \"{environment}\"; use endpoint \"ipv6_only\" and ipv4_required false"
    )]
    AddOnNeeded {
        /// The field that asks for it, with its value.
        field: &'static str,
        /// The environment, as ORG/APP/ENVIRONMENT.
        environment: String,
    },
    /// The Host of a request can tell routes apart only where plain HTTP is spoken.
    #[error(
        "match_host needs protocol_hint \"tcp_raw\", a hostname and listen_port 80; {0} does not fit"
    )]
    MatchHost(&'static str),
    /// The environment may not listen there.
    #[error(transparent)]
    Port(PortRefused),
    /// The port cannot be granted.
    #[error("port cannot be granted: {0}")]
    Grant(PortRefused),
    /// Not that port.
    #[error("port {0} is not granted to this environment")]
    GrantUnknown(u16),
    /// Routes would lose their port.
    #[error("port {0} is used by {1} routes of this environment; delete them first")]
    GrantInUse(u16, u64),
    /// A grant says why.
    #[error("reason must be one line of 1 to 256 bytes; say why the port is needed")]
    Reason,
    /// The port is everybody's.
    #[error("listen_port {0} is shared by all environments; {needs}, or use another port", needs = shared_by(*.1))]
    PortShared(u16, ListenerKind),
    /// Another route has the port for itself, or the caller's wants it for itself.
    #[error(
        "listen_port {port} is taken by {holder}; a raw TCP route has its port for itself, use another port"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// Whose it is, as far as the caller may know.
        holder: String,
    },
    /// The same name on the same port.
    #[error(
        "hostname \"{hostname}\" has a route on listen_port {port} already, \"{holder}\"; change or delete that one"
    )]
    RouteExists {
        /// The name.
        hostname: HostPattern,
        /// The port.
        port: u16,
        /// The other route.
        holder: String,
    },
    /// Nobody would answer.
    #[error("backend_process_type \"{given}\" does not exist in environment \"{environment}\"; {}", known_types(.known))]
    ProcessTypeUnknown {
        /// What was asked for.
        given: DnsLabel,
        /// The environment, as ORG/APP/ENVIRONMENT.
        environment: String,
        /// What there is.
        known: Box<[DnsLabel]>,
    },
    /// No port.
    #[error("backend_port 0 is no port; give one from 1 to 65535")]
    BackendPort,
}

impl IngressRefusal {
    /// The stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EnvironmentInUse { .. } => "environment-in-use",
            Self::HostnameTooBroad(_) => "hostname-too-broad",
            Self::HostnameReserved(_) => "hostname-reserved",
            Self::TooManyHostnames(_) => "hostnames-exhausted",
            Self::HostnameUnclaimed(_) => "hostname-unclaimed",
            Self::HostnamePending(_) | Self::HostnameUnproved { .. } => "hostname-unproved",
            Self::HostnameTaken { .. }
            | Self::HostnameForeign(_)
            | Self::HostnameOverlaps(_)
            | Self::HostnameSite { .. }
            | Self::HostnamesApart(_) => "hostname-taken",
            Self::HostnameInUse(..) => "hostname-in-use",
            Self::NetworksDiffer(_) => "network-differs",
            Self::HostnameNeeded(_) => "hostname-needed",
            Self::HintReserved(_) => "protocol-hint-reserved",
            Self::EndpointReserved(_) => "endpoint-reserved",
            Self::AddOnNeeded { .. } => "ipv4-add-on-needed",
            Self::MatchHost(_) => "match-host-unusable",
            Self::Port(refused) | Self::Grant(refused) => match refused {
                PortRefused::Zero => "port-invalid",
                PortRefused::Denied(_) => "port-denied",
                PortRefused::NotGranted(_) => "port-not-granted",
            },
            Self::GrantUnknown(_) => "port-grant-unknown",
            Self::GrantInUse(..) => "port-grant-in-use",
            Self::Reason => "reason-invalid",
            Self::PortShared(..) => "port-shared",
            Self::PortTaken { .. } => "port-taken",
            Self::RouteExists { .. } => "route-exists",
            Self::ProcessTypeUnknown { .. } => "process-type-unknown",
            Self::BackendPort => "backend-port-invalid",
        }
    }
}

fn shared_by(kind: ListenerKind) -> &'static str {
    match kind {
        ListenerKind::Tls => "use protocol_hint \"tls_passthrough\" there",
        ListenerKind::Http => "use protocol_hint \"tcp_raw\" with match_host true there",
        ListenerKind::Raw => "leave it",
    }
}

fn known_types(known: &[DnsLabel]) -> String {
    if known.is_empty() {
        return "it has none yet, deploy or register a workload first".into();
    }
    let quoted: Vec<_> = known.iter().map(|name| format!("\"{name}\"")).collect();
    format!("use one of {}", quoted.join(", "))
}
