//! Why a connection has no request to route by.

use super::MAX_HEAD;
use crate::hello::InvalidName;

/// Why the first bytes of a connection are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Does not begin with a method and a space.
    #[error("not HTTP; this port takes plain HTTP/1 only")]
    NotHttp,
    /// HTTP/2 without TLS: its names are compressed, and each request may have another.
    #[error("HTTP/2 without TLS cannot be routed by host; use HTTP/1.1, or HTTP/2 over TLS")]
    Http2,
    /// Neither HTTP/1 nor HTTP/2.
    #[error("unknown version of HTTP; use HTTP/1.1")]
    Version,
    /// A head that servers might read in different ways.
    #[error("malformed request: {0}")]
    Malformed(Part),
    /// The head is longer than [`MAX_HEAD`].
    #[error("request head is longer than {MAX_HEAD} bytes")]
    TooLarge,
    /// Two Host fields, equal or not.
    #[error("request has several Host fields")]
    SeveralHosts,
    /// The request line names a host, and the Host field another or none.
    #[error("host of the request line is not in the Host field")]
    HostMismatch,
    /// The host is no host name.
    #[error("request has an invalid host: {0}")]
    InvalidHost(InvalidName),
    /// What follows the host is no port.
    #[error("request has an invalid port after its host")]
    InvalidPort,
}

/// The part of a request head that is out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Part {
    /// Not a path, not `*`, not an address of http or https; or followed by no version.
    #[error("request target")]
    Target,
    /// Neither `HTTP/` with two digits, nor ended by CR and LF.
    #[error("version")]
    Version,
    /// Empty, or with a byte that is no token before the colon: a space, most of all.
    #[error("name of a field")]
    FieldName,
    /// A NUL.
    #[error("NUL in a field")]
    FieldValue,
    /// A field that goes on in a second line (RFC 9112 section 5.2).
    #[error("field folded over two lines")]
    Folded,
    /// CR without LF, or LF without CR.
    #[error("CR and LF not together")]
    LineEnd,
}

impl Refused {
    /// The value of the label `reason` in metrics.
    pub fn metric(&self) -> &'static str {
        match self {
            Self::NotHttp => "not_http",
            Self::Http2 => "http2",
            Self::Version => "version",
            Self::Malformed(_) => "malformed",
            Self::TooLarge => "too_large",
            Self::SeveralHosts => "several_hosts",
            Self::HostMismatch => "host_mismatch",
            Self::InvalidHost(_) => "invalid_host",
            Self::InvalidPort => "invalid_port",
        }
    }
}

impl From<InvalidName> for Refused {
    fn from(why: InvalidName) -> Self {
        Self::InvalidHost(why)
    }
}
