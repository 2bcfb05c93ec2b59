//! How a connection ended. Every way has a name of its own, in metrics and in the access log.

use crate::{connect_error::ConnectError, hello, http_host, limits::Limit, proxy_protocol};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both sides ended it in order.
    Completed,
    /// The client reset it.
    ClientReset,
    /// The backend reset it.
    BackendReset,
    /// The client took or acknowledged nothing for too long, or cannot be reached any more.
    ClientGone,
    /// The backend did so, or cannot be.
    BackendGone,
    /// Nothing was sent in either direction for too long.
    IdleTimeout,
    /// One side had ended, and the other sent nothing for too long.
    HalfCloseTimeout,
    /// Its route was removed.
    RouteRemoved,
    /// Its backend left the route.
    BackendRemoved,
    /// The edge stopped.
    Shutdown,
    /// Closed without a byte, as health checks do. Not worth a line.
    Probe,
    /// The client closed before it had said where to.
    ClientLeft,
    /// The client did not say where to in time.
    TooSlow,
    /// No route listens on the address it came to.
    NoListener,
    /// It gave no name, and that is not enough where it came to (invariant 10).
    NoName,
    /// No route has the name it gave.
    UnknownName,
    /// No good ClientHello.
    BadHello(hello::Rejected),
    /// No good head of an HTTP/1 request.
    BadRequest(http_host::Refused),
    /// No good PROXY header.
    BadProxyHeader(proxy_protocol::Refused),
    /// A limit was reached.
    OverLimit(Limit),
    /// No backend may be used.
    NoBackend,
    /// No backend that was tried took the connection.
    ConnectRefused,
    /// The last backend that was tried did not answer in time.
    ConnectTimeout,
    /// No connection to the last backend that was tried could be made, for another reason.
    ConnectFailed(ConnectError),
    /// The backend is this edge itself: the connection would have come back for ever.
    Loop,
    /// The system had no descriptor or memory left.
    OutOfResources,
}

/// Defines the fieldless names that metrics are counted by, with the values of their two labels.
macro_rules! metrics {
    ($($name:ident => $outcome:literal, $reason:literal;)*) => {
        /// What connections that ended are counted by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $(
                #[doc = concat!("`outcome=\"", $outcome, "\"`, `reason=\"", $reason, "\"`.")]
                $name,
            )*
        }

        impl Metric {
            /// All of them, in the order of their discriminants.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The value of the label `outcome`.
            pub const fn outcome(self) -> &'static str {
                match self { $(Self::$name => $outcome),* }
            }

            /// The value of the label `reason`: empty where the outcome says all.
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason),* }
            }
        }
    };
}

metrics! {
    Completed => "completed", "";
    ClientReset => "client_reset", "";
    BackendReset => "backend_reset", "";
    ClientGone => "client_gone", "";
    BackendGone => "backend_gone", "";
    IdleTimeout => "idle_timeout", "";
    HalfCloseTimeout => "half_close_timeout", "";
    RouteRemoved => "route_removed", "";
    BackendRemoved => "backend_removed", "";
    Shutdown => "shutdown", "";
    Probe => "probe", "";
    ClientLeft => "client_left", "";
    TooSlow => "too_slow", "";
    NoListener => "no_listener", "";
    NoName => "no_name", "";
    UnknownName => "unknown_name", "";
    HelloNotTls => "bad_hello", "not_tls";
    HelloMalformed => "bad_hello", "malformed";
    HelloTooLarge => "bad_hello", "too_large";
    HelloTooManyRecords => "bad_hello", "too_many_records";
    HelloDuplicateSni => "bad_hello", "duplicate_sni";
    HelloDuplicateExtension => "bad_hello", "duplicate_extension";
    HelloSeveralNames => "bad_hello", "several_names";
    HelloUnknownNameType => "bad_hello", "unknown_name_type";
    HelloInvalidName => "bad_hello", "invalid_name";
    RequestNotHttp => "bad_request", "not_http";
    RequestHttp2 => "bad_request", "http2";
    RequestVersion => "bad_request", "version";
    RequestMalformed => "bad_request", "malformed";
    RequestTooLarge => "bad_request", "too_large";
    RequestSeveralHosts => "bad_request", "several_hosts";
    RequestHostMismatch => "bad_request", "host_mismatch";
    RequestInvalidHost => "bad_request", "invalid_host";
    RequestInvalidPort => "bad_request", "invalid_port";
    ProxyHeaderMissing => "bad_proxy_header", "not_proxy";
    ProxyHeaderMalformed => "bad_proxy_header", "malformed";
    ProxyHeaderUnsupported => "bad_proxy_header", "unsupported";
    ProxyHeaderTooLarge => "bad_proxy_header", "too_large";
    ProxyHeaderChecksum => "bad_proxy_header", "checksum";
    OverConnections => "over_limit", "connections";
    OverPrereads => "over_limit", "prereads";
    OverSourceConnections => "over_limit", "source_connections";
    OverSourcePrereads => "over_limit", "source_prereads";
    OverKeptBytes => "over_limit", "kept_bytes";
    OverRouteConnections => "over_limit", "route_connections";
    NoBackend => "no_backend", "";
    ConnectRefused => "connect_refused", "";
    ConnectTimeout => "connect_timeout", "";
    ConnectNoLocalAddress => "connect_failed", "no_local_address";
    ConnectUnreachable => "connect_failed", "unreachable";
    ConnectNotPermitted => "connect_failed", "not_permitted";
    ConnectOther => "connect_failed", "other";
    Loop => "loop", "";
    OutOfResources => "out_of_resources", "";
}

