//! Refusals: somebody knocked who was not let in.

use serde::{Deserialize, Serialize};
use sextant_model::Timestamp;
use utoipa::ToSchema;

/// How often, and when and from where last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refused {
    /// How often.
    pub times: u64,
    /// The last time.
    pub last_at: Timestamp,
    /// From which address then.
    pub last_address: String,
}

/// Refusals of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedCode {
    /// The problem's code; `client-certificate-invalid` where TLS refused a certificate;
    /// `connection-given-up` where a connection had to make room for another.
    pub code: String,
    /// From how many sources: IPv4 addresses, or /64 of IPv6.
    pub sources: u64,
    /// How often, and when and from where last.
    #[serde(flatten)]
    pub refused: Refused,
}
