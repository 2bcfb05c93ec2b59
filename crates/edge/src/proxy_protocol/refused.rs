//! Why a connection has no PROXY header.

use super::MAX_LENGTH;

/// Why the first bytes of a connection are refused as a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Does not begin with the signature of version 2.
    #[error("no PROXY header of version 2; let the proxy before this one send it")]
    NotProxy,
    /// A header that breaks the specification.
    #[error("malformed PROXY header: {0}")]
    Malformed(Part),
    /// A connection that is no TCP connection over IP.
    #[error("PROXY header of family and transport 0x{0:02x}; only TCP over IPv4 or IPv6 is taken")]
    Unsupported(u8),
    /// More than [`MAX_LENGTH`] bytes follow the fixed part.
    #[error("PROXY header says {0} bytes follow; at most {MAX_LENGTH} are taken")]
    TooLarge(u16),
    /// The header is not what its sender computed the checksum of.
    #[error("PROXY header does not match its checksum")]
    Checksum,
}

/// The part of a PROXY header that is out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Part {
    /// Other than 2.
    #[error("version")]
    Version,
    /// Neither `LOCAL` nor `PROXY`.
    #[error("command")]
    Command,
    /// Family and transport that the specification does not know.
    #[error("family")]
    Family,
    /// Shorter than the addresses of its family.
    #[error("length")]
    Length,
    /// An extension that reaches beyond the end, a checksum that is not four bytes, or two of them.
    #[error("extension (TLV)")]
    Extension,
}

impl Refused {
    /// The value of the label `reason` in metrics.
    pub fn metric(&self) -> &'static str {
        match self {
            Self::NotProxy => "not_proxy",
            Self::Malformed(_) => "malformed",
            Self::Unsupported(_) => "unsupported",
            Self::TooLarge(_) => "too_large",
            Self::Checksum => "checksum",
        }
    }
}