impl Outcome {
    /// What it is counted by.
    pub fn metric(&self) -> Metric {
        match self {
            Self::Completed => Metric::Completed,
            Self::ClientReset => Metric::ClientReset,
            Self::BackendReset => Metric::BackendReset,
            Self::ClientGone => Metric::ClientGone,
            Self::BackendGone => Metric::BackendGone,
            Self::IdleTimeout => Metric::IdleTimeout,
            Self::HalfCloseTimeout => Metric::HalfCloseTimeout,
            Self::RouteRemoved => Metric::RouteRemoved,
            Self::BackendRemoved => Metric::BackendRemoved,
            Self::Shutdown => Metric::Shutdown,
            Self::Probe => Metric::Probe,
            Self::ClientLeft => Metric::ClientLeft,
            Self::TooSlow => Metric::TooSlow,
            Self::NoListener => Metric::NoListener,
            Self::NoName => Metric::NoName,
            Self::UnknownName => Metric::UnknownName,
            Self::BadHello(why) => of_hello(*why),
            Self::BadRequest(why) => of_request(*why),
            Self::BadProxyHeader(why) => of_proxy_header(*why),
            Self::OverLimit(limit) => of_limit(*limit),
            Self::NoBackend => Metric::NoBackend,
            Self::ConnectRefused => Metric::ConnectRefused,
            Self::ConnectTimeout => Metric::ConnectTimeout,
            Self::ConnectFailed(why) => of_connect(*why),
            Self::Loop => Metric::Loop,
            Self::OutOfResources => Metric::OutOfResources,
        }
    }

    /// Whether a line in the access log is of use by default.
    pub fn is_worth_logging(&self) -> bool {
        !matches!(self, Self::Probe)
    }
}

fn of_hello(why: hello::Rejected) -> Metric {
    use hello::Rejected;
    match why {
        Rejected::NotTls => Metric::HelloNotTls,
        Rejected::Malformed(_) => Metric::HelloMalformed,
        Rejected::TooLarge => Metric::HelloTooLarge,
        Rejected::TooManyRecords => Metric::HelloTooManyRecords,
        Rejected::DuplicateSni => Metric::HelloDuplicateSni,
        Rejected::DuplicateExtension(_) => Metric::HelloDuplicateExtension,
        Rejected::SeveralNames => Metric::HelloSeveralNames,
        Rejected::UnknownNameType(_) => Metric::HelloUnknownNameType,
        Rejected::InvalidName(_) => Metric::HelloInvalidName,
    }
}

fn of_request(why: http_host::Refused) -> Metric {
    use http_host::Refused;
    match why {
        Refused::NotHttp => Metric::RequestNotHttp,
        Refused::Http2 => Metric::RequestHttp2,
        Refused::Version => Metric::RequestVersion,
        Refused::Malformed(_) => Metric::RequestMalformed,
        Refused::TooLarge => Metric::RequestTooLarge,
        Refused::SeveralHosts => Metric::RequestSeveralHosts,
        Refused::HostMismatch => Metric::RequestHostMismatch,
        Refused::InvalidHost(_) => Metric::RequestInvalidHost,
        Refused::InvalidPort => Metric::RequestInvalidPort,
    }
}

fn of_proxy_header(why: proxy_protocol::Refused) -> Metric {
    use proxy_protocol::Refused;
    match why {
        Refused::NotProxy => Metric::ProxyHeaderMissing,
        Refused::Malformed(_) => Metric::ProxyHeaderMalformed,
        Refused::Unsupported(_) => Metric::ProxyHeaderUnsupported,
        Refused::TooLarge(_) => Metric::ProxyHeaderTooLarge,
        Refused::Checksum => Metric::ProxyHeaderChecksum,
    }
}

fn of_connect(why: ConnectError) -> Metric {
    match why {
        ConnectError::Refused => Metric::ConnectRefused,
        ConnectError::TimedOut => Metric::ConnectTimeout,
        ConnectError::Itself => Metric::Loop,
        ConnectError::NoLocalAddress => Metric::ConnectNoLocalAddress,
        ConnectError::Unreachable => Metric::ConnectUnreachable,
        ConnectError::NotPermitted => Metric::ConnectNotPermitted,
        ConnectError::Other(_) => Metric::ConnectOther,
    }
}

