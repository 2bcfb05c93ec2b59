//! Why a connection has no ClientHello to route by.

use super::{InvalidName, MAX_MESSAGE, MAX_RECORDS};

/// Why the first bytes of a connection are refused. None of these may reach a default route: only
/// a good ClientHello without a name may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Another protocol: HTTP, SSH, SSLv2, noise.
    #[error("not TLS; this port takes TLS connections only")]
    NotTls,
    /// Begins like TLS and breaks its framing.
    #[error("malformed ClientHello: {0}")]
    Malformed(Part),
    /// The message says that it is longer than [`MAX_MESSAGE`].
    #[error("ClientHello is longer than {MAX_MESSAGE} bytes")]
    TooLarge,
    /// The message is spread over more than [`MAX_RECORDS`] records.
    #[error("ClientHello is spread over more than {MAX_RECORDS} records")]
    TooManyRecords,
    /// Two server name extensions.
    #[error("ClientHello has two server name extensions")]
    DuplicateSni,
    /// Two extensions of the same other type (RFC 8446 section 4.2).
    #[error("ClientHello has two extensions of type {0}")]
    DuplicateExtension(u16),
    /// More than one name in the server name extension (RFC 6066 section 3).
    #[error("ClientHello asks for several server names")]
    SeveralNames,
    /// The name is not a `host_name`; no other type is defined.
    #[error("ClientHello has a server name of type {0}; only 0 (host_name) is defined")]
    UnknownNameType(u8),
    /// The name is no host name.
    #[error("ClientHello has an invalid server name: {0}")]
    InvalidName(InvalidName),
}

/// The part of a ClientHello that is out of order: a value that cannot be, or a length that does
/// not fit what surrounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Part {
    /// A record that is no handshake record, before the message is complete.
    #[error("a record of another type before its end")]
    RecordType,
    /// Not 3.0 to 3.4.
    #[error("record version")]
    RecordVersion,
    /// More than 2^14 bytes.
    #[error("record length")]
    RecordLength,
    /// A handshake message of another type.
    #[error("another handshake message in its place")]
    HandshakeType,
    /// Before SSL 3.0.
    #[error("legacy version")]
    LegacyVersion,
    /// Message ends inside the random.
    #[error("random")]
    Random,
    /// More than 32 bytes, or more than the message has.
    #[error("session id")]
    SessionId,
    /// None, an odd number of bytes, or more than the message has.
    #[error("cipher suites")]
    CipherSuites,
    /// None, or more than the message has.
    #[error("compression methods")]
    CompressionMethods,
    /// The length of all extensions is not what is left of the message.
    #[error("length of the extensions")]
    Extensions,
    /// An extension reaches beyond the end of all.
    #[error("length of an extension")]
    Extension,
    /// The list of names is empty or does not fill its extension exactly.
    #[error("server name list")]
    ServerName,
}

impl Rejected {
    /// The value of the label `reason` in metrics.
    pub fn metric(&self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::Malformed(_) => "malformed",
            Self::TooLarge => "too_large",
            Self::TooManyRecords => "too_many_records",
            Self::DuplicateSni => "duplicate_sni",
            Self::DuplicateExtension(_) => "duplicate_extension",
            Self::SeveralNames => "several_names",
            Self::UnknownNameType(_) => "unknown_name_type",
            Self::InvalidName(_) => "invalid_name",
        }
    }

    /// The alert that tells a TLS client (RFC 8446 section 6): `None` if it does not speak TLS.
    pub fn alert(&self) -> Option<u8> {
        const UNEXPECTED_MESSAGE: u8 = 10;
        const ILLEGAL_PARAMETER: u8 = 47;
        const DECODE_ERROR: u8 = 50;
        match self {
            Self::NotTls => None,
            Self::Malformed(Part::RecordType | Part::HandshakeType) => Some(UNEXPECTED_MESSAGE),
            Self::Malformed(_) | Self::TooLarge | Self::TooManyRecords => Some(DECODE_ERROR),
            Self::DuplicateSni
            | Self::DuplicateExtension(_)
            | Self::SeveralNames
            | Self::UnknownNameType(_)
            | Self::InvalidName(_) => Some(ILLEGAL_PARAMETER),
        }
    }
}

impl From<InvalidName> for Rejected {
    fn from(why: InvalidName) -> Self {
        Self::InvalidName(why)
    }
}