fn of_limit(limit: Limit) -> Metric {
    match limit {
        Limit::Connections => Metric::OverConnections,
        Limit::Prereads => Metric::OverPrereads,
        Limit::SourceConnections => Metric::OverSourceConnections,
        Limit::SourcePrereads => Metric::OverSourcePrereads,
        Limit::KeptBytes => Metric::OverKeptBytes,
        Limit::RouteConnections => Metric::OverRouteConnections,
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::ClientReset => f.write_str("the client reset the connection"),
            Self::BackendReset => f.write_str("the backend reset the connection"),
            Self::ClientGone => f.write_str(
                "the client took or acknowledged nothing for too long, or cannot be reached",
            ),
            Self::BackendGone => f.write_str(
                "the backend took or acknowledged nothing for too long, or cannot be reached",
            ),
            Self::IdleTimeout => f.write_str("idle for too long"),
            Self::HalfCloseTimeout => f.write_str("idle for too long after one side had ended"),
            Self::RouteRemoved => f.write_str("the route was removed"),
            Self::BackendRemoved => f.write_str("the backend left the route"),
            Self::Shutdown => f.write_str("the edge stopped"),
            Self::Probe => f.write_str("closed without a byte"),
            Self::ClientLeft => f.write_str("the client closed before it was routed"),
            Self::TooSlow => f.write_str("the client did not say in time where to"),
            Self::NoListener => f.write_str("no route listens here"),
            Self::NoName => f.write_str("no server name, and not exactly one route here"),
            Self::UnknownName => f.write_str("no route has this name here"),
            Self::BadHello(why) => why.fmt(f),
            Self::BadRequest(why) => why.fmt(f),
            Self::BadProxyHeader(why) => why.fmt(f),
            Self::OverLimit(limit) => write!(f, "over the limit of {limit}"),
            Self::NoBackend => f.write_str("no backend may be used"),
            Self::ConnectRefused => ConnectError::Refused.fmt(f),
            Self::ConnectTimeout => ConnectError::TimedOut.fmt(f),
            Self::ConnectFailed(why) => why.fmt(f),
            Self::Loop => ConnectError::Itself.fmt(f),
            Self::OutOfResources => f.write_str("out of descriptors or memory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn labels_are_unique_and_the_list_is_in_order() {
        let labels: BTreeSet<_> =
            Metric::ALL.iter().map(|metric| (metric.outcome(), metric.reason())).collect();
        assert_eq!(labels.len(), Metric::ALL.len());
        for (index, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(*metric as usize, index, "{metric:?}");
        }
    }

    #[test]
    fn reasons_are_those_of_the_hello_parser() {
        use hello::{InvalidName, Part, Rejected};
        for why in [
            Rejected::NotTls,
            Rejected::Malformed(Part::Random),
            Rejected::TooLarge,
            Rejected::TooManyRecords,
            Rejected::DuplicateSni,
            Rejected::DuplicateExtension(10),
            Rejected::SeveralNames,
            Rejected::UnknownNameType(1),
            Rejected::InvalidName(InvalidName::Nul),
        ] {
            assert_eq!(Outcome::BadHello(why).metric().reason(), why.metric());
        }
    }

    #[test]
    fn reasons_are_those_of_failed_connects() {
        for why in [
            ConnectError::NoLocalAddress,
            ConnectError::Unreachable,
            ConnectError::NotPermitted,
            ConnectError::Other(rustix::io::Errno::INVAL),
        ] {
            let metric = Outcome::ConnectFailed(why).metric();
            assert_eq!((metric.outcome(), metric.reason()), ("connect_failed", why.metric()));
        }
    }

    #[test]
    fn reasons_are_those_of_the_request_parser() {
        use http_host::{Part, Refused};
        for why in [
            Refused::NotHttp,
            Refused::Http2,
            Refused::Version,
            Refused::Malformed(Part::Target),
            Refused::TooLarge,
            Refused::SeveralHosts,
            Refused::HostMismatch,
            Refused::InvalidHost(hello::InvalidName::Nul),
            Refused::InvalidPort,
        ] {
            assert_eq!(Outcome::BadRequest(why).metric().reason(), why.metric());
        }
    }

    #[test]
    fn reasons_are_those_of_the_header_decoder() {
        use proxy_protocol::{Part, Refused};
        for why in [
            Refused::NotProxy,
            Refused::Malformed(Part::Length),
            Refused::Unsupported(0x12),
            Refused::TooLarge(5000),
            Refused::Checksum,
        ] {
            assert_eq!(Outcome::BadProxyHeader(why).metric().reason(), why.metric());
        }
    }
}
